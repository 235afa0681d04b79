"""The kinds of records: one row each, with its body as a typed value (DESIGN 3.1, 3.2).

It decides what the body of a kind looks like, how long such a record may live and which right it takes. A reader that
meets a critical body key (below 64) that it does not know refuses the record; keys from 64 on are kept and ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from overlay import limits
from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY
from overlay.name import MAX_SUFFIX, ROOT, Path, parse_zone
from overlay.records import rights
from overlay.records.observed import Observed, Running
from overlay.records.record import MAX_SEQ, MAX_TIME, NEVER, PARSED, Draft, Record
from overlay.records.releases import Channel, Halt, Mirror, Now, Release
from overlay.records.zones import PLACE, EntryKey, Piece, ZoneSigner
from overlay.units import DAY, HOUR, MINUTE
from overlay.wire.address import Address, unpack_address
from overlay.wire.codec import Fields, Value, ordered

MAX_ADDRESSES = 8
MAX_RELAYS = 2
MAX_ENTRIES = 2  # key-signing keys of the root zone: one in use, one in reserve (DESIGN 3.8)
MAX_PORT = 65_535
MOST = 1_000_000  # nodes of a cluster that are counted; thousandths of its load


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The overlay's constitution: zone, TLD, keys and their threshold, admission ("open" or "invite").

    The record's item and seq say the version too: no version replaces another, all are needed to prove the newest.
    ``entries`` are the key-signing keys of the root zone, which validators are told of as its trust anchor.
    """

    version: int
    zone: str
    tld: str
    keys: tuple[bytes, ...]
    threshold: int
    admission: str
    previous: bytes = b""
    entries: tuple[bytes, ...] = ()

    def body(self) -> dict[int, Value]:
        return ordered({
            1: self.version, 2: self.zone, 3: self.tld, 4: list(self.keys), 5: self.threshold, 6: self.admission, 7: self.previous or None,
            8: list(self.entries) or None,
        })

    @classmethod
    def read(cls, record: Record) -> Root:
        fields = Fields(record.body, "root")
        fields.only(frozenset(range(1, 9)))
        keys = tuple(fields.items(4, 16))
        if not keys or any(type(key) is not bytes or len(key) != KEY for key in keys) or list(keys) != sorted(set(keys)):
            raise Malformed("root: keys are 1 to 16, ascending, each once", rule="root-keys")
        admission = fields.text(6, 8)
        if admission not in ("open", "invite"):
            raise Malformed("root: admission is open or invite", rule="root-admission")
        version = fields.integer(1, 1, 1_000_000)
        if record.item != version_item(version) or record.seq != version:
            raise Malformed("root: item and seq say the version", rule="root-version")
        entries = tuple(fields.items(8, MAX_ENTRIES))
        if any(type(key) is not bytes or len(key) != KEY for key in entries) or len(set(entries)) != len(entries):
            raise Malformed("root: entries are up to 2 keys, each once", rule="root-entries")
        return cls(
            version=version, zone=_zone(fields.text(2, MAX_SUFFIX)), tld=_zone(fields.text(3, MAX_SUFFIX)), keys=keys,
            threshold=fields.integer(5, 1, len(keys)), admission=admission, previous=fields.binary(7, DIGEST, DIGEST, default=b""),
            entries=entries,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Rights of the subject (the record's item) over the record's name. ``shadow``: claimed over a public name.

    ``renews`` is the digest of the grant that somebody else says again (R21). ``final``: nobody renews it, a person
    chose its date. ``since`` (UTC seconds) is when the subject first got it: renewed names keep their rank (R20).
    """

    rights: frozenset[str]
    shadow: bool = False
    renews: bytes = b""
    final: bool = False
    since: int = 0

    def body(self) -> dict[int, Value]:
        return ordered({
            1: sorted(self.rights), 2: self.renews or None, 3: self.final or None, 4: self.since or None, 64: True if self.shadow else None,
        })

    @classmethod
    def read(cls, record: Record) -> Grant:
        fields = Fields(record.body, "grant")
        fields.only(frozenset({1, 2, 3, 4}))
        listed = fields.items(1, rights.MAX_RIGHTS)
        if not listed or any(type(right) is not str or not rights.legal(right) for right in listed) or listed != sorted(set(listed)):
            raise Malformed("grant: rights are known words, ascending, each once", rule="grant-rights")
        return cls(
            rights=frozenset(listed), shadow=fields.flag(64), renews=fields.binary(2, DIGEST, DIGEST, default=b""), final=fields.flag(3),
            since=fields.integer(4, 0, record.issued, default=0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """The grant whose digest is the record's item holds no more."""

    def body(self) -> dict[int, Value]:
        return {}

    @classmethod
    def read(cls, record: Record) -> Revoke:
        Fields(record.body, "revoke").only(frozenset())
        return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """The signer's exchange key: what ties a session's key to a node id."""

    exchange: bytes

    def body(self) -> dict[int, Value]:
        return {1: self.exchange}

    @classmethod
    def read(cls, record: Record) -> Bind:
        fields = Fields(record.body, "bind")
        fields.only(frozenset({1}))
        return cls(exchange=fields.binary(1, KEY, KEY))


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A node under its name: exchange key and proved addresses (the public view; overlay port).

    ``relays`` are the first octets of the exchange keys of public nodes that lead to it, where it has no address.
    """

    exchange: bytes
    addresses: tuple[Address, ...] = ()
    withdrawn: bool = False
    relays: tuple[bytes, ...] = ()

    def body(self) -> dict[int, Value]:
        return ordered({
            1: self.exchange, 2: [a.packed for a in self.addresses] or None, 3: list(self.relays) or None, 7: self.withdrawn or None,
        })

    @classmethod
    def read(cls, record: Record) -> Host:
        fields = Fields(record.body, "host")
        fields.only(frozenset({1, 2, 3, 7}))
        return cls(
            exchange=fields.binary(1, KEY, KEY), addresses=_addresses(fields, 2), withdrawn=fields.flag(7), relays=_relays(fields, 3),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One gateway of a cluster, as all the world knows it: how to reach it, how large and loaded the cluster is.

    ``node`` is the gateway's own name, ``dns`` whether it answers for the world on port 53, ``load`` in thousandths. It has
    addresses, or ``relays`` as a host has.
    """

    exchange: bytes
    addresses: tuple[Address, ...]
    node: Path
    nodes: int = 1
    load: int = 0
    dns: bool = False
    withdrawn: bool = False
    relays: tuple[bytes, ...] = ()

    def body(self) -> dict[int, Value]:
        return ordered({
            1: self.exchange, 2: [a.packed for a in self.addresses], 3: str(self.node), 4: self.nodes, 5: self.load, 6: self.dns or None,
            7: self.withdrawn or None, 8: list(self.relays) or None,
        })

    @classmethod
    def room(cls, node: Path) -> int:
        """Octets that a gateway of that name has for its addresses: 20 for one of IPv6, 8 for one of IPv4. The table's records are small."""
        widest = cls(exchange=bytes(KEY), addresses=(), node=node, nodes=MOST, load=MOST, dns=True, withdrawn=True)
        draft = Draft(name=node.parent, kind="cluster", seq=MAX_SEQ, issued=MAX_TIME, expires=MAX_TIME, via=bytes(DIGEST), body=widest.body())
        return limits.CLUSTER_RECORD - draft.size()

    @classmethod
    def read(cls, record: Record) -> Cluster:
        fields = Fields(record.body, "cluster")
        fields.only(frozenset(range(1, 9)))
        return cls(
            exchange=fields.binary(1, KEY, KEY), addresses=_addresses(fields, 2), node=_path(fields.text(3, 255)),
            nodes=fields.integer(4, 1, MOST, default=1), load=fields.integer(5, 0, MOST, default=0), dns=fields.flag(6),
            withdrawn=fields.flag(7), relays=_relays(fields, 8),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """The signer carries the service of the record's name; the item is the protocol (``tcp`` or ``udp``).

    ``addresses`` is empty where it is to be reached at the carrier's own proved addresses. ``node`` is the carrier's name.
    """

    port: int
    node: Path
    addresses: tuple[str, ...] = ()
    priority: int = 10
    weight: int = 10
    healthy: bool = True
    health: str = "none"
    withdrawn: bool = False

    def body(self) -> dict[int, Value]:
        packed = [Address(host, 1).packed[:-2] for host in self.addresses]
        return ordered({
            1: self.port, 2: str(self.node), 3: packed or None, 4: self.priority, 5: self.weight, 6: self.healthy,
            7: self.withdrawn or None, 64: self.health,
        })

    @classmethod
    def read(cls, record: Record) -> Carry:
        fields = Fields(record.body, "carry")
        fields.only(frozenset(range(1, 8)))
        hosts = []
        for packed in fields.items(3, MAX_ADDRESSES):
            if type(packed) is not bytes:
                raise Malformed("carry: an address is octets", rule="address")
            hosts.append(unpack_address(packed + b"\x00\x01").host)
        return cls(
            port=fields.integer(1, 1, MAX_PORT), node=_path(fields.text(2, 255)), addresses=tuple(hosts),
            priority=fields.integer(4, 0, MAX_PORT),
            weight=fields.integer(5, 0, MAX_PORT), healthy=fields.flag(6), health=fields.text(64, 255, default="none"),
            withdrawn=fields.flag(7),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Plain DNS data: the whole set of one type (the item) at the record's name, in presentation form.

    Names in values without a final dot are relative to the overlay's root, so the same data serves both trees; a TXT
    value is one string as it stands. Without values it is a tombstone and buries what other signers said before.
    """

    values: tuple[str, ...] = ()
    ttl: int = 30

    def body(self) -> dict[int, Value]:
        return ordered({1: list(self.values) or None, 2: self.ttl if self.values else None})

    @classmethod
    def read(cls, record: Record) -> Data:
        fields = Fields(record.body, "data")
        fields.only(frozenset({1, 2}))
        values = fields.items(1, 64)
        if any(type(value) is not str for value in values):
            raise Malformed("data: values are text", rule="data-values")
        ttl = fields.integer(2, 0, 604_800, default=30)
        return cls(values=tuple(values), ttl=ttl) if values else cls()  # a tombstone has no time to live, whatever it says


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest version of a zone that its builder knows: serial (UTC seconds), digest over its records, their number."""

    serial: int
    digest: bytes
    count: int

    def body(self) -> dict[int, Value]:
        return {1: self.serial, 2: self.digest, 3: self.count}

    @classmethod
    def read(cls, record: Record) -> Head:
        fields = Fields(record.body, "head")
        fields.only(frozenset({1, 2, 3}))
        return cls(serial=fields.integer(1, 0, 2**32 - 1), digest=fields.binary(2, DIGEST, DIGEST), count=fields.integer(3, 0, 10_000_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """Whoever proves the seed (its public key is the item) may join below the record's name, ``uses`` times a redeemer."""

    uses: int
    redeemers: tuple[bytes, ...]

    def body(self) -> dict[int, Value]:
        return {1: self.uses, 2: list(self.redeemers)}

    @classmethod
    def read(cls, record: Record) -> Invite:
        fields = Fields(record.body, "invite")
        fields.only(frozenset({1, 2}))
        redeemers = fields.items(2, 8)
        if not redeemers or any(type(key) is not bytes or len(key) != KEY for key in redeemers):
            raise Malformed("invite: redeemers are 1 to 8 keys", rule="invite-redeemers")
        return cls(uses=fields.integer(1, 1, 1_000_000), redeemers=tuple(redeemers))


Zoning = EntryKey | ZoneSigner | Piece
Releasing = Channel | Release | Now | Halt | Mirror | Running | Observed
Body = Root | Grant | Revoke | Bind | Host | Cluster | Carry | Data | Head | Invite | Zoning | Releasing


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One row: the reader of its body, the longest life (seconds), the rights of which one is needed, item lengths."""

    read: Callable[[Record], Body]
    life: int
    needs: frozenset[str] = frozenset()
    item: tuple[int, int] = (0, 0)
    limit: int = limits.RECORD
    threshold: bool = False
    keeps: bool = False  # goes on under a lapsed grant: what keeps existing names served (DESIGN 3.2)


_YEAR = 366 * DAY
KINDS: dict[str, Kind] = {
    "root": Kind(read=Root.read, life=0, item=(4, 4), threshold=True),
    "grant": Kind(read=Grant.read, life=_YEAR, item=(KEY, KEY), threshold=True),
    "revoke": Kind(read=Revoke.read, life=_YEAR + 30 * DAY, item=(DIGEST, DIGEST), threshold=True),
    "bind": Kind(read=Bind.read, life=_YEAR),
    "host": Kind(read=Host.read, life=2 * HOUR, needs=frozenset({rights.OWN}), keeps=True),
    "cluster": Kind(read=Cluster.read, life=2 * HOUR, needs=frozenset({rights.SPEAK}), limit=limits.CLUSTER_RECORD, keeps=True),
    "carry": Kind(read=Carry.read, life=2 * HOUR, needs=frozenset({rights.CARRY, rights.OWN}), item=(3, 3), keeps=True),
    "data": Kind(read=Data.read, life=30 * DAY, needs=frozenset({rights.OWN}), item=(1, 16)),
    "head": Kind(read=Head.read, life=10 * MINUTE, needs=frozenset({rights.SPEAK, rights.SIGN}), keeps=True),
    "invite": Kind(read=Invite.read, life=_YEAR, needs=frozenset({rights.GRANT}), item=(KEY, KEY)),
    "ksk": Kind(read=EntryKey.read, life=_YEAR, needs=frozenset({rights.SIGN}), item=(KEY, KEY), keeps=True),
    "zsk": Kind(read=ZoneSigner.read, life=60 * DAY, needs=frozenset({rights.SIGN}), keeps=True),
    "signed": Kind(read=Piece.read, life=100 * DAY, needs=frozenset({rights.SIGN}), item=(PLACE, PLACE), keeps=True),
    "channel": Kind(read=Channel.read, life=_YEAR, needs=frozenset({rights.OWN, rights.RELEASE}), item=(4, 4), threshold=True),
    "release": Kind(read=Release.read, life=_YEAR, item=(4, 4), threshold=True),
    "halt": Kind(read=Halt.read, life=_YEAR, item=(4, 4), threshold=True),
    "now": Kind(read=Now.read, life=DAY, needs=frozenset({rights.ATTEST})),
    "mirror": Kind(read=Mirror.read, life=2 * HOUR, needs=frozenset({rights.OWN}), item=(1, 63), keeps=True),
    "running": Kind(read=Running.read, life=2 * HOUR, needs=frozenset({rights.OWN}), item=(1, 63), keeps=True),
    "observed": Kind(read=Observed.read, life=_YEAR, needs=frozenset({rights.ATTEST}), item=(1, 63)),
}

RELEASES = frozenset({"channel", "release", "halt", "now", "mirror", "observed"})  # what subscribers listen to

ZONE_KEYS = frozenset({"ksk", "zsk", "signed"})  # what makes zones checkable; it is no part of what they say

# Unions over signers (DESIGN 3.1). Their signer takes one back by saying it once more, `withdrawn`, with the date of what
# it buries: a record that merely vanished would come back from a node that was away.
UNIONS = frozenset({"host", "cluster", "carry", "mirror", "running", "observed"})


@lru_cache(maxsize=PARSED)  # the grants of chains are read for each record below them
def read(record: Record) -> Body:
    """The body of a record as its typed value, or ``Malformed`` (unknown kind, wrong item, too long, bad fields)."""
    kind = KINDS.get(record.kind)
    if kind is None:
        raise Malformed(f"kind {record.kind!r} is unknown", rule="kind")
    if not kind.item[0] <= len(record.item) <= kind.item[1]:
        raise Malformed(f"{record.kind}: the item has a wrong length", rule="item")
    if record.kind == "carry" and record.item not in (b"tcp", b"udp"):
        raise Malformed("carry: the item is tcp or udp", rule="item")
    if record.kind == "data" and not (record.item.isascii() and record.item.decode().isalnum() and record.item.isupper()):
        raise Malformed("data: the item is a type's mnemonic", rule="item")
    if len(record.raw) > kind.limit:
        raise Malformed(f"a {record.kind} record of {len(record.raw)} octets", rule="record-too-long")
    if len(record.sigs) > 1 and not kind.threshold:
        raise Malformed(f"{record.kind}: one signature", rule="record-signature")
    if (record.expires == NEVER) != (record.kind == "root"):
        raise Malformed("only root records never expire", rule="record-life")
    if record.kind != "root" and not record.issued < record.expires <= record.issued + kind.life:
        raise Malformed(f"{record.kind}: lives longer than it may", rule="record-life")
    if record.kind in ("root", "bind", "revoke") and record.via:
        raise Malformed(f"{record.kind}: takes no grant", rule="record-via")
    if record.kind in ("root", "bind") and record.name != ROOT:
        raise Malformed(f"{record.kind}: stands at the root", rule="record-name")
    return kind.read(record)


def version_item(version: int) -> bytes:
    """The item of a root record: 4 octets, so that each version has an identity of its own."""
    return version.to_bytes(4, "big")


def _zone(text: str) -> str:
    try:
        if parse_zone(text) == text:
            return text
    except UsageError:
        pass
    raise Malformed("root: zone and TLD are domain names in lower case", rule="root-zone")


def _addresses(fields: Fields, key: int) -> tuple[Address, ...]:
    return tuple(unpack_address(item) for item in fields.items(key, MAX_ADDRESSES))


def _relays(fields: Fields, key: int) -> tuple[bytes, ...]:
    names = fields.items(key, MAX_RELAYS)
    if any(type(name) is not bytes or len(name) != 8 for name in names) or names != sorted(set(names)):
        raise Malformed("relays are named by 8 octets each, ascending, each once", rule="relays")
    return tuple(names)


def _path(text: str) -> Path:
    try:
        return Path(tuple(text.split("/"))) if text else ROOT
    except UsageError as why:
        raise Malformed(why.what, rule="record-name") from None
