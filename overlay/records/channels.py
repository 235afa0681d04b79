"""Who may speak in a channel: rules R22 to R24 of ``trust.py``, as far as they need no more than the records (DESIGN 3.9).

A channel is a set of keys of which a threshold must sign. Its record is anchored in a grant over the root, so nobody else
fills the table with channels; what is said in it stands on its keys alone. Whether one version of a channel follows from
the one before is looked at by who takes its releases (``follows``), for only who has seen the first can tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from overlay import limits
from overlay.errors import TrustError
from overlay.records import rights
from overlay.records.kinds import Grant
from overlay.records.record import Record
from overlay.records.releases import Channel, Halt, Release, channel_of

SPOKEN: Final = frozenset({"channel", "release", "halt"})  # kinds that stand on the keys of a channel


def _no(rule: str, what: str) -> TrustError:
    return TrustError(f"{what} ({rule})", "ask who holds the channel's keys", rule=rule)


def entitles(held: frozenset[str], channel: str) -> bool:
    """Whether a grant with these rights lets its holder say whose keys count in a channel."""
    return rights.OWN in held or rights.RELEASE + channel in held


def signers(record: Record) -> frozenset[bytes]:
    """The keys that signed: each is there once, by the form of a record."""
    return frozenset(key for key, _ in record.sigs)


def reaches(keys: Iterable[bytes], channel: Channel) -> bool:
    """Whether so many of a channel's own keys are among these as it wants."""
    return len(frozenset(keys) & frozenset(channel.keys)) >= channel.threshold


def stands(record: Record, body: Channel | Release | Halt, via: Record, held: object, at: float) -> None:
    """Whether a record may stand on what it names: ``via``, which reads as ``held``. What that itself stands on is looked at elsewhere."""
    if via is record:
        raise _no("R04", f"a {record.kind} that names nothing it stands on")
    if isinstance(body, Channel):
        if not isinstance(held, Grant):
            raise _no("R05", "a channel is declared by a grant")
        _declared(record, body, via, held.rights)
    else:
        if not isinstance(held, Channel):
            raise _no("R24", f"a {record.kind} that names no channel")
        _spoken(record, body, via, held, at)


def _declared(record: Record, body: Channel, via: Record, held: frozenset[str]) -> None:
    """R22. So nobody fills the table with channels, and no key becomes a channel's against its holder's will."""
    signed = signers(record)
    if via.item not in signed or not via.name.covers(record.name) or not entitles(held, channel_of(record.name)):
        raise _no("R22", f"the channel {channel_of(record.name)} is not declared by a holder of release:{channel_of(record.name)} on the root")
    if not signed <= {via.item, *body.keys} and not body.previous:
        raise _no("R22", "a channel that is new is signed by who declares it and its own keys, nobody else")
    if record.expires > via.expires or record.issued + limits.FUTURE < via.issued:
        raise _no("R22", "a channel that was declared before its right began, or outlives it")
    if not reaches(signed, body):
        raise _no("R22", f"fewer than {body.threshold} of the channel's own keys have signed it")


def _spoken(record: Record, body: Release | Halt, via: Record, channel: Channel, at: float) -> None:
    """R23, R24."""
    if via.name != record.name or via.expired(at) or record.issued + limits.FUTURE < via.issued:
        raise _no("R24", f"a {record.kind} that names no live version of its channel")
    signed = signers(record)
    if not signed <= frozenset(channel.keys):
        raise _no("R23", f"a {record.kind} signed by a key that is none of its channel's")
    alone = isinstance(body, Halt) and not body.lifted
    if not alone and not reaches(signed, channel):
        raise _no("R23", f"a {record.kind} signed by {len(signed)} of the {channel.threshold} keys that it takes")
    if alone and len(signed) != 1:
        raise _no("R23", "a halt is one key's")


def follows(record: Record, body: Channel, before: Record, channel: Channel) -> bool:
    """Whether one version of a channel follows from another: it names it, and a threshold of its keys has signed too."""
    return (
        body.previous == before.digest and body.version == channel.version + 1 and record.name == before.name
        and reaches(signers(record), channel)
    )
