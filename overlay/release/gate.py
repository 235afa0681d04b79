"""What a subscriber may install of a channel: TUF's rules over records that the book has judged (DESIGN 3.9).

It decides which version of the channel's keys counts, which release is the newest, and why it may not be installed, where
it may not. It keeps no state: the *floor* comes in, and goes out raised; who calls makes it durable before acting on the
rest. Who may say what is judged in ``overlay/records/channels.py`` already.

| rule | says |
|---|---|
| G01 | the first version of the keys that is seen is pinned; a later one counts where each is signed by a threshold of the one before |
| G02 | what is said under an older version of the keys counts no more, once a newer one is known |
| G03 | past the date of its keys nothing of a channel is installed |
| G04 | only what a fresh `now` names is installed: the highest of those named |
| G05 | no revision below the highest that was ever named here, under the same keys |
| G06 | one revision, one content: what was seen first |
| G07 | not what is halted, until a threshold lifts it |
| G08 | not over a revision below the lowest that it may replace |
| G09 | time never goes back behind what the channel's own records prove |
| G10 | what its publisher's cluster (its *home*) is to see stable is installed elsewhere once that has announced it; until then what stood before |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from overlay import limits
from overlay.errors import Malformed
from overlay.identity.keys import DIGEST, digest
from overlay.name import Path
from overlay.records import kinds
from overlay.records.channels import follows
from overlay.records.observed import Observed, Vote, votes
from overlay.records.record import MAX_TIME, Record, parse
from overlay.records.releases import MAX_REVISION, Artifact, Channel, Halt, Now, Release
from overlay.units import DAY
from overlay.wire.codec import Fields, decode, encode

EXPIRY_WARNING: Final = 90 * DAY  # before the channel's own end: DESIGN 3.9, research/release 6

# Why nothing is installed, in words for people; the key is the rule.
REASONS: Final = {
    "G00": "nothing is published in this channel",
    "G03": "the channel's keys are past their date: whoever holds them must renew it (overlay release init CHANNEL)",
    "G04": "nobody has vouched lately that this is the newest: a node with `attest` on the root must be up",
    "G05": "what is called the newest is older than what was seen before",
    "G06": "one revision was published twice with different content",
    "G07": "the revision is halted",
    "G08": "it may not replace what is installed here",
    "G10": "its publisher's cluster has not announced it yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Below what a channel never goes back here. ``channel`` is the record of its keys, whole; ``at`` UTC seconds."""

    channel: bytes
    revision: int = 0
    content: bytes = b""  # of that revision: `content_of`
    at: int = 0

    def row(self) -> bytes:
        """As it is stored."""
        return encode([self.channel, self.revision, self.content, self.at])

    @classmethod
    def from_row(cls, row: bytes) -> Floor:
        """The inverse; ``Malformed`` where the disk did not keep it."""
        value = decode(row, limit=4_096)
        if type(value) is not list or len(value) != 4:
            raise Malformed("a floor has four parts", rule="stored-floor")
        fields = Fields(dict(enumerate(value)), "stored floor")
        channel = fields.binary(0, 1, limits.RECORD)
        if not isinstance(kinds.read(parse(channel)), Channel):
            raise Malformed("a floor stands on a channel", rule="stored-floor")
        return cls(
            channel=channel, revision=fields.integer(1, 0, MAX_REVISION), content=fields.binary(2, 0, DIGEST), at=fields.integer(3, 0, MAX_TIME),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the records say. ``release`` is the newest, where one is known; it may be installed where ``why`` is empty.

    ``coming``: a newer one that is not announced yet; its octets may be fetched.
    """

    floor: Floor | None
    release: Record | None = None
    why: str = ""  # a rule of REASONS
    keys_end: int = 0  # UTC seconds: when the channel's keys are past their date
    coming: Record | None = None

    @property
    def body(self) -> Release:
        """The release as a value."""
        assert self.release is not None
        body = kinds.read(self.release)
        assert isinstance(body, Release)
        return body


def content_of(body: Release) -> bytes:
    """What one revision is, whoever signs it: its artifacts, without the ways to make them from others."""
    return digest(encode([replace(artifact, deltas=()).value() for artifact in body.artifacts]))


def artifact_for(body: Release, platforms: Sequence[str]) -> Artifact | None:
    """The artifact of the first of these platforms that there is one for."""
    held = {artifact.platform: artifact for artifact in body.artifacts}
    return next((held[platform] for platform in platforms if platform in held), None)


def decide(
    records: Iterable[Record], floor: Floor | None, at: float, installed: int = 0, *, here: Path | None = None, urged: bool = False,
) -> Decision:
    """What may be installed at ``at`` (UTC seconds), of the ``records`` that the book holds of one channel.

    ``here`` is the own cluster; a person who has ``urged`` this node waits for no announcement.
    """
    records = list(records)
    keys = newest_keys(records, floor)
    if keys is None:
        return Decision(floor=floor, why="G00")
    rotated = floor is None or floor.channel != keys.raw
    floor = Floor(channel=keys.raw, at=floor.at if floor is not None else 0) if rotated or floor is None else floor
    at = max(at, floor.at)  # G09
    decision = Decision(floor=floor, keys_end=keys.expires)
    if keys.expired(at):
        return replace(decision, why="G03")
    releases = {r.digest: r for r in records if r.kind == "release" and r.via == keys.digest and not r.expired(at)}
    if not releases:
        return replace(decision, why="G00")
    named, fresh = _named(records, releases, keys, at)
    if named is None:
        latest = max(releases.values(), key=lambda record: (record.item, record.issued))
        return replace(decision, release=latest, why="G06" if _displaced(records, latest, keys, at) else "G04")
    floor = replace(floor, at=min(MAX_TIME, max(floor.at, named.issued, fresh)))
    coming = None if urged or _told(records, named, floor, here) else named
    if coming is not None:
        named = _announced_last(records, releases.values(), _release(coming), floor) or coming
    body = _release(named)
    decision = replace(decision, release=named, floor=floor, coming=None if coming is named else coming)
    if body.revision < floor.revision:
        return replace(decision, why="G05")
    if body.revision == floor.revision and floor.content != content_of(body):
        return replace(decision, why="G06")
    if named is coming:
        return replace(decision, why="G10")
    decision = replace(decision, floor=replace(floor, revision=body.revision, content=content_of(body)))
    if halted(records, keys, body.revision):
        return replace(decision, why="G07")
    if installed and installed < body.lowest:
        return replace(decision, why="G08")
    return decision


def newest_keys(records: Iterable[Record], floor: Floor | None) -> Record | None:
    """G01: the newest version of the channel that leads back to the one that is pinned here."""
    declared = sorted((r for r in records if r.kind == "channel"), key=lambda r: (_channel(r).version, r.issued, r.digest))
    if floor is not None:
        current: Record | None = parse(floor.channel)
    else:
        current = _first(declared)
    while current is not None:
        held = _channel(current)
        after = next((r for r in declared if follows(r, _channel(r), current, held)), None)
        if after is None:
            return current
        current = after
    return None


def _first(declared: list[Record]) -> Record | None:
    """What to begin with where nothing is pinned: of those that follow from no other the earliest said."""
    known = {record.digest for record in declared}
    roots = [record for record in declared if _channel(record).previous not in known]
    return min(roots, key=lambda record: (record.issued, record.digest), default=None)


def _named(records: list[Record], releases: dict[bytes, Record], keys: Record, at: float) -> tuple[Record | None, int]:
    """G04: the highest release that a fresh `now` names, and the newest date of such a one. Who names what is not here is left out."""
    best: Record | None = None
    newest = 0
    for record in records:
        if record.kind != "now" or record.expired(at):
            continue
        now = kinds.read(record)
        assert isinstance(now, Now)
        found = releases.get(now.release)
        if now.channel != keys.digest or found is None or _release(found).revision != now.revision:
            continue
        newest = max(newest, record.issued)
        if best is None or (found.item, best.digest) > (best.item, found.digest):  # of two of one revision the lower digest, everywhere
            best = found
    return best, newest


def announced(records: Iterable[Record], release: Record) -> bool:
    """G10: whether the cluster that is to see a release stable has said that it did; so it is where no cluster is to."""
    body = _release(release)
    vote = votes_of(records).get(body.home) if body.home is not None else None
    if vote is None:
        return body.home is None
    return vote.said.stable == body.revision and (vote.said.revision != body.revision or vote.said.release == release.digest)


def votes_of(records: Iterable[Record]) -> dict[Path, Vote]:
    """What clusters have seen of a channel, one vote each."""
    return votes((record, body) for record in records if record.kind == "observed" and isinstance(body := kinds.read(record), Observed))


def _told(records: list[Record], release: Record, floor: Floor, here: Path | None) -> bool:
    """Whether a release needs no announcement here, or had it: what was let in once stays let in."""
    body = _release(release)
    if body.home is None or body.home == here or (body.revision, content_of(body)) == (floor.revision, floor.content):
        return True
    return announced(records, release)


def _announced_last(records: list[Record], releases: Iterable[Record], coming: Release, floor: Floor) -> Record | None:
    """What stands while ``coming`` is not announced: the highest release below it that is, or was let in here."""
    lower = [r for r in releases if floor.revision <= _release(r).revision < coming.revision]
    return max(
        (r for r in lower if announced(records, r) or (_release(r).revision, content_of(_release(r))) == (floor.revision, floor.content)),
        key=lambda r: (r.item, -r.issued, r.digest), default=None,
    )


def _displaced(records: list[Record], latest: Record, keys: Record, at: float) -> bool:
    """G06: whether another release of that number was named, whose place this one has taken: the same key has signed both."""
    nows = [kinds.read(record) for record in records if record.kind == "now" and not record.expired(at)]
    return any(
        isinstance(now, Now) and now.channel == keys.digest and now.revision == _release(latest).revision and now.release != latest.digest
        for now in nows
    )


def halted(records: Iterable[Record], keys: Record, revision: int) -> bool:
    """G07: whether one key said stop after the threshold last said go on."""
    stops, lifts = [0], [0]
    for record in records:
        if record.kind == "halt" and record.via == keys.digest:
            body = kinds.read(record)
            assert isinstance(body, Halt)
            if body.revision == revision:
                (lifts if body.lifted else stops).append(record.seq)
    return max(stops) > max(lifts)


def to_vouch(records: Iterable[Record], said: Record | None, at: float) -> tuple[Record, Record] | None:
    """(the newest keys, the release to name) for who vouches for freshness; never below what it ``said`` itself before."""
    records = list(records)
    keys = newest_keys(records, None)
    if keys is None or keys.expired(at):
        return None
    releases = [r for r in records if r.kind == "release" and r.via == keys.digest and not r.expired(at)]
    before = kinds.read(said) if said is not None else None
    if isinstance(before, Now) and before.channel == keys.digest:
        named = next((r for r in releases if r.digest == before.release), None)
        releases = [r for r in releases if _release(r).revision > before.revision] or ([named] if named is not None else [])
    newest = max(releases, key=lambda r: (r.item, -r.issued, r.digest), default=None)
    return (keys, newest) if newest is not None else None


def _channel(record: Record) -> Channel:
    body = kinds.read(record)
    assert isinstance(body, Channel)
    return body


def _release(record: Record) -> Release:
    body = kinds.read(record)
    assert isinstance(body, Release)
    return body
