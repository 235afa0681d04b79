"""What a running node does for `overlay release`, `subscribe` and `upgrade`: one handler a command (CONTRACT).

Words become values here; keys of channels stay with the commands, so what is to be signed leaves as a draft and comes back
as a record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import trio

from overlay import publishing
from overlay.cli.releasing import Releasing
from overlay.cli.words import number, optional, text, texts
from overlay.directory.view import HostEntry
from overlay.driver.control import Args, Handler
from overlay.errors import Absent, Malformed, OverlayError, ReachError, TrustError, UsageError
from overlay.identity.keys import DIGEST, KEY
from overlay.operating import REFUSED, UPGRADE
from overlay.peers import Peer
from overlay.records import kinds
from overlay.records.record import Record, parse
from overlay.records.releases import (
    KERNEL,
    MAX_KEYS,
    MAX_LENGTH,
    MAX_NOTE,
    MAX_REVISION,
    Artifact,
    Channel,
    Delta,
    Halt,
    Mirror,
    Release,
    channel_path,
)
from overlay.release import gate
from overlay.release.draft import ReleaseDraft
from overlay.release.subscription import Subscription
from overlay.reports import Reports
from overlay.summaries import announcement
from overlay.units import b64, unb64
from overlay.wire.codec import ordered
from overlay.wire.messages import Method

ANSWER: Final = 10.0  # seconds for another node to say what it does


@dataclass(slots=True)
class ReleaseDesk:
    """The desk of one running node."""

    releasing: Releasing
    reports: Reports
    session: Callable[[HostEntry], Awaitable[Peer]]

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler."""
        changing = {
            "release.channel": self.channel, "release.draft": self.draft, "release.halting": self.halting, "release.take": self.take,
            "release.publish": self.publish, "subscribe": self.subscribe, "unsubscribe": self.unsubscribe, "upgrade": self.upgrade,
        }
        reading = {"release.list": self.listing, "release.show": self.show, "release.status": self.status, "release.find": self.find}
        return {
            **{name: Handler(run) for name, run in changing.items()},
            **{name: Handler(run, reading=True) for name, run in reading.items()},
        }

    def _at(self) -> float:
        return self.releasing.engine.clock.at()

    def _channel(self, args: Args) -> str:
        channel = text(args, "channel")
        channel_path(channel)
        return channel

    # -- drafts and what comes of them

    async def channel(self, args: Args) -> object:
        """A version of a channel for its keys to sign: the first, or the next."""
        name, node = self._channel(args), self.releasing.engine.node
        keys = [unb64(key, KEY) for key in texts(args, "keys")]
        before = gate.newest_keys(self.releasing.known.said(name), self.releasing.known.floor(name))
        if not keys and before is not None:
            keys = list(before.body[1])
        if not 1 <= len(set(keys)) <= MAX_KEYS:
            raise UsageError(f"a channel has 1 to {MAX_KEYS} keys", "say --keys N", rule="channel-keys")
        held = before.body[2] if before is not None and not texts(args, "keys") else 1
        threshold = number(args, "threshold", held, 1, len(keys))
        return _shown(publishing.draft_channel(node, name, keys, threshold, self.releasing.known.floor(name), self._at()))

    async def draft(self, args: Args) -> object:
        """A release for the channel's keys to sign."""
        name = self._channel(args)
        artifacts = sorted(map(_artifact, texts(args, "artifacts")), key=lambda artifact: artifact.platform)
        if not artifacts:
            raise UsageError("a release has at least one file", "overlay release publish CHANNEL FILE", rule="release-file")
        waves = optional(args, "waves") or "default"
        if waves not in ("default", "none"):
            raise UsageError(f"--waves {waves[:20]!r} is unknown", "write default or none", rule="waves")
        return _shown(self.releasing.draft(
            name, tuple(artifacts), revision=number(args, "revision", 0, 0, MAX_REVISION), lowest=number(args, "lowest", 0, 0, MAX_REVISION),
            waves=() if waves == "none" else None, soak=None if args.get("soak") is None else number(args, "soak", 0, 0, 2**31),
            note=(optional(args, "note") or "")[:MAX_NOTE],
        ))

    async def halting(self, args: Args) -> object:
        """A halt, or what lifts it, for the channel's keys to sign."""
        name, node = self._channel(args), self.releasing.engine.node
        revision = number(args, "revision", 0, 1, MAX_REVISION)
        if all(body.revision != revision for _, body in self.releasing.known.releases(name)):
            raise Absent(f"{name} has no revision {revision}", f"overlay release list {name} shows those there are", rule="unknown-revision")
        note = (optional(args, "note") or "")[:MAX_NOTE]
        lifted = args.get("lifted") is True
        floor = self.releasing.known.floor(name)
        return _shown(publishing.draft_halt(node, name, revision, lifted=lifted, note=note, floor=floor, at=self._at()))

    async def take(self, args: Args) -> object:
        """What the keys of a channel signed: a version of it, a halt, a resume."""
        record = parse(unb64(text(args, "record")))
        if record.kind == "release":
            raise UsageError("that release comes without its octets", "overlay release publish CHANNEL FILE --signed DRAFT", rule="release-draft")
        publishing.say(self.releasing.engine.node, record, self._at())
        await self.releasing.durable([])
        self.releasing.look_soon()
        return {"ok": True}

    async def publish(self, args: Args) -> object:
        """A signed release, whose octets were copied in."""
        name, record = self._channel(args), parse(unb64(text(args, "record")))
        if record.name != channel_path(name) or record.kind != "release":
            raise UsageError("that draft is of another channel, or no release", "give the draft of this file", rule="release-draft")
        copies = {platform: names for platform, *names in (copy.split(" ") for copy in texts(args, "copies"))}
        try:
            shown = await self.releasing.publish(name, copies, record)
        except OverlayError:
            for names in copies.values():
                for copy in names:
                    self.releasing.shelf.discard(name, copy)
            raise
        addresses = self.releasing.known.addresses()
        url = f"http://{addresses[0]}/{name}/r{shown.revision}" if addresses else f"/{name}/r{shown.revision}"
        return {"channel": name, "revision": shown.revision, "length": shown.length, "root": b64(shown.root), "url": url}

    # -- taking

    async def subscribe(self, args: Args) -> object:
        """`overlay subscribe CHANNEL`."""
        name = self._channel(args)
        if name == KERNEL:
            raise UsageError("the channel kernel is this program's own", "see [release] kernel in overlay.toml", rule="channel")
        wanted = Subscription(channel=name, activate=optional(args, "activate") or "", health=optional(args, "health") or "")
        await self.releasing.durable(self.releasing.kept.subscribe(wanted))
        self.releasing.look_soon()
        return {"channel": name, "known": name in publishing.channels(self.releasing.engine.node)}

    async def unsubscribe(self, args: Args) -> object:
        """`overlay unsubscribe CHANNEL`."""
        name = self._channel(args)
        stores = self.releasing.kept.unsubscribe(name)
        if not stores:
            raise Absent(f"{name} is not subscribed here", "overlay release list shows what is", rule="not-subscribed")
        await self.releasing.durable(stores)
        self.releasing.engine.problem(f"release {name}", "")
        return {"ok": True}

    async def upgrade(self, args: Args) -> object:
        """`overlay upgrade`: look again at once; what failed may be tried again. With ``now`` no announcement is waited for."""
        wanted, urged = optional(args, "channel"), args.get("now") is True
        if optional(args, "node") is not None:
            entry = self.reports.find_node(text(args, "node"))
            if entry.node_id != self.releasing.engine.node.identity.node_id:
                return await self._upgrade_there(entry, wanted, urged)
        return {"channels": await self.releasing.upgrade(wanted, urged=urged)}

    async def _upgrade_there(self, entry: HostEntry, channel: str | None, urged: bool) -> object:
        """`overlay upgrade NODE`: ask that node, which looks whether this one may."""
        engine, name = self.releasing.engine, self.reports.full(entry.name)
        peer = await self.session(entry)
        heard, told = trio.Event(), []

        def back(body: Any, now: float, at: float) -> None:
            told.append(body)
            heard.set()

        asked = ordered({1: UPGRADE, 2: channel, 3: urged or None})
        engine.node.calling.call(peer.session, Method.OPERATE, asked, back, engine.clock.now())
        engine.step()
        with trio.move_on_after(ANSWER):
            await heard.wait()
        match told:
            case [{1: [*channels]}] if all(type(one) is str for one in channels):
                return {"name": name, "channels": channels}
            case [{2: word}] if word == REFUSED:
                raise TrustError(
                    f"{name} is not upgraded by this node's word", "it takes `operate` there: overlay grant PATH --to THIS_NODE --rights operate",
                    rule="R07",
                )
            case [{2: "not-subscribed"}]:
                raise Absent(f"{channel or 'no channel'} is not subscribed on {name}", "overlay subscribe CHANNEL, there", rule="not-subscribed")
        raise ReachError(f"{name} did not answer", "try again; overlay why shows the paths that were tried", rule="operate")

    # -- looking

    async def listing(self, args: Args) -> object:
        """`overlay release list [CHANNEL]`."""
        wanted = optional(args, "channel")
        node = self.releasing.engine.node
        names = [name for name in publishing.channels(node) if wanted in (None, name)]
        if wanted is not None and not names:
            raise Absent(f"no channel {wanted[:60]} is known", "overlay release list shows those there are", rule="unknown-channel")
        rows: list[dict[str, Any]] = []
        for name in names:
            rows += [self._row(name, record, body) for record, body in self.releasing.known.releases(name)] or [{"channel": name, "revision": None}]
        return rows

    def _row(self, channel: str, record: Record, body: Release) -> dict[str, Any]:
        said = self.releasing.known.said(channel)
        keys = gate.newest_keys(said, self.releasing.known.floor(channel))
        artifact = self.releasing.known.artifact(body) or body.artifacts[0]
        return {
            "channel": channel, "revision": body.revision, "length": artifact.length, "root": b64(artifact.root), "issued": record.issued,
            "note": body.note, "held": self.releasing.shelf.holds(channel, body.revision, artifact.length),
            "halted": keys is not None and gate.halted(said, keys, body.revision),
        }

    async def show(self, args: Args) -> object:
        """`overlay release show CHANNEL [N]`."""
        name = self._channel(args)
        found = self.releasing.known.releases(name)
        revision = number(args, "revision", found[0][1].revision if found else 1, 1, MAX_REVISION)
        for record, body in found:
            if body.revision == revision:
                return {
                    **self._row(name, record, body), "digest": b64(record.digest), "expires": record.expires, "lowest": body.lowest,
                    "soak_s": body.soak, "waves": "default" if body.waves is None else list(body.waves), "urls": list(body.urls),
                    "signed_by": [b64(key) for key, _ in record.sigs],
                    "artifacts": [
                        {
                            "platform": one.platform, "length": one.length, "root": b64(one.root),
                            "deltas": [{"base": delta.base, "length": delta.length, "root": b64(delta.root)} for delta in one.deltas],
                        }
                        for one in body.artifacts
                    ],
                }
        raise Absent(f"{name} has no such revision", "overlay release list shows those there are", rule="unknown-revision")

    async def find(self, args: Args) -> object:
        """Which releases have that length and root: `overlay release verify`."""
        length, root = number(args, "length", 0, 0, MAX_LENGTH), unb64(text(args, "root"), DIGEST)
        rows = []
        for name in publishing.channels(self.releasing.engine.node):
            for record, body in self.releasing.known.releases(name):
                if any((one.length, one.root) == (length, root) for one in body.artifacts):
                    rows.append(self._row(name, record, body))
        return {"releases": rows}

    async def status(self, args: Args) -> object:
        """`overlay release status CHANNEL [--why]`."""
        name = self._channel(args)
        releasing, at = self.releasing, self._at()
        said = releasing.known.said(name)
        mark = releasing.kept.channels.get(name)
        if not said and (mark is None or mark.subscription is None):
            raise Absent(f"no channel {name} is known", "overlay release list shows those there are", rule="unknown-channel")
        current = mark.current if mark is not None else None
        own = releasing.engine.node.presence
        decision = gate.decide(
            said, mark.floor if mark is not None else None, at, current.revision if current is not None else 0, here=own.cluster if own else None,
        )
        keys = gate.newest_keys(said, mark.floor if mark is not None else None)
        body = kinds.read(keys) if keys is not None else None
        halts = sorted({r.body[1] for r in said if r.kind == "halt" and keys is not None and gate.halted(said, keys, r.body[1])})
        why = decision.why
        if mark is not None and mark.subscription is not None:
            why = releasing.todo(name, decision).why
        newest = decision.coming or decision.release
        return {
            "channel": name, "subscribed": mark is not None and mark.subscription is not None,
            "newest": newest.body[1] if newest is not None else None, "revision": current.revision if current is not None else None,
            "state": releasing.state.get(name, "") or ("current" if not why else "waiting"), "rule": why,
            "reason": gate.REASONS.get(why, mark.last.what if why == "failed" and mark is not None and mark.last is not None else ""),
            "halted": halts, "failed": sorted(set(mark.bad.values())) if mark is not None else [],
            "keys": {
                "version": body.version, "threshold": body.threshold, "keys": [b64(key) for key in body.keys], "expires": keys.expires,
                "warning": keys.expires - at < gate.EXPIRY_WARNING,
            } if isinstance(body, Channel) and keys is not None else None,
            "mirrors": self._mirrors(name), **announcement(said, newest, self.reports.full, at),
        }

    def _mirrors(self, channel: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for record in self.releasing.known.said(channel):
            mirror = kinds.read(record)
            if isinstance(mirror, Mirror) and not mirror.withdrawn:
                rows.append({
                    "name": record.name.dotted, "revision": mirror.revision, "addresses": [str(address) for address in mirror.addresses],
                    "slots": mirror.slots, "served": mirror.served,
                })
        return sorted(rows, key=lambda row: (-row["revision"], row["name"]))


def _artifact(said: str) -> Artifact:
    """``PLATFORM LENGTH ROOT``, then ``BASE LENGTH ROOT`` of each patch."""
    try:
        platform, length, root, *rest = said.split(" ")
        patches = [rest[first : first + 3] for first in range(0, len(rest), 3)]
        deltas = tuple(Delta(base=int(base), length=int(size), root=unb64(proof, DIGEST)) for base, size, proof in patches)
        return Artifact.of(Artifact(platform=platform, length=int(length), root=unb64(root, DIGEST), deltas=deltas).value())
    except (ValueError, Malformed):
        raise UsageError(f"{said[:60]!r} is no file of a release", "overlay release publish makes them", rule="release-file") from None


def _shown(draft: ReleaseDraft) -> dict[str, Any]:
    said = kinds.read(draft.said())
    revision = said.revision if isinstance(said, Release | Halt) else None
    return {"draft": draft.text(), "says": draft.describe(), "missing": draft.missing(), "revision": revision}
