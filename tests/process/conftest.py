"""A village of machines for each test, taken down after it; and what holds for all of them: no traceback, ever."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.machines import Village

if not sys.platform.startswith("linux"):
    pytest.skip("these tests need the whole of 127.0.0.0/8 and /proc, as Linux has them", allow_module_level=True)


def _lived(village: Village) -> Iterator[Village]:
    try:
        yield village
    finally:
        village.clean()
    for text in village.outputs():
        assert "Traceback" not in text, text
        assert "a defect of this program" not in text, text
        assert "Warning:" not in text, text


@pytest.fixture
def village() -> Iterator[Village]:
    # Not pytest's tmp_path: that may be longer than a socket's name can be, and long homes have a test of their own.
    folder = Path(tempfile.mkdtemp(prefix="village-"))
    yield from _lived(Village(folder))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shared() -> Iterator[Village]:
    """One for all tests of a file that only look."""
    folder = Path(tempfile.mkdtemp(prefix="village-"))
    yield from _lived(Village(folder))
    shutil.rmtree(folder, ignore_errors=True)
