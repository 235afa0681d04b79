"""The founding of an overlay: the founding record, the registrar's grant, the founder's own cluster and name (DESIGN 3.2).

Pure: keys and dates come as arguments; the command ``init`` writes the files. The root keys sign twice here and are not
needed again until they are rotated: all other rights flow from the founder's grant over the root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from overlay.errors import UsageError
from overlay.identity.keys import Identity, Signer
from overlay.name import MAX_SUFFIX, ROOT, Path, parse_zone
from overlay.records import rights
from overlay.records.kinds import Cluster, Grant, Root, version_item
from overlay.records.record import NEVER, NO_OVERLAY, Draft, Record, sign
from overlay.records.rights import TABLE, Joining
from overlay.units import DAY

LEAST_ROOM = 40  # octets of the founder's cluster record for its addresses: two of IPv6
FOUNDER_LIFE = 365 * DAY  # DESIGN 3.2: the founder's rights on the root hold 1 year


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the person decided. ``threshold`` of the root keys must sign the next version."""

    zone: str
    tld: str
    admission: str
    name: Path
    threshold: int = 1

    @classmethod
    def checked(cls, *, zone: str, tld: str, admission: str, name: Path, threshold: int = 1) -> Plan:
        """Canonical spelling, or a ``UsageError``: a zone below the TLD would swallow its own way in."""
        zone, tld = parse_zone(zone), parse_zone(tld)
        if zone == tld or zone.endswith("." + tld):
            raise UsageError(
                f"{zone} lies below the TLD {tld}: the overlay's own resolver would swallow its way in", "choose another zone, or another --tld",
                rule="zone-below-tld",
            )
        if max(len(zone), len(tld)) > MAX_SUFFIX:
            raise UsageError(
                f"{max(zone, tld, key=len)[:80]} is too long", f"use a zone and a TLD of at most {MAX_SUFFIX} characters", rule="name-length",
            )
        if admission not in ("open", "invite"):
            raise UsageError(f"admission {admission!r} is unknown", "choose open or invite")
        if len(name) < 2 or rights.reserved(name):
            raise UsageError(f"{name.dotted} cannot be a node's name", "choose other values for --name and --cluster")
        if Cluster.room(name) < LEAST_ROOM:
            raise UsageError(
                f"{name.dotted[:80]} is too long a name for the founder: nobody could be told its address", "choose a shorter --name or --cluster",
                rule="name-length",
            )
        return cls(zone=zone, tld=tld, admission=admission, name=name, threshold=threshold)


def founding_record(plan: Plan, root_keys: Sequence[Signer], at: int, entries: Sequence[bytes] = ()) -> Record:
    """Root version 1; its digest is the overlay's id. ``entries``: the key-signing keys of the root zone, if it is to be signed."""
    body = Root(
        version=1, zone=plan.zone, tld=plan.tld, keys=tuple(sorted(key.public for key in root_keys)), threshold=plan.threshold,
        admission=plan.admission, entries=tuple(entries),
    ).body()
    return sign(Draft(name=ROOT, kind="root", item=version_item(1), seq=1, issued=at, expires=NEVER, body=body), root_keys, NO_OVERLAY)


def founder_grants(plan: Plan, root: Record, root_keys: Sequence[Signer], founder: Identity, at: int) -> list[Record]:
    """The founder's grants: over the root (by the root keys), over its cluster, over its name (by itself), in this order."""
    overlay_id = root.digest
    registrar = sign(
        Draft(
            name=ROOT, kind="grant", item=founder.node_id, seq=at * 1000, issued=at, expires=at + FOUNDER_LIFE,
            body=Grant(rights=rights.FOUNDER).body(),
        ),
        root_keys, overlay_id,
    )
    cluster = sign(
        Draft(
            name=plan.name.parent, kind="grant", item=founder.node_id, seq=at * 1000 + 1, issued=at, expires=at + FOUNDER_LIFE, via=registrar.digest,
            body=Grant(rights=TABLE[Joining.FOUNDING].rights).body(),
        ),
        [founder.signer], overlay_id,
    )
    name = sign(
        Draft(
            name=plan.name, kind="grant", item=founder.node_id, seq=at * 1000 + 2, issued=at, expires=at + FOUNDER_LIFE, via=registrar.digest,
            body=Grant(rights=frozenset({rights.OWN})).body(),
        ),
        [founder.signer], overlay_id,
    )
    return [registrar, cluster, name]
