"""What a node says of itself always fits into a record, whatever its name, its addresses and its services are.

A statement that its own desk or its own judge refuses must never end the node: it is left out, and the rest is said.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from overlay import limits
from overlay.directory.book import Book
from overlay.errors import Malformed, UsageError
from overlay.founding import Plan
from overlay.identity.keys import Identity
from overlay.lab.world import World
from overlay.name import MAX_PATH, parse_path
from overlay.records import kinds
from overlay.records.kinds import Carry
from overlay.records.record import Draft, sign
from overlay.records.rights import Joining
from overlay.renewal import Renewals
from overlay.statements import Service, Statements
from overlay.units import DAY
from tests.records.actors import AT, found

LONGEST = parse_path("/".join(["a" * 59, "b" * 59, "c" * 58]))  # with its separators MAX_PATH - 1 characters
SIX = tuple(f"2001:db8:1:2:3:4:5:{number:x}" for number in range(1, 13))
WEB = Service(name=parse_path("hq/web"), proto="tcp", port=80)


def test_the_longest_legal_service_fits_into_a_record() -> None:
    service = replace(WEB, name=LONGEST, port=65_535, addresses=SIX[: kinds.MAX_ADDRESSES], health="cmd:" + "x" * 251, weight=65_535)
    assert len(str(LONGEST)) == MAX_PATH - 2
    body = Carry(
        port=service.port, node=LONGEST, addresses=service.addresses, priority=65_535, weight=service.weight, health=service.health, withdrawn=True,
    ).body()
    draft = Draft(name=LONGEST, kind="carry", item=b"tcp", seq=2**53, issued=2**40, expires=2**40, via=bytes(32), body=body)
    assert len(sign(draft, [Identity.from_secret(bytes(32)).signer], bytes(32)).raw) <= limits.RECORD


@pytest.mark.parametrize(
    "wrong",
    [
        {"addresses": SIX[:9]}, {"addresses": ("nowhere",)}, {"addresses": ("",)}, {"health": "cmd:" + "ä" * 130}, {"health": "\ud800"},
        {"proto": "sctp"}, {"proto": ""}, {"port": 0}, {"port": 65_536}, {"weight": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_service_that_could_not_be_said_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(WEB, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"hq/\xff|tcp", None), (b"hq/web", None), (b"hq/web|", None), (b"|tcp", None), (b"HQ|tcp", None), (WEB.key, b"\xc0"), (WEB.key, b""),
        (WEB.key, b"\x84\x01\x50\x02\x91\x05\x03\xa4none\x04\x0a"), (WEB.key, b"\x84\x01\x50\x02\x91\xa1x\x03\xa4none\x04\x0a"),
    ],
)
def test_a_damaged_service_of_the_store_is_malformed(key: bytes, value: bytes | None) -> None:
    stored = WEB.to_store().value
    assert stored is not None and Service.from_store(WEB.key, stored) == WEB
    with pytest.raises(Malformed):
        Service.from_store(key, stored if value is None else value)


def test_a_gateway_with_more_addresses_than_its_record_holds_lists_those_that_fit_both_families_among_them() -> None:
    world = World(1)
    founder = world.found("hq/founder")
    node = founder.node
    assert node is not None and node.presence is not None
    node.presence.advertised = frozenset({*SIX, "203.0.113.7", "203.0.113.8"})
    world.run(10)
    held = node.statements.held(parse_path("hq"), "cluster")
    assert held is not None and len(held.raw) <= limits.CLUSTER_RECORD
    cluster = kinds.read(held)
    assert isinstance(cluster, kinds.Cluster)
    assert len(cluster.addresses) >= 4 and {address.family for address in cluster.addresses} == {4, 6}


def test_a_name_too_long_for_the_table_is_said_everywhere_else_and_the_node_goes_on() -> None:
    world = World(1)
    world.found("hq/founder")
    newcomer = world.join(str(LONGEST))
    assert world.run_until(lambda: world.joined(newcomer), 20) is not None
    world.run(30)
    assert newcomer.node is not None
    assert newcomer.node.statements.held(LONGEST, "host") is not None
    assert newcomer.node.statements.held(LONGEST.parent, "head") is not None
    assert newcomer.logs["unsaid"] > 0


def test_a_founders_name_leaves_room_for_its_addresses() -> None:
    plan = {"zone": "cloud.example.org", "tld": "cloud", "admission": "open"}
    with pytest.raises(UsageError, match="too long"):
        Plan.checked(**plan, name=LONGEST)
    assert Plan.checked(**plan, name=parse_path("a" * 30 + "/" + "b" * 30))


def test_a_grant_that_has_no_room_for_its_renewal_keeps_no_other_from_being_renewed() -> None:
    """Else one large grant would end the gateway that is to renew it, and with it the rights of all its neighbours."""
    overlay = found()
    mate = overlay.join("mate", "eu/home", Joining.INVITED, by=overlay.first)
    many = {"own", "grant", *(f"release:{letter * 60}" for letter in "abcdefghijk")}
    overlay.root_grant(overlay.first, "eu/home", many)
    large = overlay.grant(overlay.first, overlay.member, "eu/home", many - {"own", "grant"}, via=overlay.first.grants[-1], life=30 * DAY)
    assert limits.RECORD - 40 < len(large.raw) <= limits.RECORD
    later = AT + 29 * DAY
    book = Book(overlay.trust())
    book.load([record.raw for record in overlay.records.values()], AT)
    book.add(overlay.host(overlay.member, at=later), later)
    renewals = Renewals(Statements(identity=mate.identity, overlay_id=overlay.overlay_id, book=book), book)
    assert large.digest in book.grants
    said = renewals.due(later + 60)
    assert [(str(record.name), record.item) for record in said] == [("eu/home/member", overlay.member.node_id)], "its name, and not the large one"
