"""A channel and its people, for tests: keys of a channel, and what they sign in an overlay of ``actors.py``.

    channel = open_channel(found(), keys=3, threshold=2)     # `app`, declared by the founder
    channel.release(1)                                       # signed by the threshold
    channel.release(1, signers=channel.keys[:1])             # rightful or not: whatever is said
    channel.now(release)                                     # by the founder, who holds `attest`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from overlay.identity.keys import Signer, digest
from overlay.name import ROOT, parse_path
from overlay.records import rights
from overlay.records.observed import Observed, Running
from overlay.records.record import Record
from overlay.records.releases import Artifact, Channel, Delta, Halt, Mirror, Now, Release, channel_path, revision_item
from overlay.wire.address import Address
from tests.records.actors import Actor, Overlay, seed


def channel_keys(count: int, ceremony: str = "") -> tuple[Signer, ...]:
    """Keys of a channel, the same for the same words."""
    return tuple(Signer.from_seed(seed(f"{ceremony}channel key {number}")) for number in range(count))


@dataclass(eq=False)
class Publishing:
    """One channel at its newest version."""

    overlay: Overlay
    name: str
    keys: tuple[Signer, ...]
    threshold: int
    record: Record

    def release(
        self, revision: int, *, signers: Sequence[Signer] | None = None, channel: Record | None = None, at: float | None = None,
        life: int | None = None, content: bytes = b"", **changed: Any,
    ) -> Record:
        """A release of an artifact that holds ``content``'s root (any words)."""
        artifacts = (Artifact(length=max(1, len(content)), root=digest(content or str(revision).encode())),)
        body = Release(**{"revision": revision, "artifacts": artifacts, **changed}).body()
        return self._say("release", body, revision, signers, channel, at, life)

    def halt(
        self, revision: int, *, lifted: bool = False, signers: Sequence[Signer] | None = None, at: float | None = None, channel: Record | None = None,
    ) -> Record:
        """A halt by one key, or what lifts it by the threshold."""
        signers = signers or self.keys[: self.threshold if lifted else 1]
        return self._say("halt", Halt(revision=revision, lifted=lifted).body(), revision, signers, channel, at, None)

    def now(self, release: Record, *, by: Actor | None = None, at: float | None = None, channel: Record | None = None, **more: Any) -> Record:
        """The freshness of that release."""
        by = by or self.overlay.founder
        body = Now(revision=int.from_bytes(release.item, "big"), release=release.digest, channel=(channel or self.record).digest).body()
        return self.overlay.statement(by, "now", channel_path(self.name), body, via=by.holds(rights.ATTEST), at=at, **more)

    def observed(self, by: Actor, where: str, stable: int, release: Record, *, at: float | None = None, **changed: Any) -> Record:
        """What that cluster says of ``release``, and what it calls stable."""
        body = Observed(**{"revision": int.from_bytes(release.item, "big"), "release": release.digest, "stable": stable, **changed}).body()
        via = by.holds(rights.ATTEST, ROOT if by is self.overlay.founder else where)
        return self.overlay.statement(by, "observed", parse_path(where), body, item=self.name.encode(), via=via, at=at)

    def _say(
        self, kind: str, body: dict[int, Any], number: int, signers: Sequence[Signer] | None, channel: Record | None, at: float | None,
        life: int | None,
    ) -> Record:
        return self.overlay.statement(
            self.keys[: self.threshold] if signers is None else list(signers), kind, channel_path(self.name), body, item=revision_item(number),
            via=channel or self.record, at=at, life=life,
        )

    def next(self, keys: Sequence[Signer], threshold: int, *, signers: Sequence[Signer], at: float | None = None, **changed: Any) -> Record:
        """The next version of the channel, signed by the founder and ``signers``."""
        body = Channel(
            version=changed.get("version", Channel.read(self.record).version + 1), keys=tuple(sorted(key.public for key in keys)),
            threshold=threshold, previous=changed.get("previous", self.record.digest),
        )
        return declare(self.overlay, self.name, body, signers, at=at)


def declare(
    overlay: Overlay, name: str, body: Channel, signers: Sequence[Signer], *, by: Actor | None = None, via: Record | None = None,
    at: float | None = None, life: int | None = None,
) -> Record:
    """A version of a channel, declared by the founder unless ``by`` says otherwise; rightful or not."""
    by = by or overlay.founder
    via = via or by.holds(rights.OWN)
    issued = int(overlay.at if at is None else at)
    return overlay.statement(
        [by.signer, *signers], "channel", channel_path(name), body.body(), item=revision_item(body.version), via=via, at=at,
        life=via.expires - issued if life is None else life,
    )


def open_channel(overlay: Overlay, name: str = "app", *, keys: int = 1, threshold: int = 1, ceremony: str = "") -> Publishing:
    """A channel of the founder's."""
    signers = channel_keys(keys, ceremony + name)
    body = Channel(version=1, keys=tuple(sorted(key.public for key in signers)), threshold=threshold)
    return Publishing(overlay, name, signers, threshold, declare(overlay, name, body, signers[:threshold]))


def said(overlay: Overlay) -> list[Record]:
    """One record of each kind that releases are made of."""
    channel = open_channel(overlay, keys=3, threshold=2)
    artifact = Artifact(length=5, root=seed("root"), platform="linux-x86_64", deltas=(Delta(base=6, length=2, root=seed("delta")),))
    full = channel.release(7, artifacts=(artifact,), lowest=3, soak=0, waves=(10, 500), urls=("http://192.0.2.1/app/r7",), note="faster")
    mirror = Mirror(revision=7, addresses=(Address("192.0.2.1", 80),), slots=3, served=9).body()
    who = overlay.member
    return [
        channel.record, channel.next(channel_keys(1), 1, signers=[*channel.keys[:2], *channel_keys(1)]), channel.release(1), full,
        channel.halt(7), channel.halt(7, lifted=True), channel.now(full),
        overlay.statement(who, "mirror", who.name or ROOT, mirror, item=b"app", via=who.own),
        overlay.statement(who, "running", who.name or ROOT, Running(revision=7, content=seed("content"), held=7).body(), item=b"app", via=who.own),
        channel.observed(overlay.founder, "eu/home", 7, full),
    ]
