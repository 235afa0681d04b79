"""What a person asks of a running node: services, plain data, invites, leaving. Each is some statements and some stores.

It decides nothing about rights (``records/trust.py`` does, ``statements.py`` finds the grant) and sends nothing: what it
publishes and keeps goes out with the node's next step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from overlay.errors import Absent, TrustError, UsageError
from overlay.machine import Store
from overlay.name import ROOT, Path
from overlay.node import Node
from overlay.records import rights
from overlay.records.claims import holders
from overlay.records.kinds import Grant
from overlay.records.record import Record
from overlay.statements import SERVICES, Service


def usable(node: Node, now: float) -> bool:
    """Whether a node is enrolled, with an admitted session, in step with the overlay, its own records stored elsewhere."""
    if node.presence is None or node.directory is None or not node.peers.admitted():
        return False
    if now < node.presence.proving_until:
        return False  # own addresses are being looked at: the name would resolve to half of them
    return node.statements.held(node.presence.name, "host") is not None and node.directory.settled()


def hand_over(node: Node, now: float) -> bool:
    """This node is about to stop: another is to speak for the cluster. Whether that is done (0.3 s, at the worst 1 s)."""
    return node.belonging is None or node.belonging.leave(now)


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
    node.publish([node.statements.withdrawal(r, at) for r in mine if r.kind in ("host", "cluster", "carry", "mirror", "running")], at)
    node.publish([node.statements.sign(r.name, "data", {}, at, item=r.item) for r in mine if r.kind == "data" and r.body], at)
    name = node.peers.own.chain[0] if node.peers.own is not None else None
    given_back = [name] if name is not None else []
    if node.presence is not None and node.presence.cluster != ROOT:
        given_back += _alone_in(node, node.presence.cluster, at)
    stands = {grant.digest for grant in node.book.standing()}
    node.publish([node.statements.sign(g.name, "revoke", {}, at, item=g.digest) for g in given_back if g.digest in stands], at)
    node.presence = None  # it says nothing more


def _alone_in(node: Node, cluster: Path, at: float) -> list[Record]:
    """This node's grants on its cluster, where no other key holds anything there; else none."""
    live = [g for g in node.book.standing() if at < g.expires and cluster.covers(g.name)]
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


def bring(node: Node, path: Path, now: float, at: float) -> bool:
    """Watch a zone where it is kept. False where none of those that keep it is connected: they are dialled."""
    assert node.directory is not None
    if node.directory.watch(path, now):
        return True
    for neighbour in node.directory.watchable(path):
        node.dial(neighbour.exchange, neighbour.addresses, now, at)
    node.directory.wake(now, at)
    return False


def health(node: Node, name: Path, proto: str, healthy: bool) -> None:
    """A health check's result."""
    if node.statements.health(name, proto, healthy) and node.presence is not None:
        node.presence.hurry()


# -- rights


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A grant as a person asked for it. ``final``: the person chose its date, so nobody renews it."""

    path: Path
    subject: bytes
    rights: frozenset[str]
    life: int
    final: bool = False
    shadow: bool = False


def grant(node: Node, given: Given, at: float) -> Record:
    """Give rights over a name-path to a key; TrustError where this node may not, or the name is another's."""
    if node.registrar is None:
        raise TrustError("this node has not joined yet", "join first")
    if rights.reserved(given.path):
        raise UsageError(f"{given.path.dotted} is a reserved name", "choose another path", rule="reserved")
    if given.rights == {rights.OWN}:
        held = holders(node.book.grants_on(given.path, at), node.book.grants.get).get(given.path)
        if held is not None and held.item != given.subject:
            raise TrustError(f"the name {given.path.dotted} is another node's", "overlay grants shows whose; revoke that first", rule="R20")
    via = node.registrar.granting_right(given.path, given.rights, at)
    body = Grant(rights=given.rights, shadow=given.shadow, final=given.final).body()
    record = node.statements.sign(given.path, "grant", body, at, item=given.subject, life=given.life, via=via)
    node.publish([record], at)
    return record


def revoke(node: Node, digest: bytes, at: float) -> list[Record]:
    """End a grant, and what says the same by renewal: the revocations. ``Absent``, or TrustError where this node may not."""
    ended = node.book.grants.get(digest)
    if ended is None:
        raise Absent("no grant with that id is known here", "overlay grants shows those that are", rule="unknown-grant")
    same = [g for g in node.book.standing() if (g.name, g.item, g.body[1]) == (ended.name, ended.item, ended.body[1])]
    said, refused = [], False
    for one in sorted(same, key=lambda g: bool(g.body.get(2))):  # with what was given most renewals end by themselves
        record = node.statements.sign(one.name, "revoke", {}, at, item=one.digest)
        try:
            node.publish([record], at)
            said.append(record)
        except TrustError as why:
            if why.rule not in ("R12", "R16"):
                raise
            refused = refused or why.rule == "R16"
    if refused and not said:
        raise TrustError(
            f"this node may not revoke a grant on {ended.name.dotted or 'the root'}",
            "that is for who gave it, who stands above, its subject, or the root keys", rule="R16",
        )
    return said


def withdraw_invite(node: Node, item: bytes, at: float) -> Record:
    """Let nobody in any more by a token that is about: its invite ends now. ``Absent``, or TrustError where another node issued it."""
    told = [r for r in node.book.records.values() if r.kind == "invite" and r.item == item and not r.expired(at)]
    if not told:
        raise Absent("that token lets nobody in any more", "it has expired, was spent, or is of another overlay", rule="unknown-token")
    own = next((r for r in told if r.signer == node.identity.node_id), None)
    if own is None:
        raise TrustError("another node issued that token", "revoke it there, where overlay invite printed it", rule="R16")
    record = node.statements.sign(own.name, "invite", own.body, at, item=item, life=1, via=node.book.grants.get(own.via))
    node.publish([record], at)
    return record


def admit(node: Node, code: str, at: float) -> Path:
    """Say yes to a newcomer that waits: its name."""
    if node.registrar is None:
        raise TrustError("this node has not joined yet", "join first")
    return node.registrar.admit(code, at)


def take_root(node: Node, record: Record, at: float) -> None:
    """Publish what the root keys signed: a root version, or a grant."""
    if record.kind not in ("root", "grant") or record.via:
        raise UsageError("that is nothing that root keys sign", "give a draft of `overlay root`", rule="root-draft")
    node.publish([record], at)


def say_of_zone(node: Node, path: Path, said: list[list[Any]], at: float) -> None:
    """Publish what makes a zone checkable, each as [kind, item, body, life in seconds]."""
    node.publish([node.statements.sign(path, kind, body, at, item=item, life=life) for kind, item, body, life in said], at)
