"""What a running node answers about its signed zones: `dns anchor`, `zone export` (CONTRACT)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from overlay.cli.signing import ZoneSigning
from overlay.cli.words import text
from overlay.cli.zone_keys import dnskeys
from overlay.driver.control import Args, Handler
from overlay.errors import Absent, OverlayError, TrustError, UsageError
from overlay.name import ROOT, Path, parse_name, parse_path
from overlay.records.zones import Piece
from overlay.units import b64, unb64
from tld.delegation import labels
from tld.dnssec import export
from tld.dnssec.keys import ZoneKey
from tld.dnssec.pieces import keys_from_pieces
from tld.dnssec.signing import valid
from tld.label import to_text
from tld.names import Names
from tld.zone import Zone


@dataclass(frozen=True, slots=True)
class ZoneDesk:
    """The handlers of one running node."""

    names: Names
    signing: ZoneSigning

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler."""
        return {
            "dns.anchor": Handler(self.anchor, reading=True), "zone.export": Handler(self.export, reading=True), "zone.roll": Handler(self.roll),
            "root.keyset": Handler(self.keyset, reading=True), "root.keyset.publish": Handler(self.publish),
        }

    async def anchor(self, args: Args) -> object:
        """`overlay dns anchor [--dnskey] [--bootstrap]`."""
        entries = self.names.secure.entries
        if not entries:
            raise Absent("the root zone of this overlay has no keys: it was founded without", "overlay root rotate gives it some", rule="unsigned")
        origin = self.names.zone if args.get("bootstrap") else self.names.tld
        return {"lines": export.anchor(origin, entries, dnskey=bool(args.get("dnskey"))), "policy": self.names.world.policy}

    async def export(self, args: Args) -> object:
        """`overlay zone export PATH [--bootstrap]`: whole and signed, from any node that holds the zone."""
        path = self._path(text(args, "path"))
        suffix = self.names.zone if args.get("bootstrap") else self.names.tld
        zone = self.names.secure.whole(labels(path, suffix))
        if zone is None:
            raise Absent(
                f"no zone begins at {path.dotted or 'the root'}, or this node does not hold it",
                "overlay name tree shows the zones; ask one of its nodes", rule="unknown-zone",
            )
        if not zone.signed:
            why = "nobody who may sign it has done so yet"
            raise Absent(f"the zone {to_text(zone.origin)} is not signed: {why}", "overlay doctor; `sign` on it is needed", rule="unsigned")
        found = await trio.to_thread.run_sync(self._whole, path, zone)
        return {"zone": to_text(zone.origin), "serial": zone.serial, "text": found}

    async def roll(self, args: Args) -> object:
        """`overlay zone roll PATH`: another key-signing key beside the one in use, which it replaces in its time."""
        path = self._path(text(args, "path"))
        if not path.labels:
            raise UsageError("the keys of the root zone come from the root keys", "overlay root rotate", rule="root-zone")
        if not self.signing.book.may_sign(path):
            raise TrustError(f"this node holds no `sign` on {path.dotted}", "ask on a node that does: overlay grants shows which", rule="R07")
        if len(self.signing.book.entries(path)) > 1:
            raise TrustError(f"the keys of {path.dotted} are being changed already", "wait until the old one is retired: 20 minutes", rule="rolling")
        self.signing.ring.make(path)
        self.signing.look_soon()
        return {"zone": to_text(labels(path, self.names.tld)), "keys": len(self.signing.book.entries(path))}

    async def keyset(self, args: Args) -> object:
        """The root's key set, for who holds a root key (`overlay root sign`)."""
        book, keys = self.signing.book, self.signing.held(ROOT)[0]
        return {
            "entries": [b64(key) for key in book.root_entries()], "due": bool(book.root_entries()) and self.signing.ring.unsigned(keys),
            "keys": [[b64(key.public), key.entry] for key in self.signing.ring.wanted(ROOT)], "serial": keys.serial if keys is not None else 0,
            "origins": [to_text(origin) for origin in book.origins(ROOT)],
        }  # fmt: skip

    async def publish(self, args: Args) -> object:
        """Publish the root's key set, signed elsewhere; ``TrustError`` where it is not that, or not signed by a key of the root zone."""
        given = args.get("pieces")
        try:
            if not isinstance(given, list):
                raise ValueError
            pieces = {
                unb64(item): Piece(data=unb64(data), serial=serial, count=count, digest=unb64(digest)) for item, data, serial, count, digest in given
            }
        except (ValueError, TypeError, OverlayError):
            raise UsageError("that is no signed key set", "overlay root sign makes one", rule="key-set") from None
        book, ring = self.signing.book, self.signing.ring
        origins = book.origins(ROOT)
        keys = keys_from_pieces(pieces, origins)
        entries = [ZoneKey(public, entry=True) for public in book.root_entries()]
        good = keys is not None and all(
            any(valid(signed.rrset, signed.rrsigs[0], key, time.time()) for key in entries) for tree in keys.sets for signed in tree.values()
        )
        if keys is None or not good or set(dnskeys(keys, origins[0])) != {key.rdata for key in ring.wanted(ROOT)}:
            raise TrustError(
                "that is not the root's key set of today, signed by a key of the root zone", "overlay root sign, once more", rule="key-set",
            )
        if not book.may_sign(ROOT):
            raise TrustError("this node may not speak for the root zone", "sign on a node that holds `sign` on the root", rule="R07")
        ring.say_keys(ROOT, [(item, piece.body()) for item, piece in pieces.items()])
        self.signing.look_soon()
        return {"until": keys.until}

    def _whole(self, path: Path, zone: Zone) -> str:
        key = self.signing.key(path)
        return export.lines(export.with_digest(zone, key, int(time.time())) if key is not None else zone)

    def _path(self, told: str) -> Path:
        told = told.strip()
        if told in ("/", "."):
            return Path(())
        if "/" in told:
            return parse_path(told.strip("/").lower())
        zone, tld = (".".join(label.decode() for label in name) for name in (self.names.zone, self.names.tld))
        return Path(()) if told.rstrip(".").lower() in (zone, tld) else parse_name(told, zone=zone, tld=tld)
