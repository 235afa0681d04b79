"""Zones of this node signed and kept signed (DESIGN 3.8): who signs, when, and with which keys; and what is signed handed to names.

    ZoneSigning.run     looks at each zone that this node may sign when something is said of it, and now and then

It carries: records and views from the node, signed sets to names, keys and signatures back as records. What a signature is
stands in ``tld/dnssec``. Of the nodes that hold `sign` on a path and whose key stands in the zone's signed key set one
signs, whoever did last or is its gateway; where that one is silent, the next in order does, a little later: two that sign
at once do no harm, as the newest whole version counts. Signing is done in a thread: a step of the node stays short.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Final

import trio
from trio_util import RepeatedEvent

from overlay import acts
from overlay.cluster.outputs import Role
from overlay.driver.run import Engine
from overlay.errors import Malformed, OverlayError
from overlay.identity.keys import KEY, Signer
from overlay.identity.sealing import seal, unseal
from overlay.name import ROOT, Path
from overlay.records import rights
from overlay.records.kinds import Host
from overlay.records.record import Record
from overlay.records.zones import BUCKET, HOLDERS, KEYS, SHORT, ZONE, EntryKey, Piece, ZoneSigner, place
from overlay.roots import held_entries
from overlay.units import DAY
from tld.delegation import labels
from tld.dnssec.keys import KEY_TTL, SigningKey, ZoneKey, ds_rdata
from tld.dnssec.pieces import Copy, Reader, Sets, keys_from_pieces, keys_to_pieces, zone_to_pieces
from tld.dnssec.secure import MAX_KEYS, SIGNED_BY_ENTRY, prepared
from tld.dnssec.signing import Place, Signed, sign, sign_sets, stands, wanted
from tld.label import Name
from tld.names import Names
from tld.zone import RRset

LOOK: Final = 2.0  # seconds between looks without news: turns pass, dates come near
PAUSE: Final = {True: 5.0, False: 1.0}  # seconds between versions of the root, of another zone (DESIGN 3.8)
TURN: Final = 4.0  # seconds that each in order waits for those before it
ROOT_LIFE: Final = 90 * DAY  # of the root's signed key set (DESIGN 3.8)
KEYS_LIFE: Final = 30 * DAY  # of another zone's: its holders are at hand
PIECE_LIFE: Final = 16 * DAY  # of a piece: two days longer than its signatures
KEY_LIFE: Final = {"ksk": 365 * DAY, "zsk": 30 * DAY}
BATCH: Final = 8  # pieces said at once: a millisecond of signing and judging
ROOM: Final = 1_000 - 256  # octets of a record that pieces of the root may take; the path takes its own
_SEALED_FOR: Final = b"overlay zone entry key 1"
_OWN: Final = b"overlay zone key 1 "


@dataclass(slots=True)
class _Zone:
    """What is known of one zone here."""

    readers: dict[bytes, Reader] = field(default_factory=dict)  # by signer
    keys: Copy | None = None
    copy: Copy | None = None
    seen: frozenset[bytes] | None = None  # digests of the records that were read
    keys_by: bytes = b""
    copy_by: bytes = b""
    shown: tuple[Copy | None, Copy | None] = (None, None)
    differs_since: float | None = None  # monotonic seconds: what is live is not what is signed
    keys_differ_since: float | None = None
    lacks_since: float | None = None
    listed_since: float | None = None  # our key stands in the signed set
    said_at: float = float("-inf")
    ready_at: float | None = None


class ZoneSigning:
    """The signed zones of one node."""

    def __init__(self, engine: Engine, names: Names, home: FilePath) -> None:
        self.engine = engine
        self.names = names
        self.counters: Counter[str] = Counter()
        self._home = home
        self._zones: dict[Path, _Zone] = {}
        self._news = RepeatedEvent()
        self._entries: dict[bytes, Signer] = {}  # key-signing keys at hand, by public half
        self._seeds: dict[bytes, bytes] = {}  # what they are made of, of those that can be sealed for others
        self._opened: set[bytes] = set()  # digests of key records that were looked into

    def look_soon(self) -> None:
        """Zones or keys changed."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for path in [path for path in self.names.views if self.may_sign(path)]:
                try:
                    await self.look(path)
                except OverlayError as why:
                    self.counters["zones_unsigned"] += 1
                    self.engine.problem(f"zone {path}", f"the zone {path.dotted or 'of the root'} cannot be signed: {why.what}")
                else:
                    self.engine.problem(f"zone {path}", "")
            with trio.move_on_after(LOOK):
                await self._news.wait()
            await trio.sleep(0.02)  # what comes together is looked at together

    # -- one zone

    def origins(self, path: Path) -> tuple[Name, ...]:
        """Where a zone hangs, by tree."""
        return labels(path, self.names.tld), labels(path, self.names.zone)

    def may_sign(self, path: Path) -> bool:
        """Whether this node holds `sign` on exactly that path."""
        node = self.engine.node
        grants = node.book.grants_of(node.identity.node_id, self.engine.clock.at())
        return any(grant.name == path and rights.SIGN in grant.body[1] for grant in grants)

    def _root_entries(self) -> tuple[bytes, ...]:
        root = self.engine.node.trust.root
        return root.entries if root is not None else ()

    def show(self, path: Path) -> None:
        """The zone is held, or changed: hand the newest whole signed version of it to names."""
        zone = self._zones.setdefault(path, _Zone())
        self.names.secure.entries = self._root_entries()
        self._read(path, zone)
        if (zone.keys, zone.copy) != zone.shown:
            zone.shown = (zone.keys, zone.copy)
            self.names.sign(path, zone.keys, zone.copy)
            self.counters["zones_signed_shown"] += 1

    def forget(self, path: Path) -> None:
        """It is held no longer."""
        self._zones.pop(path, None)

    async def look(self, path: Path) -> None:
        """Do what is due for a zone that this node may sign."""
        zone = self._zones.setdefault(path, _Zone())
        self.show(path)
        if path != ROOT or self._root_entries():
            self._say_own_key(path)
            if path != ROOT:
                self._entry(path, zone)
            self._keys(path, zone)
            await self._sign(path, zone)
            self._get_ready(path, zone)
            self.show(path)

    def _records(self, path: Path, kind: str) -> list[Record]:
        return [record for record in self.engine.node.book.zone_keys.get(path, {}).values() if record.kind == kind]

    def _read(self, path: Path, zone: _Zone) -> None:
        """The newest whole key set and version; what stood stays until something newer is whole."""
        at = self.engine.clock.at()
        records = self._records(path, "signed")
        if zone.copy is not None and zone.copy.until < at:
            zone.copy = None
        if zone.keys is not None and zone.keys.until < at:
            zone.keys = None
        seen = frozenset(record.digest for record in records)
        if seen == zone.seen:
            return
        zone.seen = seen
        origins = self.origins(path)
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

    def _say(self, path: Path, said: list[list[object]]) -> None:
        if said:
            self.engine.act(acts.say_of_zone, path, said, self.engine.clock.at())
            self.engine.step()

    def _turn(self, first: bytes, able: list[bytes]) -> float:
        """Seconds that this node waits before it does what somebody has to do: none for ``first``, or where that is nobody able, the lowest."""
        me = self.engine.node.identity.node_id
        order = sorted(able, key=lambda one: (one != first, one))
        return order.index(me) * TURN if me in order else len(order) * TURN

    # -- keys

    def key(self, path: Path) -> SigningKey | None:
        """This node's key for that zone, where it stands in the signed key set."""
        zone, own = self._zones.get(path), self._own_key(path)
        listed = zone is not None and zone.keys is not None and own.key.rdata in _dnskeys(zone.keys, self.origins(path)[0])
        return own if listed else None

    def _own_key(self, path: Path) -> SigningKey:
        identity = self.engine.node.identity
        return SigningKey(Signer.from_seed(identity.derived(_OWN + self.engine.node.setup.overlay_id + str(path).encode())))

    def _say_own_key(self, path: Path) -> None:
        node, at = self.engine.node, self.engine.clock.at()
        body = ZoneSigner(public=self._own_key(path).key.public).body()
        if node.statements.due(node.statements.held(path, "zsk"), body, at):
            self._say(path, [["zsk", b"", body, KEY_LIFE["zsk"]]])

    def _entry(self, path: Path, zone: _Zone) -> None:
        """A key-signing key: made where there is none, sealed for others who may sign, opened where it is sealed for us."""
        node, now, at = self.engine.node, self.engine.clock.now(), self.engine.clock.at()
        mine = node.identity.exchange_public[:SHORT]
        known = self._records(path, "ksk")
        for record in known:
            if record.digest not in self._opened:
                self._opened.add(record.digest)
                for holder, box in EntryKey.read(record).sealed:
                    if holder == mine:
                        with suppress(Malformed):
                            signer = Signer.from_seed(unseal(box, node.identity.exchange, _SEALED_FOR + record.item))
                            if signer.public == record.item:
                                self._entries[record.item] = signer
                                self._seeds[record.item] = unseal(box, node.identity.exchange, _SEALED_FOR + record.item)
        able = [record.signer for record in self._records(path, "zsk")]
        if not known:
            zone.lacks_since = now if zone.lacks_since is None else zone.lacks_since
            gateway = node.identity.node_id if self._is_gateway(path) else b""
            if now - zone.lacks_since >= self._turn(gateway, able):
                seed = os.urandom(KEY)
                signer = Signer.from_seed(seed)
                self._seeds[signer.public] = seed
                self._say(path, [["ksk", signer.public, self._sealed(path, signer.public, seed, ready=False).body(), KEY_LIFE["ksk"]]])
            return
        zone.lacks_since = None
        for record in known:
            if record.signer != node.identity.node_id or record.item not in self._seeds:
                continue
            body = EntryKey.read(record)
            wanted = min(HOLDERS, len(set(able) | {node.identity.node_id}))
            if len(body.sealed) < wanted or at >= (record.issued + record.expires) / 2:
                fuller = self._sealed(path, record.item, self._seeds[record.item], ready=body.ready)
                if len(fuller.sealed) > len(body.sealed) or at >= (record.issued + record.expires) / 2:
                    self._say(path, [["ksk", record.item, fuller.body(), KEY_LIFE["ksk"]]])

    def _sealed(self, path: Path, public: bytes, seed: bytes, *, ready: bool) -> EntryKey:
        """The key for this node and up to two others that may sign there, the lowest ids first."""
        node = self.engine.node
        holders = [node.identity.exchange_public]
        for record in sorted(self._records(path, "zsk"), key=lambda r: r.signer):
            exchange = self._exchange_of(record.signer)
            if exchange is not None and exchange not in holders and len(holders) < HOLDERS:
                holders.append(exchange)
        boxes = tuple((key[:SHORT], seal(seed, key, _SEALED_FOR + public, os.urandom(KEY))) for key in holders)
        return EntryKey(sealed=boxes, ready=ready)

    def _exchange_of(self, node_id: bytes) -> bytes | None:
        for record in self.engine.node.book.records.values():
            if record.kind == "host" and record.signer == node_id:
                body = self.engine.node.book.body(record)
                return body.exchange if isinstance(body, Host) else None
        return None

    def _is_gateway(self, path: Path) -> bool:
        presence = self.engine.node.presence
        return presence is not None and presence.cluster == path and presence.role is Role.GATEWAY

    def _wanted_keys(self, path: Path) -> list[ZoneKey]:
        """The key set as it should be: entry keys, then the keys of those who may sign, the ones of long standing first."""
        if path == ROOT:
            entries = [ZoneKey(public, entry=True) for public in self._root_entries()]
        else:
            entries = [ZoneKey(item, entry=True) for item in sorted({record.item for record in self._records(path, "ksk")})]
        publics = []
        for record in sorted(self._records(path, "zsk"), key=lambda r: r.signer):
            body = self.engine.node.book.body(record)
            if isinstance(body, ZoneSigner):
                publics.append(ZoneKey(body.public))
        return [*entries, *publics][:MAX_KEYS]

    def _holding(self, path: Path) -> list[SigningKey]:
        """The private key-signing keys of a zone that are at hand."""
        if path != ROOT:
            publics = {record.item for record in self._records(path, "ksk")}
            return [SigningKey(signer, entry=True) for public, signer in sorted(self._entries.items()) if public in publics]
        wanted = self._root_entries()
        if not any(public in self._entries for public in wanted):
            texts: dict[str, str] = {}
            with suppress(OSError):
                for file in sorted(self._home.glob("root*.key")):
                    texts[str(file)] = file.read_text()
            for signer in held_entries(texts, self.engine.node.setup.overlay_id, wanted):
                self._entries[signer.public] = signer
        return [SigningKey(self._entries[public], entry=True) for public in wanted if public in self._entries]

    def _keys(self, path: Path, zone: _Zone) -> None:
        """Sign the key set, where this node holds an entry key and it is its turn."""
        now, at = self.engine.clock.now(), self.engine.clock.at()
        wanted = self._wanted_keys(path)
        holding = self._holding(path)
        if not wanted or not wanted[0].entry or not any(not key.entry for key in wanted) or not holding:
            return
        origins = self.origins(path)
        life = ROOT_LIFE if path == ROOT else KEYS_LIFE
        if zone.keys is not None and _same_keys(zone.keys, origins, wanted) and zone.keys.until - at > life / 2:
            zone.keys_differ_since = None
            return
        zone.keys_differ_since = now if zone.keys_differ_since is None else zone.keys_differ_since
        if now - zone.keys_differ_since < self._turn(zone.keys_by, [record.signer for record in self._records(path, "zsk")]):
            return
        entries: list[tuple[int, Signed]] = []
        for tree, origin in enumerate(origins):
            live = self.names.zones.get(origin)
            if live is None:
                return
            apex = prepared(live, serial=0, keys=wanted, ds={}, root=False).nodes[origin]
            for rtype in SIGNED_BY_ENTRY:
                entries.append((tree, Signed(apex[rtype], tuple(sign(apex[rtype], key, origin, int(at), life=life) for key in holding[:1]))))
        version = max(int(at), zone.keys.serial + 1 if zone.keys is not None else 0)
        pieces = keys_to_pieces(entries, origins, version, ROOM - len(str(path)))
        self._say(path, [["signed", item, piece.body(), life] for item, piece in pieces.items()])
        self.counters["zone_keys_signed"] += 1
        self._read(path, zone)

    # -- sets

    async def _sign(self, path: Path, zone: _Zone) -> None:
        """Sign what is live, where it is not what is signed, and it is this node's turn."""
        now, at = self.engine.clock.now(), self.engine.clock.at()
        origins = self.origins(path)
        own = self._own_key(path)
        if zone.keys is None or own.key.rdata not in _dnskeys(zone.keys, origins[0]):
            zone.listed_since = None
            return
        zone.listed_since = now if zone.listed_since is None else zone.listed_since
        me = self.engine.node.identity.node_id
        other_signs = zone.copy is not None and zone.copy_by != me
        if now < zone.said_at + PAUSE[path == ROOT] or (other_signs and now < zone.listed_since + KEY_TTL):
            return
        live = [self.names.zones.get(origin) for origin in origins]
        zones = [one for one in live if one is not None]
        if len(zones) != len(origins):
            return
        before = zone.copy.sets if zone.copy is not None else tuple({} for _ in origins)
        signing = zone.keys
        ds = [self._ds(path, tree) for tree in range(len(origins))]

        def due(serial: int) -> list[dict[Place, RRset]]:
            keys = [ZoneKey(rdata[4:], entry=bool(rdata[1] & 1)) for rdata in _dnskeys(signing, origins[0])]
            made = (prepared(one, serial=serial, keys=keys, ds=ds[tree], root=path == ROOT) for tree, one in enumerate(zones))
            return [wanted(one, SIGNED_BY_ENTRY) for one in made]

        def good() -> bool:
            return all(stands(sets, before[tree], int(at)) for tree, sets in enumerate(due(serial)))

        def signed() -> Sets:
            return tuple(sign_sets(sets, own, origins[tree], int(at), before[tree], _spread) for tree, sets in enumerate(due(serial)))

        serial = zone.copy.serial if zone.copy is not None else 0
        if zone.copy is not None and await trio.to_thread.run_sync(good):
            zone.differs_since = None
            return
        zone.differs_since = now if zone.differs_since is None else zone.differs_since
        first = me if self._is_gateway(path) else zone.copy_by
        if now - zone.differs_since < self._turn(first, [record.signer for record in self._records(path, "zsk")]):
            return
        serial = max(self._last(path) + 1, int(at)) & 0xFFFFFFFF
        sets = await trio.to_thread.run_sync(signed)
        zone.said_at = now
        zone.differs_since = None
        mine = {record.item: record for record in self._records(path, "signed") if record.signer == me}
        buckets = Piece.read(mine[place(ZONE)]).count if place(ZONE) in mine else 0
        pieces = zone_to_pieces(sets, origins, serial, ROOM - len(str(path)), buckets)
        await self._publish(path, pieces, mine, at)
        self.counters["zones_signed"] += 1

    def _last(self, path: Path) -> int:
        """The highest serial that anybody has given a version."""
        bodies = (self.engine.node.book.body(record) for record in self._records(path, "signed") if record.item[0] != KEYS)
        return max((body.serial for body in bodies if isinstance(body, Piece)), default=0)

    async def _publish(self, path: Path, pieces: Mapping[bytes, Piece], mine: Mapping[bytes, Record], at: float) -> None:
        """Say what is new, the head last: until it comes the version before is whole nowhere but stays in use."""
        said: list[list[object]] = []
        for item, piece in sorted(pieces.items(), key=lambda pair: pair[0][0] != BUCKET):
            held = mine.get(item)
            if held is None or held.body != piece.body() or at >= (held.issued + held.expires) / 2:
                said.append(["signed", item, piece.body(), PIECE_LIFE])
        for start in range(0, len(said), BATCH):
            self._say(path, said[start : start + BATCH])
            await trio.lowlevel.checkpoint()

    def _ds(self, path: Path, tree: int) -> dict[Name, tuple[bytes, ...]]:
        """The DS of the zones directly below that are ready for it."""
        found: dict[Name, tuple[bytes, ...]] = {}
        view = self.names.views[path]
        suffix = (self.names.tld, self.names.zone)[tree]
        for cut in view.cuts:
            name = labels(cut, suffix)
            data = sorted({ds_rdata(name, ZoneKey(r.item, entry=True)) for r in self._records(cut, "ksk") if EntryKey.read(r).ready})
            if data:
                found[name] = tuple(data[:MAX_DS])
        return found

    def _get_ready(self, path: Path, zone: _Zone) -> None:
        """Once the zone has stood signed for a moment, the zone above may point to it."""
        now = self.engine.clock.now()
        if zone.keys is None or zone.copy is None:
            zone.ready_at = None
            return
        zone.ready_at = now + READY if zone.ready_at is None else zone.ready_at
        if now < zone.ready_at:
            return
        for record in self._records(path, "ksk"):
            body = EntryKey.read(record)
            if record.signer == self.engine.node.identity.node_id and not body.ready:
                self._say(path, [["ksk", record.item, EntryKey(sealed=body.sealed, ready=True).body(), KEY_LIFE["ksk"]]])


READY: Final = 3.0  # seconds for the signed zone to be where its zone is kept, before the zone above says that it is signed (guess)
MAX_DS: Final = 4


def _dnskeys(keys: Copy, origin: Name) -> tuple[bytes, ...]:
    signed = keys.sets[0].get((origin, SIGNED_BY_ENTRY[0]))
    return signed.rrset.rdatas if signed is not None else ()


def _same_keys(keys: Copy, origins: tuple[Name, ...], wanted: list[ZoneKey]) -> bool:
    return set(_dnskeys(keys, origins[0])) == {key.rdata for key in wanted}


def _spread(name: Name) -> int:
    """Up to a day more for a name's signatures, so that they do not all end at once."""
    return int.from_bytes(b"".join(name)[-4:], "big") % DAY

