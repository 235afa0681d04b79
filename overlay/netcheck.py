"""What a node tells of its ways: `overlay why`, the passive half of `overlay netcheck`, how a peer is reached (CONTRACT).

Plain values made from a Node. "Not checked" is None, and never "no". It decides nothing and changes nothing.
"""

from __future__ import annotations

from typing import Any

from overlay.directory.view import HostEntry
from overlay.reports import Reports
from overlay.wire.address import Address, on_link

Json = dict[str, Any]


def why(reports: Reports, entry: HostEntry) -> list[Json]:
    """Every way to that node that was tried, the oldest first; the one in use last."""
    peer = reports.node.peers.by_node(entry.node_id)
    rows = [
        {
            "path": _kind(reports, one.path, one.address, entry), "address": str(one.address), "at": round(one.at, 3), "outcome": one.outcome,
            "reason": one.reason,
        }
        for one in reports.node.reach.tried.of(entry.host.exchange)
    ]
    if peer is not None:
        rows.append({"path": reports.path_of(peer), "address": str(peer.way.remote), "at": round(peer.since, 3), "outcome": "in use", "reason": ""})
    return rows


def _kind(reports: Reports, proto: str, address: Address, entry: HostEntry) -> str:
    if proto != "udp":
        return proto
    return "lan" if on_link(address.host, reports.networks()) else "direct" if address in entry.host.addresses else "punched"


def seen(reports: Reports, now: float) -> Json:
    """What peers have told and dial-backs have shown; the rest is asked by whoever calls."""
    outlook, reach = reports.node.outlook, reports.node.reach
    return {
        "udp": outlook.udp(), "tcp": True if any(peer.way.proto == "tcp" for peer in reports.node.peers.admitted()) else None, "tls443": None,
        "public_v4": outlook.outside(now), "public_v6": outlook.outside(now, 6), "mapping": outlook.mapping(now), "filtering": outlook.filtering,
        "hairpin": outlook.hairpin, "portmap": None, "witnesses": len(reach.reflexive(now)), "captive_portal": None,
    }


def asked(reports: Reports, most: int) -> list[Address]:
    """Addresses of public nodes elsewhere, one a node: who can say what gets through to the world."""
    directory, presence = reports.node.directory, reports.node.presence
    if directory is None or presence is None:
        return []
    others = [n for n in directory.holdings.ring() if n.exchange != reports.node.identity.exchange_public and n.cluster != presence.cluster]
    return [next((a for a in n.addresses if a.family == 4), n.addresses[0]) for n in others][:most]
