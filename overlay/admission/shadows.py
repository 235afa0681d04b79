"""Second-level names that exist publicly below the TLD: whether the overlay may claim one (CONTRACT, ``--shadow``).

`.cloud` is a public TLD as well: who claims `example` below it takes the public `example.cloud` away from every machine of
the overlay. So the public DNS is asked first, once for each new second-level name; what it said is remembered for an hour.
Asking is somebody else's: a label that is not known yet is *asking* until :meth:`Shadows.told`. Where the public DNS cannot
be asked the name may be claimed, with a warning.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from overlay import limits
from overlay.errors import TrustError

REMEMBERED: Final = 3_600.0  # seconds that an answer holds
SILENT: Final = 60.0  # seconds that nobody is asked again after the public DNS was silent


class Public(Enum):
    """What is known of a label."""

    FREE = "not there, or not to be asked for"
    TAKEN = "exists publicly"
    ASKING = "is being asked for"


@dataclass(slots=True)
class Shadows:
    """What the public DNS said of second-level labels. ``asks``: whether it is to be asked at all."""

    asks: bool = False
    counters: Counter[str] = field(default_factory=Counter)
    _known: dict[str, tuple[bool | None, float]] = field(default_factory=dict)
    _silent_until: float = 0.0

    def state(self, label: str, at: float) -> Public:
        """What is known of ``label`` at ``at`` (UTC seconds)."""
        if not self.asks:
            return Public.FREE
        exists, until = self._known.get(label, (None, 0.0))
        if at < until:
            return Public.TAKEN if exists else Public.FREE
        if at < self._silent_until:
            self.counters["claimed_unasked"] += 1
            return Public.FREE
        return Public.ASKING

    def told(self, label: str, exists: bool | None, at: float) -> None:
        """The public DNS answered; None: it could not be asked."""
        if exists is None:
            self._silent_until = at + SILENT
            return
        self._known[label] = (exists, at + REMEMBERED)
        while len(self._known) > limits.PREFIXES:
            del self._known[next(iter(self._known))]
            self.counters["prefixes_forgotten"] += 1


def shadowed(label: str, tld: str) -> TrustError:
    """The refusal."""
    return TrustError(
        f"{label}.{tld} exists in the public DNS: claiming it would hide that from every machine of the overlay",
        "choose another name (or --cluster), or add --shadow where that is what you want", rule="shadow",
    )
