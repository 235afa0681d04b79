"""A small overlay as the directory shows it: the root, a cluster at eu/home with a zone of its own, one without."""

from __future__ import annotations

from overlay.directory.view import CarryEntry, DataEntry, GatewayEntry, HostEntry, ZoneView
from overlay.name import ROOT, Path, parse_path
from overlay.records.kinds import Carry, Cluster, Data, Host
from overlay.wire.address import Address

AT = 1_795_000_000  # UTC seconds
HOME = parse_path("eu/home")


def _at(addresses: tuple[str, ...]) -> tuple[Address, ...]:
    return tuple(Address(address, 7653) for address in addresses)


def node(number: int) -> bytes:
    """A node id."""
    return bytes((number,)) * 32


def host(path: str, number: int, *addresses: str) -> HostEntry:
    """A node under its name, at those addresses."""
    return HostEntry(name=parse_path(path), node_id=node(number), host=Host(exchange=node(number), addresses=_at(addresses)))


def gateway(path: str, name: str, number: int, *addresses: str, dns: bool = True) -> GatewayEntry:
    """A gateway of the cluster at ``path``."""
    cluster = Cluster(exchange=node(number), addresses=_at(addresses), node=parse_path(name), load=250, dns=dns)
    return GatewayEntry(path=parse_path(path), node_id=node(number), cluster=cluster)


def carrier(
    path: str,
    name: str,
    number: int,
    *reach: str,
    port: int = 8000,
    healthy: bool = True,
    own: tuple[str, ...] = (),
    proto: str = "tcp",
) -> CarryEntry:
    """A node that carries the service at ``path``; ``own``: the addresses that the service was added with."""
    carry = Carry(port=port, node=parse_path(name), addresses=own, healthy=healthy)
    return CarryEntry(name=parse_path(path), node_id=node(number), proto=proto, carry=carry, reach=own or reach)


def data(path: str, rtype: str, *values: str, ttl: int = 30) -> DataEntry:
    """Plain data."""
    return DataEntry(name=parse_path(path), rtype=rtype, data=Data(values=values, ttl=ttl), signer=node(1), expires=AT + 86_400)


HQ = gateway("hq", "hq/founder", 1, "203.0.113.10", "2001:db8::10")
ALICE = gateway("eu/home", "eu/home/alice", 2, "203.0.113.20")


def root(
    *,
    hosts: tuple[HostEntry, ...] = (),
    carries: tuple[CarryEntry, ...] = (),
    plain: tuple[DataEntry, ...] = (),
    cuts: tuple[Path, ...] = (HOME,),
    gateways: tuple[GatewayEntry, ...] = (HQ, ALICE),
    serial: int = 7,
    head: int | None = AT,
) -> ZoneView:
    """The root zone: the founder's cluster in it, eu/home cut off."""
    first = host("hq/founder", 1, "203.0.113.10", "2001:db8::10")
    return ZoneView(
        path=ROOT,
        serial=serial,
        digest=b"",
        hosts=(first, *hosts),
        carries=carries,
        data=plain,
        cuts=cuts,
        gateways=gateways,
        head_issued=head,
    )


def home(
    *, hosts: tuple[HostEntry, ...] = (), carries: tuple[CarryEntry, ...] = (), plain: tuple[DataEntry, ...] = (), serial: int = 9
) -> ZoneView:
    """The zone at eu/home: alice and bob."""
    both = (host("eu/home/alice", 2, "203.0.113.20"), host("eu/home/bob", 3, "203.0.113.30", "2001:db8::30"))
    return ZoneView(
        path=HOME, serial=serial, digest=b"", hosts=(*both, *hosts), carries=carries, data=plain, gateways=(ALICE,), head_issued=AT
    )
