"""Sessions: who is at the other end of a way, and what may be said there (DESIGN 3.4, foundation).

Datagrams and calls go in; datagrams and events come out. It decides what sealed packets do, which link carries a session,
and whether the other end still lives; who a peer *is* is decided above, by ``peers.py``, which raises a session's grade,
handshakes in ``handshakes.py``, over which way a session goes in ``paths.py``, what is carried for others in ``relaying.py``.

A session is the relation to one exchange key; it is carried by links, one a handshake. A responder's new link carries
nothing before its first sealed packet has proved that the initiator is live, so a replayed message 1 displaces nobody.
The link before the current one still receives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import CloseTcp, CloseUdp, Entropy, OpenTcp, Send
from overlay.session import events, packet
from overlay.session.calls import FIRST_RETRY, Calls
from overlay.session.frames import PROBE_PADDING, challenge, close, decoded, message, packets, probed, probing, proof, wrapping
from overlay.session.guessing import Guessing
from overlay.session.handshakes import GIVE_UP, Dial, EarlyHandler, Handshakes, same_way, weaker
from overlay.session.link import Link
from overlay.session.paths import Paths, Ports
from overlay.session.relation import TOKEN, Session
from overlay.session.relaying import RELAY, Relaying
from overlay.session.serving import Serving
from overlay.session.strangers import Strangers
from overlay.session.streaming import Streaming
from overlay.session.suite import STANDARD, Suite
from overlay.session.timers import Timers
from overlay.wire.address import Address, Way, source_of, unpack_address
from overlay.wire.codec import Value
from overlay.wire.messages import Frame, Grade, Method, Packet

REKEY_AFTER = 3600.0  # seconds, or
REKEY_PACKETS = 2**32
LINGER = 30.0  # seconds unused that a replaced link still receives

# As plain numbers: every packet is compared with them, and an enumeration's members cost ten times as much.
_INITIATION, _RESPONSE, _COOKIE, _SEALED, *_ = (packet.value for packet in Packet)
_MESSAGE, _CALL, _REPLY, _PAGE, _CLOSE, _CHALLENGE, _PROOF, _KEEPALIVE, _PROBE, _PROBED, *_ = (frame.value for frame in Frame)
_RELAY, _RELAYED, _NO_RELAY = Frame.RELAY.value, Frame.RELAYED.value, Frame.NO_RELAY.value
_STREAM_OPEN, _STREAM_ACK = Frame.STREAM_OPEN.value, Frame.STREAM_ACK.value
_ADMITTED = Grade.ADMITTED.value

Output = Send | OpenTcp | CloseTcp | CloseUdp | events.Event


class Sessions:
    """All sessions of one node, over UDP and TCP, IPv4 and IPv6.

    ``early(peer_key, passport_digest, method, body)`` answers a read-only call that rides in a message 1, or returns
    None where it cannot at once (the call then comes again as an ordinary one). It must look at grades itself.
    """

    def __init__(
        self, *, exchange: X25519PrivateKey, overlay_id: bytes, passport_digest: bytes, boot_nonce: bytes, entropy: Entropy,
        early: EarlyHandler | None = None, suite: Suite = STANDARD, near: Callable[[Way], bool] = lambda way: False,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._out: list[Output] = []
        self._links: dict[int, tuple[Link, Session]] = {}  # by our index: what packets name
        self._handshakes = Handshakes(
            exchange=exchange, overlay_id=overlay_id, boot_nonce=boot_nonce, entropy=entropy, early=early,
            taken=self._links.__contains__, emit=self._emit, counters=self.counters, suite=suite,
        )
        self._handshakes.passport = passport_digest
        self._entropy = entropy
        self._sessions: dict[bytes, Session] = {}  # by the other end's exchange key
        self._numbers: dict[int, Session] = {}
        self._strangers = Strangers(self.counters)
        self._timers: Timers[Session | Dial] = Timers()
        self._next_number = self._next_ticket = 1
        self.relaying = Relaying(sessions=self._sessions, emit=self._emit, counters=self.counters)
        self.paths = Paths(
            own_key=self._handshakes.keys.public, numbers=self._numbers, entropy=entropy, counters=self.counters,
            ports=Ports(self._emit, self._timers.at, self._moved, near),
        )
        self.guessing = Guessing(numbers=self._numbers, emit=self._emit, look_at=self._timers.at, entropy=entropy, counters=self.counters)
        self._serving = Serving(self._emit, self.counters)
        self._back: list[bytes] = []  # frames that answer the packet under way, over the way that it came
        self.streams = Streaming(
            own_key=self._handshakes.keys.public, numbers=self._numbers, emit=self._emit, send=self._send, end=self.close,
            look_at=self._timers.at, entropy=entropy, counters=self.counters,
        )

    def _emit(self, output: Output) -> None:
        if type(output) is Send and output.way.proto == RELAY:
            wrapped = self.relaying.wrapped(output)
            if wrapped is None:
                return
            output = wrapped
        self._out.append(output)

    # -- what the node asks

    def set_passport(self, digest: bytes) -> None:
        """Show this passport from now on."""
        self._handshakes.passport = digest

    def dial(
        self, peer: bytes, addresses: Iterable[Address], now: float, at: float, *, udp: bool = True, tcp: bool = True,
        give_up: float = GIVE_UP, early: tuple[Method, Value] | None = None, relays: Iterable[bytes] = (),
    ) -> int:
        """Open a session with the holder of that key; nothing is dialled while one is open; one under way learns new addresses.

        ``relays`` are exchange keys of connected peers that may have a session with it.
        ``early`` is a call that rides in message 1 where it may and fits, and is made in the session otherwise;
        ``Answered`` (after ``Opened``) or ``CallFailed`` tells of it, with the ticket that is returned (else 0).
        """
        known, dial, ticket = self._sessions.get(peer), self._handshakes.dials.get(peer), 0
        if known is not None:
            return self.call(known.number, *early, now) if early is not None else 0
        if early is not None:
            ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        through = [self.relaying.way(key, peer) for key in relays]
        if dial is not None:
            self._handshakes.widen(dial, addresses, through, at)
            dial.waiting += [(ticket, *early)] if early is not None else []
            return ticket
        full = len(self._sessions) >= limits.SESSIONS
        dial = None if full else self._handshakes.dial(peer, addresses, now, udp=udp, tcp=tcp, give_up=give_up, relayed=through)
        if dial is None:
            self._out.append(events.DialFailed(peer, "sessions-full" if full else "no-address"))
            if early is not None:
                self._out.append(events.CallFailed(0, ticket, "unreachable"))
            return ticket
        dial.waiting = [(ticket, *early)] if early is not None else []
        self._work_dial(dial, now, at)
        return ticket

    def call(self, session: int, method: Method, body: Value, now: float) -> int:
        """Call the other end; ``Answered`` or ``CallFailed`` with the ticket returned tells the outcome."""
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        found = self._numbers.get(session)
        if found is None:
            self._out.append(events.CallFailed(session, ticket, "closed"))
        else:
            found.calls.call(ticket, method, body, now)
            self._flush(found, now)
        return ticket

    def reply(self, session: int, ticket: int, body: Value, now: float) -> None:
        """Answer a call of the other end: a list of octets of any length (pages), or what fits a datagram."""
        found = self._numbers.get(session)
        if found is not None:
            found.calls.answer(ticket, body, now)
            self._flush(found, now)

    def refuse(self, session: int, ticket: int, reason: str, now: float) -> None:
        """Refuse a call of the other end."""
        found = self._numbers.get(session)
        if found is not None:
            found.calls.refuse(ticket, reason, now)
            self._flush(found, now)

    def message(self, session: int, kind: int, body: Value, now: float) -> None:
        """Send a message, which may be lost; what does not fit a datagram is dropped and counted."""
        found = self._numbers.get(session)
        frame = message(kind, body)
        if len(frame) > packet.FRAMES_ROOM:
            self.counters["drop:message-too-long"] += 1
        elif found is not None:
            self._send(found, b"\x91" + frame, now)

    def admit(self, session: int) -> None:
        """Both passports are good: the session carries everything from now on."""
        found = self._numbers.get(session)
        if found is not None:
            found.grade = _ADMITTED
            self._strangers.known(found)
            self._out.extend(found.held)
            found.held = []

    def close(self, session: int, reason: str, now: float) -> None:
        """End a session, telling the other end why."""
        found = self._numbers.get(session)
        if found is not None:
            self._send(found, close(reason), now)
            self._end(found, reason)

    # -- what the world does

    def opened(self, way: Way, now: float, at: float) -> None:
        """A TCP connection is up."""
        if not self.paths.opened(way, now):
            self._handshakes.opened(way, at)

    def closed(self, way: Way, now: float, at: float) -> None:
        """A TCP connection is gone, or did not come up."""
        hopeless = None if self.paths.refused(way) else self._handshakes.closed(way)
        if hopeless is not None:
            self._fail(hopeless, "refused")
        for session in self.paths.lost(way, now):
            self._end(session, "connection-closed")

    def receive(self, data: bytes, way: Way, now: float, at: float) -> None:
        """One datagram. Nothing that it contains can raise; what is wrong is counted under its reason."""
        self._receive(data, way, now, at)
        while self.relaying.came:
            self._receive(*self.relaying.came.pop(0), now, at)

    def _receive(self, data: bytes, way: Way, now: float, at: float) -> None:
        try:
            first = data[0] if data else 0
            if first == _SEALED:
                self._sealed(data, way, now)
            elif first == _INITIATION:
                self._handshakes.initiation(data, way, now)
            elif first == _RESPONSE:
                self._response(data, way, now)
            elif first == _COOKIE:
                self._handshakes.cookie(data, way, at)
            else:
                raise Malformed("not a packet of ours", rule="packet-type")
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1

    def _response(self, data: bytes, way: Way, now: float) -> None:
        answered = self._handshakes.response(data, way, now)
        if answered is None:
            return
        dial, link, early = answered
        if not link.hello.version:
            self._fail(dial, "version")
            return
        session = self._take_over(link, now)
        if session is None:
            self._fail(dial, "sessions-full")
            return
        if session.way.proto != "udp":
            self.paths.attempt(session.number, [way for way in dial.ways if way.proto == "udp"], now)
        if early and link.hello.answer is not None and dial.waiting:
            self._out.append(events.Answered(session.number, dial.waiting.pop(0)[0], link.hello.answer[0]))
        session.calls.frames.insert(0, challenge(self._entropy(TOKEN)))  # proves to the responder that we are live
        session.unanswered = now
        session.begin(dial.waiting, now)
        self._flush(session, now)

    # -- links and sessions

    def _take_over(self, link: Link, now: float) -> Session | None:
        """A link has proved itself: it carries its session from now on. None where there is no room for one more."""
        session = self._sessions.get(link.peer)
        if session is not None and session.boot_nonce != link.hello.boot_nonce:
            self._end(session, "restarted")  # the other end has forgotten the old session
            session = None
        if session is None:
            return self._open(link, now)
        if session.previous is not None:
            self._links.pop(session.previous.local, None)
        self._links[link.local] = (link, session)
        if weaker(session.link, link, self._handshakes.keys.public):
            session.previous = link
            return session
        session.previous, session.link, session.unanswered = session.link, link, None
        if not same_way(session.way, link.way) and self.paths.rank(link.way) >= self.paths.rank(session.way):
            self.paths.move(session, link.way, now)
        return session

    def _open(self, link: Link, now: float) -> Session | None:
        if len(self._sessions) >= limits.SESSIONS:
            oldest = self._strangers.oldest()
            if oldest is None:
                self.counters["drop:sessions-full"] += 1
                return None
            self._end(oldest, "sessions-full")
        source = None if link.initiator else source_of(link.way.remote.host)
        oldest = self._strangers.beyond(source)
        if oldest is not None:
            self._end(oldest, "sessions-full")
        number, self._next_number = self._next_number, self._next_number + 1
        session = Session(link.peer, number, link.hello.boot_nonce, link.way, link, Calls(self.counters), source, sent=now, heard=now)
        session.keepalive = self.paths.keepalive
        self._sessions[link.peer] = self._numbers[number] = session
        self._strangers.came(session)
        self.relaying.opened(session)
        self._links[link.local] = (link, session)
        self._out.append(events.Opened(
            session=number, peer_key=link.peer, way=link.way, initiator=link.initiator, passport_digest=link.hello.passport_digest,
            boot_nonce=link.hello.boot_nonce, seen=link.hello.seen, handshake_hash=link.hash,
        ))
        dial = self._handshakes.dials.get(link.peer)
        if dial is not None:  # the other end was faster
            self._handshakes.end(dial, link.way)
            session.begin(dial.waiting, now)
        self._timers.at(session, now + session.keepalive)
        return session

    def _end(self, session: Session, reason: str) -> None:
        if not session.open:
            return
        session.open = False
        for link in (session.link, session.previous):
            if link is not None:
                self._links.pop(link.local, None)
        del self._numbers[session.number]
        del self._sessions[session.peer]
        self._strangers.known(session)
        self._timers.forget(session)
        self.relaying.ended(session)
        self.guessing.ended(session)
        for other in [other for other in self._numbers.values() if other.way.proto == RELAY and self.relaying.through(other.way) == session.peer]:
            self._timers.at(other, 0.0)  # its relay is gone
        for way in (session.way, *(one.way for one in session.tries)):
            if way.proto == "tcp" and (way is not session.way or reason != "connection-closed"):
                self._out.append(CloseTcp(way))
        self._out.append(events.Closed(session.number, session.peer, reason))
        session.calls.abandon("closed")
        self.streams.ended(session)
        self._out += session.calls.told(session.number)  # after that: who waits for an answer knows by then that nobody is there

    def _moved(self, session: Session, now: float) -> None:
        self.streams.moved(session)
        self.guessing.moved(session)
        session.calls.hasten(now)
        session.calls.frames.append(challenge(self._entropy(TOKEN)))  # so that the other end hears of it
        self._timers.at(session, now)

    def _fail(self, dial: Dial, reason: str) -> None:
        """A dial came to nothing."""
        self._handshakes.end(dial, None)
        self._timers.forget(dial)
        if not dial.renewal:
            self._out.append(events.DialFailed(dial.peer, reason))
        self._out.extend(events.CallFailed(0, ticket, reason) for ticket, _, _ in dial.waiting)

    # -- sealed packets

    def _sealed(self, data: bytes, way: Way, now: float) -> None:
        if not packet.SEALED_LEAST <= len(data) <= limits.WRAPPED:
            raise Malformed("a sealed packet of a wrong size", rule="sealed-size")
        _, local, counter = packet.SEALED.unpack_from(data)
        known = self._links.get(local)
        if known is not None:
            link, session = known
            newest = counter > link.window.highest
            plaintext = link.open(data, counter)
        else:
            waiting = self._handshakes.unconfirmed.get(local)
            if waiting is None:
                raise Malformed("a packet of no session", rule="no-session")
            plaintext, newest = waiting.open(data, counter), True
            del self._handshakes.unconfirmed[local]
            taken = self._take_over(waiting, now)
            if taken is None:
                return
            link, session = waiting, taken
        link.used = now
        session.unanswered, session.heard = None, now
        if session.doubt is not None:
            self.paths.heard(session, way)
        self._back, moved = [], False
        try:
            frames = decoded(plaintext)
            if len(data) > limits.DATAGRAM and not wrapping(frames):
                raise Malformed("only a relay's packets are longer", rule="sealed-size")
            moved = newest and way is not session.way and way != session.way and not probing(frames)
            for frame in frames:
                self._frame(session, frame, way, now)
                if not session.open:
                    return
        finally:
            if session.open:
                if self._back or moved:
                    self.paths.answer(session, way, self._back, len(data), moved=moved, now=now)
                if session.calls.frames or session.calls.done:
                    self._flush(session, now)
                if session.flow is not None:
                    self.streams.settle(session, link, counter, now)

    def _frame(self, session: Session, frame: Any, way: Way, now: float) -> None:
        if type(frame) is not list or not frame or type(frame[0]) is not int:
            raise Malformed("a frame is [number, ...]", rule="frame-form")
        kind = frame[0]
        if _STREAM_OPEN <= kind <= _STREAM_ACK:
            self.streams.frame(session, frame, now)
            return
        form = [type(item) for item in frame[1:]]
        if kind == _CALL and len(form) == 4 and form[0] is form[1] is form[3] is int:
            self._serving.called(session, frame, now)
        elif kind == _REPLY:
            session.calls.replied(frame, now)
        elif kind == _MESSAGE and len(form) == 2 and form[0] is int:
            if session.grade < _ADMITTED:
                raise Malformed("a message before admission", rule="grade")
            self._out.append(events.Message(session.number, frame[1], frame[2]))
        elif kind == _PAGE and form == [int, int]:
            session.calls.page_wanted(frame[1], frame[2])
        elif kind == _CHALLENGE and form == [bytes] and len(frame[1]) == TOKEN:
            self._back.append(proof(frame[1]))
            session.sent = now
        elif kind == _PROOF and form == [bytes]:
            self.paths.proved(session, frame[1], way, now)
        elif _RELAY <= kind <= _NO_RELAY:
            gone = self.relaying.frame(session, way, frame, now)
            if gone is not None:
                self._no_relay(gone, now)
        elif kind == _CLOSE and form == [str]:
            self._end(session, frame[1][:100])
        elif kind == _PROBE and form == [bytes, bytes] and len(frame[1]) == TOKEN and len(frame[2]) >= PROBE_PADDING:
            self._back.append(probed(frame[1], way.remote))
        elif kind == _PROBED and form == [bytes, bytes]:
            seen = unpack_address(frame[2])
            if self.guessing.answered(session, frame[1], way):
                self.paths.found(session, way, now)
            else:
                self.paths.probed(session, frame[1], way, now)
            self._out.append(events.Probed(session.number, way, seen))
        elif kind != _KEEPALIVE or form:
            raise Malformed("a frame that is unknown or of a wrong form", rule="frame-unknown")

    def _no_relay(self, way: Way, now: float) -> None:
        """A relay has no session with the far end of that way."""
        dial = self._handshakes.dials.get(self._handshakes.without(way))
        if dial is not None and not (dial.ways or dial.connecting or dial.tcp):
            self._fail(dial, "no-relay")
        for session in self.paths.lost(way, now):
            self.paths.doubt(session, now)

    # -- sending

    def _flush(self, session: Session, now: float) -> None:
        calls = session.calls
        if calls.frames:
            frames, calls.frames = calls.frames, []
            if len(frames) == 1:
                self._send(session, b"\x91" + frames[0], now)
            else:
                for plaintext in packets(frames):
                    self._send(session, plaintext, now)
            if session.unanswered is None and calls.outgoing:
                session.unanswered = now
        if calls.done:
            self._out += calls.told(session.number)
        if session.unanswered is not None or calls.outgoing:
            self._timers.at(session, now + FIRST_RETRY)  # nothing that was just sent is due before that

    def _send(self, session: Session, plaintext: bytes, now: float) -> None:
        link = session.link
        self._emit(Send(session.way, link.seal(plaintext)))
        session.sent = now
        if now - link.created > REKEY_AFTER or link.sent > REKEY_PACKETS:
            dial = self._handshakes.renew(session.peer, session.way, now)
            if dial is not None:
                self._timers.at(dial, now)

    # -- time

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called."""
        return self._timers.next()

    def wake(self, now: float, at: float) -> None:
        """Time passed: repeat, keep alive, probe, give up."""
        self._handshakes.expire(now)
        for subject in list(self._timers.due(now)):
            if isinstance(subject, Dial):
                if not subject.over:
                    self._work_dial(subject, now, at)
            elif subject.open:
                self._work_session(subject, now)

    def _work_dial(self, dial: Dial, now: float, at: float) -> None:
        due = self._handshakes.work(dial, now, at)
        if due is None:
            self._fail(dial, "no-answer")
        else:
            self._timers.at(dial, due)

    def _work_session(self, session: Session, now: float) -> None:
        if session.dead(now):
            self._end(session, "silent")
            return
        session.calls.wake(now)
        if not session.calls.frames and session.wants_probe(now):
            session.calls.frames.append(challenge(self._entropy(TOKEN)))
            session.unanswered = session.unanswered if session.unanswered is not None else now
        previous = session.previous
        if previous is not None and now - previous.used > LINGER:
            self._links.pop(previous.local, None)
            session.previous = None
        self._flush(session, now)
        self.streams.wake(session, now)
        if session.way.proto == RELAY and not self.relaying.carries(session.way):
            self.paths.doubt(session, now)
        self.paths.work(session, now)
        self.guessing.work(session, now)
        self._timers.at(session, min(session.due(), self.guessing.due(session)))

    def take(self) -> list[Output]:
        """What it wants since last asked, in order."""
        out, self._out = self._out, []
        return out
