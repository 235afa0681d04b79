"""The taxonomy of failures: whose act it was, which rule it broke, what to do.

Five families (usage, config, peer, trust, reach) and three states of a running system that a command can
meet. Each carries two lines for a person: what happened and what to do. The exit status of a command is a property
of the family (CONTRACT, "the manners"). This module knows nothing else of the program.
"""

from __future__ import annotations

from typing import ClassVar


class OverlayError(Exception):
    """A failure that can be told to a person in two lines.

    ``what`` says what happened, ``todo`` what to do about it, ``rule`` names the broken rule (for tests and logs).
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, todo: str = "", *, rule: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo
        self.rule = rule

    def lines(self) -> list[str]:
        """The two lines (one, where there is nothing to do)."""
        return [self.what, self.todo] if self.todo else [self.what]


class UsageError(OverlayError):
    """The caller asked for something that has no meaning: a wrong argument, an illegal name."""

    exit_status = 2


class ConfigError(OverlayError):
    """``overlay.toml`` or the machine's own state does not allow it."""


class PeerError(OverlayError):
    """Another node, or whoever sent us bytes, broke a rule of the protocol."""


class Malformed(PeerError):
    """Foreign bytes do not decode. The only error that a decoder may raise."""


class TrustError(OverlayError):
    """A statement or a node is not entitled to what it claims."""

    exit_status = 4


class ReachError(OverlayError):
    """Somebody could not be reached, or did not answer in time."""

    exit_status = 5


class NotRunning(OverlayError):
    """No node is running on this home."""

    exit_status = 3


class StateError(OverlayError):
    """The files of this node are damaged, locked or missing."""


class Absent(OverlayError):
    """What was asked for does not exist."""
