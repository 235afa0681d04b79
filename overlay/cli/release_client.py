"""``overlay release fetch``: a release for who is outside of the overlay, over plain HTTP (CONTRACT, `download` names and HTTP).

It decides the order: find who has it, take the signed records, judge them by the overlay's id alone, then fetch leaf by
leaf and keep the hint aside. It joins nothing, and runs nothing. Where no id is given the first contact says it, as `join` does.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

from bootstrap.driver.fetch import fetch
from bootstrap.driver.lookup import Lookup
from bootstrap.entrance import Domain, Lan, Listener, parse_where
from bootstrap.mirror import WELL_KNOWN, read_way_in
from overlay.cli.client import put_json, say
from overlay.cli.grammar import Call
from overlay.cli.home import made, own
from overlay.cli.releasing import AGAIN
from overlay.directory.book import Book
from overlay.driver.release_fetch import Fetching, GivenUp, Source, hint_of
from overlay.driver.release_pages import page_of
from overlay.driver.releases import PLATFORMS, Shelf
from overlay.errors import Malformed, OverlayError, ReachError, TrustError, UsageError
from overlay.records.record import parse
from overlay.records.releases import KERNEL, channel_path
from overlay.records.trust import Trust
from overlay.release import gate, hint
from overlay.units import b64, unb64
from overlay.wire.address import Address
from overlay.wire.codec import decode, octet_list

MAX_RECORDS: Final = 64
PORTS: Final = (80, 8053)  # CONTRACT, configuration: where HTTP listens, else


def run(call: Call) -> None:
    """The command."""
    values = call.values
    channel = values["channel"] or KERNEL
    channel_path(channel)
    place = parse_where(values["where"])
    if isinstance(place, Lan):
        raise UsageError("a release is fetched from a domain or an address", "overlay release fetch WHERE [CHANNEL]", rule="where")
    overlay_id = unb64(values["id"], 32) if values["id"] else b""
    shelf = Shelf(Path(made(own(call.home))))
    try:
        found = trio.run(_fetch, place, channel, overlay_id, shelf, values["timeout"] or 120.0)
    except* OverlayError as group:
        errors: BaseException = group
        while isinstance(errors, BaseExceptionGroup):
            errors = errors.exceptions[0]
        refusal: BaseException | None = errors
    else:
        refusal = None
    if refusal is not None:
        raise refusal
    if values["out"]:
        Path(values["out"]).write_bytes(Path(found["file"]).read_bytes())
    put_json(found)


async def _fetch(place: Domain | Listener, channel: str, overlay_id: bytes, shelf: Shelf, timeout: float) -> dict[str, Any]:
    pause, last = AGAIN[0], ReachError("nobody was found", "check the domain or the address", rule="no-source")
    with trio.move_on_after(timeout):
        while True:
            for address in await _addresses(place, channel):
                try:
                    return await _from(address, channel, overlay_id, shelf)
                except (ReachError, GivenUp) as why:
                    last = why if isinstance(why, ReachError) else ReachError(f"{address}: {why.why}", rule="no-source")
            if isinstance(place, Listener):
                raise last
            say(f"{last.what}; asking again in {pause:g} s")
            await trio.sleep(pause)
            pause = min(2 * pause, AGAIN[1])
    raise last


async def _addresses(place: Domain | Listener, channel: str) -> list[Address]:
    if isinstance(place, Listener):
        return [Address(one.host, port) for one in place.addresses for port in dict.fromkeys((one.port, *PORTS))]
    name = f"{'' if channel == KERNEL else channel + '.'}download.{place.zone}"
    found = []
    for rtype in ("A", "AAAA"):
        with suppress(ReachError, Malformed):
            found += [str(value) for value in await Lookup().ask(name, rtype)]
    return [Address(host, port) for host in found for port in PORTS]


async def _from(address: Address, channel: str, overlay_id: bytes, shelf: Shelf) -> dict[str, Any]:
    if not overlay_id:
        entrance = read_way_in(await fetch(address, WELL_KNOWN), address)
        assert entrance.overlay_id is not None
        overlay_id = entrance.overlay_id
        say(f"first contact: overlay {b64(overlay_id)}; give it with --id to be sure of it")
    latest = json.loads(await fetch(address, f"/{channel}/latest"))
    revision = latest.get("revision") if isinstance(latest, dict) else None
    if type(revision) is not int or revision < 1:
        raise ReachError(f"{address} does not say what is the newest of {channel}", "try another", rule="no-source")
    at = time.time()
    raws = octet_list(decode(await fetch(address, f"/{channel}/r{revision}.record")), MAX_RECORDS)
    decision = judged(raws, overlay_id, channel, at)
    body = decision.body
    artifact = gate.artifact_for(body, PLATFORMS) or body.artifacts[0]
    source = Source(address, page_of(channel, body, artifact))
    told = _bar if sys.stderr is not None and sys.stderr.isatty() else (lambda done, whole: None)
    if not shelf.holds(channel, body.revision, artifact.length):
        await Fetching(shelf, channel, body.revision, artifact, lambda: [source], Counter(), told=told).run()
    file = shelf.place(channel, body.revision)
    trailer = await hint_of(source)
    with suppress(Malformed):
        hint.read(trailer, at, artifact.root)
        file.with_name(file.name + ".hint").write_bytes(trailer)
    return {
        "channel": channel, "revision": body.revision, "length": artifact.length, "root": b64(artifact.root), "file": str(file), "verified": True,
        "overlay_id": b64(overlay_id),
    }


def judged(raws: list[bytes], overlay_id: bytes, channel: str, at: float) -> gate.Decision:
    """What may be taken, by these records and the overlay's id alone; ``TrustError`` where nothing may."""
    order = {"root": 0, "grant": 1, "channel": 2}
    book = Book(Trust(overlay_id))
    records = sorted(map(parse, raws), key=lambda record: (order.get(record.kind, 3), len(record.name), record.seq))
    for _ in range(2):  # a grant may come before what it stands on
        for record in records:
            with suppress(TrustError, Malformed):
                book.add(record, at)
    decision = gate.decide(book.published.get(channel, {}).values(), None, at)
    if decision.release is None or decision.why:
        reason = gate.REASONS.get(decision.why, "no record of it counts in that overlay")
        raise TrustError(f"{channel}: {reason}", "check the overlay's id and this machine's clock; run nothing of it", rule="release-refused")
    return decision


def _bar(done: int, whole: int) -> None:
    sys.stderr.write(f"\r{100 * min(done, whole) // whole} %" + ("\n" if done >= whole else ""))
    sys.stderr.flush()
