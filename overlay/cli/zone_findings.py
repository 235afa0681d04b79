"""What ``overlay doctor`` says of signed zones: whether validators can follow the chain, and for how long."""

from __future__ import annotations

from typing import Final, Protocol

from overlay.cli.signing import ZoneSigning
from overlay.errors import Malformed, ReachError
from overlay.findings import FAILED, OK, WARNING, Finding
from overlay.name import ROOT, Path
from overlay.units import DAY
from tld.dnssec.keys import ZoneKey, ds_rdata
from tld.label import to_text

SETTLED: Final = 60.0  # seconds of running before what is missing is told: keys, signatures and DS follow each other
SOON: Final = 4 * DAY  # of signatures left: they are made anew with seven
AHEAD: Final = 30 * DAY  # of the root's key set left, where no root key is at hand


def signed_zones(signing: ZoneSigning, uptime: float) -> list[Finding]:
    """One finding where all is well, else one for each fault."""
    at, names = signing.engine.clock.at(), signing.names
    if uptime < SETTLED or ROOT not in names.views:
        return []
    if not signing.book.root_entries():
        return [Finding("signatures", WARNING, "no zone is signed: this overlay was founded without keys for its root zone", "overlay root rotate")]
    keys, copy = signing.held(ROOT)
    if keys is None:
        todo = "overlay root sign --key FILE, where a root key is"
        return [Finding("signatures", WARNING, "the keys of the root zone are signed by nobody: validators trust no name", todo)]
    found = []
    if keys.until - at < AHEAD:
        left = max(0, keys.until - at) / DAY
        found.append(Finding("signatures", WARNING, f"the keys of the root zone are signed for {left:.0f} days more", "overlay root sign --key FILE"))
    if copy is None:
        todo = "start a node that holds `sign` on the root: overlay grants / shows which"
        found.append(Finding("signatures", FAILED, "nobody signs the root zone: validators trust no name", todo))
    for path in sorted(names.views):
        found += _of_zone(signing, path, at)
    if not found:
        count = sum(signing.held(path)[1] is not None for path in names.views)
        return [Finding("signatures", OK, f"{count} of the {len(names.views)} zones held here are signed, with an unbroken chain")]
    return found


async def delegated(signing: ZoneSigning, zone: str, lookup: Asking) -> list[Finding]:
    """Whether the zone above the bootstrap zone points to this overlay's keys, where it points to any."""
    wanted = {ds_rdata(signing.names.zone, ZoneKey(public, entry=True)) for public in signing.book.root_entries()}
    try:
        there = {one for one in await lookup.ask(zone, "DS") if isinstance(one, bytes)}
        servers = [name for name in await lookup.ask(zone, "NS") if isinstance(name, str)]
    except (ReachError, Malformed):
        return []  # that the DNS cannot be asked is said elsewhere
    todo = "publish in the zone above it what overlay dns anchor --bootstrap prints, and nothing else"
    if there and not there & wanted:
        return [Finding("delegation", FAILED, f"the DS records of {zone} are not this overlay's: validators take its names for forged", todo)]
    to_nodes = bool(servers) and all(name.rstrip(".").lower().endswith("." + zone) for name in servers)
    if there:
        return [Finding("delegation", OK, f"the zone above {zone} points to this overlay's keys")]
    return [Finding("delegation", WARNING, f"{zone} is delegated to the nodes without DS: for validators it is unsigned", todo)] if to_nodes else []


class Asking(Protocol):
    """Who asks the public DNS."""

    async def ask(self, name: str, rtype: str) -> tuple[bytes, ...] | tuple[str, ...]:
        """The values."""
        ...


def _of_zone(signing: ZoneSigning, path: Path, at: float) -> list[Finding]:
    origin = signing.book.origins(path)[0]
    copy = signing.held(path)[1]
    name = to_text(origin)
    todo = "look at the log of a node that holds `sign` there: overlay grants shows which"
    if copy is not None and copy.until - at < SOON:
        left = max(0, copy.until - at) / DAY
        return [Finding("signatures", WARNING, f"the signatures of {name} end in {left:.0f} days and nobody renews them", todo)]
    if copy is not None and signing.names.secure.trusted(origin, at) is None:
        return [Finding("signatures", FAILED, f"the chain to {name} is broken: validators take its names for forged", todo)]
    if copy is None and signing.book.may_sign(path) and path != ROOT:
        return [Finding("signatures", WARNING, f"{name} is not signed, although this node may", todo)]
    return []
