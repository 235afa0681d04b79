"""This node's presence: its proved addresses, what it says about itself and when, and whom it keeps sessions with.

It decides from the book, the table and what peers have seen; signing is done by ``statements.py``, telling by the
directory. Until NATs are measured (a later issue) an address of an own interface counts as proved once one peer has
seen it; an address that the person named (``--address``, ``[listen] advertise``) counts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest

from overlay import limits
from overlay.cluster.outputs import Role
from overlay.directory.machine import Directory
from overlay.directory.neighbours import Neighbour, wanted
from overlay.errors import TrustError
from overlay.name import ROOT, Path
from overlay.records import rights
from overlay.records.kinds import MAX_ADDRESSES, Cluster, Head, Host
from overlay.records.record import Record
from overlay.renewal import Renewals
from overlay.statements import Statements
from overlay.wire.address import Address, routable

HEAD_EVERY = 300.0  # seconds: half of a head's life (DESIGN 3.1)
HEAD_TURN = 0.5  # of that: how much later each next one takes over from a builder that is silent (guess)
HEAD_PAUSE = {True: 5.0, False: 1.0}  # seconds between versions: the root's, another zone's (DESIGN 3.8)
COUNT_PAUSE = 10.0  # seconds between cluster records that differ in how many nodes there are and how busy (guess)
LOOK = 2.0  # seconds between looks at what is due (a change of our own looks at once)
RENEWALS = 60.0  # seconds between looks at whose grants and data are due: those live for days
SOON = 0.3  # seconds after others' news: what comes together is looked at together
PROVING = 0.5  # seconds that a newcomer waits for the first answers to its probes
PROBE = (1.0, 300.0)  # seconds: first and longest pause before an unproved own address is tried again
SILENT = 8.0  # seconds of pause: a neighbour that did not answer three dials is silent
REDIAL = (1.0, 60.0)  # seconds: first and longest pause before a neighbour is dialled again


@dataclass(slots=True)
class Presence:
    """One enrolled node's picture of itself."""

    name: Path
    statements: Statements
    directory: Directory
    port: int
    advertised: frozenset[str] = frozenset()  # hosts that the person named
    dns: bool = False  # whether it answers for the world on port 53
    interfaces: frozenset[str] = frozenset()
    renewals: Renewals | None = None
    role: Role = Role.GATEWAY  # what this node is in its cluster; alone, it speaks for it
    seen: set[str] = field(default_factory=set)  # own addresses that a peer has seen
    outside: Address | None = None  # a NAT's address at which strangers get through to us, proved by dial-back
    shut: bool = False  # strangers do not get through to our own addresses: something filters before them
    relays: tuple[bytes, ...] = ()  # who leads here, where no address does (``reach.py``)
    _heads: dict[Path, tuple[float, bytes]] = field(default_factory=dict)
    _redial: dict[bytes, tuple[float, float]] = field(default_factory=dict)  # node id -> (not before, pause)
    proving_until: float = 0.0
    _probes: dict[str, tuple[float, float]] = field(default_factory=dict)  # own host -> (not before, pause)
    _look_at: float = 0.0
    _renew_at: float = 0.0
    _waits_since: dict[Path, float] = field(default_factory=dict)  # zones that nobody has vouched for, since when (UTC seconds)
    _instead_of: tuple[int, frozenset[bytes], list[Neighbour]] | None = None

    def __post_init__(self) -> None:
        """What was proved in an earlier run counts, where this machine still has that address."""
        held = self.statements.held(self.name, "host")
        if held is not None:
            self.seen |= {address.host for address in Host.read(held).addresses}

    @property
    def cluster(self) -> Path:
        """The path of the own cluster."""
        return self.name.parent

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Proved addresses with the overlay's port, the named ones first."""
        own = () if self.shut else sorted((self.seen & self.interfaces) - self.advertised)
        found = [Address(host, self.port) for host in (*sorted(self.advertised), *own) if routable(host)]
        return tuple(dict.fromkeys([*found, *([self.outside] if self.outside is not None else [])]))

    def set_outside(self, address: Address | None, *, shut: bool) -> None:
        """What a dial-back has shown: where strangers get through a NAT, or that they do not get through to our own addresses."""
        if (address, shut) != (self.outside, self.shut):
            self.outside, self.shut = address, shut
            self._look_at = 0.0

    @property
    def proved(self) -> bool:
        """Whether there is no own address left that nobody has seen."""
        return not self.interfaces - self.seen - self.advertised

    def witnessed(self, host: str) -> None:
        """A peer has seen us at (or reached us at) that address."""
        host = host.split("%")[0]
        if host in self.interfaces and host not in self.seen and routable(host):
            self.seen.add(host)
            if self.proved:
                self.proving_until = 0.0
            self._look_at = 0.0

    def unproved(self, now: float, families: Collection[int]) -> list[str]:
        """Own addresses (of the families that peers have) that nobody has seen yet and that are worth a probe now.

        Often at first, then ever more rarely.
        """
        waiting = []
        for host in sorted(self.interfaces - self.seen - self.advertised):
            if (6 if ":" in host else 4) not in families:
                continue
            not_before, pause = self._probes.get(host, (0.0, PROBE[0]))
            if now >= not_before and routable(host):
                if host not in self._probes:
                    self.proving_until = now + PROVING
                self._probes[host] = (now + pause, min(pause * 2, PROBE[1]))
                waiting.append(host)
        return waiting

    def on_interfaces(self, hosts: Iterable[str]) -> None:
        """The machine's addresses are these now."""
        self.interfaces = frozenset(hosts)
        self.seen &= self.interfaces
        self._look_at = 0.0

    def hurry(self) -> None:
        """Something that is said about this node changed: look at once."""
        self._look_at = 0.0

    def speaks(self, at: float) -> bool:
        """Whether this node may list itself as a gateway of its cluster: it holds `speak` by name."""
        mine = self.directory.book.grants_of(self.statements.identity.node_id, at - limits.LAPSED)
        return any(rights.SPEAK in grant.body[1] and grant.name.covers(self.cluster) for grant in mine)

    def look_soon(self, now: float) -> None:
        """Others' news may have made something due."""
        self._look_at = min(self._look_at, now + SOON)

    def wake_at(self) -> float:
        """When :meth:`due` wants to be called."""
        return self._look_at

    def due(self, now: float, at: float, load: int) -> list[Record]:
        """The statements that are due, signed. Rights that are missing leave out the statement that needs them."""
        self._look_at = now + LOOK
        addresses = self.addresses
        desk = self.statements
        drafts: list[Callable[[], list[Record]]] = [
            lambda: desk.host(self.name, addresses, at, self.relays), lambda: self._cluster(addresses, at, load),
            lambda: desk.carries(self.name, addresses, at), lambda: self._head(now, at),
        ]
        if now >= self._renew_at:
            self._renew_at = now + RENEWALS
            drafts += [lambda: desk.renewals(at), lambda: self.renewals.due(at) if self.renewals is not None else []]
        records: list[Record] = []
        for draft in drafts:
            with suppress(TrustError):  # a lapsed or narrowed grant: `doctor` shows it; what stands goes on until its date
                records += draft()
        return records

    def _cluster(self, addresses: tuple[Address, ...], at: float, load: int) -> list[Record]:
        """The cluster record, which the gateway and its standby write: the table lists who speaks for a cluster, not who is in it."""
        listed = self.statements.held(self.cluster, "cluster")
        if self.role is Role.MEMBER:
            standing = listed is not None and not Cluster.read(listed).withdrawn
            return [self.statements.withdrawal(listed, at)] if listed is not None and standing else []
        if not self.speaks(at):
            return []
        mates = len(self.directory.holdings.view(self.cluster).hosts) if self.directory.holdings.holds(self.cluster) else 1
        body = Cluster(
            exchange=self.statements.identity.exchange_public, addresses=self._listable(addresses), node=self.name, nodes=max(1, mates), load=load,
            dns=self.dns, relays=self.relays,
        ).body()
        held = self.statements.held(self.cluster, "cluster")
        if held is not None and at < held.issued + COUNT_PAUSE and {**held.body, 4: 0, 5: 0} == {**body, 4: 0, 5: 0}:
            return []  # no more than counts have changed
        return [self.statements.sign(self.cluster, "cluster", body, at)] if self.statements.due(held, body, at) else []

    def _listable(self, addresses: tuple[Address, ...]) -> tuple[Address, ...]:
        """Those that fit into the table's small record, both families in turn; one at least, and then the record says that it is too long.

        A node with an address has no relays, so they share no room.
        """
        four, six = ([a for a in addresses if a.family == family] for family in (4, 6))
        turns = [a for pair in zip_longest(four, six) for a in pair if a is not None][:MAX_ADDRESSES]
        room = Cluster.room(self.name)
        kept = 1
        while kept < len(turns) and sum(len(a.packed) + 2 for a in turns[: kept + 1]) <= room:
            kept += 1
        return tuple(turns[:kept])

    def _head(self, now: float, at: float) -> list[Record]:
        records = []
        for path in (ROOT, self.cluster):
            if not self._builds(path, at):
                continue
            view = self.directory.holdings.view(path)
            last, digest = self._heads.get(path, (-HEAD_EVERY, b""))
            if now - last >= HEAD_EVERY or (view.digest != digest and now - last >= HEAD_PAUSE[path == ROOT]):
                self._heads[path] = (now, view.digest)
                count = len(view.hosts) + len(view.carries) + len(view.data) + len(view.cuts)
                records.append(self.statements.sign(path, "head", Head(serial=view.serial, digest=view.digest, count=count).body(), at))
        return records

    def _builds(self, path: Path, at: float) -> bool:
        """One builder a zone: of the live nodes that may, the one with the lowest id (DESIGN 3.8).

        A builder may be dead long before its cluster record ends, so the next in order takes over when the zone's head has
        grown old, each a little later than the one before. Two that build at once say the same.
        """
        me = self.statements.identity.node_id
        book = self.directory.book
        able = {g.item for g in book.grants_on(path, at) if {rights.SIGN, rights.SPEAK} & set(g.body[1])}
        if me not in able:
            return False
        if path == self.cluster != ROOT and self.role is Role.GATEWAY:
            return True
        before = sum(other < me for other in able & self.directory.holdings.listed())
        issued = book.outline.head_issued(path) or self._waits_since.setdefault(path, at)
        return before == 0 or at - issued > HEAD_EVERY * (1 + before * HEAD_TURN)

    # -- whom to keep sessions with

    def to_dial(self, connected: set[bytes], now: float) -> list[Neighbour]:
        """The neighbours that are wanted, not connected, and not dialled a moment ago; in place of silent ones others as well."""
        chosen = []
        for neighbour in (*self.directory.holdings.wanted(), *self._instead()):
            not_before, pause = self._redial.get(neighbour.node_id, (0.0, REDIAL[0]))
            if neighbour.node_id in connected:
                self._redial.pop(neighbour.node_id, None)
            elif now >= not_before:
                self._redial[neighbour.node_id] = (now + pause, min(pause * 2, REDIAL[1]))
                chosen.append(neighbour)
        return chosen

    def _instead(self) -> list[Neighbour]:
        """Whom to want while some of the wanted are silent: the table lists the dead for up to two hours."""
        holdings = self.directory.holdings
        ring = holdings.ring()
        listed = holdings.listed()
        for gone in [node_id for node_id in self._redial if node_id not in listed]:
            del self._redial[gone]
        silent = frozenset(node_id for node_id, (_, pause) in self._redial.items() if pause >= SILENT)
        if not silent:
            return []
        if self._instead_of is None or self._instead_of[:2] != (id(ring), silent):
            awake = [n for n in ring if n.node_id not in silent]
            self._instead_of = (id(ring), silent, wanted(self.statements.identity.node_id, self.cluster, awake))
        return self._instead_of[2]
