"""A node as a person runs it (CONTRACT: join, up): the order of a start, and the end of a run.

It decides the order: home locked, sockets opened, privileges dropped, state loaded, the node running, the way in found,
the name got, `joined as` said when it is true. What each part decides is its own business.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from bootstrap.driver.entry import Entry
from bootstrap.driver.lan import ask_lan
from bootstrap.driver.lookup import Lookup
from bootstrap.entrance import Domain, Lan, Place, WayIn, parse_where
from bootstrap.goal import Goal
from bootstrap.invite import Token
from overlay import acts, limits
from overlay.admission.request import Request
from overlay.cli import membership as homes
from overlay.cli.again import same_overlay
from overlay.cli.desk import Desk
from overlay.cli.plugged import Plugged
from overlay.cli.report import Report
from overlay.cli.starting import HEARD
from overlay.cluster.links import Link
from overlay.config import Config
from overlay.driver.clock import Clock, span
from overlay.driver.control import open_control, serve_control
from overlay.driver.interfaces import interfaces, watch
from overlay.driver.lan import links_of
from overlay.driver.listen import Listeners, inherited, name_of, open_listeners
from overlay.driver.logfile import LogFile
from overlay.driver.privilege import drop
from overlay.driver.privileged_client import Started
from overlay.driver.privileged_client import start as helper
from overlay.driver.recorder import Recorded, keep
from overlay.driver.run import Engine, own_hosts
from overlay.driver.store import Store, Tables, lock_home
from overlay.errors import Malformed, OverlayError, PeerError, ReachError, StateError, TrustError, UsageError
from overlay.identity.keys import Identity
from overlay.machine import Log, Step
from overlay.machine import Store as Write
from overlay.name import Path as NamePath
from overlay.raised import AdmissionAsked
from overlay.setup import OWN, Setup
from overlay.units import b64
from overlay.wire.address import parse_address

LONELY = 3.0  # seconds without a peer before ways in are tried again
LONELY_MOST = 60.0  # between tries: a home whose only cluster is this one must not ask the DNS all day
ASKING = ("overlay-first", "public-first")  # policies under which the public DNS has a say about names below the TLD
ENDED = ("R12", "R13")  # rules of trust: revoked, lapsed for good
FAREWELL = 0.5  # seconds for the goodbyes to leave
HAND_OVER = 1.0  # seconds for another to take over as gateway: 0.3 where one is there (GOALS)
HAND_LOOK = 0.02  # seconds between looks at that


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """What `overlay join` was asked, read and checked. ``exact``: the label was given with --name."""

    place: Place | None = None
    token: Token | None = None
    cluster: NamePath | None = None
    label: str = ""
    exact: bool = False
    overlay_id: bytes | None = None
    timeout: float | None = None
    shadow: bool = False
    known: tuple[WayIn, ...] = ()  # ways in of hints

    @property
    def known_id(self) -> bytes | None:
        """The overlay id that the person gave, by itself or in the token."""
        return self.overlay_id or (self.token.overlay_id if self.token is not None else None)


@dataclass(slots=True)
class Running:
    """One run of one home."""

    home: Path
    config: Config
    report: Report
    join: Join | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _forget: bool = False
    _retiring: bool = False
    _plugged: Plugged | None = None
    _plugging: trio.Lock = field(default_factory=trio.Lock)
    _entrance: Counter[str] = field(default_factory=Counter)  # what looking for a way in has counted
    _desk: Desk = field(init=False)

    def run(self) -> None:
        """Run until stopped. Raises an ``OverlayError`` where it cannot start, or may not come in."""
        if self.join is not None and self.join.place is None and self.join.token is None and not (self.home / homes.STATE).exists():
            raise UsageError("where to join is missing", "name a domain or IP:port, or give a token: overlay join WHERE", rule="where")
        homes.prepare(self.home)
        with ExitStack() as stack:
            stack.callback(lock_home(self.home).release)
            identity_made = not (self.home / homes.IDENTITY).exists()
            notices: list[str] = []

            def fell_back(line: str) -> None:
                notices.append(line)
                self.report.progress(line)

            listeners = open_listeners(self.config.listen, fell_back, given=inherited())
            stack.callback(listeners.close)
            control = open_control(self.home)
            stack.callback(control.close)
            root = self._root(stack, fell_back)
            drop(self.home)
            store = stack.enter_context(Store.open(self.home / homes.STATE))
            tables = store.load()
            member = homes.membership(tables)
            self._check(member)
            identity = homes.load_identity(self.home, make=identity_made and self.join is not None)
            log = LogFile(self.home / homes.LOG)
            stack.callback(log.close)
            start = _Start(identity, listeners, control, store, tables, member, log, tuple(notices), root)
            refusal: OverlayError | None = None
            try:
                trio.run(self._main, start)
            except* OverlayError as group:
                refusal = _first(group)  # raised below: Python 3.11.2 wraps what is raised in here in a group of its own
            if refusal is not None:
                raise refusal
        if self._forget:
            forget(self.home)

    def _root(self, stack: ExitStack, notice: Callable[[str], None]) -> Started | None:
        """The helper for what needs root later: only where something does."""
        if not self.config.lan.virtual_ip:
            return None
        try:
            root = helper(self.config.lan.virtual_ip)
        except OSError as error:
            notice(f"virtual_ip: {self.config.lan.virtual_ip} cannot be carried ({error.strerror}): off")
            return None
        stack.callback(root.close)
        return root

    def _check(self, member: homes.Membership | None) -> None:
        """Whether this home may do what is asked: CONTRACT, "already enrolled in that overlay: as up; in another: exit 4"."""
        if self.join is None:
            if member is None or not member.enrolled:
                raise StateError(
                    f"{self.home} holds no enrolled node", "overlay init founds an overlay, overlay join enters one", rule="not-enrolled",
                )
            return
        if member is None:
            if self.join.place is None and self.join.token is None:
                raise UsageError("where to join is missing", "name a domain or IP:port, or give a token: overlay join WHERE", rule="where")
            return
        other = self.join.known_id if self.join.known_id not in (None, member.overlay_id) else None
        zone = self.join.place.zone if isinstance(self.join.place, Domain) else None
        elsewhere = member.enrolled and zone is not None and zone not in (member.root.zone if member.root is not None else zone, member.place)
        if other is not None or elsewhere:
            raise TrustError(
                f"this home belongs to overlay {b64(member.overlay_id)}{f' at {member.root.zone}' if member.root is not None else ''}",
                "choose another --home, or leave that overlay first: overlay leave", rule="other-overlay",
            )

    # -- the run

    async def _main(self, start: _Start) -> None:
        clock = Clock(start.member.floor, start.member.last) if start.member is not None else Clock()
        began = clock.now()
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._signals, nursery)
                self._desk = Desk(nursery, partial(self._retire, nursery))
                nursery.start_soon(partial(serve_control, start.control, self._desk, counters=self._desk.counters))
                try:
                    if start.member is not None and start.member.enrolled:
                        await self._go_on(nursery, start, clock)
                    else:
                        await self._enter(nursery, start, clock, began)
                    await trio.sleep_forever()
                finally:
                    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
                    with trio.CancelScope(shield=True):
                        await self._farewell(start, clock)

    def _retire(self, nursery: trio.Nursery) -> None:
        """Stop: another speaks for the cluster first. Who asks twice does not want to wait."""
        if self._retiring or self._plugged is None:
            self._scope.cancel()
            return
        self._retiring = True
        nursery.start_soon(self._hand_over, self._plugged.engine)

    async def _hand_over(self, engine: Engine) -> None:
        with trio.move_on_after(HAND_OVER):
            while not engine.act(acts.hand_over, engine.clock.now()):
                engine.step()
                await trio.sleep(HAND_LOOK)
        self._scope.cancel()

    async def _signals(self, nursery: trio.Nursery) -> None:
        with trio.open_signal_receiver(*HEARD) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
            async for signum in signals:
                if signum != signal.SIGUSR2:
                    self._retire(nursery)
                elif self._plugged is not None and isinstance(self._plugged.node, Recorded):
                    self._plugged.node.crashed(self._plugged.node)

    def _keep_flight(self, log: LogFile, clock: Clock, node: Recorded) -> None:
        keep(node, self.home / homes.FLIGHT, log, clock.at())

    async def _farewell(self, start: _Start, clock: Clock) -> None:
        """Tell peers, within bounds. The engine's tasks are cancelled by now: what is sent goes out at once."""
        if self._plugged is None:
            return
        engine = self._plugged.engine
        engine.node.farewell(clock.now())
        with trio.move_on_after(FAREWELL):
            engine.keep_time()
            engine.step()
            await engine.lots.finish()
        start.log.write(Log("info", "stopped", {}), clock.at())

    async def _plug(self, nursery: trio.Nursery, start: _Start, clock: Clock, overlay_id: bytes) -> Plugged:
        member, listeners = start.member, start.listeners
        incarnation = (member.incarnation if member is not None else 0) + 1
        advertised = [*(member.advertised if member is not None else ()), *(text for text in self.config.listen.advertise if _is_ip(text))]
        setup = Setup(
            links=self._links(listeners), lan=self.config.lan.discovery, lan_admit=self.config.lan.admit,
            guess=self.config.reach.guess, relay=self.config.reach.relay,
            identity=start.identity, overlay_id=overlay_id, entropy=os.urandom, advertised=tuple(advertised),
            port=name_of(listeners.overlay_udp[0]).port if listeners.overlay_udp else 7653,
            interfaces=own_hosts(listeners, self.config.listen.advertise), dns=any(name_of(sock).port == 53 for sock in listeners.dns_udp),
            stored=start.tables, incarnation=incarnation, asks_public=self.config.names.policy in ASKING,
        )
        try:
            node = Recorded(setup, clock.now(), clock.at())
        except (Malformed, TrustError) as error:  # its right has ended, or the disk did not keep what it wrote itself
            path = self.home / homes.STATE
            if error.rule in ENDED:
                late = f"set this machine's clock if it is not {_date(clock.at())}; " if error.rule == "R13" else ""
                todo = f"{late}to come back under a new name, move {path} and {self.home / homes.IDENTITY} aside and join again"
                raise TrustError(f"this node's right to its name has ended: {error.what}", todo, rule=error.rule) from None
            if error.rule == "R02":
                what = f"this machine's clock ({_date(clock.at())}) is behind what this node has written itself: {error.what}"
                raise StateError(what, "set the clock, then start again", rule="clock-behind") from None
            todo = f"move it aside (mv {path} {path}.damaged) and join again; `identity` is kept"
            raise StateError(f"{path} is damaged: {error.what}", todo, rule="state-damaged") from None
        node.crashed = partial(self._keep_flight, start.log, clock)
        plugged = Plugged(
            node, config=self.config, listeners=listeners, store=start.store, clock=clock, log=start.log, incarnation=incarnation,
            tell=self.report.progress, home=self.home, root=start.root,
        )
        plugged.counted["entrance"] = self._entrance
        plugged.engine.lots.put(Step(first=(Write(OWN, homes.INCARNATION, str(incarnation).encode()),)))
        start.log.write(Log("info", "started", {"incarnation": incarnation}), clock.at())
        for notice in start.notices:
            start.log.write(Log("warning", "fallback", {"what": notice}), clock.at())
        await plugged.start(nursery, self._desk, partial(self._retire, nursery), self._let_go)
        self._plugged = plugged
        return plugged

    def _let_go(self) -> None:
        self._forget = True
        self._scope.cancel()

    async def _go_on(self, nursery: trio.Nursery, start: _Start, clock: Clock) -> None:
        """An enrolled node: running is enough; peers come when they come."""
        assert start.member is not None
        if self.join is not None and self.join.place is not None:
            own = [name_of(sock) for sock in start.listeners.overlay_tcp]
            await same_overlay(self.join.place, start.member.overlay_id, self._lookup(), own)
        plugged = await self._plug(nursery, start, clock, start.member.overlay_id)
        await plugged.engine.settled()  # the restart is counted before anybody hears of it
        self.report.ready(f"up as {plugged.describe()}")
        zone = start.member.root.zone if start.member.root is not None else start.member.place
        nursery.start_soon(self._stay_in, plugged, parse_where(start.member.place or zone))

    async def _stay_in(self, plugged: Plugged, place: Place) -> None:
        """While nobody is connected, or this cluster knows no other, remembered peers and then the place are tried, for ever.

        On the LAN the node itself looks.
        """
        pause = LONELY
        root = plugged.node.trust.root
        if isinstance(place, Lan) and root is not None:
            place = Domain(root.zone)
        while True:
            await trio.sleep(pause)
            if not plugged.astray:
                pause = LONELY
                continue
            pause = min(2 * pause, LONELY_MOST)
            goal = Goal(place=place, overlay_id=plugged.node.setup.overlay_id, steadfast=True)

            async def reach(way: WayIn, overlay_id: bytes) -> None:
                if way.key == plugged.node.identity.exchange_public:
                    raise PeerError("that is this node itself", "", rule="own-key")
                await plugged.reach(way.key, way.addresses)

            entry = Entry(goal, reach, lambda line: None, lookup=self._lookup())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_peers, plugged, nursery.cancel_scope)
                nursery.start_soon(watch, entry.hurry)
                try:
                    await entry.run()
                except TrustError as why:
                    plugged.engine.let_out((Log("warning", "way-in", {"what": why.what}),))
                    await trio.sleep(60)
                nursery.cancel_scope.cancel()

    # -- a newcomer

    async def _enter(self, nursery: trio.Nursery, start: _Start, clock: Clock, began: float) -> None:
        assert self.join is not None
        scope = trio.move_on_after(self.join.timeout if self.join.timeout is not None else float("inf"))
        late: OverlayError = ReachError("nobody answered in time", "check the network, or try again with a longer --timeout", rule="timeout")
        with scope:
            pinned = self.join.known_id or (start.member.overlay_id if start.member is not None else None)
            links = partial(self._links, start.listeners)
            entry = Entry(
                self._goal(pinned, bool(links())), partial(self._knock, nursery, start, clock), self.report.progress, lookup=self._lookup(),
                ask_lan=partial(ask_lan, links, entropy=os.urandom, counters=self._entrance, notice=self.report.progress), at=clock.at,
            )
            late = entry.plan.unreached()
            try:
                async with trio.open_nursery() as entering:
                    entering.start_soon(watch, entry.hurry)
                    entered = await entry.run()
                    entering.cancel_scope.cancel()
            finally:
                late = entry.plan.unreached()
            plugged = self._plugged
            assert plugged is not None
            await start.store.commit(homes.pinned(entered.overlay_id, self._place_text()))
            late = ReachError("the overlay did not let us in in time", "try again with a longer --timeout", rule="timeout")
            self._ask(plugged, start)
            await self._let_in(plugged)
            if plugged.engine.lots.trouble is not None:
                raise plugged.engine.lots.trouble
            self.report.progress("got a name and rights; fetching what the others know")
            late = ReachError("the node joined but is not usable yet", "see overlay status and overlay log", rule="timeout")
            await plugged.wait(plugged.usable, every=0.05)
            assert plugged.node.presence is not None and plugged.node.trust.root is not None
            name = plugged.node.presence.name.fqdn(plugged.node.trust.root.tld)
            self.report.ready(f"joined as {name} in {clock.now() - began:.1f} s")
            nursery.start_soon(self._stay_in, plugged, parse_where(self._place_text() or plugged.node.trust.root.zone))
        if scope.cancelled_caught:
            raise late

    async def _let_in(self, plugged: Plugged) -> None:
        """Wait for the overlay's answer, and for a person's where one has to say yes. Raises its refusal."""
        told: AdmissionAsked | None = None
        while True:
            await plugged.wait(partial(_heard_more, plugged, told))
            if plugged.refused is not None:
                raise plugged.refused
            if plugged.joined is not None:
                return
            told = plugged.asked
            if not self.report.interactive:
                raise TrustError(
                    "this overlay takes newcomers by invite only, or by a person's yes, and nobody reads the code here",
                    "ask for a token (overlay invite) and give it with --invite, or join at a terminal without --detach", rule="admission",
                )
            if told is not None:
                root = plugged.node.trust.root
                where = told.where.fqdn(root.tld) if root is not None else told.where.dotted
                self.report.progress(f"waiting to be admitted; on {where} run: overlay admit {told.code}")

    async def _knock(self, nursery: trio.Nursery, start: _Start, clock: Clock, way: WayIn, overlay_id: bytes) -> None:
        """One way in: a session to that node, and a passport that leads to the overlay."""
        assert self.join is not None
        async with self._plugging:  # two ways may be tried at the same instant: the first makes the node
            if self._plugged is None:
                await self._plug(nursery, start, clock, overlay_id)
        assert self._plugged is not None
        if self._plugged.node.setup.overlay_id != overlay_id:
            raise PeerError("it names another overlay than the first that answered", "", rule="other-overlay")
        try:
            node_id = await self._plugged.reach(way.key, way.addresses)
        finally:
            self._compare_clocks(clock, way)
        token = self.join.token
        if token is not None and token.redeemers and node_id not in token.redeemers:
            if not token.exchange:
                raise PeerError("it is not the node that redeems the token", "", rule="redeemer")
            await self._plugged.reach(token.exchange, (), through=way.key)  # by way of this one

    @staticmethod
    def _compare_clocks(clock: Clock, way: WayIn) -> None:
        """Nobody takes a statement dated well ahead, and none that has expired: better said now than found out later."""
        apart = clock.apart(way.key)
        if apart is not None and abs(apart) > limits.FUTURE:
            raise PeerError(f"this machine's clock is {span(-apart)} of that node's (it says {_date(clock.at())})", "set the clock", rule="clock")

    def _ask(self, plugged: Plugged, start: _Start) -> None:
        assert self.join is not None
        token = self.join.token
        label = self.join.label
        request = Request(
            label=label, cluster=self.join.cluster, node_id=start.identity.node_id, exact=self.join.exact, shadow=self.join.shadow,
            seed=token.signer.public if token is not None else b"",
        )
        plugged.node.join(request, token.signer if token is not None else None, frozenset(token.redeemers) if token is not None else frozenset())
        plugged.engine.step()

    def _links(self, listeners: Listeners) -> tuple[Link, ...]:
        """What leads to a LAN now."""
        return links_of(interfaces(), [name_of(sock).host for sock in listeners.overlay_udp], self.config.listen.advertise)

    def _goal(self, overlay_id: bytes | None, on_lan: bool) -> Goal:
        """``on_lan``: whether some interface leads to a LAN."""
        assert self.join is not None
        place, lan = self.join.place, self.config.lan.discovery
        if isinstance(place, Lan) and not on_lan:
            self.report.progress("no interface of this machine leads to a LAN; waiting for one")
        free = lan and self.join.token is None and self.join.cluster is None
        known = (*self.join.known, *(self.join.token.ways if self.join.token is not None else ()))
        if place is None and self.join.token is not None:
            place = Domain(self.join.token.zone)
        return Goal(place=place, overlay_id=overlay_id, known=known if overlay_id is not None else (), lan=lan, lan_first=free and on_lan)

    def _place_text(self) -> str:
        assert self.join is not None
        if self.join.place is not None:
            return str(self.join.place)
        return self.join.token.zone if self.join.token is not None else ""

    def _lookup(self) -> Lookup:
        """The resolvers that the configuration names, else the system's: whom this node may ask is one setting."""
        upstream = self.config.names.upstream
        return Lookup([parse_address(text, 53) for text in upstream] if upstream else None, counters=self._entrance)


@dataclass(frozen=True, slots=True)
class _Start:
    """What is open when the loop begins."""

    identity: Identity
    listeners: Listeners
    control: socket.socket
    store: Store
    tables: Tables
    member: homes.Membership | None
    log: LogFile
    notices: tuple[str, ...]  # listeners that did not get what they were to have
    root: Started | None  # who does what needs root


def _heard_more(plugged: Plugged, told: AdmissionAsked | None) -> bool:
    return plugged.joined is not None or plugged.refused is not None or plugged.asked != told


async def _until_peers(plugged: Plugged, scope: trio.CancelScope) -> None:
    await plugged.wait(lambda: not plugged.astray)
    scope.cancel()


def _first(group: BaseExceptionGroup[OverlayError]) -> OverlayError:
    """The first error of a group, however deep."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, OverlayError)
    return found


def forget(home: Path) -> None:
    """Let go of an overlay: state and identity are removed, configuration and log stay."""
    for name in (homes.STATE, homes.STATE + "-wal", homes.STATE + "-shm", homes.IDENTITY):
        (home / name).unlink(missing_ok=True)
    shutil.rmtree(home / "slots", ignore_errors=True)


def _date(at: float) -> str:
    """UTC, as a person reads it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def _is_ip(text: str) -> bool:
    try:
        parse_address(text, 1)
    except UsageError:
        return False
    return True

