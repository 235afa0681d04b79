"""What a person asks of a running node: services, plain data, invites, leaving. Each is some statements and some stores.

It decides nothing about rights (``records/trust.py`` does, ``statements.py`` finds the grant) and sends nothing: what it
publishes and keeps goes out with the node's next step.
"""

from __future__ import annotations

from overlay.errors import TrustError
from overlay.machine import Store
from overlay.name import ROOT, Path
from overlay.node import Node
from overlay.records.record import Record
from overlay.statements import SERVICES, Service


def add_service(node: Node, service: Service, at: float) -> None:
    """Carry a service from now on; TrustError where this node may not."""
    node.publish(node.statements.carry_claim(service, at), at)
    node.statements.services[service.name, service.proto] = service
    node.keep(service.to_store())


def leave(node: Node, at: float) -> None:
    """Withdraw all that this node said, and give back its name, and its cluster where nobody else is in it.

    What it granted others stays, and with it the cluster.
    """
    mine = [r for r in node.book.records.values() if r.signer == node.identity.node_id]
    node.publish([node.statements.withdrawal(r, at) for r in mine if r.kind in ("host", "cluster", "carry")], at)
    node.publish([node.statements.sign(r.name, "data", {}, at, item=r.item) for r in mine if r.kind == "data" and r.body], at)
    name = node.peers.own.chain[0] if node.peers.own is not None else None
    given_back = [name] if name is not None else []
    if node.presence is not None and node.presence.cluster != ROOT:
        given_back += _alone_in(node, node.presence.cluster, at)
    node.publish([node.statements.sign(grant.name, "revoke", {}, at, item=grant.digest) for grant in given_back], at)
    node.presence = None  # it says nothing more


def _alone_in(node: Node, cluster: Path, at: float) -> list[Record]:
    """This node's grants on its cluster, where no other key holds anything there; else none."""
    live = [g for g in node.book.grants.values() if at < g.expires and g.digest not in node.trust.revoked and cluster.covers(g.name)]
    return [g for g in live if g.name == cluster] if all(g.item == node.identity.node_id for g in live) else []


def remove_service(node: Node, service: Service, at: float) -> None:
    """Carry it no longer, and say so."""
    del node.statements.services[service.name, service.proto]
    node.keep(Store(SERVICES, service.key, None))
    held = node.statements.held(service.name, "carry", service.proto.encode())
    if held is not None:
        node.publish([node.statements.withdrawal(held, at)], at)


def set_data(node: Node, name: Path, rtype: str, values: tuple[str, ...], ttl: int, at: float) -> None:
    """Plain DNS data; without values it is removed."""
    node.publish(node.statements.data(name, rtype, values, ttl, at), at)


def invite(node: Node, path: Path | None, uses: int, life: int, seed: bytes, at: float) -> Record:
    """Publish an invite for the holder of ``seed`` (its public key)."""
    if node.registrar is None:
        raise TrustError("this node has not joined yet", "join first")
    record = node.registrar.issue(path, uses, life, seed, at)
    node.publish([record], at)
    return record


def health(node: Node, name: Path, proto: str, healthy: bool) -> None:
    """A health check's result."""
    if node.statements.health(name, proto, healthy) and node.presence is not None:
        node.presence.hurry()
