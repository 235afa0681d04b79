"""A bootstrap host that says nothing on the overlay's port: what its other ports say of why (DESIGN 3.7).

A pure table. "Not asked" is None, and never "no".
"""

from __future__ import annotations

from enum import Enum


class Web(Enum):
    """What came of asking the host for our own address over HTTP."""

    MIRROR = "our address, freshly made"
    STALE = "an answer that is not to this question: something on the way keeps copies"
    FOREIGN = "something that is no address: a captive portal, or another server"
    SILENT = "nothing"


def told(dns: bool | None, web: Web | None) -> str:
    """Why the host was silent, in the words of a person: ``down``, ``UDP blocked``, ``7653 blocked``, or what stands between."""
    if web is Web.FOREIGN:
        return "what answers there for it is no node: a captive portal, perhaps; open a web page first"
    if web is Web.STALE:
        return "a caching proxy answers for it; only TLS on port 443 may get through"
    if dns:
        return "7653 blocked: its DNS answers by UDP, its overlay port does not"
    if web is Web.MIRROR:
        asked = dns is not None
        return "UDP blocked: it answers over HTTP, and nothing by UDP" if asked else "7653 blocked, or UDP as a whole: it answers over HTTP"
    return "down: nothing there answers, neither DNS nor HTTP" if dns is False or web is Web.SILENT else ""
