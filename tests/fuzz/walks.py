"""Random walks through the state machines, each a function of one seed of 8 octets: whatever comes in whatever order, nothing is raised.

At the end of each walk the machine under it is asked to do its work once more, and weighed.
"""

from __future__ import annotations

import gc
import sys
import types
from functools import partial
from random import Random
from typing import Any

import trio

from bootstrap.entrance import Domain, Listener, WayIn
from bootstrap.goal import Ask, Fetch, GiveUp, Goal, Tell, Try
from bootstrap.plan import Plan
from overlay import acts, limits
from overlay.directory.spread import Spread
from overlay.errors import OverlayError
from overlay.lab.world import World
from overlay.machine import Send
from overlay.name import Path, parse_path
from overlay.node import Node
from overlay.records import kinds, rights
from overlay.records.record import Draft, Record, sign
from overlay.session import events
from overlay.session.frames import challenge, close, probe
from overlay.wire.address import Address, Way
from overlay.wire.codec import decode, encode
from overlay.wire.messages import METHODS, Method
from tests.fuzz import dns_decoders, overlay_decoders, person_decoders
from tests.fuzz.hunt import Decoder
from tests.fuzz.mutate import Mutator
from tests.session.wire_pair import End, Wire
from tests.tld import views
from tld import codes
from tld.driver.server import Forward
from tld.driver.stub import Stub
from tld.label import from_text, to_wire
from tld.names import Names
from tld.query import ask

MIB = 1024 * 1024
_PASSED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.CodeType, partial, Random)


def heft(*roots: object) -> int:
    """Octets of all that hangs on these objects, but for code and what code refers to."""
    seen: set[int] = set()
    waiting: list[object] = list(roots)
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _PASSED):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        waiting.extend(gc.get_referents(one))
    return total


# -- sessions

FRAMES = tuple(
    encode([frame])
    for frame in (
        [1, 5, b"x"], [2, 1, 1, {}, 1], [2, 9, 16, {1: [bytes(32)]}, 2], [3, 1, 0, {1: 5}, 0, 0], [3, 2, 0, [b"a"], 5, 0], [3, 2, 1, "no", 0, 0],
        [4, 1, 0], [5, "bye"], [6, bytes(8)], [7, bytes(8)], [8], [9, bytes(8), bytes(50)], [10, b"\xcb\0\x71\1\x1d\xe5"], [48, 1],
        [32, 2, 7, {1: "zone"}], [33, 1, 0, b"abc"], [33, 2, 3, b"d" * 99],
        [34, 2, 40_000, b"end"], [35, 2, 5, 70], [36, 0, 70_000], [36, 1, 90_000],
        [37, 17], [38, 1, 500, 9, 7, 4, 4], [32, 4, 9, None],
    )
)  # fmt: skip


def _goes_on(wire: Wire, victim: End, seed: int) -> None:
    """Whoever comes next gets a session and an answer."""
    honest = wire.end(seed)
    wire.join(honest, victim)
    wire.call(honest, b"still there")
    wire.run(2)
    assert b"still there" in wire.answers(honest).values()


def frames(data: bytes) -> None:
    """A peer that holds the keys of its session says anything inside of it."""
    dice, wire = Random(data), Wire(1)
    victim, peer = wire.end(1), wire.end(2)
    mutator = Mutator(dice, FRAMES, packed=True, longest=1_150)
    victim.sessions.streams.kinds.add(7)
    wire.join(peer, victim)
    for _ in range(120):
        if not peer.open_now():
            wire.join(peer, victim)
        plaintext = mutator.next() if dice.random() < 0.9 else dice.choice((challenge(bytes(8)), close("x"), probe(bytes(8)), b"", b"\x90"))
        session = peer.sessions._numbers.get(peer.number)
        if session is not None:
            victim.sessions.receive(session.link.seal(plaintext), Way("udp", peer.addresses[0]), wire.now, wire.at())
            wire.settle(victim)
        if dice.random() < 0.2 and victim.open_now():
            victim.sessions.call(victim.number, dice.choice(list(Method)), {}, wire.now)
        if dice.random() < 0.2 and victim.open_now():
            streams, number = victim.sessions.streams, victim.number
            stream = streams.open(number, 7, None, wire.now) or dice.randrange(1, 9)
            streams.write(number, stream, bytes(dice.choice((1, 5_000, 300_000))), wire.now)
            if dice.random() < 0.3:
                dice.choice((streams.finish, partial(streams.reset, code=3)))(number, stream, now=wire.now)
            wire.settle(victim)
        if dice.random() < 0.1:
            wire.run(dice.choice((0.01, 0.5, 6.0)))
    assert heft(victim.sessions) < 4 * MIB  # of them 1 MiB that was written to streams and that nobody acknowledges
    _goes_on(wire, victim, 3)


def network(data: bytes) -> None:
    """Everything between two honest nodes is in other hands: datagrams are lost, kept, doubled, changed, and come from elsewhere."""
    dice, wire = Random(data), Wire(2, delay=(0.01, 0.2))
    a, b = wire.end(1), wire.end(2)
    kept: list[tuple[End, Send]] = []
    meddles = True

    def again(to: End, octets: bytes, way: Way) -> None:
        to.sessions.receive(octets, way, wire.now, wire.at())
        wire.settle(to)

    def between(end: End, send: Send) -> bool:
        if not meddles or send.way.proto != "udp":
            return False
        kept.append((end, send))
        for _ in range(dice.choice((0, 0, 1, 2))):
            source, old = dice.choice(kept[-30:])
            octets = old.data if dice.random() < 0.5 else Mutator(dice, [old.data, send.data], longest=1_180).next()
            home = Address(f"203.0.113.{1 if source is a else 2}", 7653)
            way = Way("udp", dice.choice((home, home, Address("198.51.100.9", 4000))), dice.choice(("", "203.0.113.1")))
            wire._after(dice.choice((0.0, 0.05, 3.0)), partial(again, dice.choice((a, b)), octets, way))
        return dice.random() < 0.2

    wire.drop = between
    for _ in range(40):
        for end, other in ((a, b), (b, a)):
            act = dice.random()
            if act < 0.3:
                wire.dial(end, other)
            elif act < 0.6 and end.open_now():
                wire.call(end, dice.choice(({}, b"x" * 900, [b"y" * 500] * 9, None)), dice.choice(list(METHODS)))
            elif act < 0.63 and end.open_now():
                end.sessions.close(end.number, "enough", wire.now)
                wire.settle(end)
            elif act < 0.7 and end.open_now():
                end.sessions.admit(end.number)
                wire.settle(end)
        wire.run(dice.choice((0.05, 0.3, 2.0, 20.0)))
    meddles = False
    wire.run(60)
    assert heft(a.sessions) < 2 * MIB and heft(b.sessions) < 2 * MIB
    _goes_on(wire, a, 3)
    _goes_on(wire, b, 4)


# -- a whole node among others

_BODIES: dict[Method, Any] = {
    Method.PING: {}, Method.PASSPORT: {}, Method.ADMIT: {1: bytes(32), 2: 5}, Method.WAYS: {}, Method.ENROL: {1: b"core", 2: bytes(64)},
    Method.REDEEM: {1: b"core", 2: bytes(64), 3: bytes(64)}, Method.FETCH: {1: [bytes(32)], 2: "table", 3: [bytes(8)]}, Method.PUSH: {1: [b"raw"]},
    Method.SUMMARY: {}, Method.BUCKETS: {1: "table"}, Method.LISTING: {1: "zone:", 2: [0, 1, 63]}, Method.WATCH: {1: "eu/home", 2: bytes(8)},
    Method.OFFER: {1: "table", 2: [bytes(16)]}, Method.FIND: {1: bytes(32), 2: "lab"},
    Method.MEMBERS: {1: "eu/home", 2: bytes(32)}, Method.MATES: {}, Method.PUNCH: {1: [b"\xcb\0\x71\1\x1d\xe5"]},
    Method.DIAL_BACK: {1: bytes(16), 2: b"\xcb\0\x71\1\x1d\xe5", 3: [bytes(8)]}, Method.OPERATE: {1: "upgrade", 2: "app", 3: True},
}  # fmt: skip
_ANSWERS: tuple[Any, ...] = (
    {}, {1: 1_800_000_000, 2: b"\xcb\0\x71\1\x1d\xe5"}, {1: [bytes(32)]}, [b"a"], [], None, "no", bytes(512),
    [bytes(8) + b"table", bytes(8) + b"zone:"], [bytes(8) + b"core", bytes(8) + b"zone:eu/home"],
    [bytes(16)] * 64, [b"\1", b"raw"], [b"\0"], [bytes(40)] * 30, 2**63, [None],
)  # fmt: skip
_PLACES = ("203.0.113.77", "127.0.0.1", "::1", "60.0.1.1", "60.0.3.1", "10.0.0.1", "ff02::1", "0.0.0.0", "2001:db8::1")
_UNITS = ("table", "core", "zone:", "zone:eu", "zone:eu/home", "zone:nowhere", "", "zone:../x", "\x00")


class Malicious:
    """What a member with rights of its own makes of records, calls and answers."""

    def __init__(self, dice: Random, node: Node) -> None:
        self.dice = dice
        self.node = node
        said = [record for record in (*overlay_decoders.SAID, overlay_decoders.RENEWED) if record.kind not in ("root", "bind")]
        self._bodies = [(record.kind, record.item, encode(record.body)) for record in said]
        self._mutator = Mutator(dice, [body for _, _, body in self._bodies], packed=True, text=True, longest=600)
        self._lines = Mutator(dice, [line.partition(" ")[2].encode() for line in dns_decoders.LINES], text=True, longest=200)

    def record(self, at: float) -> Record | None:
        """Truly signed; None where it cannot even be spelt."""
        try:
            return self._rightful(at) if self.dice.random() < 0.6 else self._wrong(at)
        except (OverlayError, ValueError, TypeError, OverflowError):
            return None

    def _rightful(self, at: float) -> Record:
        """What rules allow it to say, and what nobody should: every kind, with the oddest values that its form takes."""
        dice, node = self.dice, self.node
        home, me = parse_path("eu/home"), node.identity.node_id
        own = home / "evil"
        name = dice.choice((own, own / "x", own / "*", own / "a" / "b", home / dice.choice(("web", "www", "y" * 60))))
        key = dice.choice((*overlay_decoders.LOW, dice.randbytes(32), node.identity.exchange_public))
        at_host = tuple(Address(dice.choice(_PLACES), dice.choice((7653, 1, 65_535))) for _ in range(dice.randrange(1, 4)))
        kind = dice.choice(("data", "data", "data", "host", "cluster", "carry", "grant", "revoke", "head", "invite"))
        if kind == "data":
            values = tuple(self._lines.next().decode(errors="replace") for _ in range(dice.randrange(3)))
            rtype = dice.choice(list(codes.TYPE_NUMBERS)) if dice.random() < 0.8 else dice.choice(("TYPE65280", "NOTYPE", "TYPE0"))
            return node.statements.sign(name, kind, kinds.Data(values=values, ttl=dice.choice((0, 30, 604_800))).body(), at, item=rtype.encode())
        if kind == "host":
            return node.statements.sign(dice.choice((own, name)), kind, kinds.Host(exchange=key, addresses=at_host).body(), at)
        if kind == "cluster":
            body = kinds.Cluster(exchange=key, addresses=at_host, node=dice.choice((own, home, Path(), name)), nodes=kinds.MOST, dns=True).body()
            return node.statements.sign(home, kind, body, at)
        if kind == "carry":
            hosts = tuple(dict.fromkeys(address.host for address in at_host))
            health = dice.choice(("none", "\x1b[2J", "cmd:"))
            body = kinds.Carry(port=65_535, node=dice.choice((own, Path(), name)), addresses=hosts, health=health).body()
            return node.statements.sign(name, kind, body, at, item=dice.choice((b"tcp", b"udp")))
        if kind == "grant":
            given = kinds.Grant(rights=frozenset(dice.sample(sorted(rights.KNOWN), dice.randrange(1, 4))), shadow=dice.random() < 0.5)
            return node.statements.sign(name, kind, given.body(), at, item=dice.choice((me, dice.randbytes(32))))
        if kind == "revoke":
            mine = [grant.digest for grant in node.book.grants.values() if grant.signer == me]  # without its own name it would be alone
            return node.statements.sign(name, kind, {}, at, item=dice.choice((*mine, dice.randbytes(32))))
        if kind == "head":
            return node.statements.sign(home, kind, kinds.Head(serial=2**32 - 1, digest=bytes(32), count=10**7).body(), at)
        return node.statements.sign(home, kind, kinds.Invite(uses=10**6, redeemers=(dice.randbytes(32),)).body(), at, item=dice.randbytes(32))

    def _wrong(self, at: float) -> Record:
        dice, me = self.dice, self.node.identity
        kind, item, body = dice.choice(self._bodies)
        mine = self.node.book.grants_of(me.node_id, at)
        via = dice.choice(mine) if mine else None
        name = dice.choice((via.name if via else Path(), parse_path("eu/home/x"), parse_path("eu/home"), parse_path("eu"), parse_path("a/b/c/*")))
        item = dice.choice((item, item, me.node_id, b"TXT", b"SVCB", b"CNAME", b"tcp", bytes(32), b""))
        issued = int(at) + dice.choice((0, 0, 0, -60, 299, 10_000, -(10**6)))
        draft = Draft(
            name=name, kind=kind, item=item, seq=max(1, dice.choice((issued * 1000, 1, 2**53, int(at * 1000)))), issued=max(0, issued),
            expires=max(0, issued + dice.choice((600, 7_200, 1, 0, 86_400 * 30))), via=via.digest if via else b"",
            body=decode(self._mutator.next() if dice.random() < 0.7 else body),
        )
        return sign(draft, [me.signer], self.node.setup.overlay_id)

    def octets(self, at: float) -> bytes:
        """A record as octets, or something like one."""
        record = self.record(at)
        raw = record.raw if record is not None else b""
        return raw if self.dice.random() < 0.8 else Mutator(self.dice, [raw or b"\x90"], packed=True).next()

    def body(self, method: Method, at: float) -> Any:
        """A body of a call, right in form or not."""
        dice = self.dice
        if method is Method.PUSH and dice.random() < 0.8:
            return {1: [self.octets(at) for _ in range(dice.choice((1, 1, 1)))]}
        plain: Any = _BODIES[method]
        if method in (Method.BUCKETS, Method.LISTING, Method.FETCH, Method.OFFER) and dice.random() < 0.5:
            plain = {**plain, 1 if method is not Method.FETCH else 2: dice.choice(_UNITS)}
        return self.mutated(plain) if dice.random() < 0.6 else plain

    def answer(self, at: float) -> Any:
        """An answer to whatever was asked."""
        if self.dice.random() < 0.3:
            return [b"\1", *(self.octets(at) for _ in range(self.dice.randrange(5)))]
        plain = self.dice.choice(_ANSWERS)
        return self.mutated(plain) if self.dice.random() < 0.5 else plain

    def mutated(self, value: Any) -> Any:
        """Something that the codec can carry."""
        try:
            return decode(Mutator(self.dice, [encode(value)], packed=True, longest=1_000).next(), limit=1_000)
        except OverlayError:
            return value


def _take_over(host_node: Node, malicious: Malicious) -> None:
    """From now on that node answers calls with anything; half of the time as it should, so that it stays a peer."""
    honest = host_node._handlers[events.Called]

    def called(event: events.Called, now: float, at: float) -> None:
        if malicious.dice.random() < 0.5:
            honest(event, now, at)
            return
        body = malicious.answer(at)
        if len(encode(body)) < 1_000 or isinstance(body, list):
            host_node.sessions.reply(event.session, event.ticket, body, now)

    host_node._handlers[events.Called] = called


def _call(node: Node, at: float, *, session: int, method: Method, body: Any, now: float) -> None:
    node.sessions.call(session, method, body, now)


def member(data: bytes) -> None:
    """An admitted member of another cluster says, asks and answers anything; the others go on, and so do their names."""
    dice = Random(data)
    small, whole = dice.choice(((limits.SMALL_OVERLAY, limits.WHOLE_TABLE), (0, limits.WHOLE_TABLE), (0, 1)))
    world = World(int.from_bytes(data, "big"), delay=(0.001, 0.01), small=small, spread=Spread(whole=whole))
    founder = world.found("hq/founder")
    others = [world.join(name) for name in ("eu/home/evil", "lab/honest")]
    assert world.run_until(lambda: all(map(world.joined, others)), 30) is not None
    evil, honest = others
    assert evil.node is not None and founder.node is not None and founder.node.directory is not None
    malicious, names = Malicious(dice, evil.node), Names(tld="cloud", zone="cloud.example.net")
    _take_over(evil.node, malicious)
    for _ in range(60):
        for peer in list(evil.node.peers.peers.values()):
            for method in dice.sample((*Method, *[Method.PUSH] * len(Method)), 3):
                body = malicious.body(method, world.at(evil))
                world.do(evil, partial(_call, session=peer.session, method=method, body=body, now=world.now))
        if not evil.node.peers.peers and world.founder_way is not None:
            world.do(evil, lambda node, at: node.dial(world.founder_way[0], [world.founder_way[1]], world.now, at))  # type: ignore[index]
        world.run(dice.choice((0.05, 0.2, 0.2, 2.0, 40.0)))
        holdings = founder.node.directory.holdings
        for path in holdings.zones():
            names.update(holdings.view(path))
        _answers(names, dice)
    world.do(honest, lambda node, at: acts.set_data(node, parse_path("lab/honest"), "TXT", (data.hex(),), 30, at))
    world.run(45)
    told = founder.node.directory.holdings.view(founder.node.book.outline.zone_of(parse_path("lab/honest")))
    assert (data.hex(),) in [entry.data.values for entry in told.data], "the founder hears of nobody else any more"
    assert heft(founder.node) < 24 * MIB
    late = world.join("lab/late")
    assert world.run_until(lambda: world.joined(late), 60) is not None, "nobody gets in any more"


def _answers(names: Names, dice: Random) -> None:
    """Names answer about everything they hold, whatever it is."""
    for entry in (e for view in names.views.values() for e in (*view.data, *view.carries, *view.hosts)):
        question = ask(7, to_wire(from_text(entry.name.fqdn("cloud") + ".")), dice.choice((1, 16, 28, 33, 64, 255)), edns=1_232)
        for udp in (True, False):
            assert isinstance(names.authoritative.answer(question, ("192.0.2.1", 53), udp), bytes)
            names.stub(question, ("127.0.0.1", 53), udp)


def newcomer(data: bytes) -> None:
    """A newcomer knocks at a node that says anything; it stays a newcomer, or gets in, and can always be told to ask another."""
    dice = Random(data)
    world = World(int.from_bytes(data, "big"), delay=(0.001, 0.01))
    founder = world.found("hq/founder")
    assert founder.node is not None
    malicious = Malicious(dice, founder.node)
    honest = founder.node._handlers[events.Called]
    _take_over(founder.node, malicious)
    late = world.join("lab/late")
    for _ in range(12):
        world.run(dice.choice((0.1, 1.0, 5.0)))
        assert late.node is not None
        world.do(late, lambda node, at: node.dial(founder.identity.exchange_public, [Address(founder.address, 7653)], world.now, at))
    founder.node._handlers[events.Called] = honest
    again = world.join("dock/again")
    assert world.run_until(lambda: world.joined(again), 60) is not None


# -- ways in

_TEXTS = tuple(seed for decoder in person_decoders.DECODERS if decoder.name.startswith("boot-") for seed in decoder.seeds)
_HOSTS = ("203.0.113.10", "2001:db8::10", "127.0.0.1", "::ffff:1.2.3.4", "fe80::1", "224.0.0.1", "0.0.0.0")
_SERVERS = ("ns1.example.org", "", "x" * 300, "\x00\xff", "a..b", *_HOSTS)


def plan(data: bytes) -> None:
    """Whatever DNS, web servers and nodes answer, in whatever order, the plan asks for a bounded number of things and time goes on."""
    dice, now = Random(data), 0.0
    place = dice.choice((Domain("cloud.example.org"), Listener("203.0.113.10"), Listener("203.0.113.10", 7653)))
    known = (WayIn((Address("198.51.100.1", 7653),), bytes(32)),) if dice.random() < 0.5 else ()
    machine = Plan(Goal(place=place, overlay_id=bytes(32) if known else None, known=known, steadfast=dice.random() < 0.5), dice.randbytes)
    texts = Mutator(dice, _TEXTS, text=True, words=(b";", b"v=overlay1"))
    pages = Mutator(dice, [person_decoders.WELL_KNOWN])
    waiting: list[Ask | Fetch | Try] = []
    machine.start(now)
    for _ in range(300):
        for effect in machine.take():
            if isinstance(effect, GiveUp):
                assert effect.error.lines()
                return
            if not isinstance(effect, Tell):
                waiting.append(effect)
        assert len(waiting) < 500, "it asks for more and more"
        wake = machine.wake_at()
        if waiting and dice.random() < 0.8:
            effect = waiting.pop(dice.randrange(len(waiting)))
            if dice.random() < 0.3:
                machine.failed(effect, dice.choice(("timeout", "", "\ud800", "x" * 400)), now)
            elif isinstance(effect, Ask):
                said = tuple(dice.choice((texts.next(), dice.choice(_TEXTS))) for _ in range(dice.randrange(20)))
                hosts = tuple(dice.choices(_SERVERS if effect.rtype == "NS" else _HOSTS, k=dice.randrange(12)))
                machine.answered(effect, said if effect.rtype == "TXT" else hosts, now)
            elif isinstance(effect, Fetch):
                machine.fetched(effect, dice.choice((person_decoders.WELL_KNOWN, pages.next())), now)
            else:
                machine.failed(effect, "turned away", now)
        elif wake is not None:
            now = max(now, min(wake, now + 60))
            machine.wake(now)
        now += dice.choice((0.0, 0.01, 5.0))
        if dice.random() < 0.02:
            machine.hurry(now)
    assert heft(machine) < MIB
    assert machine.unreached().lines()


def stub(data: bytes) -> None:
    """Upstream answers with anything: who asked the stub gets octets or silence."""
    dice = Random(data)
    seeds = {decoder.name: decoder.seeds for decoder in dns_decoders.DECODERS}
    replies, queries = Mutator(dice, seeds["dns-reply"], words=(b"\xc0\x0c",)), Mutator(dice, seeds["dns-query"])
    alias = views.data("hq/out", "CNAME", "www.example.com.")
    names = Names(tld="cloud", zone="cloud.example.org", policy=dice.choice(("overlay-first", "public-first", "exclusive", "suffix-only")))
    names.update(views.root(plain=(alias,)))
    names.evidence(at=views.AT, peers=dice.choice((0, 3)))

    class Anything:
        """In the place of ``Upstream``: a reply, or none in time."""

        async def ask(self, question: bytes, *, udp: bool) -> bytes | None:
            await trio.lowlevel.checkpoint()
            reply = question[:2] + replies.next()[2:]
            return dice.choice((None, reply if len(reply) >= 12 and reply[2] & 0x80 else None, question[:2] + b"\x81\x80" + question[4:]))

    async def fetch(path: Path) -> None:
        await trio.lowlevel.checkpoint()
        if dice.random() < 0.5:
            names.update(views.home())
        else:
            names.drop(path)

    async def ask_all() -> None:
        backend = Stub(names, Anything(), fetch)  # type: ignore[arg-type]
        asked = ("out.hq.cloud.", "www.home.eu.cloud.", "www.example.com.", "nothing.cloud.")
        fixed = [ask(7, to_wire(from_text(name)), 1, edns=1_232) for name in asked]
        for _ in range(60):
            question = dice.choice((queries.next(), dice.choice(fixed)))
            for udp in (True, False):
                found = backend.answer(question, ("127.0.0.1", 4000), udp)
                reply = await found.run() if isinstance(found, Forward) else found
                assert reply is None or (reply[:2] == question[:2] and reply[2] & 0x80), (question, reply)

    trio.run(ask_all)


DECODERS = tuple(
    Decoder(name=f"walk-{walk.__name__}", run=walk, errors=(), seeds=(), walk=True) for walk in (frames, network, member, newcomer, plan, stub)
)
