"""The commands that need the whole program: found an overlay, join one, run a node. Imported only when one of them is asked.

It decides nothing yet but what the command line hands over and what it gets back.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from overlay.config import Config
from overlay.errors import StateError


class Report(Protocol):
    """Where a command that takes its time tells how far it is."""

    def progress(self, text: str) -> None:
        """One line of talk (stderr, or the log and the parent where detached)."""

    def ready(self, text: str) -> None:
        """It is usable: one line of data (stdout). Called at most once; a detached command's parent returns then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """What ``overlay init`` was told. ``root_keys`` keys, of which ``root_threshold`` must sign; ``root_out`` takes them."""

    zone: str
    tld: str = "cloud"
    admission: str = "invite"
    cluster: str | None = None
    name: str | None = None
    addresses: tuple[str, ...] = ()
    root_threshold: int = 1
    root_keys: int = 1
    root_out: Path | None = None
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """``publish``: stdout, lines of a master file and comments; ``talk``: stderr, the last line is to be run elsewhere."""

    publish: tuple[str, ...]
    talk: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """What ``overlay join`` was told. ``timeout`` is in seconds; None goes on for ever."""

    where: str | None = None
    invite: str | None = None
    cluster: str | None = None
    name: str | None = None
    overlay_id: str | None = None
    timeout: float | None = None
    shadow: bool = False


def found(home: Path, founding: Founding, config: Config) -> Founded:
    """Found an overlay on that home. Raises ``UsageError``, ``StateError`` where one is there already."""
    raise StateError(f"cannot found {founding.zone} on {home} yet", "wait for the next version")


def run_node(home: Path, config: Config, joining: Joining | None, report: Report) -> None:
    """Run the node of that home until it is stopped; enrol first where ``joining`` says how and it is not enrolled.

    ``config`` has the command line's flags in it already. Raises ``OverlayError`` (never in an exception group).
    """
    raise StateError(f"cannot run a node on {home} yet", "wait for the next version")
