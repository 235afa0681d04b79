"""`overlay join WHERE` on a home that is enrolled: does WHERE still lead to the overlay that is pinned (CONTRACT, `join`)?

It decides only that a place which names another overlay is refused. A place that says nothing in time is no reason not to
run: the home knows its overlay, and nodes are believed by their passports alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import trio

from bootstrap.domain import OVERLAY_LABEL, read_overlays
from bootstrap.driver.fetch import fetch
from bootstrap.driver.lookup import Lookup
from bootstrap.entrance import Domain, Listener, Place
from bootstrap.mirror import WELL_KNOWN, read_way_in
from overlay.errors import Malformed, ReachError, TrustError
from overlay.units import b64
from overlay.wire.address import Address

PATIENCE: Final = 2.0  # seconds for a look; guess


async def same_overlay(place: Place, overlay_id: bytes, lookup: Lookup, own: Collection[Address]) -> None:
    """Raise ``TrustError`` where the place names another overlay only. ``own``: listeners of this run, not asked."""
    named: set[bytes] = set()
    with trio.move_on_after(PATIENCE), suppress(ReachError, Malformed):
        if isinstance(place, Domain):
            texts = await lookup.ask(f"{OVERLAY_LABEL}.{place.zone}", "TXT")
            named = {text.overlay_id for text in read_overlays((t for t in texts if isinstance(t, bytes)), Counter())}
        elif isinstance(place, Listener) and place.addresses[0] not in own:
            said = read_way_in(await fetch(place.addresses[0], WELL_KNOWN), place.addresses[0]).overlay_id
            named = {said} if said is not None else set()
    if named and overlay_id not in named:
        raise TrustError(
            f"{place} leads to another overlay, {b64(min(named))}; this home belongs to {b64(overlay_id)}",
            "choose another --home to join that one; `overlay up` goes on in the one that is pinned",
            rule="other-overlay",
        )
