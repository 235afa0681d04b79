"""Where no hosts can be made, every test of this folder is skipped, with the reason told once a file."""

from __future__ import annotations

import pytest

from tests.netns.hosts import unable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if item.get_closest_marker("netns")]
    if mine and (reason := unable()):
        for item in mine:
            item.add_marker(pytest.mark.skip(reason=f"NO NAMESPACES: {reason}"))
