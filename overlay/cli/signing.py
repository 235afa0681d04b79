"""Zones of this node signed and kept signed (DESIGN 3.8), and what is signed, by whomever, handed to names.

    ZoneSigning.run     looks at each zone that this node may sign when something is said of it, and now and then

What a signature is stands in ``tld/dnssec``, the keys in ``zone_keys.py``. Of the nodes that hold `sign` on a path and
whose key stands in the zone's signed key set one signs, whoever did last or is its gateway; where that one is silent, the
next in order does, a little later: two that sign at once do no harm, as the newest whole version counts. Signing is done
in a thread: a step of the node stays short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

import trio
from trio_util import RepeatedEvent

from overlay.cli.zone_book import ZoneBook
from overlay.cli.zone_keys import ROOM, KeyRing, dnskeys
from overlay.driver.run import Engine
from overlay.errors import OverlayError
from overlay.name import ROOT, Path
from overlay.records.record import Record
from overlay.records.zones import BUCKET, KEYS, ZONE, Piece, place
from overlay.units import DAY
from tld.delegation import labels
from tld.dnssec.keys import KEY_TTL, SigningKey, ZoneKey, ds_rdata
from tld.dnssec.pieces import Copy, Reader, Sets, keys_from_pieces, zone_to_pieces
from tld.dnssec.secure import SIGNED_BY_ENTRY, prepared
from tld.dnssec.signing import Place, sign_sets, stands, wanted
from tld.label import Name
from tld.names import Names
from tld.zone import RRset

LOOK: Final = 2.0  # seconds between looks without news: turns pass, dates come near
PAUSE: Final = {True: 5.0, False: 1.0}  # seconds between versions of the root, of another zone (DESIGN 3.8)
AGAIN: Final = 600.0  # seconds after which what did not change is looked at again: signatures grow old
TOGETHER: Final = 0.02  # seconds: what comes together is looked at together
PIECE_LIFE: Final = 16 * DAY  # of a piece: a day longer than its signatures
BATCH: Final = 8  # pieces said at once: a millisecond of signing and judging
MAX_DS: Final = 4  # keys of a zone below that are pointed to


@dataclass(slots=True)
class _Zone:
    """What is known of one zone here. Times are monotonic seconds."""

    readers: dict[bytes, Reader] = field(default_factory=dict)  # by signer
    seen: frozenset[bytes] | None = None  # digests of the records that were read
    keys: Copy | None = None
    keys_by: bytes = b""
    copy: Copy | None = None
    copy_by: bytes = b""
    shown: tuple[Copy | None, Copy | None] = (None, None)
    differs_since: float | None = None  # what is live is not what is signed
    listed_since: float | None = None  # our key stands in the signed set
    said_at: float = float("-inf")
    looked_at: tuple[object, ...] = ()  # what was found to be signed as it should be
    good_until: float = float("-inf")


class ZoneSigning:
    """The signed zones of one node."""

    def __init__(self, engine: Engine, names: Names, home: FilePath) -> None:
        self.engine = engine
        self.names = names
        self.counters: Counter[str] = Counter()
        self.book = ZoneBook(engine, names)
        self.ring = KeyRing(self.book, home, self.counters)
        self._zones: dict[Path, _Zone] = {}
        self._news = RepeatedEvent()

    def look_soon(self) -> None:
        """Zones or keys changed."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for path in [path for path in self.names.views if self.book.may_sign(path)]:
                try:
                    await self.look(path)
                except OverlayError as why:
                    self.counters["zones_unsigned"] += 1
                    self.engine.problem(f"zone {path}", f"the zone {path.dotted or 'of the root'} cannot be signed: {why.what}")
                else:
                    self.engine.problem(f"zone {path}", "")
            with trio.move_on_after(LOOK):
                await self._news.wait()
            await trio.sleep(TOGETHER)

    # -- what is held

    def show(self, path: Path) -> None:
        """The zone is held, or changed: hand the newest whole signed version of it to names."""
        zone = self._zones.setdefault(path, _Zone())
        self.names.secure.entries = self.book.root_entries()
        self._read(path, zone)
        if (zone.keys, zone.copy) != zone.shown:
            zone.shown = (zone.keys, zone.copy)
            self.names.sign(path, zone.keys, zone.copy)
            self.counters["zones_signed_shown"] += 1

    def forget(self, path: Path) -> None:
        """It is held no longer."""
        self._zones.pop(path, None)

    def held(self, path: Path) -> tuple[Copy | None, Copy | None]:
        """The signed key set and the signed version that count."""
        zone = self._zones.get(path)
        return (zone.keys, zone.copy) if zone is not None else (None, None)

    def key(self, path: Path) -> SigningKey | None:
        """This node's key for that zone, where it stands in the signed key set."""
        keys, own = self.held(path)[0], self.ring.own(path)
        return own if keys is not None and own.key.rdata in dnskeys(keys, self.book.origins(path)[0]) else None

    def _read(self, path: Path, zone: _Zone) -> None:
        """The newest whole key set and version; what stood stays until something newer is whole."""
        at = self.engine.clock.at()
        records = self.book.records(path, "signed")
        if zone.copy is not None and zone.copy.until < at:
            zone.copy = None
        if zone.keys is not None and zone.keys.until < at:
            zone.keys = None
        seen = frozenset(record.digest for record in records)
        if seen == zone.seen:
            return
        zone.seen = seen
        origins = self.book.origins(path)
        said: dict[bytes, dict[bytes, Piece]] = {}
        for record in records:
            body = self.engine.node.book.body(record)
            if isinstance(body, Piece):
                said.setdefault(record.signer, {})[record.item] = body
        if zone.copy_by not in said:
            zone.copy = None
        if zone.keys_by not in said:
            zone.keys = None
        for signer, pieces in sorted(said.items()):
            keys = keys_from_pieces(pieces, origins)
            if keys is not None and keys.until > at and (zone.keys is None or (keys.serial, signer) > (zone.keys.serial, zone.keys_by)):
                zone.keys, zone.keys_by = keys, signer
            copy = zone.readers.setdefault(signer, Reader(origins)).copy(pieces)
            if copy is not None and copy.until > at and (zone.copy is None or (copy.serial, signer) > (zone.copy.serial, zone.copy_by)):
                zone.copy, zone.copy_by = copy, signer

    # -- what is signed here

    async def look(self, path: Path) -> None:
        """Do what is due for a zone that this node may sign."""
        zone = self._zones.setdefault(path, _Zone())
        self.show(path)
        if path == ROOT and not self.book.root_entries():
            return
        self.ring.say_own(path)
        if path != ROOT:
            self.ring.look(path, zone.keys)
        entries = self.ring.keys_due(path, zone.keys)
        if entries:
            self.ring.sign_keys(path, entries, zone.keys)
            self.show(path)
        await self._sign(path, zone)
        self.show(path)
        if path != ROOT:
            self.ring.get_ready(path, stands=zone.keys is not None and zone.copy is not None)

    async def _sign(self, path: Path, zone: _Zone) -> None:
        """Sign what is live, where it is not what is signed, and it is this node's turn."""
        now, at = self.engine.clock.now(), int(self.engine.clock.at())
        origins, own = self.book.origins(path), self.ring.own(path)
        signing = zone.keys
        if signing is None or own.key.rdata not in dnskeys(signing, origins[0]):
            zone.listed_since = None
            return
        zone.listed_since = now if zone.listed_since is None else zone.listed_since
        another = zone.copy is not None and zone.copy_by != self.book.me
        live = [one for origin in origins if (one := self.names.zones.get(origin)) is not None]
        if now < zone.said_at + PAUSE[path == ROOT] or (another and now < zone.listed_since + KEY_TTL) or len(live) != len(origins):
            return
        before: Sets = zone.copy.sets if zone.copy is not None else tuple({} for _ in origins)
        serial = zone.copy.serial if zone.copy is not None else 0
        ds = [self._ds(path, tree) for tree in range(len(origins))]

        def due(serial: int) -> list[dict[Place, RRset]]:
            keys = [ZoneKey(rdata[4:], entry=bool(rdata[1] & 1)) for rdata in dnskeys(signing, origins[0])]
            made = (prepared(one, serial=serial, keys=keys, ds=ds[tree], root=path == ROOT) for tree, one in enumerate(live))
            return [wanted(one, SIGNED_BY_ENTRY) for one in made]

        def good() -> bool:
            return all(stands(sets, before[tree], at) for tree, sets in enumerate(due(serial)))

        def signed(serial: int) -> Sets:
            return tuple(sign_sets(sets, own, origins[tree], at, before[tree], _spread) for tree, sets in enumerate(due(serial)))

        looked_at = (*live, signing, zone.copy, ds)
        if zone.copy is not None and now < zone.good_until and _same(looked_at, zone.looked_at):
            return
        if zone.copy is not None and await trio.to_thread.run_sync(good):
            zone.differs_since, zone.looked_at, zone.good_until = None, looked_at, now + AGAIN
            return
        zone.differs_since = now if zone.differs_since is None else zone.differs_since
        first = self.book.me if self.book.is_gateway(path) else zone.copy_by
        if now - zone.differs_since < self.book.turn(first, self.book.signers(path)):
            return
        serial = max(self._last(path) + 1, at) & 0xFFFFFFFF
        sets = await trio.to_thread.run_sync(signed, serial)
        zone.said_at, zone.differs_since = now, None
        mine = {record.item: record for record in self.book.records(path, "signed") if record.signer == self.book.me}
        buckets = Piece.read(mine[place(ZONE)]).count if place(ZONE) in mine else 0
        await self._publish(path, zone_to_pieces(sets, origins, serial, ROOM - len(str(path)), buckets), mine)
        self.counters["zones_signed"] += 1

    def _last(self, path: Path) -> int:
        """The highest serial that anybody has given a version."""
        bodies = (self.engine.node.book.body(record) for record in self.book.records(path, "signed") if record.item[0] != KEYS)
        return max((body.serial for body in bodies if isinstance(body, Piece)), default=0)

    async def _publish(self, path: Path, pieces: Mapping[bytes, Piece], mine: Mapping[bytes, Record]) -> None:
        """Say what is new, the head last: until it comes the version before is whole nowhere but stays in use."""
        at = self.engine.clock.at()
        said: list[list[object]] = []
        for item, piece in sorted(pieces.items(), key=lambda pair: pair[0][0] != BUCKET):
            held = mine.get(item)
            if held is None or held.body != piece.body() or at >= (held.issued + held.expires) / 2:
                said.append(["signed", item, piece.body(), PIECE_LIFE])
        for start in range(0, len(said), BATCH):
            self.book.say(path, said[start : start + BATCH])
            await trio.lowlevel.checkpoint()

    def _ds(self, path: Path, tree: int) -> dict[Name, tuple[bytes, ...]]:
        """The DS of the zones directly below that are ready for it."""
        found: dict[Name, tuple[bytes, ...]] = {}
        suffix = (self.names.tld, self.names.zone)[tree]
        for cut in self.names.views[path].cuts:
            ready = [item for item, said in self.book.entries(cut).items() if any(body.ready for _, body in said)]
            if ready:
                name = labels(cut, suffix)
                found[name] = tuple(sorted(ds_rdata(name, ZoneKey(item, entry=True)) for item in ready[-MAX_DS:]))
        return found


def _spread(name: Name) -> int:
    """Up to a day more for a name's signatures, so that they do not all end at once."""
    return int.from_bytes(b"".join(name)[-4:], "big") % DAY


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether two looks saw the same objects; DS, which are made each time, the same values."""
    return len(one) == len(other) and all(a is b for a, b in zip(one[:-1], other[:-1], strict=True)) and one[-1] == other[-1]
