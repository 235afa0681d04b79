"""What a cluster makes of a revision: *in development* or *stable* (DESIGN 3.10), from what its nodes say that they run.

A revision is stable once every live node that takes the channel runs it and has been well for as long as the release wants
(60 s by default); one node alone waits for nobody, and a dead one is not waited for. Who has restarted twice within 10
minutes, or runs more than what is stable, is in development and holds the announcement back. It decides that, for one
channel of one cluster; who says it to others, and by what right, stands in ``overlay/observing.py``.

Soaking is measured by this machine's own clock from when it first heard that the node runs it: dates of other machines are
compared with nothing. So whoever takes over the watch begins to count when it began to listen, which every member does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from overlay.records.observed import LABELS, MAX_HOLDING, Observed, Running, Why

SOAK: Final = 60.0  # seconds, where the release does not say (DESIGN 3.10)
MEET: Final = 10.0  # seconds after the start of a node in which somebody who is known, and not met yet, is not taken for dead (guess)
RESTARTS: Final = 600.0  # seconds: two restarts within them (DESIGN 3.10)


def restless(starts: tuple[int, ...], at: float) -> float:
    """Until when (UTC seconds) a node with these last three starts is restless; 0 where it is not. The first start of all is no restart."""
    recent = sorted(starts)[-3:]
    until = recent[1] + RESTARTS if len(recent) == 3 else 0.0
    return until if at < until <= at + 2 * RESTARTS else 0.0  # a date of a clock that was ahead says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The revision that is looked at: the newest that is vouched for, none where ``revision`` is 0. ``barred``: it may not be installed."""

    revision: int = 0
    content: bytes = b""
    release: bytes = b""
    soak: float = SOAK
    barred: bool = False


@dataclass(slots=True)
class Standing:
    """The watch over one channel in the own cluster. ``since``: when this node began to listen, monotonic seconds."""

    since: float
    stable: int = 0
    _well: dict[bytes, tuple[int, bytes, float]] = field(default_factory=dict)  # node -> revision, content, since when we know
    _wake: float = float("inf")

    def look(self, wanted: Wanted, told: Mapping[bytes, tuple[str, Running]], alive: frozenset[bytes], now: float) -> Observed:
        """What stands now. ``told``: what subscribers of this cluster say, by node id, with their labels; ``alive``: who is met and not dead."""
        self._wake = float("inf")
        live = {node: said for node, said in told.items() if node in alive}
        for node in [node for node in self._well if node not in live]:
            del self._well[node]
        holding = []
        installed = restarted = healthy = 0
        for node, (label, said) in sorted(live.items(), key=lambda entry: entry[1][0]):
            well = self._well.get(node)
            if well is None or well[:2] != (said.revision, said.content):
                self._well[node] = well = said.revision, said.content, now
            why = self._why(wanted, said, now - well[2])
            if why is Why.SOAKING:
                self._wake = min(self._wake, well[2] + wanted.soak)
            if why is not None:
                holding.append((label, why))
            runs = self._runs(wanted, said)
            installed += runs or said.held >= wanted.revision
            restarted += runs
            healthy += runs and why in (None, Why.RESTLESS)
        unmet = any(node not in alive for node in told)
        if unmet and now < self.since + MEET:
            self._wake = min(self._wake, self.since + MEET)
        elif not holding and wanted.revision and not wanted.barred:
            self.stable = wanted.revision
        return Observed(
            revision=wanted.revision, release=wanted.release, stable=self.stable, live=len(live), installed=installed, restarted=restarted,
            healthy=healthy, holding=_named(holding),
        )

    def wake_at(self) -> float:
        """When time alone may change it (monotonic seconds)."""
        return self._wake

    @staticmethod
    def _runs(wanted: Wanted, said: Running) -> bool:
        return said.revision == wanted.revision and said.content == wanted.content

    def _why(self, wanted: Wanted, said: Running, well: float) -> Why | None:
        """Why this node holds the wanted revision back; None where it does not."""
        if said.restless:
            return Why.RESTLESS
        if said.revision > wanted.revision:
            return Why.AHEAD
        if self._runs(wanted, said):
            return Why.SOAKING if well < wanted.soak and wanted.revision else None
        return Why.FAILED if said.failed == wanted.revision else Why.BEHIND


def _named(holding: list[tuple[str, Why]]) -> tuple[tuple[str, Why], ...]:
    """Those for whom there is room, the first by name."""
    kept: list[tuple[str, Why]] = []
    room = LABELS
    for label, why in holding[:MAX_HOLDING]:
        room -= len(label)
        if room >= 0:
            kept.append((label, why))
    return tuple(kept)
