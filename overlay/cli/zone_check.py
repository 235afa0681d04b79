"""Whether the bootstrap zone leads newcomers into this overlay: its texts read as a newcomer reads them, its ways tried.

It decides what counts as a fault of the zone: another overlay's id, ways that lead nowhere or elsewhere. How a way is proved is
the caller's: a running node opens a session and looks at the passport, without one the listener at the other end is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import trio

from bootstrap.domain import NODE_LABEL, OVERLAY_LABEL, OverlayText, read_overlays, read_ways
from bootstrap.driver.fetch import fetch
from bootstrap.driver.lookup import Lookup
from bootstrap.entrance import Listener, WayIn, reachable
from bootstrap.mirror import WELL_KNOWN, read_way_in
from overlay.errors import Malformed, NotRunning, PeerError, ReachError
from overlay.findings import FAILED, OK, SKIPPED, WARNING, Finding
from overlay.units import b64
from overlay.wire.address import Address

PATIENCE: Final = 25.0  # seconds for all of it: two rounds of three silent resolvers, then a knock
KNOCK: Final = 6.0  # seconds for one way: UDP with its repeats, then TCP; guess

# Who answers there, in words. Raises ReachError or PeerError where nobody does, or another; NotRunning where it cannot be said.
Prove = Callable[[WayIn], Awaitable[str]]


async def zone_findings(zone: str, tld: str, overlay_id: bytes, lookup: Lookup, prove: Prove) -> list[Finding]:
    """The zone's texts and each way in, one finding each."""
    found: list[Finding] = []
    with trio.move_on_after(PATIENCE) as scope:
        try:
            found += await _texts(zone, tld, overlay_id, lookup, prove)
        except (ReachError, Malformed) as why:
            found.append(Finding("zone", SKIPPED, f"the DNS was not to be asked for {zone}: {why.what}", "check the network and /etc/resolv.conf"))
    if scope.cancelled_caught:
        found.append(Finding("zone", SKIPPED, f"looking at {zone} took too long", "ask again"))
    return found


async def _texts(zone: str, tld: str, overlay_id: bytes, lookup: Lookup, prove: Prove) -> list[Finding]:
    counters: Counter[str] = Counter()
    named = read_overlays(_octets(await lookup.ask(f"{OVERLAY_LABEL}.{zone}", "TXT")), counters)
    line = f'{OVERLAY_LABEL}.{zone}. 300 IN TXT "{OverlayText(overlay_id, tld)}"'
    ids = {text.overlay_id for text in named}
    if not ids:
        return await _without_texts(zone, overlay_id, lookup, line, broken=bool(counters))
    if overlay_id not in ids:
        return [Finding("zone", FAILED, f"{zone} names another overlay: {b64(min(ids))}", f"publish instead: {line}")]
    found = [Finding("zone", OK, f"{zone} names this overlay")]
    if len(ids) > 1:
        found = [Finding("zone", FAILED, f"{zone} names {len(ids)} overlays: newcomers are asked which", f"leave this one alone: {line}")]
    ways = read_ways(_octets(await lookup.ask(f"{NODE_LABEL}.{zone}", "TXT")), counters)
    if counters:
        told = ", ".join(sorted(key.removeprefix("drop:") for key in counters))
        found.append(Finding("zone", WARNING, f"texts of {zone} do not read ({told})", "publish them as overlay init printed them"))
    if not ways:
        todo = f"publish one at {NODE_LABEL}.{zone}, as overlay init printed it"
        found.append(Finding("ways in", WARNING, f"{zone} names no node to knock at", todo))
    return found + await _knock([(str(way), _proving(prove, way)) for way in ways])


async def _without_texts(zone: str, overlay_id: bytes, lookup: Lookup, line: str, *, broken: bool) -> list[Finding]:
    """A zone may do with addresses alone: each is asked."""
    hosts = [host for rtype in ("A", "AAAA") for host in await lookup.ask(zone, rtype) if isinstance(host, str) and reachable(host)]
    if broken or not hosts:
        text = f"text at {OVERLAY_LABEL}.{zone}"
        told = f"the {text} does not read" if broken else f"{zone} leads nobody in: there is no {text}"
        return [Finding("zone", WARNING, told, f"publish it, or hand out tokens: {line}")]
    found = [Finding("zone", OK, f"{zone} has addresses alone; they are asked for the way in")]
    return found + await _knock([(host, _asking(Listener(host).addresses, overlay_id)) for host in hosts[:8]])


def _proving(prove: Prove, way: WayIn) -> Callable[[], Awaitable[str]]:
    return lambda: prove(way)


def _asking(addresses: Iterable[Address], overlay_id: bytes) -> Callable[[], Awaitable[str]]:
    return lambda: ask_listener(addresses, overlay_id)


async def _knock(ways: list[tuple[str, Callable[[], Awaitable[str]]]]) -> list[Finding]:
    """All ways at once. One that leads nowhere is a warning while another leads in."""
    outcomes: dict[str, tuple[str, str]] = {}

    async def one(where: str, attempt: Callable[[], Awaitable[str]]) -> None:
        outcomes[where] = (FAILED, "no answer")
        with trio.move_on_after(KNOCK):
            try:
                outcomes[where] = (OK, await attempt())
            except (ReachError, PeerError) as why:
                outcomes[where] = (FAILED, why.what)
            except NotRunning as why:
                outcomes[where] = (SKIPPED, why.what)

    async with trio.open_nursery() as nursery:
        for where, attempt in ways:
            nursery.start_soon(one, where, attempt)
    bad = WARNING if any(outcome == OK for outcome, _ in outcomes.values()) else FAILED
    todo = {FAILED: "take it out of the zone, or bring that node up", SKIPPED: "overlay up"}
    return [
        Finding("ways in", bad if outcome == FAILED else outcome, f"{where}: {told}", todo.get(outcome, ""))
        for where, (outcome, told) in sorted(outcomes.items())
    ]


async def ask_listener(addresses: Iterable[Address], overlay_id: bytes, key: bytes | None = None) -> str:
    """What the listener there says of itself, over HTTP: no proof, but enough to find a wrong address."""
    last: ReachError | Malformed = ReachError("no answer")
    for address in addresses:
        try:
            said = read_way_in(await fetch(address, WELL_KNOWN), address)
        except (ReachError, Malformed) as why:
            last = why
            continue
        if said.overlay_id != overlay_id:
            raise PeerError("a node of another overlay answers there")
        if key is not None and said.ways[0].key != key:
            raise PeerError("another node than the text says answers there")
        return f"answers at {address}"
    raise ReachError(last.what)


def _octets(values: Iterable[bytes | str]) -> list[bytes]:
    return [value for value in values if isinstance(value, bytes)]
