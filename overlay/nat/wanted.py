"""One port that shall stay mapped: what the router gave for it, when it is asked again, and what the node was told of it.

A router's word is kept as it was said, within bounds; what of it may be told to others is decided by the address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.nat.external import trouble
from overlay.nat.outputs import Mapped, Unmapped
from overlay.nat.speakers import Port, Said

LONGEST: Final = 86_400  # seconds believed: RFC 6887, 15
SHORTEST: Final = 8  # seconds: below it renewals would come faster than one in 4 s (RFC 6887, 11.2.1)
RETRY: Final = 60.0  # seconds after the first refusal, then doubling up to limits.PORTMAP_REST; guess

_UNHEARD: Final = ("dropped", "no-router", "router-changed")  # no news where nothing was told before


@dataclass(slots=True)
class Wanted:
    """The state of one port."""

    port: Port
    due: float | None = None  # when the router is asked next; None: a question is under way, or no protocol is found
    host: str = ""
    external: int = 0  # port given last: asked for again
    expires: float | None = None  # of the mapping; None where there is none
    told: str = ""  # "mapped", or the reason of the last Unmapped
    refused: int = 0  # times in a row

    def granted(self, said: Said, now: float, chance: float) -> bool:
        """The router gave it; whether that is news. Renewed after a half to five eighths of its life (RFC 6887, 11.2.1)."""
        news = said.made or (self.host, self.external) != (said.host, said.external)
        self.host, self.external, self.refused = said.host, said.external, 0
        if said.made or self.expires is None:
            life = min(said.life, LONGEST)
            self.expires = now + life
            self.due = now + life * (4 + chance) / 8
        return news

    def refuse(self, said: Said, now: float) -> None:
        """The router did not give it: asked again after a time, the longer the more often that happened."""
        later = min(RETRY * 2**self.refused, limits.PORTMAP_REST)
        self.due = now + max(later, min(said.life, limits.PORTMAP_REST))
        self.refused = min(self.refused + 1, 16)
        self.expires = None

    def tell(self, own: str, protocol: str) -> list[Mapped | Unmapped]:
        """What the node is to hear of a mapping that stands."""
        reason = trouble(self.host, own)
        if reason or self.expires is None:
            return self.untell(reason or "lapsed")
        self.told = "mapped"
        return [Mapped(*self.port, self.host, self.external, self.expires, protocol)]

    def untell(self, reason: str) -> list[Mapped | Unmapped]:
        """What it is to hear where nothing stands, for that reason."""
        if self.told == reason or not self.told and reason in _UNHEARD:
            return []
        self.told = reason
        return [Unmapped(*self.port, reason)]
