"""What others may have this node do (wire method OPERATE): look for something newer, for a holder of `operate` over its name.

It decides who may, by the grants in the book. What is then done, and the answer, stand above the node.
"""

from __future__ import annotations

from typing import Final

from overlay.directory.book import Book
from overlay.errors import Malformed, UsageError
from overlay.name import Path
from overlay.peers import Peer
from overlay.raised import OperateAsked
from overlay.records import rights
from overlay.records.releases import channel_path
from overlay.session.events import Called
from overlay.wire.codec import Fields

UPGRADE: Final = "upgrade"
REFUSED: Final = "R07"  # as answer: the right is missing


def operate(event: Called, peer: Peer | None, book: Book, name: Path | None, at: float) -> OperateAsked:
    """What a peer wants done on the node ``name``; ``Malformed`` where that is nothing."""
    fields = Fields(event.body, "operate")
    fields.only(frozenset({1, 2, 3}))
    if fields.text(1, 16) != UPGRADE:
        raise Malformed("an act of no kind", rule="operate-act")
    channel, urged = fields.text(2, 63, default=""), fields.flag(3)
    try:
        if channel:
            channel_path(channel)
    except UsageError as why:
        raise Malformed(why.what, rule="channel") from None
    if peer is None or peer.passport is None or name is None:
        raise Malformed("a call from nobody", rule="no-peer")
    held = book.grants_of(peer.passport.node_id, at)
    rightful = any(rights.OPERATE in grant.body[1] and grant.name.covers(name) for grant in held)
    return OperateAsked(event.session, event.ticket, peer.passport.name, channel, urged, rightful)
