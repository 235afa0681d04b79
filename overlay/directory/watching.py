"""One zone that is watched: which of its keepers to ask, how many, and whom to leave for the next (DESIGN 3.5).

It decides from what keepers did, not from what they are. Two are asked at once and stay: one that is slow, gone or a liar
then costs nothing. A keeper that has nothing, or says nothing for ``PATIENCE``, is left for the next nearest; when none is
left the round begins anew after a pause. Where what came is not what the zone's signed head says, all the others are asked
as well, two at a time: records prove themselves, so answers are united, and a truncated one adds what it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

AT_ONCE: Final = 2  # keepers that are asked at once and go on telling
PATIENCE: Final = 0.4  # seconds: the slowest twentieth of round trips takes 0.3 (DESIGN 3.5's delays)
RENEW: Final = 40.0  # seconds: a watch is renewed at two thirds of its lease
PAUSE: Final = 2.0  # seconds before a keeper that had nothing is asked again (guess)
LONGEST_PAUSE: Final = 60.0  # seconds: the pause doubles up to this


@dataclass(slots=True)
class Watch:
    """The conversation about one zone with those who may keep it, by node id."""

    used: float  # when somebody here last asked for names of it
    holders: dict[bytes, float] = field(default_factory=dict)  # who gave the zone -> when to ask again
    _asked: dict[bytes, float] = field(default_factory=dict)  # who has not answered yet -> when its place is free
    _barren: dict[bytes, tuple[float, float]] = field(default_factory=dict)  # who had nothing -> (not before, pause)
    doubted: bool = False  # what came so far is not what the head says

    @property
    def held(self) -> bool:
        """Whether somebody gave the zone and goes on telling of changes."""
        return bool(self.holders)

    def to_ask(self, keepers: Sequence[bytes], now: float) -> list[bytes]:
        """Whom to ask now, the best first; they count as asked from here on."""
        chosen = [node_id for node_id, renew in self.holders.items() if now >= renew and node_id not in self._asked]
        places = AT_ONCE - sum(now < until for node_id, until in self._asked.items() if node_id not in self.holders)
        places -= 0 if self.doubted else len(self.holders)
        for node_id in keepers:
            if places <= 0:
                break
            not_before = self._barren.get(node_id, (0.0, 0.0))[0]
            if node_id not in self.holders and node_id not in self._asked and now >= not_before:
                chosen.append(node_id)
                places -= 1
        for node_id in chosen:
            self._asked[node_id] = now + PATIENCE
        return chosen

    def answered(self, node_id: bytes, now: float, *, held: bool) -> None:
        """Its answer came; ``held``: with the zone in it."""
        self._asked.pop(node_id, None)
        if held:
            self._barren.pop(node_id, None)
            self.holders[node_id] = now + RENEW
        else:
            self.failed(node_id, now)

    def failed(self, node_id: bytes, now: float) -> None:
        """It cannot be reached, its session ended, or it had nothing."""
        self._asked.pop(node_id, None)
        self.holders.pop(node_id, None)
        pause = min(self._barren.get(node_id, (0.0, PAUSE / 2))[1] * 2, LONGEST_PAUSE)
        self._barren[node_id] = (now + pause, pause)

    def idle(self, now: float) -> bool:
        """Whether nobody is waited for: all keepers known have had their turn."""
        return all(until <= now for node_id, until in self._asked.items() if node_id not in self.holders)

    def wake_at(self, now: float) -> float:
        """When the next of them is to be asked again, or a silent one's place is free."""
        dates = (*self.holders.values(), *self._asked.values(), *(at for at, _ in self._barren.values()))
        return min((date for date in dates if date > now), default=float("inf"))
