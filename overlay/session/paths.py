"""Which way carries a session, and which others are tried meanwhile (DESIGN 3.7).

A session starts over whatever worked first, a relay included, and moves to better ways without loss. Better is: near, then
UDP, then TCP, then a relay. A way is tried by probes, which are no sign that the session moves; it has proved itself when a
probe of ours was answered over it. While the way in use is in doubt (a question goes unanswered, or the other end begins
to send over a worse one) all known ways are probed; if the one in use stays silent, the best that answers takes over, and
calls under way are repeated at once. Where both ends know several good ways, the end with the lower key chooses.

The threat: addresses named by others. A packet from a new address makes it a candidate, which gets no more octets than
came from it until it has answered a challenge; a way is tried ten times in five seconds with 93 octets, and no session
tries more than ``limits.TRIES``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.machine import CloseTcp, Entropy, OpenTcp, Send
from overlay.session import events, packet
from overlay.session.frames import challenge, fitting, probe
from overlay.session.handshakes import TLS_PORT, same_way
from overlay.session.relation import DOUBT, DOUBT_AGAIN, KEEPALIVE, KEEPALIVE_LEAST, TOKEN, Candidate, Session, Try
from overlay.wire.address import Address, Way
from overlay.wire.messages import Grade

TRY: Final = (0.05, 0.8)  # seconds between probes of a way that is tried: first and longest; ICE paces by 50 ms (RFC 8445, 14.2)
TRY_FOR: Final = 5.0  # seconds: both ends hear of each other within two round trips, and a NAT forgets after 20
FRESH: Final = 2.0  # seconds for which an answered probe proves a way

_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Ports:
    """What the sessions lend: effects out, dates, a session's things to do when it has moved."""

    emit: Callable[[Send | OpenTcp | CloseTcp | events.Event], None]
    look_at: Callable[[Session, float], None]
    moved: Callable[[Session, float], None]
    near: Callable[[Way], bool]


class Paths:
    """Of all sessions. ``numbers`` finds an open one."""

    def __init__(self, *, own_key: bytes, numbers: Mapping[int, Session], ports: Ports, entropy: Entropy, counters: Counter[str]) -> None:
        self._own_key = own_key
        self._numbers = numbers
        self._ports = ports
        self._entropy = entropy
        self._counters = counters
        self.keepalive = KEEPALIVE  # seconds: as long as our NAT is known to remember
        self._connecting: dict[Address, list[int]] = {}  # TCP connections under way, and the sessions that want them

    def rank(self, way: Way) -> int:
        """The better the higher."""
        if way.proto == "udp":
            return 3 if self._ports.near(way) else 2
        return 1 if way.proto == "tcp" else 0

    # -- what the node asks

    def probe(self, number: int, way: Way) -> None:
        """Ask the other end, once, as whom it sees us over that way: a ``Probed``, or nothing."""
        session = self._numbers.get(number)
        if session is not None:
            self._ports.emit(Send(way, session.link.seal(b"\x91" + probe(self._entropy(TOKEN)))))

    def attempt(self, number: int, ways: Iterable[Way], now: float) -> None:
        """Try these ways for a session from now on."""
        session = self._numbers.get(number)
        if session is not None:
            self._attempt(session, ways, now)

    def connect(self, number: int, addresses: Iterable[Address]) -> None:
        """Try TCP to these addresses for a session that goes by a relay."""
        session = self._numbers.get(number)
        for address in addresses if session is not None else ():
            for where, over in ((address, "tcp"), (Address(address.host, TLS_PORT), "tls")):
                self._connecting.setdefault(where, []).append(number)
                self._ports.emit(OpenTcp(where, over))

    def opened(self, way: Way, now: float) -> bool:
        """A TCP connection is up. Whether it is one of :meth:`connect`."""
        session = self._wanted(way)
        if session is None:
            return False
        if session.open and self.rank(way) > self.rank(session.way):
            self._attempt(session, [way], now)
        else:
            self._ports.emit(CloseTcp(way))
        return True

    def refused(self, way: Way) -> bool:
        """A TCP connection did not come up. Whether it was one of :meth:`connect`."""
        session = self._wanted(way)
        if session is not None:
            self._ports.emit(events.WayTried(session.number, session.peer, way, "failed", None))
        return session is not None

    def _wanted(self, way: Way) -> Session | None:
        numbers = self._connecting.get(way.remote)
        if not numbers:
            return None
        number = numbers.pop(0)
        if not numbers:
            del self._connecting[way.remote]
        return self._numbers.get(number)

    def _attempt(self, session: Session, ways: Iterable[Way], now: float) -> None:
        for way in ways:
            known = next((one for one in session.tries if same_way(one.way, way)), None)
            if known is None:
                if len(session.tries) >= limits.TRIES and not self._make_room(session):
                    self._counters["drop:tries-full"] += 1
                    continue
                known = Try(way, self._entropy(TOKEN))
                session.tries.append(known)
            known.begin(now, now + TRY_FOR, TRY[0])
        self._work(session, now)

    def _make_room(self, session: Session) -> bool:
        """Forget a way that is no longer tried and did not answer, the oldest first."""
        idle = [one for one in session.tries if one.next_at == float("inf") and not same_way(one.way, session.way)]
        useless = next((one for one in idle if one.proved == _NEVER), None)
        if useless is not None:
            session.tries.remove(useless)
        return useless is not None

    # -- what comes

    def answer(self, session: Session, way: Way, frames: list[bytes], octets: int, *, moved: bool, now: float) -> None:
        """Answer a packet over the way that it came, in one packet; where its sender seems to have moved, with a challenge first.

        A way that has not proved itself gets no more octets than came from it, all answers together.
        """
        candidate, room = None, limits.DATAGRAM
        if same_way(session.way, way):
            session.way = way if moved else session.way  # the same far end asks another address of ours: answer from there
        elif not moved:
            room = octets
        elif not self._follow(session, way, now):
            candidate = session.candidate
            if candidate is None or not same_way(candidate.way, way):
                candidate = session.candidate = Candidate(way, self._entropy(TOKEN))
            candidate.credit += octets
            room = min(room, candidate.credit)
            if now >= candidate.next_at:
                frames = [challenge(candidate.token), *frames]
        plaintext = fitting(frames, room - packet.SEALED_LEAST)
        if plaintext:
            data = session.link.seal(plaintext)
            self._ports.emit(Send(way, data))
            if candidate is not None:
                candidate.charge(len(data), now)

    def _follow(self, session: Session, way: Way, now: float) -> bool:
        """The other end sends over a way that we have tried as well: whether no challenge is needed."""
        known = next((one for one in session.tries if same_way(one.way, way)), None)
        if known is None or now - known.proved > FRESH:
            return False
        better = self.rank(way) - self.rank(session.way)
        if better > 0 or (better == 0 and self._own_key > session.peer):
            self.move(session, way, now)
        elif better < 0:
            self.doubt(session, now)
        return True

    def proved(self, session: Session, token: bytes, way: Way, now: float) -> None:
        """A PROOF came: the candidate answers there."""
        candidate = session.candidate
        if candidate is None or candidate.token != token or not same_way(candidate.way, way):
            return
        session.candidate = None
        if self.rank(way) >= self.rank(session.way):
            self.move(session, way, now)
            return
        known = next((one for one in session.tries if same_way(one.way, way)), None)
        if known is None:
            if len(session.tries) >= limits.TRIES and not self._make_room(session):
                self._counters["drop:tries-full"] += 1
                return
            known = Try(way, self._entropy(TOKEN))
            session.tries.append(known)
        known.proved = now
        self.doubt(session, now)

    def probed(self, session: Session, token: bytes, way: Way, now: float) -> None:
        """A PROBED came: that way carries, there and back."""
        known = next((one for one in session.tries if one.token == token and same_way(one.way, way)), None)
        if known is None:
            return
        first = known.proved == _NEVER
        known.answered(now)
        if first:
            self._ports.emit(events.WayTried(session.number, session.peer, way, "works", known.rtt))
        if same_way(session.way, way):
            self.heard(session, way)
        elif self.rank(way) > self.rank(session.way) or (session.doubt is not None and session.judge_at == float("inf")):
            self.move(session, way, now)

    def found(self, session: Session, way: Way, now: float) -> None:
        """A way that was found by chance answers."""
        if self.rank(way) > self.rank(session.way) and (len(session.tries) < limits.TRIES or self._make_room(session)):
            session.tries.append(Try(way, self._entropy(TOKEN), proved=now))
            self._ports.emit(events.WayTried(session.number, session.peer, way, "works", 0.0))
            self.move(session, way, now)

    def heard(self, session: Session, way: Way) -> None:
        """A packet came while the way in use was in doubt."""
        if same_way(session.way, way):
            session.doubt, session.judge_at = None, float("inf")

    # -- moving

    def doubt(self, session: Session, now: float) -> None:
        """The way in use may carry no more: look at all that are known."""
        if session.doubt is not None and now < session.doubt + DOUBT_AGAIN:
            return
        session.doubt, session.judge_at = now, now + DOUBT
        session.quiet = session.unanswered - session.heard if session.unanswered is not None else 0.0
        self._attempt(session, [session.way, *(one.way for one in session.tries if one.proved != _NEVER)], now)
        if session.grade >= Grade.ADMITTED:
            self._ports.emit(events.Stalled(session.number))
        self._ports.look_at(session, session.judge_at)

    def _better(self, session: Session, now: float) -> Way | None:
        """The best way that has proved itself of late, other than the one in use."""
        fresh = [one for one in session.tries if now - one.proved <= FRESH and not same_way(one.way, session.way)]
        return max(fresh, key=lambda one: self.rank(one.way)).way if fresh else None

    def move(self, session: Session, way: Way, now: float) -> None:
        """From now on the session goes that way; what is on the way over another one still arrives."""
        left, worth = session.way, self.rank(way)
        if left.proto == "udp" and worth < self.rank(left):
            self._forgotten(session, now)
        session.way, session.candidate, session.doubt, session.judge_at = way, None, None, float("inf")
        for one in session.tries:
            if self.rank(one.way) <= worth:
                one.next_at = float("inf")
        session.tries = [one for one in session.tries if one.proved != _NEVER or one.next_at != float("inf")]
        if not any(same_way(one.way, left) for one in session.tries) and len(session.tries) < limits.TRIES:
            session.tries.append(Try(left, self._entropy(TOKEN), proved=_NEVER if left.proto == "udp" else now))
        self._ports.emit(events.PathChanged(session.number, way))
        self._ports.moved(session, now)

    def _forgotten(self, session: Session, now: float) -> None:
        """A way over UDP died. Where nothing had gone over it for a while, our NAT may have forgotten it: from now on it is reminded sooner."""
        if KEEPALIVE_LEAST < session.quiet <= 2 * self.keepalive:
            self.keepalive = max(KEEPALIVE_LEAST, min(self.keepalive, session.quiet) / 2)
            self._counters["keepalives_shortened"] += 1
            for other in self._numbers.values():
                other.keepalive = self.keepalive
                self._ports.look_at(other, max(now, other.sent + self.keepalive))

    def lost(self, way: Way, now: float) -> list[Session]:
        """That way is gone for good (a connection closed, a relay without the other end). The sessions that have no other one."""
        used = [session for session in self._numbers.values() if session.way.link == way.link or session.tries]
        return [session for session in used if not self._goes_on(session, way, now)]

    def _goes_on(self, session: Session, way: Way, now: float) -> bool:
        session.tries = [one for one in session.tries if not same_way(one.way, way)]
        if not same_way(session.way, way):
            return True
        instead = self._better(session, now)
        if instead is not None:
            self.move(session, instead, now)
            session.tries = [one for one in session.tries if not same_way(one.way, way)]
        return instead is not None

    # -- time

    def work(self, session: Session, now: float) -> None:
        """Probes that are due; whether the way in doubt is given up."""
        if session.stalls(now):
            self.doubt(session, now)
        if session.doubt is not None and now >= session.judge_at:
            session.judge_at = float("inf")
            instead = self._better(session, now)
            if instead is not None:
                self.move(session, instead, now)
        if session.tries:
            self._work(session, now)

    def _work(self, session: Session, now: float) -> None:
        due = float("inf")
        for one in list(session.tries):
            if one.next_at <= now:
                if now >= one.until:
                    one.next_at = float("inf")
                    if one.proved == _NEVER and not same_way(one.way, session.way):
                        session.tries.remove(one)
                        self._ports.emit(events.WayTried(session.number, session.peer, one.way, "failed", None))
                        if one.way.proto == "tcp":
                            self._ports.emit(CloseTcp(one.way))
                    continue
                one.send(now, TRY[1])
                self._ports.emit(Send(one.way, session.link.seal(b"\x91" + probe(one.token))))
            due = min(due, one.next_at)
        if due != float("inf"):
            self._ports.look_at(session, due)
