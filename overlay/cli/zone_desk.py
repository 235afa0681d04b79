"""What a running node answers about its signed zones: `dns anchor`, `zone export` (CONTRACT)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from overlay.cli.signing import ZoneSigning
from overlay.cli.words import text
from overlay.driver.control import Args, Handler
from overlay.errors import Absent, TrustError, UsageError
from overlay.name import Path, parse_name, parse_path
from tld.delegation import labels
from tld.dnssec import export
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
        zone = self.names.secure.zones.get(labels(path, suffix))
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
        self.signing.ring.make(path)
        self.signing.look_soon()
        return {"zone": to_text(labels(path, self.names.tld)), "keys": len(self.signing.book.entries(path))}

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
