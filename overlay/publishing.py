"""What a node says of channels: drafts for the keys of a channel, freshness, mirrors (DESIGN 3.9, 3.10).

It decides dates, numbers and rights of such statements; keys of channels are not here, so a draft leaves with this node's
own signature at most and comes back as a record. Whether a record counts is the business of ``records/trust.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from overlay.errors import Absent, TrustError, UsageError
from overlay.name import ROOT
from overlay.node import Node
from overlay.records import kinds, rights
from overlay.records.channels import SPOKEN, entitles
from overlay.records.record import Draft, Record
from overlay.records.releases import MAX_VERSION, Channel, Halt, Mirror, Now, Release, channel_path, revision_item
from overlay.release import gate
from overlay.release.draft import ReleaseDraft, release_draft
from overlay.units import DAY, HOUR, MINUTE
from overlay.wire.address import Address

VOUCH_EVERY: Final = 5 * MINUTE  # research/release 6: a `now` each 5 min, good for a day
MIRROR_LIFE: Final = HOUR
MIRROR_PAUSE: Final = 10.0  # seconds between mirror records that differ in free slots alone (guess)
RELEASE_LIFE: Final = 365 * DAY


def published(node: Node, channel: str) -> list[Record]:
    """All that is said of a channel, as far as it is known here."""
    return list(node.book.published.get(channel, {}).values())


def channels(node: Node) -> list[str]:
    """The channels that are known here."""
    return sorted(name for name, said in node.book.published.items() if any(record.kind == "channel" for record in said.values()))


def keys_of(node: Node, channel: str, floor: gate.Floor | None, at: float) -> tuple[Record, Channel]:
    """The channel's newest keys: their record, and what it says. ``Absent`` where the channel is unknown."""
    found = gate.newest_keys(published(node, channel), floor)
    if found is None:
        raise Absent(f"no channel {channel} is known", "see overlay release list; overlay release init makes one", rule="unknown-channel")
    body = kinds.read(found)
    assert isinstance(body, Channel)
    return found, body


def highest(node: Node, channel: str) -> int:
    """The highest revision that anybody has published, under whatever keys."""
    return max((int.from_bytes(record.item, "big") for record in published(node, channel) if record.kind == "release"), default=0)


# -- drafts


def draft_channel(node: Node, channel: str, keys: Iterable[bytes], threshold: int, floor: gate.Floor | None, at: float) -> ReleaseDraft:
    """The channel's first version, or the next: this node declares it, its keys and those before must sign."""
    name = channel_path(channel)
    before = gate.newest_keys(published(node, channel), floor)
    said = kinds.read(before) if before is not None else None
    held = said if isinstance(said, Channel) else None
    version = held.version + 1 if held is not None else 1
    if version > MAX_VERSION:
        raise UsageError("that channel has had too many keys", "choose another channel", rule="channel")
    body = Channel(
        version=version, keys=tuple(sorted(set(keys))), threshold=threshold, previous=before.digest if before is not None else b"",
    )
    via = _declaring(node, channel, at)
    rulers = [(1, [node.identity.node_id]), (body.threshold, body.keys), *([(held.threshold, held.keys)] if held is not None else [])]
    life = min(kinds.KINDS["channel"].life, via.expires - int(at))
    draft = _draft(node, channel, "channel", body.body(), version, via, life, rulers, at)
    assert name == draft.said().name
    draft.sign([node.identity.signer])
    return draft


def _declaring(node: Node, channel: str, at: float) -> Record:
    mine = [g for g in node.book.grants_of(node.identity.node_id, at) if g.name == ROOT and entitles(frozenset(g.body[1]), channel)]
    if not mine:
        raise TrustError(
            f"this node may not say whose keys count in {channel}",
            f"do it on the founder's node, or there: overlay grant / --to THIS_NODE --rights {rights.RELEASE}{channel}", rule="R22",
        )
    return max(mine, key=lambda g: (g.expires, g.digest))


def draft_release(node: Node, channel: str, body: Release, floor: gate.Floor | None, at: float) -> ReleaseDraft:
    """A release on its way to the channel's keys. Its revision is above all that were published."""
    keys, held = keys_of(node, channel, floor, at)
    if keys.expired(at):
        raise TrustError(f"the keys of {channel} are past their date", f"renew them: overlay release init {channel}", rule="G03")
    taken = highest(node, channel)
    if body.revision <= taken:
        raise UsageError(f"{channel} has revision {taken} already", f"publish r{taken + 1}, or leave --revision out", rule="revision-taken")
    life = min(RELEASE_LIFE, kinds.KINDS["release"].life)
    return _draft(node, channel, "release", body.body(), body.revision, keys, life, [(held.threshold, held.keys)], at)


def draft_halt(node: Node, channel: str, revision: int, *, lifted: bool, note: str, floor: gate.Floor | None, at: float) -> ReleaseDraft:
    """A halt, for one key of the channel, or what lifts it, for the threshold."""
    keys, held = keys_of(node, channel, floor, at)
    body = Halt(revision=revision, lifted=lifted, note=note)
    ruler = (held.threshold if lifted else 1, held.keys)
    life = max(60, min(kinds.KINDS["halt"].life, keys.expires - int(at)))
    return _draft(node, channel, "halt", body.body(), revision, keys, life, [ruler], at)


def _draft(
    node: Node, channel: str, kind: str, body: dict[int, Any], number: int, via: Record, life: int, rulers: list[Any], at: float,
) -> ReleaseDraft:
    last = max((record.seq for record in published(node, channel) if record.kind == kind), default=0)
    draft = Draft(
        name=channel_path(channel), kind=kind, item=revision_item(number), seq=max(int(at * 1000), last + 1), issued=int(at),
        expires=int(at) + life, via=via.digest, body=body,
    )
    return release_draft(node.setup.overlay_id, draft.content(), rulers)


def say(node: Node, record: Record, at: float) -> None:
    """Publish what the keys of a channel have signed."""
    if record.kind not in SPOKEN:
        raise UsageError("that is nothing that the keys of a channel sign", "give a draft of `overlay release`", rule="release-draft")
    node.publish([record], at)


# -- what the node says by itself


def vouch(node: Node, channel: str, at: float) -> bool:
    """Say what is the newest of a channel, where this node may and it is due. True where it said so."""
    me = node.identity.node_id
    said = published(node, channel)
    mine = next((record for record in said if record.kind == "now" and record.signer == me), None)
    able = any(g.name == ROOT and rights.ATTEST in g.body[1] for g in node.book.grants_of(me, at))
    found = gate.to_vouch(said, mine, at) if able else None
    if found is None:
        return False
    keys, newest = found
    body = Now(revision=int.from_bytes(newest.item, "big"), release=newest.digest, channel=keys.digest).body()
    if mine is not None and mine.body == body and at < mine.issued + VOUCH_EVERY:
        return False
    node.publish([node.statements.sign(channel_path(channel), "now", body, at)], at)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What this node gives away of a channel: none where ``revision`` is 0."""

    channel: str
    revision: int = 0
    addresses: tuple[Address, ...] = ()
    slots: int = 0
    served: int = 0
    partial: bool = False
    told: int = 0  # the revision that strangers hear of; 0: none


def offer(node: Node, offered: Offered, at: float) -> bool:
    """Say (or take back) that this node is a mirror, where that is due. True where it said so."""
    assert node.name is not None
    held = node.statements.held(node.name, "mirror", offered.channel.encode())
    standing = kinds.read(held) if held is not None else None
    assert standing is None or isinstance(standing, Mirror)
    if not offered.revision:
        if held is None or standing is None or standing.withdrawn:
            return False
        node.publish([node.statements.withdrawal(held, at)], at)
        return True
    told = offered.told if offered.told != offered.revision and not offered.partial else None
    body = Mirror(
        revision=offered.revision, addresses=offered.addresses, slots=offered.slots, served=offered.served, partial=offered.partial,
        told=told,
    )
    if held is not None and standing is not None:
        same = (standing.revision, standing.addresses, standing.withdrawn, standing.partial, bool(standing.slots), standing.told) == (
            body.revision, body.addresses, False, body.partial, bool(body.slots), body.told)
        rest = MIRROR_LIFE / 2 if standing == body else MIRROR_PAUSE
        if same and at < held.issued + rest:
            return False
    item = offered.channel.encode()
    node.publish([node.statements.sign(node.name, "mirror", body.body(), at, item=item, life=MIRROR_LIFE)], at)
    return True
