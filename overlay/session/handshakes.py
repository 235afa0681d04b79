"""Handshakes: dials, initiations, answers, cookies; what becomes a link (DESIGN 3.4; research F3, F10).

It decides whom to answer, when to try again and which ways to try. What a link carries and when it replaces an older
one is decided in ``machine.py``; here a responder's link only waits, unconfirmed, for its first sealed packet.

A dial sends one initiation to all its addresses at once. From the second try on each address gets one of its own, in
changing order: an answer lost on the fastest way would otherwise shadow the slower ones for ever, since of equal time
stamps the first is taken. TCP is raced from 300 ms on. Where two ends dial each other at the same moment, the one with
the higher key holds back for half a second, so that both end up with the lower one's handshake.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import CloseTcp, Entropy, OpenTcp, Send
from overlay.session import cookie, hello, packet
from overlay.session.hello import Early
from overlay.session.link import Link
from overlay.session.noise import Initiator, Responder
from overlay.session.suite import Suite
from overlay.session.throttle import Throttle
from overlay.wire.address import Address, Way
from overlay.wire.codec import Value
from overlay.wire.messages import PROTOCOL, Method

RETRY = 0.25  # seconds before an initiation is sent again, doubling
LAST_RETRY = 4.0
TCP_AFTER = 0.3  # seconds of silence before TCP is raced (DESIGN 3.7: "raced, not waited for")
TLS_AFTER = 0.6  # seconds of silence before TLS is raced as well, and an upgrade on the port of HTTP
HTTP_AFTER = 0.9
TLS_PORT, HTTP_PORT = 443, 80
WEB_HOSTS = 3  # hosts of a dial that are tried so
GIVE_UP = 10.0  # seconds of a dial
ADDRESSES = 8  # of one dial
COOKIES = 4  # answered by a new initiation over TCP, where nothing is repeated by itself
UNCONFIRMED = 10.0  # seconds that a responder waits for the first sealed packet
AT_ONCE = 5  # handshakes of one source under load, before its rate counts (WireGuard's)
YIELD = 0.5  # seconds that the higher key lets the lower one's handshake go first

EarlyHandler = Callable[[bytes, bytes, Method, Value], Value | None]
Emit = Callable[[Send | OpenTcp | CloseTcp], None]


def same_way(a: Way, b: Way) -> bool:
    """Whether two ways lead to the same far end, whatever address of ours it asked.

    The scope of a link-local address has two spellings (``%eth0``, ``%2``) and is left out of the comparison.
    """
    if a.link != b.link or a.proto != b.proto:
        return False
    return a.remote == b.remote or ("%" in a.remote.host and _unscoped(a.remote) == _unscoped(b.remote))


def _unscoped(address: Address) -> tuple[str, int]:
    return address.host.partition("%")[0], address.port


@dataclass(slots=True, eq=False)
class Dial:
    """An attempt to open (or renew) a session as initiator."""

    peer: bytes
    ways: list[Way]  # where initiations go; TCP connections come as they open
    begun: float
    give_up: float  # when
    tcp: list[tuple[float, Address, str]] = field(default_factory=list)  # connections to be opened: when, where, with what around them
    renewal: bool = False
    next_at: float = 0.0
    pause: float = RETRY
    tries: int = 0
    connecting: int = 0
    cookie: bytes | None = None
    cookies: int = 0
    waiting: list[tuple[int, Method, Value]] = field(default_factory=list)  # calls for the session; the first may ride along
    over: bool = False

    @property
    def early(self) -> Early | None:
        """The call that may ride in message 1."""
        if self.waiting and self.waiting[0][1] in hello.RIDERS:
            return Early(*self.waiting[0][1:])
        return None


@dataclass(frozen=True, slots=True)
class _Begun:
    dial: Dial
    initiator: Initiator
    mac1: bytes
    ways: tuple[Way, ...]
    early: bool


class Handshakes:
    """All handshakes of one node that have not become links yet."""

    def __init__(
        self, *, exchange: X25519PrivateKey, overlay_id: bytes, boot_nonce: bytes, entropy: Entropy, early: EarlyHandler | None,
        taken: Callable[[int], bool], emit: Emit, counters: Counter[str], suite: Suite,
    ) -> None:
        self.keys = suite.static(exchange)
        self._suite = suite
        self.passport = b""
        self.dials: dict[bytes, Dial] = {}
        self.unconfirmed: OrderedDict[int, Link] = OrderedDict()
        self._prologue = PROTOCOL.encode() + overlay_id
        self._boot_nonce = boot_nonce
        self._entropy = entropy
        self._early = early
        self._taken = taken
        self._emit = emit
        self._counters = counters
        self._mac1_key = cookie.mac1_key(self.keys.public)
        self._jar = cookie.CookieJar(self.keys.public, entropy)
        self._throttle = Throttle(limits.HANDSHAKES_PER_SOURCE, AT_ONCE, counters)
        self._begun: OrderedDict[int, _Begun] = OrderedDict()  # our index -> a handshake that waits for its answer
        self._connecting: dict[Address, deque[Dial]] = {}  # who asked for the TCP connections under way
        self._stamps: OrderedDict[bytes, int] = OrderedDict()  # highest time stamp of each key
        self._stamp = 0

    # -- dialling

    def dial(
        self, peer: bytes, addresses: Iterable[Address], now: float, *, udp: bool, tcp: bool, give_up: float, relayed: Iterable[Way] = (),
    ) -> Dial | None:
        """Begin; :meth:`work` does the rest. None where there is no address. ``relayed`` are ways through relays."""
        targets = tuple(dict.fromkeys(addresses))[:ADDRESSES]
        ways = [*([Way("udp", address) for address in targets] if udp else []), *relayed]
        if not ways and not (tcp and targets):
            return None
        dial = self.dials[peer] = Dial(peer, ways, now, now + give_up, _stages(targets, now) if tcp else [], next_at=now)
        return dial

    def widen(self, dial: Dial, addresses: Iterable[Address], relayed: Iterable[Way], at: float) -> None:
        """More ways for a dial under way, tried at once: it may have begun with addresses that are no longer true."""
        known = {way.remote for way in dial.ways if way.proto == "udp"}
        more = [address for address in dict.fromkeys(addresses) if address not in known][: max(0, ADDRESSES - len(known))]
        ways = [way for way in relayed if way not in dial.ways]
        if any(way.proto != "tcp" for way in dial.ways):
            ways += [Way("udp", address) for address in more]
            dial.tcp += _stages(more, dial.begun)
        if ways:
            dial.ways += ways
            self._initiate(dial, ways, at)

    def without(self, way: Way) -> bytes:
        """That way through a relay leads nowhere. Whose dial had it, empty where nobody's had."""
        dial = next((dial for dial in self.dials.values() if way in dial.ways), None)
        if dial is None:
            return b""
        dial.ways.remove(way)
        return dial.peer

    def renew(self, peer: bytes, way: Way, now: float) -> Dial | None:
        """A new handshake over the way that a session has; None where one is under way."""
        if peer in self.dials:
            return None
        dial = self.dials[peer] = Dial(peer, [way], now, now + GIVE_UP, renewal=True, next_at=now)
        return dial

    def work(self, dial: Dial, now: float, at: float) -> float | None:
        """What is due of a dial. When to look again; None where it has come to nothing."""
        if now >= dial.give_up:
            return None
        first = min((at for at, _, _ in dial.tcp), default=now)
        for stage in [stage for stage in dial.tcp if now >= stage[0] or (stage[0] == first and not (dial.ways or dial.connecting))]:
            dial.tcp.remove(stage)
            _, address, over = stage
            self._connecting.setdefault(address, deque()).append(dial)
            dial.connecting += 1
            self._emit(OpenTcp(address, over))
        repeated = [way for way in dial.ways if way.proto != "tcp" or (dial.renewal and dial.tries == 0)]
        if repeated and now >= dial.next_at:
            if dial.tries == 0:
                self._initiate(dial, repeated, at)
            else:
                for way in repeated if dial.tries % 2 else reversed(repeated):
                    self._initiate(dial, [way], at)
            dial.tries += 1
            dial.next_at = now + dial.pause
            dial.pause = min(dial.pause * 2, LAST_RETRY)
        if now >= dial.give_up:
            return None  # its key is none
        due = dial.give_up
        if repeated:
            due = min(due, dial.next_at)
        return min((due, *(at for at, _, _ in dial.tcp)))

    def opened(self, way: Way, at: float) -> None:
        """A TCP connection is up. Ours carries a handshake at once; others' begin it themselves."""
        dial = self._asked_for(way)
        if dial is None:
            return
        if dial.over:
            self._emit(CloseTcp(way))
        else:
            dial.ways.append(way)
            self._initiate(dial, [way], at)

    def closed(self, way: Way) -> Dial | None:
        """A TCP connection is gone or did not come up. The dial that has no way left because of it, if there is one."""
        for dial in self.dials.values():
            if way in dial.ways:
                dial.ways.remove(way)
                break
        else:
            asked = self._asked_for(way)
            if asked is None or asked.over:
                return None
            dial = asked
        return dial if not (dial.ways or dial.connecting or dial.tcp) else None

    def _asked_for(self, way: Way) -> Dial | None:
        waiting = self._connecting.get(way.remote)
        if waiting is None:
            return None
        dial = waiting.popleft()
        dial.connecting -= 1
        if not waiting:
            del self._connecting[way.remote]
        return dial

    def end(self, dial: Dial, used: Way | None) -> None:
        """A dial is over; connections opened for it that are not ``used`` are closed."""
        dial.over = True
        if self.dials.get(dial.peer) is dial:
            del self.dials[dial.peer]
        for index in [index for index, begun in self._begun.items() if begun.dial is dial]:
            del self._begun[index]
        if not dial.renewal:
            for way in dial.ways:
                if way.proto == "tcp" and (used is None or not same_way(way, used)):
                    self._emit(CloseTcp(way))

    def _index(self) -> int:
        while True:
            index = int.from_bytes(self._entropy(4), "big")
            if index and index not in self._begun and index not in self.unconfirmed and not self._taken(index):
                return index

    def _initiate(self, dial: Dial, ways: list[Way], at: float) -> None:
        self._stamp = max(self._stamp + 1, int(at * 1_000_000))
        early = dial.early
        payload = hello.offer(stamp=self._stamp, passport_digest=self.passport, boot_nonce=self._boot_nonce, early=early)
        try:
            initiator = Initiator(
                prologue=self._prologue, static=self.keys, responder=dial.peer, ephemeral=self._suite.ephemeral(self._entropy(32)),
                payload=payload, cipher=self._suite.cipher,
            )
        except Malformed as why:  # somebody told us a key of low order
            self._counters[f"drop:{why.rule}"] += 1
            dial.give_up = float("-inf")
            return
        index = self._index()
        data = packet.initiation(index, initiator.message, cookie.mac1_key(dial.peer), dial.cookie)
        self._begun[index] = _Begun(dial, initiator, packet.mac1_of(data), tuple(ways), early is not None)
        while len(self._begun) > limits.HANDSHAKES_PENDING:
            self._begun.popitem(last=False)
            self._counters["drop:handshakes-full"] += 1
        for way in ways:
            self._emit(Send(way, data))

    # -- being dialled

    def initiation(self, data: bytes, way: Way, now: float) -> None:
        """Message 1 came: answered, or Malformed."""
        sender, mac1, mac2, covered, noise = packet.read_initiation(data, self._mac1_key)
        if self._jar.loaded(now):
            if not self._jar.accepts(mac2, covered, way.remote, now):
                self._counters["cookies_sent"] += 1
                self._emit(Send(way, packet.cookie_reply(sender, self._jar.reply(way.remote, mac1, now))))
                return
            if not self._throttle.lets(way.remote.host, now):  # the cookie proves the address: from now on it has a share
                raise Malformed("too many initiations from one source under load", rule="handshake-rate")
        responder = Responder(prologue=self._prologue, static=self.keys, message=noise, cipher=self._suite.cipher)
        theirs = hello.read_offer(responder.payload)
        peer = responder.initiator
        if peer == self.keys.public:
            raise Malformed("our own initiation", rule="own-key")
        if theirs.stamp <= self._stamps.get(peer, 0):
            raise Malformed("a replayed initiation", rule="replayed-initiation")
        self._stamps[peer] = theirs.stamp
        self._stamps.move_to_end(peer)
        if len(self._stamps) > limits.TIMESTAMPS:
            self._stamps.popitem(last=False)
            self._counters["timestamps_forgotten"] += 1
        answer = None
        if theirs.early is not None and theirs.version and self._early is not None:
            body = self._early(peer, theirs.passport_digest, theirs.early.method, theirs.early.body)
            answer = None if body is None else [body]
        payload = hello.accept(
            passport_digest=self.passport, seen=way.remote, boot_nonce=self._boot_nonce, version=theirs.version, answer=answer,
        )
        message, finished = responder.respond(ephemeral=self._suite.ephemeral(self._entropy(32)), payload=payload)
        index = self._index()
        self._emit(Send(way, packet.response(index, sender, message, cookie.mac1_key(peer))))
        if not theirs.version:
            raise Malformed("no common protocol version", rule="version")  # they have been told; there is no link
        self.unconfirmed[index] = Link(
            local=index, remote=sender, peer=peer, finished=finished, hello=theirs, initiator=False, way=way, now=now,
            suite=self._suite,
        )
        self.expire(now)
        if len(self.unconfirmed) > limits.HANDSHAKES_PENDING:
            self.unconfirmed.popitem(last=False)
            self._counters["drop:handshakes-full"] += 1

    def expire(self, now: float) -> None:
        """Forget the links that nobody confirmed."""
        while self.unconfirmed and now - next(iter(self.unconfirmed.values())).created > UNCONFIRMED:
            self.unconfirmed.popitem(last=False)
            self._counters["handshakes_unconfirmed"] += 1

    # -- answers

    def response(self, data: bytes, way: Way, now: float) -> tuple[Dial, Link, bool] | None:
        """Message 2 came: (the dial, its link, whether an early call rode along); None where the other end goes first."""
        sender, receiver, noise = packet.read_response(data, self._mac1_key)
        begun = self._begun.get(receiver)
        if begun is None:
            raise Malformed("an answer to nothing", rule="response-unknown")
        if not any(same_way(way, asked) for asked in begun.ways):
            raise Malformed("an answer from who was not asked", rule="response-way")
        payload, finished = begun.initiator.finish(noise)
        theirs = hello.read_accept(payload)
        dial = begun.dial
        rivals = self.unconfirmed.values()
        if self.keys.public > dial.peer and any(link.peer == dial.peer and now - link.created < YIELD for link in rivals):
            self._counters["handshakes_yielded"] += 1
            return None
        self.end(dial, way)
        return dial, Link(
            local=receiver, remote=sender, peer=dial.peer, finished=finished, hello=theirs, initiator=True, way=way, now=now,
            suite=self._suite,
        ), begun.early

    def cookie(self, data: bytes, way: Way, at: float) -> None:
        """A cookie came: the next initiations show it."""
        receiver, nonce, sealed = packet.read_cookie(data)
        begun = self._begun.get(receiver)
        if begun is None:
            raise Malformed("a cookie for nothing", rule="cookie-unknown")
        dial = begun.dial
        dial.cookie = cookie.open_cookie(dial.peer, nonce, sealed, begun.mac1)
        dial.cookies += 1
        if way.proto == "tcp" and dial.cookies <= COOKIES:
            self._initiate(dial, [way], at)


def _stages(targets: Iterable[Address], begun: float) -> list[tuple[float, Address, str]]:
    """When to open which connection: the node's own port first, then what networks let out that let out the web alone."""
    targets = tuple(targets)
    hosts = list(dict.fromkeys(address.host for address in targets))[:WEB_HOSTS]
    stages = [(begun + TCP_AFTER, address, "tcp") for address in targets]
    stages += [(begun + TLS_AFTER, Address(host, TLS_PORT), "tls") for host in hosts]
    return stages + [(begun + HTTP_AFTER, Address(host, HTTP_PORT), "http") for host in hosts]


def weaker(old: Link, new: Link, own_key: bytes) -> bool:
    """Whether ``new`` must not carry a session that ``old`` carries: both ends began at once, and the lower key goes first."""
    return old.initiator != new.initiator and abs(new.created - old.created) < UNCONFIRMED and old.initiator == (own_key < new.peer)

