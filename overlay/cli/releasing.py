"""Releases in a running node: what it takes, gives away and vouches for (DESIGN 3.9, 3.10).

It carries: from the book to the machines of ``overlay/release/``, from there to shelf, network and commands, and back into
statements. It decides nothing about trust.

    Releasing.run
    |- _watch          looks at every channel when something is said of it, and now and then
    `- _take           one task a subscribed channel with something to do: fetch, then run
"""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import trio
from trio_util import RepeatedEvent

from overlay import limits, publishing
from overlay.cli.release_mates import Mates
from overlay.driver import release_patch
from overlay.driver.http import Request
from overlay.driver.listen import name_of
from overlay.driver.release_fetch import Fetching, Source, url_sources
from overlay.driver.release_pages import Pages, Shown
from overlay.driver.release_run import activate, healthy
from overlay.driver.release_swarm import Sharing, Swarming
from overlay.driver.releases import Shelf, patched
from overlay.driver.run import Engine
from overlay.driver.streams import CLOSED, Pipe, Streams
from overlay.errors import Absent, Malformed, OverlayError, ReachError
from overlay.machine import Log, Store
from overlay.raised import ReleasesChanged, Streamed
from overlay.records import channels, kinds
from overlay.records.record import Record
from overlay.records.releases import ANY, KERNEL, Artifact, Mirror, Release
from overlay.release import gate, speech
from overlay.release.gate import Decision, artifact_for
from overlay.release.hint import LIFE, Hint
from overlay.release.merkle import root_of
from overlay.release.subscription import ACTIVE, FAILED, TABLE, Subscriptions, Todo
from overlay.units import DAY
from overlay.wire.address import Address, worldwide
from tld.download import Holder

LOOK: Final = 20.0  # seconds between looks without news: dates pass, disks are mended
SOON: Final = 0.05  # seconds after news: what comes together is looked at together
AGAIN: Final = (5.0, 60.0)  # seconds: first and longest pause before sources are tried again (CONTRACT, DNS)
FEW: Final = 4  # others elsewhere that fetch it: up to so many a source serves over plain HTTP, above they share (guess)
PATIENT: Final = 5.0  # seconds, and as many as a line of SLOWEST takes, that a node waits for the one of its cluster that went for it
SLOWEST: Final = 1_000_000  # octets a second
HTTP_PORTS: Final = (80, 8053)  # where a node serves that nobody asked for another port (CONTRACT, `[listen] http`)
TOLD: Final = 0.3  # seconds for the others of the cluster to hear that this node fetches
PLATFORMS: Final = (f"{sys.platform}-{platform.machine().lower()}", sys.platform, ANY)


class Releasing:
    """The releases of one node."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.engine = engine
        self.shelf = Shelf(home)
        self.counters: Counter[str] = Counter()
        self.kept = Subscriptions(engine.node.setup.stored.get(TABLE, {}))
        self.counters["drop:stored-release"] += self.kept.damaged
        self.pages = Pages(self.shelf, self.newest, self.shown, self.counters, hint=self._hint, changed=self.look_soon)
        self.state: dict[str, str] = {}  # channel -> what goes on, in words
        self.pushed: dict[str, RepeatedEvent] = {}
        self._news = RepeatedEvent()
        self._busy: set[str] = set()
        self._nursery: trio.Nursery | None = None
        now = engine.clock.now
        self.swarming = Swarming(self.shelf, self.counters, now=now, near=self._is_near)
        self.mates = Mates(engine, self.said, now=now)
        self.streams = Streams(engine.node.sessions.streams, now=now, step=engine.step, accept=self._accept)
        engine.node.sessions.streams.kinds.add(speech.KIND)
        engine.subscribe(self._heard)

    def _heard(self, event: object) -> None:
        if isinstance(event, Streamed):
            self.streams.told(event.event)
        elif isinstance(event, ReleasesChanged):
            self._news.set()
            if event.channel in self.pushed:
                self.pushed[event.channel].set()

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
            for _, body in self.releases(channel):
                artifact = self.artifact(body)
                if artifact is not None and (body.revision, artifact.root) == (revision, root):
                    sharing = self.swarming.find(channel, revision, artifact.length, root)
        if peer is None or peer.passport is None:
            await pipe.aclose()
        else:
            await self.swarming.serve(pipe, peer.passport.node_id, sharing)

    def look_soon(self) -> None:
        """Something changed here."""
        self._news.set()

    # -- what is known

    def said(self, channel: str) -> list[Record]:
        """All that is said of a channel."""
        return publishing.published(self.engine.node, channel)

    def floor(self, channel: str) -> gate.Floor | None:
        """Below what this node never goes back, where it takes the channel."""
        mark = self.kept.channels.get(channel)
        return mark.floor if mark is not None else None

    def releases(self, channel: str) -> list[tuple[Record, Release]]:
        """The releases of a channel under its newest keys, the highest first; of two of one revision the one that counts."""
        keys = gate.newest_keys(self.said(channel), self.floor(channel))
        found: dict[int, tuple[Record, Release]] = {}
        for record in sorted(self.said(channel), key=lambda r: r.digest):
            body = kinds.read(record) if record.kind == "release" and keys is not None and record.via == keys.digest else None
            if isinstance(body, Release):
                found.setdefault(body.revision, (record, body))
        return [found[revision] for revision in sorted(found, reverse=True)]

    def artifact(self, body: Release) -> Artifact | None:
        """What of a release is meant for this machine."""
        return artifact_for(body, PLATFORMS) or (body.artifacts[0] if len(body.artifacts) == 1 else None)

    def shown(self, channel: str, revision: int) -> Shown | None:
        """A release whose octets are here."""
        for record, body in self.releases(channel):
            artifact = self.artifact(body)
            if body.revision == revision and artifact is not None and self.shelf.holds(channel, revision, artifact.length):
                return Shown(channel, revision, artifact.length, artifact.root, partial(self._records, channel, record), artifact.deltas)
        return None

    def newest(self, channel: str) -> Shown | None:
        """The newest release whose octets are here, and that is not halted."""
        said = self.said(channel)
        keys = gate.newest_keys(said, self.floor(channel))
        for _, body in self.releases(channel):
            shown = self.shown(channel, body.revision)
            if shown is not None and keys is not None and not gate.halted(said, keys, body.revision):
                return shown
        return None

    def _records(self, channel: str, release: Record) -> Sequence[bytes]:
        """A release, what vouches for it, and all that both stand on up to the root: enough to judge it with the overlay's id alone."""
        book = self.engine.node.book
        said = [r for r in self.said(channel) if r.kind in ("channel", "halt") or (r.kind == "now" and r.body[2] == release.digest)]
        chain = {link.digest: link for record in (release, *said) for link in book.chain_of(record)}
        roots = self.engine.node.trust.roots
        return list(dict.fromkeys(record.raw for record in (release, *said, *chain.values(), *roots)))

    def _hint(self, request: Request, shown: Shown) -> bytes:
        """How to reach this node, for who fetches a release: at the address where it was asked, then elsewhere."""
        node, root = self.engine.node, self.engine.node.trust.root
        if node.presence is None or root is None:
            return b""
        here = Address(request.local.host.partition("%")[0], node.setup.port)
        addresses = tuple(dict.fromkeys([here, *node.presence.addresses]))
        told = Hint(
            overlay_id=node.setup.overlay_id, zone=root.zone, tld=root.tld, addresses=addresses, exchange=node.identity.exchange_public,
            node_id=node.identity.node_id, expires=int(self.engine.clock.at()) + LIFE, root=shown.root,
        )
        return told.trailer(node.identity.signer)

    def addresses(self) -> tuple[Address, ...]:
        """Where others reach this node's HTTP."""
        presence = self.engine.node.presence
        hosts = tuple(dict.fromkeys(address.host for address in presence.addresses)) if presence is not None else ()
        found = []
        for bound in map(name_of, self.engine.listeners.http):
            found += [Address(host, bound.port) for host in hosts if bound.host in (host, "0.0.0.0" if ":" not in host else "::")]
        return tuple(dict.fromkeys(found))[:4]

    def holders(self, channel: str) -> list[Holder] | None:
        """Who gives away a channel's releases, for the names below `download`; None where there is no such channel."""
        said = self.said(channel)
        if channel != KERNEL and all(record.kind != "channel" for record in said):
            return None
        known = {body.revision for _, body in self.releases(channel)}
        found = []
        for record in said:
            mirror = kinds.read(record)
            if isinstance(mirror, Mirror) and not mirror.withdrawn and not mirror.partial and mirror.revision in known:
                mine = record.signer == self.engine.node.identity.node_id
                slots, served = (self.pages.free, self.pages.served[channel]) if mine else (mirror.slots, mirror.served)
                hosts = tuple(dict.fromkeys(address.host for address in mirror.addresses))
                found.append(Holder(hosts, mirror.revision, slots, served, any(address.port == 80 for address in mirror.addresses)))
        return found

    # -- the run

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            while True:
                await self._look(nursery)
                with trio.move_on_after(LOOK):
                    await self._news.wait()
                await trio.sleep(SOON)

    async def _look(self, nursery: trio.Nursery) -> None:
        node = self.engine.node
        if node.presence is None:
            return
        at = self.engine.clock.at()
        for channel in publishing.channels(node):
            self._say(partial(publishing.vouch, node, channel, at))
            self._say(partial(publishing.offer, node, self._offered(channel), at))
            self._warn(channel, at)
        self.engine.step()
        for wanted in self.kept.subscribed():
            if wanted.channel not in self._busy:
                self._busy.add(wanted.channel)
                nursery.start_soon(self._take, wanted.channel)

    def _warn(self, channel: str, at: float) -> None:
        """Who declared a channel, or takes it, hears in time that its keys end: past that nothing new is installed."""
        mark = self.kept.channels.get(channel)
        keys = gate.newest_keys(self.said(channel), self.floor(channel))
        if keys is None:
            return
        mine = self.engine.node.identity.node_id in channels.signers(keys) or (mark is not None and mark.subscription is not None)
        left = keys.expires - at
        near = mine and left < min(gate.EXPIRY_WARNING, (keys.expires - keys.issued) / 4)
        line = f"its keys end in {max(0, int(left)) // DAY} days, then nothing new is installed: overlay release init {channel}" if near else ""
        self.engine.problem(f"channel {channel}", line)

    def _say(self, act: partial[bool]) -> bool:
        try:
            return act()
        except OverlayError as why:  # a right that has lapsed, a clock that is wrong: what stands goes on until its date
            self.counters[f"unsaid:{why.rule}"] += 1
            return False

    def _offered(self, channel: str) -> publishing.Offered:
        """Who holds a release gives it away; where many of a cluster do, the first few are enough, and the others stay out of the table."""
        node, newest = self.engine.node, self.newest(channel)
        fetching = self.mates.fetching.get(channel)
        if fetching is not None and (newest is None or newest.revision < fetching):
            return publishing.Offered(channel=channel, revision=fetching, partial=True)
        if newest is None or node.presence is None:
            return publishing.Offered(channel=channel)
        mates = 0
        for record in self.said(channel):
            mirror = kinds.read(record) if record.kind == "mirror" else None
            if isinstance(mirror, Mirror) and not mirror.withdrawn and not mirror.partial and mirror.revision >= newest.revision:
                mates += record.name.parent == node.presence.cluster and record.signer < node.identity.node_id
        if mates >= limits.MIRRORS:
            self.counters["mirrors_enough"] += 1
            return publishing.Offered(channel=channel)
        return publishing.Offered(
            channel=channel, revision=newest.revision, addresses=self.addresses(), slots=self.pages.free, served=self.pages.served[channel],
        )

    async def durable(self, stores: list[Store]) -> None:
        """Make it last before anything else is done."""
        if stores:
            self.engine.node.keep(*stores)
        self.engine.step()
        await self.engine.settled()

    def todo(self, channel: str, decision: Decision) -> Todo:
        """What is to be done with a channel."""
        artifact = self.artifact(decision.body) if decision.release is not None else None
        held = artifact is not None and self.shelf.holds(channel, decision.body.revision, artifact.length)
        return self.kept.todo(channel, decision, held, PLATFORMS if artifact is None else (artifact.platform,))

    async def _take(self, channel: str) -> None:
        """Do what is to be done with a subscribed channel, until there is nothing."""
        pause = AGAIN[0]
        news = self.pushed.setdefault(channel, RepeatedEvent())
        try:
            while self.kept.of(channel).subscription is not None:
                decision, stores = self.kept.look(channel, self.said(channel), self.engine.clock.at())
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

    def sources(self, channel: str, body: Release) -> list[Source]:
        """Who gives a release away: mirrors of this cluster, then those with most free places, ties by chance, then what it says itself."""
        node, own = self.engine.node, self.engine.node.presence
        lan = node.belonging.near() if node.belonging is not None else {}
        found: list[tuple[tuple[bool, int, int], list[Source]]] = []
        for record in self.said(channel):
            mirror = kinds.read(record) if record.kind == "mirror" and record.signer != node.identity.node_id else None
            if isinstance(mirror, Mirror) and not mirror.withdrawn and not mirror.partial and mirror.revision == body.revision:
                far = own is None or record.name.parent != own.cluster
                path = f"/{channel}/r{body.revision}"
                order = (far, -mirror.slots, os.urandom(1)[0])
                addresses = sorted(mirror.addresses, key=lambda address: not worldwide(address.host)) if far else mirror.addresses
                if not far:  # on our LAN, where no record says how it is reached
                    ports = list(dict.fromkeys([*(address.port for address in mirror.addresses), *HTTP_PORTS]))
                    near = [Address(host, port) for host in lan.get(record.signer, ()) for port in ports]
                    addresses = list(dict.fromkeys([*near, *addresses]))
                found.append((order, [Source(address, path) for address in addresses]))
        listed = [source for _, sources in sorted(found, key=lambda entry: entry[0]) for source in sources]
        own_addresses = self.addresses()
        return [source for source in (*listed, *url_sources(body.urls)) if source.address not in own_addresses]

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
        fetching = Fetching(self.shelf, channel, body.revision, artifact, lambda: self.sources(channel, body), self.counters)
        now, news = self.engine.clock.now, self.pushed.setdefault(channel, RepeatedEvent())
        self.mates.fetching[channel] = body.revision
        try:
            if self.mates.company():
                self._say(partial(publishing.offer, self.engine.node, self._offered(channel), self.engine.clock.at()))
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
        here = {base.revision: self.artifact(base) for _, base in self.releases(channel)}
        for delta in sorted(artifact.deltas, key=lambda delta: delta.length):
            base = here.get(delta.base)
            if base is None or release_patch.library() is None or not self.shelf.holds(channel, delta.base, base.length):
                continue
            kind = f".from-{delta.base}"
            try:
                if not self.shelf.holds(channel, body.revision, delta.length, kind):
                    sources = partial(self.sources, channel, body)
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

    # -- publishing

    async def publish(self, channel: str, name: str, record: Record, patches: Sequence[str] = ()) -> Shown:
        """Take what was copied in and signed, and say it."""
        node, at = self.engine.node, self.engine.clock.at()
        node.trust.judge(record, at, node.book.links.get)
        body = kinds.read(record)
        artifact = self.artifact(body) if isinstance(body, Release) else None
        if artifact is None or not isinstance(body, Release):
            raise Malformed("that is no release for this machine", rule="release-draft")
        await trio.to_thread.run_sync(self.shelf.adopt, channel, name, body.revision, artifact.length, artifact.root)
        for copy, delta in zip(patches, artifact.deltas, strict=True):
            adopt = partial(self.shelf.adopt, channel, copy, body.revision, delta.length, delta.root, f".from-{delta.base}")
            await trio.to_thread.run_sync(adopt)
        publishing.say(node, record, at)
        self._say(partial(publishing.vouch, node, channel, at))
        self._say(partial(publishing.offer, node, self._offered(channel), at))
        await self.durable([])
        self._news.set()
        shown = self.shown(channel, body.revision)
        assert shown is not None
        return shown
