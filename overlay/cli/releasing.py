"""Releases in a running node: what it takes, gives away and vouches for (DESIGN 3.9, 3.10).

It carries: from the book to the machines of ``overlay/release/``, from there to shelf, network and commands, and back into
statements. It decides nothing about trust.

    Releasing.run
    |- _look           says what is due, when something is said of a channel, and now and then
    |- Spool.run       publishes what is put into a folder
    `- _take           one task a subscribed channel with something to do: fetch, then run
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from trio_util import RepeatedEvent

from overlay import observing, publishing
from overlay.cli.release_known import Known
from overlay.cli.release_mates import Mates
from overlay.cli.release_saying import NEVER, Saying
from overlay.cli.release_spool import Spool
from overlay.directory.book import zone_unit
from overlay.driver import release_patch
from overlay.driver.release_fetch import Fetching, Source, url_sources
from overlay.driver.release_pages import Pages, Shown, page_of
from overlay.driver.release_run import activate, healthy
from overlay.driver.release_swarm import Sharing, Swarming
from overlay.driver.releases import PLATFORMS, Shelf, patched
from overlay.driver.run import Engine
from overlay.driver.streams import CLOSED, Pipe, Streams
from overlay.errors import Absent, Malformed, OverlayError, ReachError, UsageError
from overlay.machine import Log, Store
from overlay.operating import REFUSED
from overlay.raised import OperateAsked, ReleasesChanged, Streamed, ZonesChanged
from overlay.records import kinds
from overlay.records.record import Record
from overlay.records.releases import KERNEL, Artifact, Mirror, Release
from overlay.release import gate, speech
from overlay.release.draft import ReleaseDraft
from overlay.release.gate import Decision
from overlay.release.merkle import root_of
from overlay.release.subscription import ACTIVE, FAILED, TABLE, Subscriptions, Todo
from overlay.wire.address import Address, worldwide
from overlay.wire.codec import Value

LOOK: Final = 20.0  # seconds between looks without news: dates pass, disks are mended
SOON: Final = 0.05  # seconds after news: what comes together is looked at together
AGAIN: Final = (5.0, 60.0)  # seconds: first and longest pause before sources are tried again (CONTRACT, DNS)
FEW: Final = 4  # others elsewhere that fetch it: up to so many a source serves over plain HTTP, above they share (guess)
PATIENT: Final = 5.0  # seconds, and as many as a line of SLOWEST takes, that a node waits for the one of its cluster that went for it
SLOWEST: Final = 1_000_000  # octets a second
HTTP_PORTS: Final = (80, 8053)  # where a node serves that nobody asked for another port (CONTRACT, `[listen] http`)
TOLD: Final = 0.3  # seconds for the others of the cluster to hear that this node fetches


class Releasing:
    """The releases of one node."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.engine = engine
        self.shelf = Shelf(home)
        self.counters: Counter[str] = Counter()
        self.kept = Subscriptions(engine.node.setup.stored.get(TABLE, {}))
        self.counters["drop:stored-release"] += self.kept.damaged
        self.known = Known(engine, self.shelf, self.kept)
        self.mates = Mates(engine, self.known.said, now=engine.clock.now)
        self.pages = Pages(self.shelf, self.known.newest, self.known.shown, self.counters, changed=self.look_soon)
        self.saying = Saying(self.known, self.pages, self.mates, self.counters)
        self.pages.hint = self.saying.hint
        self.state: dict[str, str] = {}  # channel -> what goes on, in words
        self.pushed: dict[str, RepeatedEvent] = {}
        self._news = RepeatedEvent()
        self._busy: set[str] = set()
        self._nursery: trio.Nursery | None = None
        now = engine.clock.now
        self.swarming = Swarming(self.shelf, self.counters, now=now, near=self._is_near)
        self.spool = Spool(home, self.known, self.draft, self.publish)
        self.streams = Streams(engine.node.sessions.streams, now=now, step=engine.step, accept=self._accept)
        engine.node.sessions.streams.kinds.add(speech.KIND)
        engine.subscribe(self._heard)

    def _heard(self, event: object) -> None:
        if isinstance(event, Streamed):
            self.streams.told(event.event)
        elif isinstance(event, OperateAsked) and self._nursery is not None:
            self._nursery.start_soon(self._operated, event)
        elif isinstance(event, ZonesChanged):
            if self._takes_notice(event):
                self._news.set()
        elif isinstance(event, ReleasesChanged):
            self._news.set()
            if event.channel in self.pushed:
                self.pushed[event.channel].set()

    def _takes_notice(self, event: ZonesChanged) -> bool:
        """Whether that may be news of what a mate runs."""
        own = self.engine.node.presence
        return own is not None and zone_unit(own.cluster) in event.units and bool(self.kept.channels or self.saying.observing.standings)

    def _is_near(self, node_id: bytes) -> bool:
        peer, own = self.engine.node.peers.by_node(node_id), self.engine.node.presence
        return peer is not None and peer.passport is not None and own is not None and peer.passport.cluster == own.cluster

    def _accept(self, pipe: Pipe) -> None:
        """A stream for a release."""
        if self._nursery is None:
            self.streams.streaming.reset(pipe.session, pipe.stream, CLOSED, self.engine.clock.now())
        else:
            self._nursery.start_soon(self._serve, pipe)

    async def _serve(self, pipe: Pipe) -> None:
        peer = self.engine.node.peers.peers.get(pipe.session)
        wanted = speech.read_head(pipe.head)
        sharing = None
        if wanted is not None:
            channel, revision, root = wanted
            for _, body in self.known.releases(channel):
                for artifact in body.artifacts if body.revision == revision else ():
                    if artifact.root == root:
                        sharing = self.swarming.find(channel, revision, artifact.length, root, self.known.kind_of(body, artifact))
        if peer is None or peer.passport is None:
            await pipe.aclose()
        else:
            await self.swarming.serve(pipe, peer.passport.node_id, sharing)

    def look_soon(self) -> None:
        """Something changed here."""
        self._news.set()

    # -- the run

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.spool.run)
            await self.durable(self.kept.started(KERNEL, self.engine.clock.at()))
            while True:
                wake = self._look(nursery)
                with trio.move_on_after(max(0.0, min(LOOK, wake - self.engine.clock.now()))):
                    await self._news.wait()
                await trio.sleep(SOON)

    def _look(self, nursery: trio.Nursery) -> float:
        """Say what is due and do what is to be done; when to look again at the latest."""
        if self.engine.node.presence is None:
            return NEVER
        wake = self.saying.look()
        self.engine.step()
        for wanted in self.kept.subscribed():
            if wanted.channel not in self._busy:
                self._busy.add(wanted.channel)
                nursery.start_soon(self._take, wanted.channel)
        return wake

    async def durable(self, stores: list[Store]) -> None:
        """Make it last before anything else is done."""
        if stores:
            self.engine.node.keep(*stores)
        self.engine.step()
        await self.engine.settled()

    def todo(self, channel: str, decision: Decision) -> Todo:
        """What is to be done with a channel: first with what may be installed, then with what is to come."""
        todo = self._one(channel, decision)
        if todo.act or decision.coming is None:
            return todo
        return self._one(channel, replace(decision, release=decision.coming, coming=None, why="G10"))

    def _one(self, channel: str, decision: Decision) -> Todo:
        artifact = self.known.artifact(decision.body) if decision.release is not None else None
        held = artifact is not None and self.shelf.holds(channel, decision.body.revision, artifact.length)
        return self.kept.todo(channel, decision, held, PLATFORMS if artifact is None else (artifact.platform,))

    def look(self, channel: str) -> tuple[Decision, list[Store]]:
        """What may be installed here, and what must be durable before anything is done about it."""
        own = self.engine.node.presence
        return self.kept.look(channel, self.known.said(channel), self.engine.clock.at(), own.cluster if own is not None else None)

    async def _take(self, channel: str) -> None:
        """Do what is to be done with a subscribed channel, until there is nothing."""
        pause = AGAIN[0]
        news = self.pushed.setdefault(channel, RepeatedEvent())
        try:
            while self.kept.of(channel).subscription is not None:
                decision, stores = self.look(channel)
                await self.durable(stores)
                todo = self.todo(channel, decision)
                self._tell(channel, todo)
                if not todo.act:
                    return
                try:
                    await (self._fetch(channel, todo) if todo.act == "fetch" else self._run(channel, todo))
                    pause = AGAIN[0]
                except ReachError as why:
                    self.state[channel] = why.what
                    with trio.move_on_after(pause * (0.75 + os.urandom(1)[0] / 512)):
                        await news.wait()
                    pause = min(2 * pause, AGAIN[1])
        except (OverlayError, OSError) as why:
            what = why.what if isinstance(why, OverlayError) else str(why)
            self.state[channel] = what
            self.engine.problem(f"release {channel}", what)
        finally:
            self._busy.discard(channel)

    def _tell(self, channel: str, todo: Todo) -> None:
        """What a person should know: told once, and taken back when it is over."""
        mark = self.kept.of(channel)
        line = ""
        if todo.why in ("G03", "G06"):
            line = gate.REASONS[todo.why]
        elif todo.why == "failed" and mark.last is not None:
            line = f"r{mark.last.revision} failed: {mark.last.what}; {f'r{mark.current.revision}' if mark.current else 'what was there'} stays"
        elif todo.why == "platform":
            line = f"r{todo.decision.body.revision} has nothing for {PLATFORMS[0]}"
        self.engine.problem(f"release {channel}", line)
        self.state[channel] = {"fetch": "fetching", "run": "running"}.get(todo.act, "")

    def sources(self, channel: str, body: Release, artifact: Artifact) -> list[Source]:
        """Who gives a release away: mirrors of this cluster, then those with most free places, ties by chance, then what it says itself."""
        node, own = self.engine.node, self.engine.node.presence
        lan = node.belonging.near() if node.belonging is not None else {}
        path = page_of(channel, body, artifact)
        found: list[tuple[tuple[bool, int, int], list[Source]]] = []
        for record in self.known.said(channel):
            mirror = kinds.read(record) if record.kind == "mirror" and record.signer != node.identity.node_id else None
            if isinstance(mirror, Mirror) and not mirror.withdrawn and not mirror.partial and mirror.revision == body.revision:
                far = own is None or record.name.parent != own.cluster
                order = (far, -mirror.slots, os.urandom(1)[0])
                addresses = sorted(mirror.addresses, key=lambda address: not worldwide(address.host)) if far else mirror.addresses
                if not far:  # on our LAN, where no record says how it is reached
                    ports = list(dict.fromkeys([*(address.port for address in mirror.addresses), *HTTP_PORTS]))
                    near = [Address(host, port) for host in lan.get(record.signer, ()) for port in ports]
                    addresses = list(dict.fromkeys([*near, *addresses]))
                found.append((order, [Source(address, path) for address in addresses]))
        seen = [vote.said for vote in gate.votes_of(self.known.said(channel)).values() if vote.said.revision == body.revision]
        told = [Source(address, path) for said in seen for address in said.addresses]
        listed = [source for _, sources in sorted(found, key=lambda entry: entry[0]) for source in sources]
        named = [one._replace(path=path) if one.path == f"/{channel}/r{body.revision}" else one for one in url_sources(body.urls)]
        own_addresses = self.known.addresses()
        return [source for source in dict.fromkeys((*listed, *told, *named)) if source.address not in own_addresses]

    async def _fetch(self, channel: str, todo: Todo) -> None:
        assert todo.artifact is not None
        body = todo.decision.body
        if not await self._patched(channel, body, todo.artifact):
            await self._whole(channel, body, todo.artifact)
        self.counters["releases_fetched"] += 1
        self.engine.let_out((Log("info", "release-here", {"channel": channel, "revision": body.revision}),))
        self._news.set()

    async def _whole(self, channel: str, body: Release, artifact: Artifact) -> None:
        """One of a cluster goes far for it, the others come to that one: plain HTTP where few want it and it is reached, else from mates.

        Streams go where HTTP cannot, and spare a source that many ask; each octet costs a hundred times as much CPU
        (benchmarks/README.md), so they are the second way.
        """
        fetching = Fetching(self.shelf, channel, body.revision, artifact, lambda: self.sources(channel, body, artifact), self.counters)
        now, news = self.engine.clock.now, self.pushed.setdefault(channel, RepeatedEvent())
        self.mates.fetching[channel] = body.revision
        try:
            if self.mates.company():
                self.saying.offer(channel)
                self.engine.step()
                await trio.sleep(TOLD)
            until = now() + PATIENT + artifact.length / SLOWEST
            while self.mates.around(channel, body.revision).waits and now() < until:
                with trio.move_on_after(0.5):
                    await news.wait()
            around = self.mates.around(channel, body.revision)
            if around.near_whole or around.crowd <= FEW:
                try:
                    await fetching.run()
                    return
                except ReachError as why:
                    self.state[channel] = why.what
            link = partial(self.mates.link, channel, body.revision, self._join)
            if not await self.swarming.fetch(channel, body.revision, artifact.length, artifact.root, link=link):
                await fetching.run()
        finally:
            del self.mates.fetching[channel]

    def _join(self, sharing: Sharing, nursery: trio.Nursery, session: int, node_id: bytes) -> None:
        try:
            pipe = self.streams.open(session, speech.KIND, speech.head(sharing.channel, sharing.revision, sharing.root))
        except trio.BrokenResourceError:
            return  # its session is over
        nursery.start_soon(self.swarming.join, sharing, pipe, node_id)

    async def _patched(self, channel: str, body: Release, artifact: Artifact) -> bool:
        """Make it of a revision that is here, where there is a patch for that. False where the whole must come."""
        here = {base.revision: self.known.artifact(base) for _, base in self.known.releases(channel)}
        for delta in sorted(artifact.deltas, key=lambda delta: delta.length):
            base = here.get(delta.base)
            if base is None or release_patch.library() is None or not self.shelf.holds(channel, delta.base, base.length):
                continue
            kind = f".from-{delta.base}"
            try:
                if not self.shelf.holds(channel, body.revision, delta.length, kind):
                    sources = partial(self.sources, channel, body, artifact)
                    await Fetching(self.shelf, channel, body.revision, delta, sources, self.counters, kind).run()
                made = partial(patched, self.shelf, channel, delta, body.revision, artifact)
                await trio.to_thread.run_sync(made)
            except (ReachError, Malformed, Absent):
                self.counters["patches_failed"] += 1  # the whole travels instead
                continue
            self.counters["patches_applied"] += 1
            return True
        return False

    async def _run(self, channel: str, todo: Todo) -> None:
        """Run the command of a revision, once."""
        assert todo.artifact is not None
        body, clock = todo.decision.body, self.engine.clock
        wanted = self.kept.of(channel).subscription
        path = self.shelf.place(channel, body.revision)
        try:
            hashes = await trio.to_thread.run_sync(self.shelf.hashes, path)
            whole = root_of(hashes) == todo.artifact.root
        except OSError:
            whole = False
        if not whole:  # the disk did not keep it: it comes again
            path.unlink(missing_ok=True)
            raise ReachError(f"{path} is damaged", "it is fetched again by itself", rule="release-damaged")
        outcome, stores = self.kept.begins(channel, todo.decision, clock.at())
        await self.durable(stores)
        if outcome is None or wanted is None:
            return
        what = ""
        if wanted.activate:
            what = await activate(wanted.activate, file=path, channel=channel, revision=body.revision)
        if not what and wanted.health:
            what = await healthy(wanted.health)
        ended = replace(outcome, state=FAILED if what else ACTIVE, what=what)
        await self.durable(self.kept.ended(channel, ended, clock.at()))
        if what:
            self.counters["releases_failed"] += 1
            self.engine.let_out((Log("error", "release-failed", {"channel": channel, "revision": body.revision, "what": what}),))
        else:
            self.counters["releases_run"] += 1
            self.engine.let_out((Log("info", "release-active", {"channel": channel, "revision": body.revision}),))
            await trio.to_thread.run_sync(self.shelf.keep_only, channel, body.revision)

    async def upgrade(self, wanted: str | None, *, urged: bool) -> list[str]:
        """Look again at once, and try again what failed; ``urged``: wait for no announcement. The channels that were meant."""
        names = [one.channel for one in self.kept.subscribed() if wanted in (None, one.channel)]
        if not names:
            raise Absent(f"{wanted or 'no channel'} is not subscribed here", "overlay subscribe CHANNEL", rule="not-subscribed")
        for name in names:
            await self.durable(self.kept.again(name))
            if urged:
                self.kept.urge(name)
            if name in self.pushed:
                self.pushed[name].set()
        self._news.set()
        return names

    async def _operated(self, asked: OperateAsked) -> None:
        """Somebody wants this node upgraded."""
        body: Value = {2: REFUSED}
        try:
            if asked.rightful:
                body = {1: [*await self.upgrade(asked.channel or None, urged=asked.urged)]}
                self.engine.let_out((Log("info", "operated", {"name": asked.asker.dotted, "channel": asked.channel or "all"}),))
        except Absent as why:
            body = {2: why.rule}
        self.engine.node.sessions.reply(asked.session, asked.ticket, body, self.engine.clock.now())
        self.engine.step()

    # -- publishing

    def draft(self, channel: str, artifacts: tuple[Artifact, ...], **said: Any) -> ReleaseDraft:
        """A release for the channel's keys to sign: the next revision where ``said`` names none. Its home is this cluster, where that tries it."""
        node, at = self.engine.node, self.engine.clock.at()
        revision = said.pop("revision", 0) or publishing.highest(node, channel) + 1
        at_once = said.get("waves") == () and said.get("soak") == 0
        body = Release(
            revision=revision, artifacts=artifacts, home=None if at_once else observing.home_of(node, channel, at),
            urls=tuple(f"http://{address}/{channel}/r{revision}" for address in self.known.addresses()[:1]), **said,
        )
        return publishing.draft_release(node, channel, body, self.known.floor(channel), at)

    async def publish(self, channel: str, copies: Mapping[str, Sequence[str]], record: Record) -> Shown:
        """Take what was copied in and signed, and say it. ``copies``: by platform the name of the copy, then those of its patches."""
        node, at = self.engine.node, self.engine.clock.at()
        node.trust.judge(record, at, node.book.links.get)
        body = kinds.read(record)
        if not isinstance(body, Release):
            raise Malformed("that is no release", rule="release-draft")
        if any(held.revision == body.revision and gate.content_of(held) != gate.content_of(body) for _, held in self.known.releases(channel)):
            what = f"another r{body.revision} of {channel} has been published meanwhile"
            raise UsageError(what, "publish this one anew: it gets the next number", rule="revision-taken")
        for artifact in body.artifacts:
            names = copies.get(artifact.platform, ())
            if len(names) != 1 + len(artifact.deltas):
                raise UsageError(f"what is for {artifact.platform} is missing", "give all the files of the draft", rule="release-draft")
            kind = self.known.kind_of(body, artifact)
            await trio.to_thread.run_sync(self.shelf.adopt, channel, names[0], body.revision, artifact.length, artifact.root, kind)
            for copy, delta in zip(names[1:], artifact.deltas, strict=True):
                adopt = partial(self.shelf.adopt, channel, copy, body.revision, delta.length, delta.root, f"{kind}.from-{delta.base}")
                await trio.to_thread.run_sync(adopt)
        publishing.say(node, record, at)
        self.saying.publish(channel)
        await self.durable([])
        self._news.set()
        shown = self.known.shown(channel, body.revision)
        assert shown is not None
        return shown
