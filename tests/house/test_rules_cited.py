"""Every numbered rule of ``overlay/records/trust.py`` is cited by a test: ``def test_r07_...`` in ``tests/records``."""

from __future__ import annotations

import re
from pathlib import Path

from overlay.records import trust

TESTS = Path(__file__).parent.parent / "records"


def test_every_trust_rule_is_cited_by_a_test_and_no_other() -> None:
    table = re.findall(r"^\| (R\d\d) \|", trust.__doc__ or "", re.MULTILINE)
    assert table == [f"R{number:02}" for number in range(1, len(table) + 1)] and len(table) >= 20
    tests = "".join(file.read_text() for file in sorted(TESTS.glob("test_*.py")))
    cited = {found.upper() for found in re.findall(r"^def test_(r\d\d)_", tests, re.MULTILINE)}
    assert cited == set(table)
