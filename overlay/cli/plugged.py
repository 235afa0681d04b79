"""A running node with everything plugged in: names on its DNS listeners, HTTP, health checks, control (DESIGN 4).

It carries what the node raises to whom it concerns: changed zones to names, peers and refusals to whoever waits. It
decides nothing about them.

    Plugged.start
    |- Engine.run               sockets, disk, time
    |- Upstream.run             loop probes
    |- serve_udp, serve_tcp     DNS, a task a socket (authoritative and stub)
    |- Site.serve               HTTP
    |- Health.run               checks of carried services
    |- serve_whois              WHOIS, where it is configured
    |- Carrier.run              the virtual address, where there is one
    |- Outward.run              secondaries told of changes, where there are any
    `- _weigh                   the age of what proves absence
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path as FilePath
from urllib.parse import urlencode

import trio
from trio_util import RepeatedEvent

from bootstrap.mirror import Facts, respond
from overlay import acts
from overlay.cli import metrics
from overlay.cli.answers import Answers
from overlay.cli.desk import Desk
from overlay.cli.health import Health
from overlay.cli.keeping import keeping
from overlay.cli.mapping import Mapping
from overlay.cli.node_checks import NodeChecks
from overlay.cli.operations import Operations
from overlay.cli.outward import Outward
from overlay.cli.public import public_exists
from overlay.cli.reaching import Reaching
from overlay.cli.release_desk import ReleaseDesk
from overlay.cli.releasing import Releasing
from overlay.cli.signing import ZoneSigning
from overlay.cli.updating import Updating
from overlay.cli.zone_desk import ZoneDesk
from overlay.cli.zone_findings import delegated, signed_zones
from overlay.cluster.outputs import Life, MemberChanged, RoleChanged
from overlay.cluster.virtual import Virtual
from overlay.config import Config
from overlay.directory.book import TABLE
from overlay.driver.clock import Clock
from overlay.driver.http import Request, Response, Site, as_json, text
from overlay.driver.listen import Listeners, Moved, name_of
from overlay.driver.logfile import LogFile
from overlay.driver.privileged_client import Started
from overlay.driver.run import Engine
from overlay.driver.store import Store
from overlay.driver.virtual import Carrier
from overlay.errors import Absent, OverlayError, PeerError, ReachError, UsageError
from overlay.name import ROOT, Path, parse_path
from overlay.node import Node
from overlay.raised import AdmissionAsked, AskPublic, DialEnded, Joined, JoinRefused, PassportGood, PeerChanged, SessionEnded, ZonesChanged
from overlay.records.trust import since
from overlay.reports import Reports
from overlay.session.relaying import SHORT
from overlay.units import b64
from overlay.wire.address import Address, parse_address
from tld import whois
from tld.cookies import Cookies
from tld.driver.host import Resolvers
from tld.driver.server import serve_tcp, serve_udp
from tld.driver.stub import Stub
from tld.driver.upstream import Upstream
from tld.driver.whois import serve_whois
from tld.explain import expand
from tld.manners import Polite
from tld.names import Names

ANSWER_LEAVES = 0.1  # seconds for an answer on the control socket
SHARE = 0.05  # of the time at most goes into rebuilding zones: a table of 10,000 clusters takes 0.1 s for one change
EVIDENCE_EVERY = 5.0  # seconds between looks at how old the proof of absence is
EXPAND = "/.well-known/overlay/expand"


class Plugged:
    """One node and its plugs."""

    def __init__(
        self, node: Node, *, config: Config, listeners: Listeners, store: Store, clock: Clock, log: LogFile, incarnation: int,
        tell: Callable[[str], None], home: FilePath, root: Started | None = None,
    ) -> None:
        self.node = node
        self.config = config
        self.listeners = listeners
        self.site = Site(self._page, self._suffixes)
        self.engine = Engine(
            node, store=store, clock=clock, listeners=listeners, log=log, site=self.site, advertise=config.listen.advertise, tell=tell,
            virtual=config.lan.virtual_ip.partition("/")[0],
        )
        self.releasing = Releasing(self.engine, home)
        self._root = root
        self._carrier: Carrier | None = None  # of the virtual address
        self.engine.subscribe(self._heard)
        self.refused: OverlayError | None = None
        self.joined: Path | None = None
        self.asked: AdmissionAsked | None = None  # a person has to say yes
        self.names: Names | None = None
        self.signing: ZoneSigning | None = None
        self._outward: Outward | None = None  # who answers the world's queries
        self._home = home
        self.checks: NodeChecks | None = None
        self.counted = {"drivers": self.engine.counters, "http": self.site.counters, "log": log.counters, "releases": self.releasing.counters}
        self._incarnation = incarnation
        self._good: dict[bytes, bytes] = {}  # exchange key -> node id, of those whose passport is good
        self._lost: dict[bytes, str] = {}  # exchange key that somebody waits for -> why its dial or session ended, empty before that
        self._news = RepeatedEvent()
        self._served: dict[socket.socket, trio.CancelScope] = {}
        self._unseen: set[str] = set()  # units that changed and are not shown yet
        self._show_at = 0.0
        self._showing = False

    async def start(self, nursery: trio.Nursery, desk: Desk, stop: Callable[[], None], forget: Callable[[], None]) -> None:
        """Start everything that needs no founding record; names follow when it is known."""
        await nursery.start(self.engine.run)
        self._nursery, self._desk, self._stop, self._forget = nursery, desk, stop, forget
        self._began = self.engine.clock.now()
        self.counted["control"] = desk.counters
        for sock in self.listeners.http:
            self._serve("http", sock)
        self.engine.on_move(self._moved)
        self._name_plugs()

    def _serve(self, kind: str, sock: socket.socket) -> None:
        """Serve on a socket of `http` or `dns` until its address is gone."""
        scope = self._served[sock] = trio.CancelScope()

        async def serve() -> None:
            with scope:
                if kind == "http":
                    await self.site.serve([sock])
                elif sock.type == socket.SOCK_DGRAM and self._outward is not None:
                    await serve_udp(sock, self._outward.backend)
                elif self._outward is not None:
                    await serve_tcp(sock, self._outward.backend)
            if scope.cancelled_caught:
                sock.close()

        self._nursery.start_soon(serve)

    def _moved(self, moved: Moved) -> None:
        for sock in moved.closing:
            scope = self._served.pop(sock, None)
            if scope is not None:
                scope.cancel()
            else:
                sock.close()
        for kind, sock in moved.opened:
            if kind == "http" or self.names is not None:  # else it is served when the names are there
                self._serve(kind, sock)
        self._news.set()

    def _name_plugs(self) -> None:
        """Plug in names and control, once the founding record says zone and TLD."""
        root = self.node.trust.root
        if root is None or self.names is not None:
            return
        names = self.names = Names(
            tld=root.tld, zone=root.zone, policy=self.config.names.policy, overlay_id=self.node.setup.overlay_id, nsid=self.node.identity.node_id[:8],
        )
        names.holders = self.releasing.saying.holders
        world = Polite(names.authoritative, Cookies(os.urandom(16)), now=self.engine.clock.now, at=self.engine.clock.at)
        outward = self._outward = Outward(world, names.secure, self.config.dns, self.engine.clock.at)
        signing = self.signing = ZoneSigning(self.engine, names, self._home)
        upstream = Upstream(
            Resolvers(
                clock=trio.current_time, own=self._own_dns, configured=tuple(parse_address(text, 53) for text in self.config.names.upstream),
            ),
            probe_suffix=root.zone,
        )
        self.counted |= {
            "names": names.counters, "dns": names.authoritative.counters, "stub": names.resolving.counters, "upstream": upstream.counters,
            "signing": signing.counters, "secondaries": outward.told,
        }
        stub = Stub(names, upstream, self._fetch_zone)
        reports = Reports(self.node, zone=root.zone, tld=root.tld, networks=lambda: self.engine.networks)
        self.checks = NodeChecks(
            engine=self.engine, reports=reports, listen=self.config.listen, upstream=self.config.names.upstream, began=self._began, reach=self.reach,
        )
        answers = Answers(
            engine=self.engine, stub=stub, reports=reports, incarnation=self._incarnation, began=self._began, warnings=self.checks.warnings,
            fetch=self._fetch_zone,
        )
        mapping = Mapping(self.node, now=self.engine.clock.now, write=lambda line: self.engine.let_out((line,)))
        reaching = Reaching(self.engine, reports, lambda: mapping.machine.protocol)
        stop, forget = partial(self._soon, self._stop), partial(self._soon, self._forget)
        operations = Operations(
            engine=self.engine, stub=stub, reports=reports, stop=stop, forget=forget, public=partial(public_exists, upstream, names),
        )
        self._public = partial(public_exists, upstream, names)
        start = self._nursery.start_soon
        start(upstream.run)
        start(outward.run)
        start(self._weigh)
        start(signing.run)
        start(Health(self.engine).run)
        for sock in (*self.listeners.dns_udp, *self.listeners.dns_tcp):
            self._serve("dns", sock)
        for sock in self.listeners.stub_udp:
            start(serve_udp, sock, stub)
        for sock in self.listeners.stub_tcp:
            start(serve_tcp, sock, stub)
        for sock in self.listeners.whois:
            start(serve_whois, sock, self._whois, self.engine.counters)
        self.checks.ports = mapping.findings
        self.checks.zones, self.checks.above = partial(signed_zones, signing), partial(delegated, signing)
        self.counted["portmap"] = mapping.machine.counters
        start(mapping.run, self.wait)
        if self._root is not None:
            self._carrier = Carrier(
                Virtual(IPv4Interface(self.config.lan.virtual_ip).ip, os.urandom), self._root.sock, counters=self.engine.counters,
                leads=self._leads, write=lambda line: self.engine.let_out((line,)),
            )
            start(self._carrier.run)
        start(self.releasing.run)
        changes = {**operations.handlers(), **ReleaseDesk(self.releasing, reports, reaching.session).handlers()}
        looks = {**answers.handlers(), **reaching.handlers(), **self.checks.handlers(), **ZoneDesk(names, signing).handlers()}
        kept = keeping(changes, self.engine)
        outward.carry_out = Updating(names, kept, self._catch_up).carry_out
        self._desk.open({**looks, **kept})
        self._show_all()

    @property
    def astray(self) -> bool:
        """Whether ways in are to be tried."""
        return self.node.belonging is None or self.node.belonging.astray

    def _leads(self) -> bool:
        """Whether this node may act as gateway at this instant: its lease has not run out meanwhile."""
        return self.node.belonging is not None and self.node.belonging.lease.holds(self.engine.clock.now())

    # -- what the node raises

    def _heard(self, event: object) -> None:
        match event:
            case ZonesChanged(units):
                self._show(units)
            case Joined(name):
                self.joined = name
                self._name_plugs()
            case JoinRefused(error):
                self.refused = error
            case AdmissionAsked():
                self.asked = event
            case AskPublic(label):
                self._nursery.start_soon(self._ask_public, label)
            case PassportGood(exchange, node_id):
                self._good[exchange] = node_id
            case DialEnded(exchange, reason) | SessionEnded(exchange, reason):
                self._good.pop(exchange, None)
                if exchange in self._lost:
                    self._lost[exchange] = reason
            case PeerChanged():
                self._look_at_evidence()
            case RoleChanged() | MemberChanged(life=Life.ALIVE) if self._carrier is not None:
                self._carrier.again()  # who was away may have learnt otherwise there
            case RoleChanged():
                pass
            case MemberChanged():
                self._look_at_evidence()
            case _:
                return
        self._news.set()

    def _show(self, units: frozenset[str]) -> None:
        """Show what changed: at once, unless the last time took so long that names would take more than a share of this process."""
        self._unseen |= units
        now = self.engine.clock.now()
        if now < self._show_at:
            if not self._showing:
                self._showing = True
                self._nursery.start_soon(self._show_later)
            return
        units, self._unseen = frozenset(self._unseen), set()
        self._show_now(units)
        self._show_at = now + (self.engine.clock.now() - now) / SHARE

    async def _show_later(self) -> None:
        await trio.sleep(max(0.0, self._show_at - self.engine.clock.now()))
        self._showing = False
        self._show(frozenset())

    def _catch_up(self) -> None:
        """Show at once what changed: who changes it further must see it."""
        units, self._unseen = frozenset(self._unseen), set()
        if units:
            self._show_now(units)

    def _show_now(self, units: frozenset[str]) -> None:
        if TABLE in units:
            self._show_all()  # cuts came or went, or the nodes that keep zones
        elif self.names is not None and self.node.directory is not None:
            holdings = self.node.directory.holdings
            for path in (parse_path(unit.removeprefix("zone:")) for unit in units):
                if path == ROOT or (path in self.node.book.cuts and holdings.holds(path)):
                    self._hold(path)
            self._look_at_evidence()

    def _hold(self, path: Path) -> None:
        """That zone, live and signed, to names."""
        if self.names is not None and self.signing is not None and self.node.directory is not None:
            self.names.update(self.node.directory.holdings.view(path))
            self.signing.show(path)
            self.signing.look_soon()

    def _show_all(self) -> None:
        if self.names is None or self.signing is None or self.node.directory is None:
            return
        zones = self.node.directory.holdings.zones()
        for path in [path for path in self.names.views if path not in zones]:
            self.names.drop(path)
            self.signing.forget(path)
        for path in zones:
            self._hold(path)
        self._look_at_evidence()

    def _look_at_evidence(self) -> None:
        if self.names is not None:
            self.names.evidence(at=self.engine.clock.at(), peers=len(self.node.peers.admitted()))
            presence = self.node.presence
            if presence is not None and self.node.belonging is not None:
                self.names.set_near(presence.cluster, self.node.belonging.near())
            self.names.set_public_address(*(address.host for address in presence.addresses) if presence is not None else ())

    async def _weigh(self) -> None:
        while True:
            self._look_at_evidence()
            await trio.sleep(EVIDENCE_EVERY)

    async def _fetch_zone(self, path: Path) -> None:
        """Bring a zone that is not held: watch it where it is kept."""
        node, clock = self.node, self.engine.clock
        assert node.directory is not None
        while not self.engine.act(acts.bring, path, clock.now(), clock.at()):
            self.engine.step()
            with trio.move_on_after(0.5):
                await self._news.wait()
        self._hold(path)

    async def _ask_public(self, label: str) -> None:
        """Whether a label that somebody wants to claim exists publicly: the node waits for it."""
        exists = await self._public(label)
        self.node.public(label, exists, self.engine.clock.now(), self.engine.clock.at())
        self.engine.step()

    def _soon(self, end: Callable[[], None]) -> None:
        """End the run when the answer to who asked for it has left."""

        async def after() -> None:
            await trio.sleep(ANSWER_LEAVES)
            end()

        self._nursery.start_soon(after)

    def _own_dns(self) -> list[Address]:
        return [name_of(sock) for sock in (*self.listeners.stub_udp, *self.listeners.dns_udp)]

    # -- who waits for something

    async def wait(self, condition: Callable[[], bool], *, every: float = float("inf")) -> None:
        """Wait until a condition about the node holds; looked at with every event, and, where time alone may bring it, every so often."""
        while not condition():
            with trio.move_on_after(every):
                await self._news.wait()

    async def reach(self, key: bytes, addresses: tuple[Address, ...], through: bytes = b"") -> bytes:
        """A session to the holder of that key, and a good passport: its node id. ``ReachError``, ``PeerError`` else.

        ``through`` is the exchange key of a connected node that may carry it.
        """
        clock = self.engine.clock
        peer = self.node.peers.by_exchange(key)
        if peer is not None and peer.passport is not None:
            return peer.passport.node_id
        self._lost[key] = ""
        self._good.pop(key, None)
        self.node.dial(key, addresses, clock.now(), clock.at(), (through[:SHORT],) if through else ())
        self.engine.step()
        await self.wait(lambda: key in self._good or bool(self._lost.get(key, "refused")) or self.refused is not None)
        reason = self._lost.pop(key, "") or "refused"
        if key in self._good:
            return self._good[key]
        if reason == "no-answer":
            raise ReachError("no answer over UDP or TCP", "is the node up, and is its port 7653 open?", rule=reason)
        raise PeerError(f"turned away: {reason}", "its passport does not lead to this overlay", rule=reason)

    def usable(self) -> bool:
        """Joined, in the words of CONTRACT: own name resolves at the stub, records stored, a session up."""
        presence = self.node.presence
        if self.names is None or presence is None or not acts.usable(self.node, self.engine.clock.now()):
            return False
        return any(host.name == presence.name for view in self.names.views.values() for host in view.hosts)

    # -- HTTP

    def _suffixes(self) -> tuple[str, ...]:
        root = self.node.trust.root
        return (root.zone, root.tld) if root is not None else ()

    async def _page(self, request: Request) -> Response:
        caller = request.peer.host
        if request.path == EXPAND:
            return self._expand(request.asks("name"))
        if request.path == metrics.PATH:
            return metrics.answer(request, self._metrics)
        release = self.releasing.pages.page(request)
        if release is not None:
            return release
        page = respond(request.path, urlencode(request.query), caller, self._facts(caller)) if self.node.presence is not None else None
        return Response(page.status, page.body, page.headers) if page is not None else text("not found", 404)

    def _metrics(self) -> str:
        uptime = self.engine.clock.now() - self._began
        measured = metrics.gauges(self.node, uptime=uptime, warnings=self.checks.alarms() if self.checks is not None else 0)
        return metrics.render({**metrics.of_machines(self.node), **self.counted}, measured)

    def _whois(self, query: bytes) -> bytes:
        node, root, at = self.node, self.node.trust.root, self.engine.clock.at()
        assert node.name is not None and root is not None and self.names is not None

        def held(node_id: bytes) -> list[whois.Right]:
            grants = node.book.grants_of(node_id, at)
            return [whois.Right(path=g.name, rights=g.body[1], since=since(g), until=g.expires) for g in grants]

        return whois.answer(query, whois.Speaker(name=node.name, zone=root.zone, tld=root.tld, views=self.names.views, held=held))

    def _expand(self, name: str | None) -> Response:
        if self.names is None or not name:
            return as_json({"error": "name is missing"}, 400)
        try:
            return as_json(expand(self.names, name))
        except Absent as why:
            return as_json({"error": why.what}, 404)
        except UsageError as why:
            return as_json({"error": why.what}, 400)

    def _facts(self, caller: str) -> Facts:
        node, presence, root = self.node, self.node.presence, self.node.trust.root
        assert presence is not None and root is not None
        record = node.statements.held(presence.cluster, "cluster") or node.statements.held(presence.name, "host")
        seen = self.engine.udp_seen.get(caller)
        return Facts(
            overlay_id=node.setup.overlay_id, zone=root.zone, tld=root.tld, name=presence.name.fqdn(root.tld), node_id=node.identity.node_id,
            key=node.identity.exchange_public, addresses=presence.addresses, record=record.raw if record is not None else b"", revision=0,
            cluster=str(presence.cluster), ways_tcp=presence.addresses, udp_seen_s=None if seen is None else self.engine.clock.now() - seen,
        )

    def describe(self) -> str:
        """One line for the person: who this node is."""
        presence, root = self.node.presence, self.node.trust.root
        if presence is None or root is None:
            return f"node {b64(self.node.identity.node_id)}"
        return f"{presence.name.fqdn(root.tld)} ({b64(self.node.identity.node_id)})"
