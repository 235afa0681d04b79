"""What a node promises while its disk takes nothing: no more than it could forget (DESIGN 3.13, "durable before visible").

Records prove themselves and are said again by others, so they may be heard, told and served from memory alone. What only
this node counts, such as the uses of a token, may not: it would be given twice after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable

from overlay.node import Node
from overlay.wire.address import Way


def unkept(node: Node, ways: Iterable[Way], now: float) -> None:
    """The disk takes nothing any more, and what was about to go out on ``ways`` rested on it and did not go.

    Those sessions end, lest an answer that they keep for repeated calls make the promise after all; the peers come back
    at once.
    """
    if node.registrar is not None:
        node.registrar.keeps = False
    told = {(way.proto, way.link, way.remote) for way in ways}
    for peer in [p for p in node.peers.peers.values() if (p.way.proto, p.way.link, p.way.remote) in told]:
        node.sessions.close(peer.session, "disk", now)


def kept(node: Node) -> None:
    """The disk has taken all that it owed."""
    if node.registrar is not None:
        node.registrar.keeps = True
