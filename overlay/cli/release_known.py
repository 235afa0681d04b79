"""What a running node knows of channels, and what of them lies on its shelf: read by whoever fetches, serves, says or is asked.

It changes nothing. What counts is decided by ``overlay/release/gate.py`` over the records of the book.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from overlay import publishing
from overlay.driver.listen import name_of
from overlay.driver.release_pages import Shown
from overlay.driver.releases import PLATFORMS, Shelf, main_of
from overlay.driver.run import Engine
from overlay.records import kinds
from overlay.records.record import Record
from overlay.records.releases import Artifact, Release
from overlay.release import gate
from overlay.release.gate import artifact_for
from overlay.release.subscription import Subscriptions
from overlay.wire.address import Address


class Known:
    """The releases that one node knows."""

    def __init__(self, engine: Engine, shelf: Shelf, kept: Subscriptions) -> None:
        self.engine = engine
        self.shelf = shelf
        self.kept = kept

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
        named = {record.body[2] for record in self.said(channel) if record.kind == "now"}
        for record in sorted(self.said(channel), key=lambda r: (r.digest not in named, r.digest)):
            body = kinds.read(record) if record.kind == "release" and keys is not None and record.via == keys.digest else None
            if isinstance(body, Release):
                found.setdefault(body.revision, (record, body))
        return [found[revision] for revision in sorted(found, reverse=True)]

    def artifact(self, body: Release) -> Artifact | None:
        """What of a release is meant for this machine."""
        return artifact_for(body, PLATFORMS) or (body.artifacts[0] if len(body.artifacts) == 1 else None)

    def kind_of(self, body: Release, artifact: Artifact) -> str:
        """As what an artifact lies on the shelf: by the plain name what is for this machine."""
        return "" if artifact.platform == main_of([one.platform for one in body.artifacts]) else f".for-{artifact.platform}"

    def shown(self, channel: str, revision: int, platform: str = "") -> Shown | None:
        """A release whose octets are here: what is for this machine, or for ``platform``."""
        for record, body in self.releases(channel):
            if body.revision != revision:
                continue
            artifact = artifact_for(body, (platform or main_of([one.platform for one in body.artifacts]),))
            kind = self.kind_of(body, artifact) if artifact is not None else ""
            if artifact is not None and self.shelf.holds(channel, revision, artifact.length, kind):
                return Shown(channel, revision, artifact.length, artifact.root, partial(self._records, channel, record), artifact.deltas, kind)
        return None

    def held(self, channel: str) -> Shown | None:
        """The newest release whose octets are here, and that is not halted."""
        return self._newest(channel, 2**31)

    def newest(self, channel: str) -> Shown | None:
        """The same of those that strangers hear of: announced, and, where this node takes the channel, running here."""
        said, mark = self.said(channel), self.kept.channels.get(channel)
        most = max((body.revision for record, body in self.releases(channel) if gate.announced(said, record)), default=0)
        if mark is not None and mark.subscription is not None:
            most = min(most, mark.current.revision if mark.current is not None else 0)
        return self._newest(channel, most)

    def _newest(self, channel: str, most: int) -> Shown | None:
        said = self.said(channel)
        keys = gate.newest_keys(said, self.floor(channel))
        for _, body in self.releases(channel):
            shown = self.shown(channel, body.revision) if body.revision <= most else None
            if shown is not None and keys is not None and not gate.halted(said, keys, body.revision):
                return shown
        return None

    def _records(self, channel: str, release: Record) -> Sequence[bytes]:
        """A release, what vouches for it, and all that both stand on up to the root: enough to judge it with the overlay's id alone."""
        book = self.engine.node.book
        said = [r for r in self.said(channel) if r.kind in ("channel", "halt", "now")]
        named = {r.body[2] for r in said if r.kind == "now"}
        newer = [record for record, _ in self.releases(channel) if record.digest in named]
        bodies = [kinds.read(record) for record in (release, *newer)]
        homes = {body.home for body in bodies if isinstance(body, Release)}
        words = [vote.record for path, vote in gate.votes_of(self.said(channel)).items() if path in homes]
        told = (release, *newer, *words, *said)
        chain = {link.digest: link for record in told for link in book.chain_of(record)}
        roots = self.engine.node.trust.roots
        return list(dict.fromkeys(record.raw for record in (*told, *chain.values(), *roots)))

    def addresses(self) -> tuple[Address, ...]:
        """Where others reach this node's HTTP."""
        presence = self.engine.node.presence
        hosts = tuple(dict.fromkeys(address.host for address in presence.addresses)) if presence is not None else ()
        found = []
        for bound in map(name_of, self.engine.listeners.http):
            found += [Address(host, bound.port) for host in hosts if bound.host in (host, "0.0.0.0" if ":" not in host else "::")]
        return tuple(dict.fromkeys(found))[:4]
