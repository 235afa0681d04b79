"""Statements: what a node says of itself, by which right, numbered how, said again when (DESIGN 3.1, 3.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import Malformed, TrustError, UsageError
from overlay.name import Path, parse_path
from overlay.records.kinds import Data, Host
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.statements import Service, Statements
from overlay.units import DAY, HOUR
from overlay.wire.address import Address
from tests.directory.books import HOME, book_of
from tests.records.actors import ADDRESS, AT, Actor, Overlay, found


def desk(overlay: Overlay, who: Actor, *more: Record) -> Statements:
    """That actor's signing desk, with everything that was granted so far in its book."""
    return Statements(identity=who.identity, overlay_id=overlay.overlay_id, book=book_of(overlay, *more))


def publish(statements: Statements, records: list[Record], at: float = AT) -> list[Record]:
    """Put own statements into the book, as the directory does."""
    for record in records:
        statements._book.add(record, at)
    return records


# -- numbers


def test_seq_rises_with_the_clock_and_by_one_where_the_clock_stands_or_goes_back() -> None:
    overlay = found()
    statements = desk(overlay, overlay.first)
    seqs = [statements.sign(HOME, "data", Data(values=("x",)).body(), at, item=b"TXT").seq for at in (AT, AT, AT - 50, AT + 1)]
    assert seqs[0] >= AT * 1000
    assert seqs[1:3] == [seqs[0] + 1, seqs[0] + 2]
    assert seqs[3] == (AT + 1) * 1000


def test_a_node_that_lost_its_state_goes_on_above_what_others_tell_it() -> None:
    overlay = found()
    ahead = overlay.data(overlay.first, HOME, "TXT", "said before the loss", at=AT + 200, seq=(AT + 200) * 1000)
    statements = desk(overlay, overlay.first)
    publish(statements, [ahead])
    assert statements.sign(HOME, "data", Data(values=("x",)).body(), AT, item=b"TXT").seq == ahead.seq + 1


def test_seqs_learnt_before_a_restart_count_though_the_records_are_of_other_names() -> None:
    overlay = found()
    old = overlay.data(overlay.first, "eu/home/else", "TXT", "x", seq=(AT + 100) * 1000)
    assert desk(overlay, overlay.first, old).sign(HOME, "data", Data(values=("x",)).body(), AT, item=b"TXT").seq > old.seq


# -- rights


def test_the_nearest_right_is_used_then_the_longest_lived() -> None:
    overlay = found()
    first = overlay.first
    assert desk(overlay, first).entitling(first.name or HOME, frozenset({"own"}), AT) == first.own
    assert desk(overlay, first).entitling(parse_path("eu/home/motd"), frozenset({"own"}), AT).name == HOME


def test_without_a_right_nothing_is_signed_and_the_words_say_what_to_do() -> None:
    overlay = found()
    with pytest.raises(TrustError) as refusal:
        desk(overlay, overlay.member).data(parse_path("us/office/motd"), "TXT", ("x",), 30, AT)
    assert refusal.value.rule == "R07" and refusal.value.todo


def test_a_lapsed_right_still_renews_what_was_said_and_says_nothing_new() -> None:
    overlay = found()
    member = overlay.member
    statements = desk(overlay, member)
    lapsed = AT + 31 * DAY
    (host,) = statements.host(member.name or HOME, (ADDRESS,), lapsed)
    assert overlay.trust().judge(host, lapsed, overlay.lookup)
    with pytest.raises(TrustError):
        overlay.trust().judge(statements.data(member.name or HOME, "TXT", ("new",), 30, lapsed)[0], lapsed, overlay.lookup)


# -- claims


def test_a_member_claims_a_free_name_once() -> None:
    overlay = found()
    statements = desk(overlay, overlay.member)
    claim, data = publish(statements, statements.data(parse_path("eu/home/wiki"), "TXT", ("x",), 30, AT))
    assert (claim.kind, claim.item, claim.body[1]) == ("grant", overlay.member.node_id, ["own"])
    assert data.via == claim.digest
    assert [r.kind for r in statements.data(parse_path("eu/home/wiki"), "TXT", ("y",), 30, AT + 1)] == ["data"]


def test_what_is_ones_own_needs_no_claim() -> None:
    overlay = found()
    for who, name in ((overlay.first, "eu/home/motd"), (overlay.own_only, "eu/home/own-only/motd"), (overlay.founder, "us/motd")):
        assert desk(overlay, who).claim(parse_path(name), AT) == []


@pytest.mark.parametrize("name", ["eu/home/other", "eu/home/other/below", "eu/home", "eu/home/rack/below"])
def test_a_member_claims_nothing_that_is_anothers_or_the_path_itself(name: str) -> None:
    overlay = found()
    member = overlay.member
    overlay.join("other", HOME, Joining.INVITED, by=overlay.first)
    overlay.join("owner", "eu/home/rack", Joining.INVITED_FIRST, by=overlay.first)
    with pytest.raises(TrustError):
        desk(overlay, member).claim(parse_path(name), AT)


def test_who_holds_its_own_name_only_claims_nothing_beside_it() -> None:
    overlay = found()
    with pytest.raises(TrustError):
        desk(overlay, overlay.own_only).claim(parse_path("eu/home/wiki"), AT)


# -- when


def test_what_was_said_is_said_again_at_half_of_its_life_or_when_it_changes() -> None:
    overlay = found()
    first = overlay.first
    statements = desk(overlay, first)
    name = first.name or HOME
    publish(statements, statements.host(name, (ADDRESS,), AT))
    assert statements.host(name, (ADDRESS,), AT + HOUR - 1) == []
    assert len(statements.host(name, (ADDRESS,), AT + HOUR)) == 1
    assert len(statements.host(name, (ADDRESS, Address("203.0.113.99", 7653)), AT + 1)) == 1


def test_plain_data_is_renewed_at_half_of_its_life_and_tombstones_and_others_data_are_not() -> None:
    overlay = found()
    first = overlay.first
    statements = desk(overlay, first, overlay.data(overlay.founder, "eu/home/not-mine", "TXT", "x"))
    publish(statements, statements.data(parse_path("eu/home/motd"), "TXT", ("x",), 30, AT))
    publish(statements, statements.data(parse_path("eu/home/gone"), "TXT", (), 30, AT))
    assert statements.renewals(AT + 15 * DAY - 1) == []
    (again,) = statements.renewals(AT + 15 * DAY)
    assert again.name == parse_path("eu/home/motd") and again.body[1] == ["x"]


def test_more_addresses_than_a_record_takes_are_cut() -> None:
    overlay = found()
    many = tuple(Address(f"203.0.113.{number}", 7653) for number in range(1, 20))
    (record,) = desk(overlay, overlay.first).host(overlay.first.name or HOME, many, AT)
    assert Host.read(record).addresses == many[:8]


def test_too_long_data_is_the_callers_mistake() -> None:
    overlay = found()
    with pytest.raises(UsageError):
        desk(overlay, overlay.first).data(HOME, "TXT", ("x" * 1_000,), 30, AT)


# -- services


def test_a_service_is_said_with_its_carriers_addresses_and_taken_back_with_the_date_of_what_is_buried() -> None:
    overlay = found()
    member = overlay.member
    statements = desk(overlay, member)
    service = Service(name=parse_path("eu/home/www"), proto="tcp", port=8000)
    assert statements.carry_claim(service, AT) == []
    statements.services[service.name, "tcp"] = service
    (said,) = publish(statements, statements.carries(member.name or HOME, (ADDRESS,), AT))
    assert statements.carries(member.name or HOME, (ADDRESS,), AT + 1) == []
    gone = statements.withdrawal(said, AT + 60)
    assert gone.expires == said.expires and gone.seq > said.seq and gone.identity == said.identity
    assert overlay.trust().judge(gone, AT + 60, overlay.lookup)


def test_a_health_check_is_news_once() -> None:
    overlay = found()
    statements = desk(overlay, overlay.member)
    name = parse_path("eu/home/www")
    assert not statements.health(name, "tcp", False), "no such service"
    statements.services[name, "tcp"] = Service(name=name, proto="tcp", port=8000)
    assert [statements.health(name, "tcp", healthy) for healthy in (False, False, True)] == [True, False, True]


@given(
    st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=4), st.sampled_from(["tcp", "udp"]), st.integers(1, 65_535),
    st.integers(0, 65_535), st.sampled_from(["none", "tcp", "http://localhost/?a=b|c"]),
)
def test_a_service_comes_back_from_the_store_as_it_went_in(labels: list[str], proto: str, port: int, weight: int, health: str) -> None:
    service = Service(name=Path(tuple(labels)), proto=proto, port=port, addresses=("203.0.113.1", "2001:db8::1"), health=health, weight=weight)
    store = service.to_store()
    assert store.value is not None
    assert Service.from_store(store.key, store.value) == service


@pytest.mark.parametrize("value", [b"", b"\x80", b"\xc1", b"\x81\x01\x00"])
def test_a_damaged_service_in_the_store_is_malformed(value: bytes) -> None:
    with pytest.raises(Malformed):
        Service.from_store(b"eu/home/www|tcp", value)
