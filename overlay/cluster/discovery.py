"""Discovery: which neighbours on the LAN this node finds, whom it answers, when it speaks (DESIGN 3.6).

It decides what a beacon is worth: one of our own overlay, with a key not met lately, from an address on a LAN of ours, is
dialled once and answered by unicast, so that both find each other where multicast works one way only. Whoever is there is
proved by the session; here nothing is believed. Beacons of other overlays are counted and forgotten. It refuses to know
sockets, and what becomes of a dial.

Whoever has heard one beacon of ours can forge others, or play them again. So dials have a budget for each source and one
for all, answers too, and neither is ever longer than what came: a flood costs its reading, and a few dials.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.cluster.beacon import ANY, Beacon, Kind, Tags, decode, encode
from overlay.cluster.budget import Budget
from overlay.cluster.links import Link, Links
from overlay.cluster.rounds import Rounds
from overlay.errors import Malformed
from overlay.machine import Entropy, Send
from overlay.wire.address import Address, Way

AGAIN: Final = 60.0  # seconds before a key that was dialled, and is not connected, is dialled again
ELSEWHERE: Final = 2.0  # seconds before the same key counts at another address: a node speaks from several at once
DIALS_EVERY: Final = 10.0  # seconds; the same for the new keys of one source
ANSWERS_EVERY: Final = 0.05  # seconds
ASKS_EVERY: Final = 1.0  # seconds, of one source
ASLEEP: Final = 5.0  # seconds by which the clocks must disagree, or a date be late, for a suspend; guess: far beyond a stall


@dataclass(frozen=True, slots=True)
class Found:
    """A neighbour of this overlay may stand there: worth a dial."""

    exchange: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What the node knows: whether the holder of a key is connected, and the last addresses of those that are not."""

    connected: Callable[[bytes], bool]
    away: Callable[[], Iterable[Address]]


class _Source:
    """The budgets of one address."""

    __slots__ = ("asks", "news")

    def __init__(self) -> None:
        self.news = Budget(limits.BEACON_NEWS, DIALS_EVERY)
        self.asks = Budget(limits.BEACON_ASKS, ASKS_EVERY)


class Discovery:
    """One node's ears and voice on its LANs."""

    def __init__(
        self, *, overlay_id: bytes, exchange: bytes, port: int, entropy: Entropy, around: Neighbourhood, links: Iterable[Link] = (),
    ) -> None:
        """``exchange`` and ``port``: this node's own, as its beacons say them."""
        self.counters: Counter[str] = Counter()
        self._tags = Tags(overlay_id)
        self._exchange = exchange
        self._port = port
        self._around = around
        self._rounds = Rounds(entropy)
        self._dials = Budget(limits.BEACON_DIALS, DIALS_EVERY)
        self._answers = Budget(limits.BEACON_ANSWERS, ANSWERS_EVERY)
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._met: OrderedDict[bytes, tuple[float, str]] = OrderedDict()  # key -> when and where it was dialled last
        self._apart: float | None = None  # UTC less monotonic seconds at the last look
        self._out: list[Send | Found] = []
        self.follow(links)

    def follow(self, links: Iterable[Link]) -> None:
        """The machine's links are these now."""
        self.links = Links(links, self.counters)
        self._rounds.follow(self.links.all)

    # -- hearing

    def heard(self, data: bytes, way: Way, now: float, at: float) -> None:
        """Octets that call themselves a beacon came from ``way.remote``."""
        try:
            beacon = decode(data)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            return
        if beacon.exchange == self._exchange:
            return  # multicast comes back to who sent it
        ours = self._tags.knows(beacon.tag, at)
        if not ours and not (beacon.kind is Kind.SEEK and beacon.tag == ANY):
            self.counters["beacons_foreign"] += 1
            return
        host = way.remote.host
        if not self.links.on_link(host):
            self.counters["drop:beacon-off-link"] += 1
            return
        self.counters["beacons_heard"] += 1
        source = self._source(host)
        found = beacon.kind is not Kind.SEEK and self._found(beacon, host, source, now)
        if found or beacon.kind is not Kind.HERE:
            self._answer(Address(host, beacon.port), source, now, at)

    def _found(self, beacon: Beacon, host: str, source: _Source, now: float) -> bool:
        """Whether it is worth a dial, which is then asked for."""
        when, where = self._met.get(beacon.exchange, (float("-inf"), ""))
        if now < when + (AGAIN if host == where else ELSEWHERE):
            return False
        if not self._dials.room(now):
            self.counters["drop:beacon-dials"] += 1
            return False
        if not source.news.room(now):
            self.counters["drop:beacon-source"] += 1
            return False
        if self._around.connected(beacon.exchange):
            return False
        self._dials.lets(now)
        source.news.lets(now)
        self._met[beacon.exchange] = (now, host)
        self._met.move_to_end(beacon.exchange)
        if len(self._met) > limits.BEACON_KEYS:
            self._met.popitem(last=False)
            self.counters["beacons_forgotten"] += 1
        self._out.append(Found(beacon.exchange, Address(host, beacon.port)))
        return True

    def _source(self, host: str) -> _Source:
        source = self._sources.get(host)
        if source is None:
            source = self._sources[host] = _Source()
            if len(self._sources) > limits.BEACON_SOURCES:
                self._sources.popitem(last=False)
                self.counters["beacons_forgotten"] += 1
        return source

    def _answer(self, to: Address, source: _Source, now: float, at: float) -> None:
        """We are here: by unicast, in as many octets as came."""
        if not source.asks.lets(now):
            self.counters["drop:beacon-source"] += 1
        elif not self._answers.lets(now):
            self.counters["drop:beacon-answers"] += 1
        else:
            self._out.append(Send(Way("udp", to), self._say(Kind.HERE, at)))

    # -- speaking

    def _say(self, kind: Kind, at: float) -> bytes:
        return encode(Beacon(kind, self._tags.now(at), self._exchange, self._port))

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called; None where there is no LAN."""
        return self._rounds.wake_at()

    def wake(self, now: float, at: float) -> None:
        """Time passed."""
        due, apart = self._rounds.wake_at(), at - now
        if due is None:
            return
        stepped = self._apart is not None and abs(apart - self._apart) > ASLEEP
        self._apart = apart
        if stepped or (due > 0.0 and now - due > ASLEEP):
            self.counters["lan_woken"] += 1
            self._rounds.again()
        ways = self._rounds.due(now)
        for way, new in ways:
            self._out.append(Send(way, self._say(Kind.CALL if new else Kind.HERE, at)))
        if ways:
            self._call_the_away(any(new for _, new in ways), at)

    def _call_the_away(self, new: bool, at: float) -> None:
        """Where an access point drops multicast and broadcast, unicast to where a neighbour was last still arrives."""
        near = list(dict.fromkeys(address for address in self._around.away() if self.links.on_link(address.host)))
        self.counters["beacons_untold"] += max(0, len(near) - limits.LAN_KNOWN)
        for address in near[: limits.LAN_KNOWN]:
            self._out.append(Send(Way("udp", address), self._say(Kind.CALL if new else Kind.HERE, at)))

    def take(self) -> list[Send | Found]:
        """What it wants since last asked."""
        out, self._out = self._out, []
        return out
