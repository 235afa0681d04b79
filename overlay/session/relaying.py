"""Datagrams carried for others, and ways that lead through a peer (DESIGN 3.7).

A node that holds sessions with two others passes datagrams from one to the other: it is their relay. It keeps nothing for
them but a share of its line. A frame names the far end by the first eight octets of its exchange key; what is inside is a
datagram of a session between the two ends, sealed for them alone, so a relay can drop, delay or repeat, and learns sizes
and times. A way through a relay is numbered by ``Way.link``, as a TCP connection is, and its ``remote`` is the relay's
address, whose budgets a stranger behind it uses. A relay is never reached through another: a datagram fits one wrapping.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Send
from overlay.session.frames import no_relay, relay, relayed
from overlay.session.relation import Session
from overlay.wire.address import Address, Way
from overlay.wire.messages import Frame, Grade

RELAY: Final = "relay"  # the protocol of such a way
SHORT: Final = 8  # octets of an exchange key that name its holder to a relay
NOWHERE: Final = Address("0.0.0.0", 1)  # the address of a relay that is not connected

_RELAY, _RELAYED, _NO_RELAY = Frame.RELAY.value, Frame.RELAYED.value, Frame.NO_RELAY.value


@dataclass(slots=True)
class _Share:
    """What is left of what may be carried, in octets, and since when it fills up again."""

    octets: float
    at: float

    def take(self, octets: int, rate: int, most: int, now: float) -> bool:
        self.octets = min(most, self.octets + (now - self.at) * rate)
        self.at = now
        if self.octets < octets:
            return False
        self.octets -= octets
        return True


class Relaying:
    """Of all sessions of one node. ``sessions`` finds an open one by the other end's exchange key."""

    def __init__(self, *, sessions: Mapping[bytes, Session], emit: Callable[[Send], None], counters: Counter[str]) -> None:
        self.allowed = True  # whether anything is carried for others
        self.came: list[tuple[bytes, Way]] = []  # datagrams that relays brought us, to be received
        self._sessions = sessions
        self._emit = emit
        self._counters = counters
        self._by_name: dict[bytes, Session] = {}
        self._shares: dict[int, _Share] = {}  # by session
        self._all = _Share(limits.RELAY_BURST, 0.0)
        self._ways: OrderedDict[tuple[bytes, bytes], Way] = OrderedDict()  # (relay's exchange key, far end), the latest used last
        self._leads: dict[int, tuple[bytes, bytes]] = {}  # the same, by the way's number
        self._next_link = 1

    # -- ways through a peer

    def way(self, through: bytes, to: bytes) -> Way:
        """The way to the holder of the exchange key ``to`` (or its first octets) by that relay."""
        lead = (through, to[:SHORT])
        way = self._ways.get(lead)
        if way is None:
            session = self._sessions.get(through)
            way = self._ways[lead] = Way(RELAY, session.way.remote if session is not None else NOWHERE, "", self._next_link)
            self._leads[self._next_link] = lead
            self._next_link += 1
            if len(self._ways) > limits.RELAYED_WAYS:
                self._counters["relayed_ways_forgotten"] += 1
                del self._leads[self._ways.popitem(last=False)[1].link]
        self._ways.move_to_end(lead)
        return way

    def through(self, way: Way) -> bytes:
        """The exchange key of the relay of such a way; empty where it is forgotten."""
        return self._leads.get(way.link, (b"", b""))[0]

    def carries(self, way: Way) -> bool:
        """Whether the relay of such a way is connected."""
        session = self._sessions.get(self.through(way))
        return session is not None and session.way.proto != RELAY

    def wrapped(self, send: Send) -> Send | None:
        """A datagram for such a way, as it goes to the relay; None where that is gone."""
        lead = self._leads.get(send.way.link)
        session = self._sessions.get(lead[0]) if lead is not None else None
        if lead is None or session is None or session.way.proto == RELAY:
            self._counters["drop:relay-gone"] += 1
            return None
        self._ways.move_to_end(lead)
        return Send(session.way, session.link.seal(relay(lead[1], send.data)))

    # -- sessions come and go

    def opened(self, session: Session) -> None:
        """A session is up: others may be carried to it."""
        self._by_name[session.peer[:SHORT]] = session

    def ended(self, session: Session) -> None:
        """It is over."""
        if self._by_name.get(session.peer[:SHORT]) is session:
            del self._by_name[session.peer[:SHORT]]
        self._shares.pop(session.number, None)

    # -- frames

    def frame(self, session: Session, way: Way, frame: list[Any], now: float) -> Way | None:
        """A frame of relays came over that way. The way of ours that leads nowhere any more, where it says so."""
        kind = frame[0]
        datagram = frame[2] if len(frame) == 3 else b""
        if [type(item) for item in frame[1:]] != ([bytes] if kind == _NO_RELAY else [bytes, bytes]) or len(frame[1]) != SHORT:
            raise Malformed("a frame of relays of a wrong form", rule="relay-form")
        if way.proto == RELAY:
            raise Malformed("a relay behind a relay", rule="relay-nested")
        if kind == _NO_RELAY:
            return self._ways.get((session.peer, frame[1]))
        if not 0 < len(datagram) <= limits.DATAGRAM:
            raise Malformed("a relayed datagram of a wrong size", rule="relay-size")
        if kind == _RELAYED:
            self.came.append((datagram, self.way(session.peer, frame[1])))
        else:
            self._carry(session, frame[1], datagram, now)
        return None

    def _carry(self, session: Session, to: bytes, datagram: bytes, now: float) -> None:
        target = self._by_name.get(to)
        strange = None if target is None else [s for s in (session, target) if s.grade < Grade.ADMITTED]
        if target is None or target is session or strange is None or len(strange) == 2 or target.way.proto == RELAY or not self.allowed:
            self._counters["relay_refused"] += 1
            self._emit(Send(session.way, session.link.seal(no_relay(to))))
        elif not self._may(strange[0] if strange else session, bool(strange), len(datagram), now):
            self._counters["drop:relay-rate"] += 1
        else:
            self._counters["relayed"] += 1
            self._emit(Send(target.way, target.link.seal(relayed(session.peer[:SHORT], datagram))))

    def _may(self, payer: Session, strange: bool, octets: int, now: float) -> bool:
        """Whether so many octets are within what a session, and all together, may have carried."""
        share = self._shares.get(payer.number)
        rate, most = (0, limits.RELAY_STRANGER) if strange else (limits.RELAY_RATE, limits.RELAY_BURST)
        if share is None:
            share = self._shares[payer.number] = _Share(most, now)
        return share.take(octets, rate, most, now) and self._all.take(octets, limits.RELAY_ALL, limits.RELAY_ALL, now)
