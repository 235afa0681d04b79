"""Which peers are asked to look at which of this node's own addresses (DESIGN 3.7; wire frames PROBE and PROBED).

An address that no session uses (the other family's, another interface's) counts once a peer has seen it, so some are
asked. Pure: presence, peers and what they say of themselves in; ways to probe out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from overlay.directory.book import Book
from overlay.peers import Peer
from overlay.presence import Presence
from overlay.records.kinds import Host
from overlay.remembered import Remembered
from overlay.wire.address import Address, Way

AT_ONCE: Final = 2  # peers that look at one own address at a time: one may be gone


def probes(presence: Presence, peers: Sequence[Peer], book: Book, remembered: Remembered, now: float) -> list[tuple[int, Way]]:
    """(session, way from an own address to that peer) of each probe that is worth sending now."""
    if presence.proved:
        return []
    ways = [(peer, address) for peer in peers for address in _addresses_of(peer, book, remembered)]
    found = []
    for host in presence.unproved(now, {address.family for _, address in ways}):
        family = 6 if ":" in host else 4
        near = [way for way in ways if way[1].family == family][:AT_ONCE]
        found += [(peer.session, Way("udp", address, host)) for peer, address in near]
    return found


def _addresses_of(peer: Peer, book: Book, remembered: Remembered) -> tuple[Address, ...]:
    """Where a peer says it can be reached, and where it was dialled."""
    assert peer.passport is not None
    record = book.records.get((peer.passport.name, "host", b"", peer.passport.node_id))
    body = book.body(record) if record is not None else None
    known = body.addresses if isinstance(body, Host) else ()
    return tuple(dict.fromkeys((*known, *remembered.dialled(peer.exchange))))
