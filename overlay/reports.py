"""What a node tells of itself and of what it knows: plain values with the keys of CONTRACT, made from a Node.

It decides nothing and changes nothing; commands, metrics and tests read the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from overlay import summaries
from overlay.cluster.outputs import Role, RoleChanged
from overlay.directory.view import CarryEntry, HostEntry
from overlay.errors import Absent, UsageError
from overlay.identity.keys import KEY
from overlay.name import ROOT, Path, parse_name
from overlay.node import Node
from overlay.peers import Peer
from overlay.records.record import Record
from overlay.records.trust import since
from overlay.units import b64, unb64
from overlay.wire.address import on_link

Json = dict[str, Any]


NOBODY = RoleChanged(Role.MEMBER, None, None, 0)


class Reports:
    """Reports about one node. ``tld`` makes names full; ``at`` is trusted UTC seconds.

    ``networks`` are the on-link ones of this machine; ``standing`` is who speaks for the own cluster: as the node's lease has
    it, where nothing else is said.
    """

    def __init__(
        self, node: Node, *, zone: str, tld: str, networks: Callable[[], Collection[str]] = tuple,
        standing: Callable[[], RoleChanged] | None = None,
    ) -> None:
        self.node = node
        self.zone = zone
        self.tld = tld
        self.networks = networks
        self.led: Callable[[], RoleChanged] = standing or (lambda: node.belonging.standing if node.belonging is not None else NOBODY)

    def full(self, name: Path) -> str:
        """A name in full under the TLD."""
        return name.fqdn(self.tld)

    def status(self, *, now: float, at: float, uptime: float, pid: int, incarnation: int, listen: Mapping[str, list[str]]) -> Json:
        """`overlay status`."""
        node, presence = self.node, self.node.presence
        assert presence is not None
        standing = self.led()
        leader = summaries.name_of(node, standing.gateway) if standing.gateway is not None else None
        outside = node.outlook.outside(now) or node.outlook.outside(now, 6)
        return {
            "zone": self.zone, "tld": self.tld, "overlay_id": b64(node.setup.overlay_id), "name": self.full(presence.name),
            "node_id": b64(node.identity.node_id), "cluster": str(presence.cluster),
            "gateway": standing.role is Role.GATEWAY, "standby": standing.role is Role.STANDBY,
            "gateway_name": self.full(leader) if leader is not None else None,
            "public_address": outside, "owns_public_address": outside in presence.interfaces, "nat": node.outlook.nat(now),
            "revision": 0, "incarnation": incarnation, "pid": pid,
            "peers": len(node.peers.admitted()), "clusters": len(summaries.by_cluster(node)),
            "records": len(node.book), "uptime_s": round(uptime, 3), "load": node.load / 1000,
            "listen": {kind: list(bound) for kind, bound in listen.items()}, "grants": self.own_grants(at),
        }

    def own_grants(self, at: float) -> list[Json]:
        """What this node may do, the widest first."""
        mine = self.node.book.grants_of(self.node.identity.node_id, at)
        return [{"path": str(g.name), "rights": list(g.body[1]), "expires": g.expires} for g in mine]

    def grants(self, below: Path, at: float) -> list[Json]:
        """`overlay grants`: what is given at and below a path; of renewals the newest, of what has ended what still matters."""
        book = self.node.book
        names = {host.node_id: self.full(host.name) for host in self.hosts()}
        newest: dict[tuple[object, ...], Record] = {}
        for grant in book.grants.values():
            same = (grant.name, grant.item, tuple(grant.body[1]), grant.digest in book.trust.revoked)
            if below.covers(grant.name) and (same not in newest or grant.expires > newest[same].expires):
                newest[same] = grant
        return [
            {
                "grant": b64(grant.digest), "path": str(grant.name), "to": b64(grant.item), "name": names.get(grant.item),
                "rights": list(grant.body[1]), "issued": since(grant), "expires": grant.expires, "by": b64(grant.signer),
                "by_name": names.get(grant.signer) if grant.via else "root keys", "renewed": not grant.body.get(3, False),
                "state": "revoked" if grant.digest in book.trust.revoked else "live" if at < grant.expires else "lapsed",
            }
            for grant in sorted(newest.values(), key=lambda g: (g.name, g.item, g.body[1], g.digest))
        ]

    def waiting(self, at: float) -> list[Json]:
        """`overlay admit list`: who waits at this node for a person's yes."""
        registrar = self.node.registrar
        return [
            {
                "code": one.code, "name": one.request.label, "cluster": None if one.request.cluster is None else str(one.request.cluster),
                "node_id": b64(one.request.node_id), "address": one.host, "since_s": round(max(0.0, at - one.since), 1),
            }
            for one in (registrar.room.listed(at) if registrar is not None else ())
        ]

    def roots(self) -> Json:
        """All root versions and what the root keys gave, as raw records: what `overlay root` works on."""
        given = [g for g in self.node.book.grants.values() if not g.via and g.digest not in self.node.trust.revoked]
        held = [g for g in given if self.node.book.records.get(g.identity) is g]
        return {"roots": [b64(record.raw) for record in self.node.trust.roots], "grants": [b64(grant.raw) for grant in held]}

    def hosts(self) -> list[HostEntry]:
        """All nodes whose host records are held here."""
        return summaries.hosts(self.node)

    def find_node(self, written: str) -> HostEntry:
        """A node by its name or id, among those whose host records are held; ``Absent``."""
        hosts = self.hosts()
        found = next((host for host in hosts if written == b64(host.node_id)), None)
        with suppress(UsageError):  # no node has a name that is none
            found = found or next((host for host in hosts if host.name == parse_name(written, zone=self.zone, tld=self.tld)), None)
        if found is None:
            raise Absent(f"no node {written[:80]!r} is known", "overlay name tree shows the nodes there are", rule="unknown-node")
        return found

    def key_of(self, written: str) -> bytes:
        """A node's id, known here or not, or the id of the node of that name; ``Absent``."""
        with suppress(UsageError):
            return unb64(written, KEY)
        return self.find_node(written).node_id

    def peers(self, at: float) -> list[Json]:
        """`overlay peers`: admitted sessions."""
        return [self._peer(peer, at) for peer in self.node.peers.admitted()]

    def _peer(self, peer: Peer, at: float) -> Json:
        assert peer.passport is not None
        return {
            "name": self.full(peer.passport.name), "node_id": b64(peer.passport.node_id), "cluster": str(peer.passport.cluster),
            "path": self.path_of(peer),
            "address": str(peer.way.remote), "rtt_ms": None if peer.rtt is None else round(peer.rtt * 1000, 3), "revision": peer.revision,
            "since_s": round(max(0.0, at - peer.since), 1),
        }

    def path_of(self, peer: Peer) -> str:
        """`lan`, `direct`, `punched`, `tcp` or `relay`. Punched is what goes between two ends of which neither has a proved address there."""
        way = peer.way
        if way.proto != "udp":
            return way.proto
        if on_link(way.remote.host, self.networks()):
            return "lan"
        presence = self.node.presence
        open_here = presence is not None and any(address.family == way.remote.family for address in presence.addresses)
        return "direct" if open_here or self.node.reach.proved(peer) else "punched"

    def clusters(self, at: float) -> list[Json]:
        """`overlay clusters`."""
        return summaries.rows(self.node, self.led().gateway, self.full, at)

    def services(self) -> list[Json]:
        """`overlay service list`: who carries what, as far as zones are held here."""
        return [self._service(entry) for entry in self._carries()]

    def _carries(self) -> list[CarryEntry]:
        directory = self.node.directory
        return [entry for path in directory.holdings.zones() for entry in directory.holdings.view(path).carries] if directory else []

    def _service(self, entry: CarryEntry) -> Json:
        return {
            "name": self.full(entry.name), "port": entry.carry.port, "proto": entry.proto, "address": list(entry.reach), "health": entry.carry.health,
            "weight": entry.carry.weight, "node": self.full(entry.carry.node), "healthy": entry.carry.healthy,
        }

    def names(self, below: Path = ROOT) -> list[Json]:
        """`overlay name list`: plain data at and below a path."""
        directory = self.node.directory
        held = [entry for path in directory.holdings.zones() for entry in directory.holdings.view(path).data] if directory else []
        found = [entry for entry in held if below.covers(entry.name)]
        zones = directory.holdings.zones() if directory else []
        owners = {host.node_id: host.name for path in zones if directory for host in directory.holdings.view(path).hosts}
        return [
            {
                "name": self.full(entry.name), "type": entry.rtype, "ttl": entry.data.ttl, "values": list(entry.data.values),
                "signer": self.full(owners[entry.signer]) if entry.signer in owners else b64(entry.signer), "expires": entry.expires,
            }
            for entry in sorted(found, key=lambda e: (e.name, e.rtype))
        ]

    def tree(self) -> Json:
        """`overlay name tree`: every name held here, as nested {label, name, kinds, children}."""
        kinds: dict[Path, set[str]] = {ROOT: {"zone"}}
        directory = self.node.directory
        for path in directory.holdings.zones() if directory is not None else ():
            assert directory is not None
            view = directory.holdings.view(path)
            kinds.setdefault(path, set()).add("zone")
            for cut in view.cuts:
                kinds.setdefault(cut, set()).add("zone")
            for host in view.hosts:
                kinds.setdefault(host.name, set()).add("node")
            for carry in view.carries:
                if carry.carry.healthy:
                    kinds.setdefault(carry.name, set()).add("service")
            for data in view.data:
                kinds.setdefault(data.name, set()).add(data.rtype)
        for path in list(kinds):
            for above in path.ancestors():
                kinds.setdefault(above, set())

        below: dict[Path, list[Path]] = {}
        for path in sorted(kinds):
            if path != ROOT:
                below.setdefault(path.parent, []).append(path)

        def branch(path: Path) -> Json:
            children = [branch(child) for child in below.get(path, ())]
            return {"label": path.leaf or self.tld, "name": self.full(path), "kinds": sorted(kinds[path]), "children": children}

        return branch(ROOT)
