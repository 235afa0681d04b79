"""Bodies of the kinds that releases are made of: `channel`, `release`, `now`, `halt`, `mirror` (DESIGN 3.9). What nodes run: ``observed.py``.

It decides what such a body looks like; who may say it stands in ``channels.py``, what a subscriber makes of it in
``overlay/release/``. All of one channel stand at the name ``download/CHANNEL``, under which mirrors are found in DNS too;
the label is reserved, so rights over it flow from the root alone. A whole decision fits one datagram.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY
from overlay.name import Path
from overlay.records.record import MAX_TIME, Record
from overlay.wire.address import Address, unpack_address
from overlay.wire.codec import Fields, Value, ordered

DOWNLOAD: Final = "download"  # the label at the root below which channels stand (CONTRACT, DNS)
KERNEL: Final = "kernel"  # the channel of this program itself
TAKEN: Final = frozenset({"status", "metrics", "overlay"})  # what HTTP has other uses for (CONTRACT, HTTP)
ANY: Final = "any"  # the platform of what runs everywhere
MAX_KEYS: Final = 8  # of a channel: two such sets, one after the other, still sign one record of 1,000 octets where they overlap
MAX_VERSION: Final = 1_000_000
MAX_REVISION: Final = 2**31 - 1
MAX_LENGTH: Final = 2**36  # octets of an artifact: 64 GiB, whose leaves take 128 MiB
MAX_ARTIFACTS: Final = 8
MAX_DELTAS: Final = 3  # DESIGN 3.9
MAX_URLS: Final = 2
MAX_HTTP: Final = 4  # addresses of a mirror
MAX_NOTE: Final = 200  # octets
MAX_HOME: Final = 255
BY_ITEM: Final = frozenset({"mirror", "running", "observed"})  # kinds whose item is the channel
_CHANNEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PLATFORM: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_URL: Final = re.compile(r"https?://[!-~]{1,200}")


def channel_path(channel: str) -> Path:
    """Where a channel stands: ``download/app``. A ``UsageError`` where it cannot be a channel's name."""
    if not _CHANNEL.fullmatch(channel) or channel in TAKEN:
        raise UsageError(
            f"{channel[:60]!r} is not a channel", "write one label of a-z, 0-9 and -, none of status, metrics, overlay: app", rule="channel",
        )
    return Path((DOWNLOAD, channel))


def channel_of(name: Path) -> str:
    """The channel that stands at a name, or "" where none does."""
    return name.labels[1] if len(name) == 2 and name.labels[0] == DOWNLOAD and _CHANNEL.fullmatch(name.labels[1]) else ""


def spoken_of(record: Record) -> str:
    """The channel that a record of these kinds is about: where it stands, or, of what nodes and clusters say of it, its item."""
    return record.item.decode("ascii", "replace") if record.kind in BY_ITEM else channel_of(record.name)


def channel_item(record: Record) -> str:
    """The channel that is the record's item; ``Malformed`` where it is none."""
    if not (record.item.isascii() and _CHANNEL.fullmatch(record.item.decode())):
        raise Malformed(f"{record.kind}: the item is a channel", rule="item")
    return record.item.decode()


def revision_item(number: int) -> bytes:
    """The item of what is said of one revision or version: 4 octets."""
    return number.to_bytes(4, "big")


def _stands(record: Record, number: int | None) -> None:
    if channel_of(record.name) in ("", *TAKEN):
        raise Malformed(f"{record.kind}: stands at download/CHANNEL", rule="record-name")
    if number is not None and record.item != revision_item(number):
        raise Malformed(f"{record.kind}: the item says the number", rule="item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Whose word counts in a channel: its keys and how many of them must sign. ``previous`` is the digest of version - 1."""

    version: int
    keys: tuple[bytes, ...]
    threshold: int
    previous: bytes = b""

    def body(self) -> dict[int, Value]:
        return ordered({1: list(self.keys), 2: self.threshold, 3: self.version, 4: self.previous or None})

    @classmethod
    def read(cls, record: Record) -> Channel:
        fields = Fields(record.body, "channel")
        fields.only(frozenset({1, 2, 3, 4}))
        keys = tuple(fields.items(1, MAX_KEYS))
        if not keys or any(type(key) is not bytes or len(key) != KEY for key in keys) or list(keys) != sorted(set(keys)):
            raise Malformed("channel: keys are 1 to 8, ascending, each once", rule="channel-keys")
        version = fields.integer(3, 1, MAX_VERSION)
        previous = fields.binary(4, DIGEST, DIGEST, default=b"")
        if bool(previous) != (version > 1):
            raise Malformed("channel: each version but the first names the one before", rule="channel-previous")
        _stands(record, version)
        return cls(version=version, keys=keys, threshold=fields.integer(2, 1, len(keys)), previous=previous)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A patch that makes the artifact of the same platform of revision ``base`` into this one."""

    base: int
    length: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What is to be fetched on a platform: so many octets, proved by the root over their leaves of 16 KiB."""

    length: int
    root: bytes
    platform: str = ANY
    deltas: tuple[Delta, ...] = ()

    def value(self) -> Value:
        deltas = [[delta.base, delta.length, delta.root] for delta in self.deltas]
        return [self.platform, self.length, self.root, *([deltas] if deltas else [])]

    @classmethod
    def of(cls, value: Value) -> Artifact:
        if type(value) is not list or len(value) not in (3, 4):
            raise Malformed("release: an artifact is [platform, length, root, deltas]", rule="artifact")
        fields = Fields(dict(enumerate(value)), "artifact")
        platform = fields.text(0, 32)
        if not _PLATFORM.fullmatch(platform):
            raise Malformed("release: a platform is a short word", rule="artifact")
        deltas = []
        if len(value) == 4 and not fields.items(3, MAX_DELTAS):
            raise Malformed("release: deltas that are none are left out", rule="artifact")
        for one in fields.items(3, MAX_DELTAS):
            if type(one) is not list or len(one) != 3:
                raise Malformed("release: a delta is [base, length, root]", rule="artifact")
            delta = Fields(dict(enumerate(one)), "delta")
            deltas.append(Delta(base=delta.integer(0, 1, MAX_REVISION), length=delta.integer(1, 1, MAX_LENGTH), root=delta.binary(2, DIGEST, DIGEST)))
        return cls(platform=platform, length=fields.integer(1, 1, MAX_LENGTH), root=fields.binary(2, DIGEST, DIGEST), deltas=tuple(deltas))


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One revision of a channel: what to fetch, where, and what it may replace. The grant it names (`via`) is its channel.

    ``waves`` None: by the usual waves; else shares of all nodes in thousandths, none at all meaning everybody at once.
    ``home``: the cluster that must have seen it stable before it is announced to others; None: it is announced as it stands.
    """

    revision: int
    artifacts: tuple[Artifact, ...]
    lowest: int = 0  # the lowest revision that it may replace
    soak: int | None = None  # seconds that a node must have been healthy before it counts; None: the usual
    waves: tuple[int, ...] | None = None
    urls: tuple[str, ...] = ()
    note: str = ""
    home: Path | None = None

    def body(self) -> dict[int, Value]:
        return ordered({
            1: self.revision, 2: [artifact.value() for artifact in self.artifacts], 3: self.lowest or None, 4: self.soak,
            5: None if self.waves is None else list(self.waves), 6: None if self.home is None else str(self.home), 64: list(self.urls) or None,
            65: self.note or None,
        })

    @classmethod
    def read(cls, record: Record) -> Release:
        fields = Fields(record.body, "release")
        fields.only(frozenset(range(1, 7)))
        artifacts = tuple(Artifact.of(value) for value in fields.items(2, MAX_ARTIFACTS))
        platforms = [artifact.platform for artifact in artifacts]
        revision = fields.integer(1, 1, MAX_REVISION)
        if not artifacts or platforms != sorted(set(platforms)):
            raise Malformed("release: artifacts are 1 to 8, by platform, each once", rule="artifact")
        if any(delta.base >= revision for artifact in artifacts for delta in artifact.deltas):
            raise Malformed("release: a delta leads from an earlier revision", rule="artifact")
        waves = fields.items(5, 8)
        if any(type(share) is not int or not 1 <= share <= 1_000 for share in waves) or waves != sorted(set(waves)):
            raise Malformed("release: waves are growing shares in thousandths", rule="waves")
        urls = fields.items(64, MAX_URLS)
        if any(type(url) is not str or not _URL.fullmatch(url) for url in urls):
            raise Malformed("release: a URL is http or https", rule="url")
        _stands(record, revision)
        return cls(
            revision=revision, artifacts=artifacts, lowest=fields.integer(3, 1, revision, default=0),
            soak=fields.integer(4, 0, 2**31) if 4 in record.body else None, waves=tuple(waves) if 5 in record.body else None, urls=tuple(urls),
            note=_note(fields.text(65, MAX_NOTE, default="")), home=_home(fields.text(6, MAX_HOME)) if 6 in record.body else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The newest of a channel as the signer knows it: its highest release and its newest key set, by digest. Freshness is its date."""

    revision: int
    release: bytes
    channel: bytes

    def body(self) -> dict[int, Value]:
        return {1: self.revision, 2: self.release, 3: self.channel}

    @classmethod
    def read(cls, record: Record) -> Now:
        fields = Fields(record.body, "now")
        fields.only(frozenset({1, 2, 3}))
        _stands(record, None)
        return cls(revision=fields.integer(1, 1, MAX_REVISION), release=fields.binary(2, DIGEST, DIGEST), channel=fields.binary(3, DIGEST, DIGEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Nobody installs that revision any more; or, ``lifted`` by the channel's threshold, what was halted before goes on."""

    revision: int
    lifted: bool = False
    note: str = ""

    def body(self) -> dict[int, Value]:
        return ordered({1: self.revision, 2: self.lifted or None, 65: self.note or None})

    @classmethod
    def read(cls, record: Record) -> Halt:
        fields = Fields(record.body, "halt")
        fields.only(frozenset({1, 2}))
        revision = fields.integer(1, 1, MAX_REVISION)
        _stands(record, revision)
        return cls(revision=revision, lifted=fields.flag(2), note=_note(fields.text(65, MAX_NOTE, default="")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """The signer has that revision of a channel (the item), verified, and gives it away at these HTTP addresses.

    ``partial``: it is fetching it, and gives what it has to mates over streams alone. ``told``: the revision under which it stands in
    the names below `download`, where that is another: who takes the channel is named for what it runs, and nobody for what is not announced.
    """

    revision: int
    addresses: tuple[Address, ...] = ()
    slots: int = 0  # free ones
    served: int = 0
    partial: bool = False
    withdrawn: bool = False
    told: int | None = None

    def body(self) -> dict[int, Value]:
        return ordered({
            1: self.revision, 2: [address.packed for address in self.addresses] or None, 3: self.slots, 4: self.served, 5: self.partial or None,
            7: self.withdrawn or None, 64: self.told,
        })

    @classmethod
    def read(cls, record: Record) -> Mirror:
        fields = Fields(record.body, "mirror")
        fields.only(frozenset({1, 2, 3, 4, 5, 7}))
        channel_item(record)
        return cls(
            revision=fields.integer(1, 1, MAX_REVISION), addresses=tuple(unpack_address(item) for item in fields.items(2, MAX_HTTP)),
            slots=fields.integer(3, 0, 65_535), served=fields.integer(4, 0, MAX_TIME), partial=fields.flag(5), withdrawn=fields.flag(7),
            told=fields.integer(64, 0, MAX_REVISION) if 64 in record.body else None,
        )


def _home(text: str) -> Path:
    try:
        return Path(tuple(text.split("/")) if text else ())
    except UsageError as why:
        raise Malformed(why.what, rule="release-home") from None


def _note(text: str) -> str:
    if text and not text.isprintable():
        raise Malformed("a note is one line", rule="note")
    return text
