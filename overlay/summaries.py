"""Clusters as `overlay clusters` and `overlay status` tell of them: a row a cluster, who leads ours, who its members are.

Plain values made from a Node. Gateway and standby (and, after a change, their predecessors) each wrote a record for their
cluster: here they are one row, the union of addresses, the highest counts. It decides nothing and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from overlay.directory import views
from overlay.directory.book import TABLE
from overlay.directory.view import GatewayEntry, HostEntry
from overlay.name import Path
from overlay.node import Node
from overlay.records import kinds
from overlay.records.observed import Observed, Why
from overlay.records.record import Record
from overlay.records.releases import KERNEL, Release
from overlay.release import gate
from overlay.units import b64

HOLDS = {
    Why.BEHIND: "it does not run it yet", Why.FAILED: "its command failed there", Why.SOAKING: "it was not well for long enough yet",
    Why.RESTLESS: "it restarted twice within 10 minutes", Why.AHEAD: "it runs a later one",
}
Json = dict[str, Any]
Full = Callable[[Path], str]  # a name -> in full under the TLD


def by_cluster(node: Node) -> dict[Path, list[GatewayEntry]]:
    """Every cluster known, with who speaks for it."""
    by_path: dict[Path, list[GatewayEntry]] = {cut: [] for cut in node.book.cuts}
    for gateway in views.gateways(node.book):
        by_path.setdefault(gateway.path, []).append(gateway)
    return by_path


def name_of(node: Node, node_id: bytes) -> Path | None:
    """The name of a node of the own cluster, as far as it is known here."""
    peer = node.peers.by_node(node_id)
    if node_id == node.identity.node_id:
        return node.name
    if peer is not None and peer.passport is not None:
        return peer.passport.name
    speaking = next((g.cluster.node for g in views.gateways(node.book) if g.node_id == node_id), None)
    return speaking or next((host.name for host in hosts(node) if host.node_id == node_id), None)


def hosts(node: Node) -> list[HostEntry]:
    """All nodes whose host records are held here."""
    directory = node.directory
    return [host for path in directory.holdings.zones() for host in directory.holdings.view(path).hosts] if directory is not None else []


def rows(node: Node, leader: bytes | None, full: Full, at: float) -> list[Json]:
    """`overlay clusters`. ``leader`` is the own cluster's gateway."""
    told: dict[Path, int] = {}
    for record in node.book.members(TABLE):
        if record.kind == "cluster":  # a withdrawal too is a sign of life
            told[record.name] = max(told.get(record.name, 0), record.issued)
    own = node.presence.cluster if node.presence is not None else None
    seen: dict[Path, dict[str, Observed]] = {}
    for channel, records in sorted(node.book.published.items()):
        for path, vote in gate.votes_of(records.values()).items():
            seen.setdefault(path, {})[channel] = vote.said
    return [
        _row(path, _ordered(node, gateways, leader if path == own else None), told.get(path), seen.get(path, {}), full, at)
        for path, gateways in sorted(by_cluster(node).items())
    ]


def _ordered(node: Node, gateways: Sequence[GatewayEntry], leader: bytes | None) -> list[GatewayEntry]:
    """The leader first; of another cluster it is known who speaks, not who leads: there whoever spoke last stands first."""
    issued = {gateway.node_id: node.book.outline.shown([gateway])[0] for gateway in gateways}
    return sorted(gateways, key=lambda g: (g.node_id != leader, -issued[g.node_id], g.node_id))


def _row(path: Path, gateways: Sequence[GatewayEntry], told: int | None, seen: Mapping[str, Observed], full: Full, at: float) -> Json:
    """``revision``, ``stable`` and ``development`` are the program's own; ``releases`` is there where the cluster has its part in other channels."""
    program = seen.get(KERNEL, Observed())
    others = [{"channel": channel, **_seen(said, path, full)} for channel, said in seen.items() if channel != KERNEL]
    return {
        "cluster": str(path), "public_addresses": list(dict.fromkeys(a.host for g in gateways for a in g.cluster.addresses)),
        "gateways": [full(g.cluster.node) for g in gateways], "nodes": max((g.cluster.nodes for g in gateways), default=0),
        "revision": program.stable, "stable": not program.holding, "development": [full(path / label) for label in program.development],
        "load": max((g.cluster.load for g in gateways), default=0) / 1000,
        "seen_s": None if told is None else round(max(0.0, at - told), 1), **({"releases": others} if others else {}),
    }  # fmt: skip


def announcement(said: Iterable[Record], newest: Record | None, full: Full, at: float) -> Json:
    """How far the announcement of a channel's newest release is, and what each cluster has seen: `overlay release status`."""
    said = list(said)
    votes = gate.votes_of(said)
    body = kinds.read(newest) if newest is not None else None
    home = body.home if isinstance(body, Release) else None
    waits = newest is not None and not gate.announced(said, newest)
    seen = votes.get(home) if home is not None and waits else None
    clusters = [
        {"cluster": str(path), **_seen(vote.said, path, full), "seen_s": round(max(0.0, at - vote.record.issued), 1)} for path, vote in votes.items()
    ]
    return {
        "announced": newest is not None and not waits, "home": None if home is None else str(home),
        "holding": _holding(seen.said, home, full) if seen is not None and home is not None else [], "clusters": clusters,
    }


def _holding(seen: Observed, path: Path, full: Full) -> list[Json]:
    return [{"name": full(path / label), "why": HOLDS[why]} for label, why in seen.holding]


def _seen(seen: Observed, path: Path, full: Full) -> Json:
    """A cluster's word about a channel."""
    return {
        "revision": seen.revision, "stable": seen.stable, "live": seen.live, "installed": seen.installed, "restarted": seen.restarted,
        "healthy": seen.healthy, "development": [full(path / label) for label in seen.development], "holding": _holding(seen, path, full),
    }


def members(node: Node, path: Path, full: Full) -> list[Json]:
    """`overlay clusters PATH`: the nodes of a cluster whose zone is held here, by name."""
    revisions = {p.passport.node_id: p.revision for p in node.peers.admitted() if p.passport is not None}
    return [
        {"name": full(host.name), "node_id": b64(host.node_id), "revision": revisions.get(host.node_id, 0)}
        for host in sorted(hosts(node), key=lambda host: (host.name, host.node_id))
        if host.name.parent == path
    ]
