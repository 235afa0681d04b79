"""What the directory shows to names: one zone's records, judged and merged, as typed values.

The unit of replication is the zone (DESIGN 3.5). A view is a pure function of the records held, so two nodes with the
same records show the same view, serial and digest included. How it becomes DNS is the business of ``tld``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay.name import Path
from overlay.records.kinds import Carry, Cluster, Data, Host


@dataclass(frozen=True, slots=True, kw_only=True)
class HostEntry:
    """A node under its name."""

    name: Path
    node_id: bytes
    host: Host


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryEntry:
    """A node that carries the service ``name``; ``proto`` is "tcp" or "udp". ``reach``: the addresses that it is at."""

    name: Path
    node_id: bytes
    proto: str
    carry: Carry
    reach: tuple[str, ...]  # IPs: the carry's own, else the carrier's proved addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class DataEntry:
    """The winning set of one type at a name (tombstones are already taken out)."""

    name: Path
    rtype: str  # mnemonic in capitals
    data: Data
    signer: bytes
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEntry:
    """A gateway (until clusters elect one: each public node with `speak`) of the cluster at ``path``."""

    path: Path
    node_id: bytes
    cluster: Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneView:
    """One zone: everything at and below ``path`` that is not in a zone of its own (``cuts``)."""

    path: Path
    serial: int  # max(issued) of what it is made of, UTC seconds mod 2**32: same records, same serial
    digest: bytes
    hosts: tuple[HostEntry, ...] = ()
    carries: tuple[CarryEntry, ...] = ()
    data: tuple[DataEntry, ...] = ()
    cuts: tuple[Path, ...] = ()  # zones directly below (the nearest cuts)
    gateways: tuple[GatewayEntry, ...] = ()  # of this path and of the cuts; for the root: of all clusters
    head_issued: int | None = field(default=None)  # when its builder last vouched for it (UTC seconds)
