"""Which pages are generated, each by a function without arguments that returns the whole page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.docs import commands, configuration, limits, log, metrics, rights, wire

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs"
PAGES: Final[dict[str, Callable[[], str]]] = {
    "commands.md": commands.page,
    "configuration.md": configuration.page,
    "limits.md": limits.page,
    "log.md": log.page,
    "metrics.md": metrics.page,
    "rights.md": rights.page,
    "wire.md": wire.page,
}
