"""Where a command that takes its time tells how far it is: what `join` and `up` say, whoever listens."""

from __future__ import annotations

from typing import Protocol


class Report(Protocol):
    """Where a command that takes its time tells how far it is. ``interactive``: a person reads along, at a terminal."""

    @property
    def interactive(self) -> bool:
        """Whether somebody is there who can do something about it."""

    def progress(self, text: str) -> None:
        """One line of talk (stderr, or the log and the parent where detached)."""

    def ready(self, text: str) -> None:
        """It is usable: one line of data (stdout). Called at most once; a detached command's parent returns then."""
