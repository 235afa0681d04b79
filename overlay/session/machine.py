"""Sessions: who is at the other end of a way, and what may be said there (DESIGN 3.4, foundation).

Datagrams and calls go in; datagrams and events come out. It decides handshakes, keys, replay, paths, liveness and the
grade of each session; who a peer *is* (its passport) is decided above, by ``peers.py``, which raises a session's grade.

A session is the relation to one exchange key; it is carried by links, one a handshake. A responder's new link carries
nothing before its first sealed packet has proved that the initiator is live, so a replayed message 1 displaces nobody.
Links keep what they received for a while after their successor took over. A packet that comes from a new address makes
that address a candidate: it is challenged, with fewer octets than came, and the old path stays until it has answered.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import CloseTcp, Entropy, OpenTcp, Send
from overlay.session import cookie, events, packet
from overlay.session.calls import Calls
from overlay.session.noise import Finished, Initiator, Keypair, Responder
from overlay.session.replay import ReplayWindow
from overlay.wire.address import Address, Way, unpack_address
from overlay.wire.codec import Fields, Value, decode, encode, ordered
from overlay.wire.messages import METHODS, PROTOCOL, VERSION_HIGHEST, VERSION_LOWEST, Frame, Grade, Method, Packet

RETRY = 0.25  # seconds before an initiation is sent again, doubling
TCP_AFTER = 0.3  # seconds of silence before TCP is raced (DESIGN 3.7: "raced, not waited for")
GIVE_UP = 10.0  # seconds of a dial
KEEPALIVE = 25.0  # seconds of silence (NAT mappings of 30 s are the shortest that are common: research overlay.md 2.2)
PROBE = 5.0  # seconds unanswered before a path is probed
SILENT = 15.0  # seconds unanswered before a session is given up
REKEY_AFTER = 3600.0  # seconds, or
REKEY_PACKETS = 2**32
LINGER = 30.0  # seconds that a replaced link still receives
UNCONFIRMED = 10.0  # seconds that a responder waits for the first sealed packet

Output = Send | OpenTcp | CloseTcp | events.Event


@dataclass(slots=True, eq=False)
class _Link:
    """One handshake's keys."""

    local: int
    remote: int
    session: _Session
    seal: ChaCha20Poly1305
    open: ChaCha20Poly1305
    created: float
    hash: bytes
    initiator: bool
    hello: _Hello
    counter: int = 0
    window: ReplayWindow = field(default_factory=ReplayWindow)


@dataclass(frozen=True, slots=True)
class _Hello:
    """What the other end's handshake payload said."""

    passport_digest: bytes
    boot_nonce: bytes
    seen: Address | None = None


@dataclass(slots=True, eq=False)
class _Session:
    peer: bytes
    number: int = 0  # 0: not open yet
    way: Way | None = None
    current: _Link | None = None
    grade: Grade = Grade.KEYED
    calls: Calls = field(default_factory=Calls)
    boot_nonce: bytes = b""
    sent: float = 0.0
    heard: float = 0.0
    unanswered: float | None = None  # since when something that wants an answer went unanswered
    candidate: tuple[Way, bytes] | None = None  # a way that is being proved, with its token
    due: float = 0.0


@dataclass(slots=True, eq=False)
class _Dial:
    """An attempt to open (or renew) a session as initiator."""

    peer: bytes
    addresses: tuple[Address, ...]
    begun: float
    give_up: float
    udp: bool
    tcp: bool
    next_at: float
    pause: float = RETRY
    ways: list[Way] = field(default_factory=list)  # TCP connections opened for it
    tried_tcp: bool = False
    cookie: bytes | None = None
    over: bool = False
    due: float = 0.0


@dataclass(frozen=True, slots=True)
class _Begun:
    dial: _Dial
    initiator: Initiator
    mac1: bytes


class Sessions:
    """All sessions of one node, over UDP and TCP, IPv4 and IPv6."""

    def __init__(self, *, exchange: X25519PrivateKey, overlay_id: bytes, passport_digest: bytes, boot_nonce: bytes, entropy: Entropy) -> None:
        self._keys = Keypair.of(exchange)
        self._prologue = PROTOCOL.encode() + overlay_id
        self._passport = passport_digest
        self._boot_nonce = boot_nonce
        self._entropy = entropy
        self._mac1_key = cookie.mac1_key(self._keys.public)
        self._jar = cookie.CookieJar(self._keys.public, entropy)
        self.counters: Counter[str] = Counter()
        self._sessions: dict[bytes, _Session] = {}  # by the other end's exchange key
        self._numbers: dict[int, _Session] = {}
        self._links: dict[int, _Link] = {}  # by our index: what packets name
        self._unconfirmed: OrderedDict[int, float] = OrderedDict()  # our index -> since
        self._lingering: OrderedDict[int, float] = OrderedDict()
        self._dials: dict[bytes, _Dial] = {}
        self._begun: OrderedDict[int, _Begun] = OrderedDict()  # our index -> a handshake that waits for its answer
        self._stamps: OrderedDict[bytes, int] = OrderedDict()  # highest time stamp of each key
        self._stamp = 0
        self._next_number = 1
        self._next_ticket = 1
        self._timers: list[tuple[float, int, _Session | _Dial]] = []
        self._timer_order = 0
        self._out: list[Output] = []

    # -- what the node asks

    def set_passport(self, digest: bytes) -> None:
        """Show this passport from now on."""
        self._passport = digest

    def dial(self, peer: bytes, addresses: Iterable[Address], now: float, at: float, *, udp: bool = True, tcp: bool = True, give_up: float = GIVE_UP) -> None:
        """Open a session with the holder of that key. Nothing happens while one is open or being dialled."""
        known = self._sessions.get(peer)
        if peer in self._dials or (known is not None and known.number):
            return
        targets = tuple(dict.fromkeys(addresses))[:8]
        if not targets or len(self._sessions) >= limits.SESSIONS:
            self._out.append(events.DialFailed(peer, "no-address" if not targets else "sessions-full"))
            return
        dial = self._dials[peer] = _Dial(peer, targets, now, now + give_up, udp, tcp, now)
        self._work_dial(dial, now, at)

    def call(self, session: int, method: Method, body: Value, now: float) -> int:
        """Call the other end; ``Answered`` or ``CallFailed`` with the ticket returned tells the outcome."""
        ticket = self._next_ticket
        self._next_ticket += 1
        found = self._numbers.get(session)
        if found is None:
            self._out.append(events.CallFailed(session, ticket, "closed"))
        else:
            found.calls.call(ticket, method, body, now)
            self._flush(found, now)
        return ticket

    def reply(self, session: int, ticket: int, body: Value, now: float) -> None:
        """Answer a call of the other end."""
        found = self._numbers.get(session)
        if found is not None:
            found.calls.answer(ticket, body)
            self._flush(found, now)

    def refuse(self, session: int, ticket: int, reason: str, now: float) -> None:
        """Refuse a call of the other end."""
        found = self._numbers.get(session)
        if found is not None:
            found.calls.refuse(ticket, reason)
            self._flush(found, now)

    def message(self, session: int, kind: int, body: Value, now: float) -> None:
        """Send a message, which may be lost."""
        found = self._numbers.get(session)
        if found is not None:
            self._send_frames(found, [[Frame.MESSAGE.value, kind, body]], now)

    def admit(self, session: int) -> None:
        """Both passports are good: the session carries everything from now on."""
        found = self._numbers.get(session)
        if found is not None:
            found.grade = Grade.ADMITTED

    def close(self, session: int, reason: str, now: float) -> None:
        """End a session, telling the other end why."""
        found = self._numbers.get(session)
        if found is not None:
            self._send_frames(found, [[Frame.CLOSE.value, reason[:100]]], now)
            self._end(found, reason)

    # -- what the world does

    def opened(self, way: Way, now: float, at: float) -> None:
        """A TCP connection is up. Ours carry a handshake at once; others' begin it."""
        for dial in self._dials.values():
            if way.remote in dial.addresses and dial.tried_tcp and not dial.over:
                dial.ways.append(way)
                self._initiate(dial, [way], at)
                return

    def closed(self, way: Way, now: float, at: float) -> None:
        """A TCP connection is gone."""
        for session in [s for s in self._numbers.values() if s.way is not None and s.way.link == way.link and s.way.proto == "tcp" and way.proto == "tcp"]:
            self._end(session, "connection-closed")

    def receive(self, data: bytes, way: Way, now: float, at: float) -> None:
        """One datagram. Nothing that it contains can raise; what is wrong is counted under its reason."""
        try:
            first = data[0] if data else 0
            if first == Packet.SEALED:
                self._sealed(data, way, now, at)
            elif first == Packet.INITIATION:
                self._initiation(data, way, now, at)
            elif first == Packet.RESPONSE:
                self._response(data, way, now, at)
            elif first == Packet.COOKIE:
                self._cookie(data)
            else:
                raise Malformed("not a packet of ours", rule="packet-type")
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1

    # -- handshakes

    def _index(self) -> int:
        while True:
            index = int.from_bytes(self._entropy(4), "big")
            if index and index not in self._links and index not in self._begun:
                return index

    def _ephemeral(self) -> Keypair:
        return Keypair.of(X25519PrivateKey.from_private_bytes(self._entropy(32)))

    def _initiate(self, dial: _Dial, ways: Iterable[Way], at: float) -> None:
        self._stamp = max(self._stamp + 1, int(at * 1_000_000))
        payload = encode(ordered({
            1: self._stamp, 2: VERSION_LOWEST, 3: VERSION_HIGHEST, 4: self._passport or None, 5: self._boot_nonce,
        }))
        initiator = Initiator(
            prologue=self._prologue, static=self._keys, responder=dial.peer, ephemeral=self._ephemeral(), payload=packet.pad(payload),
        )
        index = self._index()
        data = packet.initiation(index, initiator.message, cookie.mac1_key(dial.peer), dial.cookie)
        self._begun[index] = _Begun(dial, initiator, data[5:21])
        while len(self._begun) > limits.HANDSHAKES_PENDING:
            self._begun.popitem(last=False)
            self.counters["drop:handshakes-full"] += 1
        for way in ways:
            self._out.append(Send(way, data))

    def _work_dial(self, dial: _Dial, now: float, at: float) -> None:
        if dial.over:
            return
        if now >= dial.give_up:
            self._end_dial(dial, None)
            self._out.append(events.DialFailed(dial.peer, "no-answer"))
            return
        if dial.tcp and not dial.tried_tcp and (now >= dial.begun + TCP_AFTER or not dial.udp):
            dial.tried_tcp = True
            self._out.extend(OpenTcp(address) for address in dial.addresses)
        if dial.udp and now >= dial.next_at:
            dial.next_at = now + dial.pause
            dial.pause *= 2
            self._initiate(dial, [Way("udp", address) for address in dial.addresses], at)
        due = [dial.give_up] + ([dial.next_at] if dial.udp else []) + ([dial.begun + TCP_AFTER] if dial.tcp and not dial.tried_tcp else [])
        self._timer(dial, min(due))

    def _end_dial(self, dial: _Dial, used: Way | None) -> None:
        dial.over = True
        if self._dials.get(dial.peer) is dial:
            del self._dials[dial.peer]
        for index in [index for index, begun in self._begun.items() if begun.dial is dial]:
            del self._begun[index]
        self._out.extend(CloseTcp(way) for way in dial.ways if way != used)

    def _initiation(self, data: bytes, way: Way, now: float, at: float) -> None:
        sender, mac1, mac2, covered, noise = packet.read_initiation(data, self._mac1_key)
        if self._jar.loaded(now) and not self._jar.accepts(mac2, covered, way.remote, now):
            self.counters["cookies_sent"] += 1
            self._out.append(Send(way, packet.cookie_reply(sender, self._jar.reply(way.remote, mac1, now))))
            return
        responder = Responder(prologue=self._prologue, static=self._keys, message=noise)
        fields = Fields(decode(packet.unpad(responder.payload)), "message 1")
        peer, stamp = responder.initiator, fields.integer(1, 1, 2**62)
        if peer == self._keys.public:
            raise Malformed("our own initiation", rule="own-key")
        if stamp <= self._stamps.get(peer, 0):
            raise Malformed("a replayed initiation", rule="replayed-initiation")
        version = min(fields.integer(3, 1, 2**31), VERSION_HIGHEST)
        if version < max(fields.integer(2, 1, 2**31), VERSION_LOWEST):
            raise Malformed("no common protocol version", rule="version")
        hello = _Hello(fields.binary(4, 32, 32, default=b""), fields.binary(5, 8, 8))
        if peer not in self._sessions and len(self._sessions) >= limits.SESSIONS:
            raise Malformed("too many sessions", rule="sessions-full")
        self._stamps[peer] = stamp
        self._stamps.move_to_end(peer)
        if len(self._stamps) > limits.TIMESTAMPS:
            self._stamps.popitem(last=False)
            self.counters["timestamps_forgotten"] += 1
        payload = encode(ordered({1: version, 2: 0, 3: self._passport or None, 4: way.remote.packed, 6: self._boot_nonce}))
        message, finished = responder.respond(ephemeral=self._ephemeral(), payload=payload)
        session = self._sessions.get(peer) or _Session(peer)
        link = self._link(session, sender, finished, hello, now, initiator=False)
        self._unconfirmed[link.local] = now
        while len(self._unconfirmed) > limits.HANDSHAKES_PENDING or (self._unconfirmed and now - next(iter(self._unconfirmed.values())) > UNCONFIRMED):
            self._drop_link(self._unconfirmed.popitem(last=False)[0])
            self.counters["drop:handshakes-full"] += 1
        self._out.append(Send(way, packet.response(link.local, sender, message, cookie.mac1_key(peer))))

    def _response(self, data: bytes, way: Way, now: float, at: float) -> None:
        sender, receiver, noise = packet.read_response(data, self._mac1_key)
        begun = self._begun.get(receiver)
        if begun is None:
            raise Malformed("an answer to nothing", rule="response-unknown")
        payload, finished = begun.initiator.finish(noise)
        fields = Fields(decode(payload), "message 2")
        if not VERSION_LOWEST <= fields.integer(1, 1, 2**31) <= VERSION_HIGHEST:
            raise Malformed("a version that was not offered", rule="version")
        hello = _Hello(fields.binary(3, 32, 32, default=b""), fields.binary(6, 8, 8), unpack_address(fields.binary(4, 6, 18)))
        dial = begun.dial
        session = self._sessions.get(dial.peer) or _Session(dial.peer)
        link = self._link(session, sender, finished, hello, now, initiator=True, local=receiver)
        self._end_dial(dial, way)
        self._take_over(link, way, now)
        self._send_frames(session, [[Frame.KEEPALIVE.value]], now)  # proves to the responder that we are live

    def _cookie(self, data: bytes) -> None:
        receiver, nonce, sealed = packet.read_cookie(data)
        begun = self._begun.get(receiver)
        if begun is None:
            raise Malformed("a cookie for nothing", rule="cookie-unknown")
        begun.dial.cookie = cookie.open_cookie(begun.dial.peer, nonce, sealed, begun.mac1)

    # -- links and sessions

    def _link(self, session: _Session, remote: int, finished: Finished, hello: _Hello, now: float, *, initiator: bool, local: int = 0) -> _Link:
        local = local or self._index()
        link = self._links[local] = _Link(
            local, remote, session, ChaCha20Poly1305(finished.send), ChaCha20Poly1305(finished.receive), now, finished.hash, initiator, hello,
        )
        return link

    def _drop_link(self, local: int) -> None:
        self._links.pop(local, None)

    def _take_over(self, link: _Link, way: Way, now: float) -> None:
        """A link has proved itself: it carries its session from now on."""
        session = self._sessions.get(link.session.peer) or link.session
        link.session = session
        if session.number and session.boot_nonce != link.hello.boot_nonce:
            self._end(session, "restarted")  # the other end has forgotten the old session
            session = link.session = _Session(session.peer)
        old = session.current
        if old is not None and old is not link:
            self._lingering[old.local] = now
            while self._lingering and now - next(iter(self._lingering.values())) > LINGER:
                self._drop_link(self._lingering.popitem(last=False)[0])
        session.current, session.heard, session.unanswered = link, now, None
        self._sessions[session.peer] = session
        if session.number:
            if session.way != way:
                self._move(session, way)
            return
        session.number, session.way, session.boot_nonce = self._next_number, way, link.hello.boot_nonce
        self._next_number += 1
        self._numbers[session.number] = session
        dial = self._dials.get(session.peer)
        if dial is not None:
            self._end_dial(dial, way)
        self._out.append(events.Opened(
            session=session.number, peer_key=session.peer, way=way, initiator=link.initiator, passport_digest=link.hello.passport_digest,
            boot_nonce=link.hello.boot_nonce, seen=link.hello.seen, handshake_hash=link.hash,
        ))
        self._timer(session, now + KEEPALIVE)

    def _end(self, session: _Session, reason: str) -> None:
        if not session.number:
            return
        session.calls.abandon("closed")
        self._collect(session)
        del self._numbers[session.number]
        if self._sessions.get(session.peer) is session:
            del self._sessions[session.peer]
        for local in [local for local, link in self._links.items() if link.session is session and local not in self._unconfirmed]:
            self._drop_link(local)
        if session.way is not None and session.way.proto == "tcp" and reason != "connection-closed":
            self._out.append(CloseTcp(session.way))
        self._out.append(events.Closed(session.number, session.peer, reason))
        session.number = 0

    def _move(self, session: _Session, way: Way) -> None:
        session.way, session.candidate = way, None
        self._out.append(events.PathChanged(session.number, way))

    # -- sealed packets

    def _sealed(self, data: bytes, way: Way, now: float, at: float) -> None:
        if not packet.SEALED.size + packet.TAG <= len(data) <= limits.DATAGRAM:
            raise Malformed("a sealed packet of a wrong size", rule="sealed-size")
        _, local, counter = packet.SEALED.unpack_from(data)
        link = self._links.get(local)
        if link is None:
            raise Malformed("a packet of no session", rule="no-session")
        if not link.window.fresh(counter):
            raise Malformed("a packet that came before", rule="replay")
        try:
            plain = link.open.decrypt(b"\x00\x00\x00\x00" + counter.to_bytes(8, "little"), data[13:], None)
        except InvalidTag:
            raise Malformed("a packet that does not open", rule="tag") from None
        newest = counter > link.window.highest
        link.window.mark(counter)
        if local in self._unconfirmed:
            del self._unconfirmed[local]
            self._take_over(link, way, now)
        session = link.session
        if not session.number:
            raise Malformed("a packet of a session that ended", rule="no-session")
        session.heard, session.unanswered = now, None
        if way != session.way and newest:
            self._other_way(session, way, len(data), now)
        frames = decode(plain)
        if type(frames) is not list:
            raise Malformed("a packet carries a list of frames", rule="frames")
        for frame in frames:
            self._frame(session, frame, way, now, at)
        self._flush(session, now)

    def _other_way(self, session: _Session, way: Way, octets: int, now: float) -> None:
        if session.way is not None and way.proto == session.way.proto and way.remote == session.way.remote and way.link == session.way.link:
            session.way = way  # the same far end asks another address of ours: answer from there
        elif session.candidate is None or session.candidate[0] != way:
            token = self._entropy(8)
            session.candidate = (way, token)
            challenge = self._seal(session, [[Frame.CHALLENGE.value, token]])
            if challenge is not None and len(challenge) <= octets + packet.TAG:  # a challenge of 38 octets against the least sealed packet of 32
                self._out.append(Send(way, challenge))

    def _frame(self, session: _Session, frame: Any, way: Way, now: float, at: float) -> None:
        if type(frame) is not list or not frame or type(frame[0]) is not int:
            raise Malformed("a frame is [number, ...]", rule="frame-form")
        match frame:
            case [Frame.CALL.value, int(ticket), int(method), body]:
                self._call_frame(session, ticket, method, body)
            case [Frame.REPLY.value, *_]:
                session.calls.replied(frame, now)
            case [Frame.PAGE.value, int(ticket), int(page)]:
                session.calls.page_wanted(ticket, page)
            case [Frame.MESSAGE.value, int(kind), body]:
                if session.grade < Grade.ADMITTED:
                    raise Malformed("a message before admission", rule="grade")
                self._out.append(events.Message(session.number, kind, body))
            case [Frame.CHALLENGE.value, bytes(token)]:
                proof = self._seal(session, [[Frame.PROOF.value, token[:16]]])
                if proof is not None:
                    self._out.append(Send(way, proof))
            case [Frame.PROOF.value, bytes(token)]:
                if session.candidate is not None and session.candidate == (way, token):
                    self._move(session, way)
            case [Frame.CLOSE.value, str(reason)]:
                self._end(session, reason[:100])
            case [Frame.KEEPALIVE.value]:
                pass
            case _:
                raise Malformed("an unknown frame", rule="frame-unknown")

    def _call_frame(self, session: _Session, ticket: int, number: int, body: Value) -> None:
        try:
            method = Method(number)
        except ValueError:
            session.calls.refuse(ticket, "unknown-method")
            return
        if METHODS[method].grade > session.grade:
            # No refusal: while passports cross, the other end may be ahead of us by a round trip; it repeats the call.
            raise Malformed("a call above the session's grade", rule="grade")
        if session.calls.called(ticket):
            self._out.append(events.Called(session.number, ticket, method, body))

    def _seal(self, session: _Session, frames: list[list[Any]]) -> bytes | None:
        link = session.current
        if link is None:
            return None
        counter = link.counter
        link.counter += 1
        head = packet.SEALED.pack(Packet.SEALED, link.remote, counter)
        return head + link.seal.encrypt(b"\x00\x00\x00\x00" + counter.to_bytes(8, "little"), encode(frames), None)

    def _send_frames(self, session: _Session, frames: list[list[Any]], now: float) -> None:
        data = self._seal(session, frames)
        if data is None or session.way is None:
            return
        session.sent = now
        if session.unanswered is None and frames[0][0] in (Frame.CALL, Frame.PAGE, Frame.CHALLENGE):
            session.unanswered = now
        self._out.append(Send(session.way, data))
        link = session.current
        if link is not None and (now - link.created > REKEY_AFTER or link.counter > REKEY_PACKETS):
            self._renew(session, now)

    def _renew(self, session: _Session, now: float) -> None:
        """A new handshake over the way that the session has; whoever notices first begins it."""
        if session.peer not in self._dials and session.way is not None:
            dial = self._dials[session.peer] = _Dial(
                session.peer, (session.way.remote,), now, now + GIVE_UP, session.way.proto == "udp", False, now,
            )
            dial.due = now
            self._timer(dial, now)

    def _flush(self, session: _Session, now: float) -> None:
        frames, session.calls.frames = session.calls.frames, []
        for frame in frames:
            self._send_frames(session, [frame], now)
        self._collect(session)
        if session.number:
            self._timer(session, self._due(session))

    def _collect(self, session: _Session) -> None:
        for done in session.calls.done:
            if done.reason:
                self._out.append(events.CallFailed(session.number, done.ticket, done.reason))
            else:
                self._out.append(events.Answered(session.number, done.ticket, done.body))
        session.calls.done = []
        if session.calls.counters:
            self.counters.update(session.calls.counters)
            session.calls.counters.clear()

    # -- time

    def _due(self, session: _Session) -> float:
        due = max(session.sent, session.heard) + KEEPALIVE
        if session.unanswered is not None:
            due = min(due, max(session.unanswered + PROBE, session.sent + 1.0), session.unanswered + SILENT)
        retry = session.calls.wake_at()
        return due if retry is None else min(due, retry)

    def _timer(self, subject: _Session | _Dial, due: float) -> None:
        if subject.due != due:
            subject.due = due
            self._timer_order += 1
            heapq.heappush(self._timers, (due, self._timer_order, subject))

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called."""
        while self._timers and self._timers[0][2].due != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def wake(self, now: float, at: float) -> None:
        """Time passed: repeat, keep alive, probe, give up."""
        while self._timers and self._timers[0][0] <= now:
            due, _, subject = heapq.heappop(self._timers)
            if subject.due != due:
                continue
            subject.due = -1.0
            if isinstance(subject, _Dial):
                self._work_dial(subject, now, at)
            elif subject.number:
                self._work_session(subject, now)

    def _work_session(self, session: _Session, now: float) -> None:
        # The sums are those of _due: a difference may round to just below the bound, and the timer would fire for ever.
        if session.unanswered is not None and now >= session.unanswered + SILENT:
            self._end(session, "silent")
            return
        session.calls.wake(now)
        probing = session.unanswered is not None and now >= max(session.unanswered + PROBE, session.sent + 1.0)
        if not session.calls.frames and (probing or now >= max(session.sent, session.heard) + KEEPALIVE):
            self._send_frames(session, [[Frame.CHALLENGE.value, self._entropy(8)]], now)
        self._flush(session, now)

    def take(self) -> list[Output]:
        """What it wants since last asked, in order."""
        out, self._out = self._out, []
        return out
