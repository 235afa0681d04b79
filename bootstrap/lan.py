"""A newcomer on its LAN: when it asks who is there, and which answers count (DESIGN 3.6; CONTRACT, `join lan`).

It decides the rhythm of the question, who is heard (senders that stand on a link of ours, a bounded number), and, where no
overlay was named, when enough has been heard to choose one: all that answer within 0.4 s are compared, and one alone is
taken. It refuses to know sockets; what a sender's ``/.well-known/overlay`` says is read by ``mirror.py``, and believed of
nobody: the passport decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from bootstrap.entrance import Entrance, WayIn
from overlay import limits
from overlay.cluster.beacon import Kind, decode
from overlay.cluster.links import Link, Links
from overlay.cluster.rounds import Rounds
from overlay.errors import Malformed, OverlayError
from overlay.machine import Entropy
from overlay.units import b64
from overlay.wire.address import Address, Way

ASK = (0.2, 30.0)  # seconds between questions: first, doubling to the last; each may be lost, and a radio may sleep for 0.1 s
LISTEN = 0.4  # seconds in which all that answer are compared; guess: a radio's sleep and a repeat
WAIT = 1.5  # seconds from the beginning after which an answer under way is not waited for
FORGET = 60.0  # seconds for which a sender that had no room is not heard


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a beacon: its tag, its exchange key, where its overlay listens."""

    tag: bytes
    exchange: bytes
    address: Address

    @property
    def way(self) -> WayIn:
        """The way in that it names."""
        return WayIn((self.address,), self.exchange)


class Seeking:
    """The newcomer's question, and its ears."""

    def __init__(self, entropy: Entropy, counters: Counter[str]) -> None:
        self.counters = counters
        self._rounds = Rounds(entropy, ASK)
        self._links = Links()
        self._senders: set[Sender] = set()
        self._forget_at = 0.0

    def follow(self, links: Iterable[Link]) -> None:
        """The machine's links are these now."""
        self._links = Links(links, self.counters)
        self._rounds.follow(self._links.all)

    def wake_at(self) -> float | None:
        """When :meth:`due` wants to be called; None where there is no LAN."""
        return self._rounds.wake_at()

    def due(self, now: float) -> list[Way]:
        """The ways by which to ask now."""
        return [way for way, _ in self._rounds.due(now)]

    def heard(self, data: bytes, way: Way, now: float) -> Sender | None:
        """Octets came: a node that stands on a LAN of ours, or None. One that was heard before counts again."""
        try:
            beacon = decode(data)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            return None
        if beacon.kind is Kind.SEEK or not self._links.on_link(way.remote.host):
            self.counters["drop:beacon-off-link"] += beacon.kind is not Kind.SEEK
            return None
        if now >= self._forget_at:
            self._forget_at = now + FORGET
            self._senders.clear()
        sender = Sender(beacon.tag, beacon.exchange, Address(way.remote.host, beacon.port))
        if sender not in self._senders and len(self._senders) >= limits.LAN_SENDERS:
            self.counters["drop:beacon-senders"] += 1
            return None
        self._senders.add(sender)
        return sender


@dataclass(slots=True)
class Choice:
    """The overlays that answered, while none is named. ``begun``: when the newcomer began to listen (monotonic seconds)."""

    begun: float
    offers: dict[bytes, tuple[str, list[WayIn]]] = field(default_factory=dict)  # overlay id -> its TLD, ways in

    def add(self, entrance: Entrance) -> None:
        """A sender says which overlay it is of."""
        assert entrance.overlay_id is not None
        self.offers.setdefault(entrance.overlay_id, (entrance.tld or "", []))[1].extend(entrance.ways)

    def due_at(self, idle: bool) -> float:
        """When to choose: ``idle`` where no sender is being asked any more."""
        return self.begun + (LISTEN if idle else WAIT)

    def several(self) -> OverlayError | None:
        """What to tell where the choice is a person's."""
        if len(self.offers) < 2:
            return None
        told = "; ".join(f"{b64(overlay_id)} ({tld})" for overlay_id, (tld, _) in sorted(self.offers.items()))
        return OverlayError(
            f"{len(self.offers)} overlays answer on this LAN: {told}", "choose one: overlay join lan --id OVERLAY_ID", rule="overlay-id",
        )
