"""What FIND says and what is believed of its answers: whom others show counts when the record that shows it was judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.directory.finding import ANSWER
from overlay.directory.machine import Directory
from overlay.directory.neighbours import point_of
from overlay.directory.outputs import Answer, Ask, Output, Reach
from overlay.directory.spread import CORE, Spread
from overlay.errors import Malformed
from overlay.name import parse_path
from overlay.records.record import Record, parse
from overlay.records.rights import Joining
from overlay.wire.address import Address
from overlay.wire.messages import Method
from tests.directory.books import HOME, book_of, entropy
from tests.records.actors import AT, Actor, Overlay, found

GATEWAYS = 24
SPREAD = Spread(whole=8, near=4, bucket=2, copies=3)
FAR = parse_path("far/away")


@pytest.fixture(scope="module")
def overlay() -> Overlay:
    made = found()
    assert made.first
    for number in range(GATEWAYS):
        made.join(f"gateway{number}", f"xx/c{number}", Joining.FIRST)
    return made


def gateways(overlay: Overlay) -> list[Actor]:
    return [overlay.actor(f"gateway{number}") for number in range(GATEWAYS)]


def shown(overlay: Overlay, who: Iterable[Actor]) -> list[Record]:
    return [overlay.cluster(one, addresses=(Address(f"198.51.{number}.1", 7653),)) for number, one in enumerate(who)]


def knowing(overlay: Overlay, records: Iterable[Record] = (), *, spread: Spread = SPREAD) -> Directory:
    """The directory of the first of eu/home, which knows these cluster records."""
    book = book_of(overlay, *records)
    assert overlay.first.name is not None
    here = Directory(me=overlay.first.node_id, cluster=HOME, book=book, entropy=entropy(), now=0.0, small=2, spread=spread)
    here.holdings.ring()
    return here


def asks(outputs: Iterable[Output], method: Method = Method.FIND) -> list[Ask]:
    return [output for output in outputs if isinstance(output, Ask) and output.method is method]


def ask(here: Directory, overlay: Overlay, body: dict[int, Any]) -> list[bytes]:
    here.joined(1, overlay.member.node_id, HOME, initiator=False, now=1.0)
    here.take()
    here.called(1, 1, Method.FIND, body, 2.0, AT)
    (answer,) = [output for output in here.take() if isinstance(output, Answer)]
    assert type(answer.body) is list
    return answer.body


# -- what it says


def test_the_nearest_are_shown_with_all_that_it_takes_to_judge_them(overlay: Overlay) -> None:
    here = knowing(overlay, shown(overlay, gateways(overlay)))
    target = bytes(32)
    keeps, *raws = ask(here, overlay, {1: target})
    records = [parse(raw) for raw in raws]
    nodes = [record.signer for record in records if record.kind == "cluster"]
    assert keeps == b"\x00" and len(nodes) == limits.NEAREST and len(raws) < ANSWER
    assert nodes == sorted((one.node_id for one in gateways(overlay)), key=lambda n: int.from_bytes(n, "big"))[: limits.NEAREST]
    grants = {record.digest: record for record in records if record.kind == "grant"}
    trust = overlay.trust()
    for record in records:
        trust.judge(record, AT, grants.get)


def test_who_keeps_a_zone_says_so(overlay: Overlay) -> None:
    here = knowing(overlay)
    assert ask(here, overlay, {2: "eu/home"})[0] == b"\x01"
    assert ask(here, overlay, {2: "no/where"})[0] == b"\x00"


@pytest.mark.parametrize("body", [{}, {1: b"short"}, {1: 7}, {2: "a//b"}, {2: 5}, {1: bytes(33)}, [], None])
def test_a_question_without_a_key_is_malformed(overlay: Overlay, body: Any) -> None:
    here = knowing(overlay)
    here.joined(1, overlay.member.node_id, HOME, initiator=False, now=1.0)
    with pytest.raises(Malformed):
        here.called(1, 1, Method.FIND, body, 2.0, AT)


# -- what it believes


def searching(overlay: Overlay) -> tuple[Directory, Ask]:
    """A directory whose table is shared out and that searches; the first question that it asks over a session."""
    known = gateways(overlay)[:10]
    here = knowing(overlay, shown(overlay, known))
    assert here.holdings.shared_out
    for session, one in enumerate(known, 1):
        assert one.name is not None
        here.joined(session, one.node_id, one.name.parent, initiator=False, now=1.0)
    here.take()
    assert not here.watch(FAR, 2.0)
    here.wake(2.0, AT)
    questions = [question for question in asks(here.take()) if question.body == {2: str(FAR)}]
    return here, questions[0]


def chains(overlay: Overlay, records: Iterable[Record]) -> list[bytes]:
    grants = {grant.digest: grant.raw for record in records for grant in overlay.chain(record)}
    return list(grants.values())


def heard(here: Directory, question: Ask, body: Any) -> list[bytes]:
    """Whom it asks next: node ids, whether there is a session or not."""
    here.answered(question.context, question.session, body, 2.1, AT)
    here.wake(2.1, AT)
    outputs = here.take()
    sessions = {session: peer.node_id for session, peer in here._peers.items()}
    return [*(output.to.node_id for output in outputs if isinstance(output, Reach)), *(sessions[one.session] for one in asks(outputs))]


def test_whose_record_is_shown_with_its_chain_is_asked_next(overlay: Overlay) -> None:
    here, question = searching(overlay)
    nearest = min(gateways(overlay)[10:], key=lambda one: int.from_bytes(one.node_id, "big") ^ point_of(FAR))
    records = shown(overlay, [nearest])
    assert nearest.node_id in heard(here, question, [b"\x00", *(r.raw for r in records), *chains(overlay, records)])


def test_whose_record_comes_without_its_chain_or_from_another_overlay_does_not_exist(overlay: Overlay) -> None:
    other = found(ceremony="another ")
    foreign = shown(other, [other.join(f"stranger{number}", f"yy/c{number}", Joining.FIRST) for number in range(3)])
    here, question = searching(overlay)
    bare = shown(overlay, [overlay.join("late", "xx/late", Joining.FIRST)])  # let in since: its grants are not known here
    before = len(here.book)
    asked = heard(here, question, [b"\x00", *(r.raw for r in (*bare, *foreign)), *chains(other, foreign)])
    assert not {record.signer for record in (*bare, *foreign)} & set(asked)
    assert len(here.book) == before


def test_what_is_shown_is_kept_where_it_is_near_or_a_contact_and_nowhere_told(overlay: Overlay) -> None:
    here, question = searching(overlay)
    records = shown(overlay, gateways(overlay)[10:])
    here.answered(question.context, question.session, [b"\x00", *(r.raw for r in records[:16]), *chains(overlay, records[:16])], 2.1, AT)
    outputs = here.take()
    assert not asks(outputs, Method.PUSH) and not asks(outputs, Method.OFFER)
    taken = {r.signer for r in here.book.records.values() if r.kind == "cluster"} - {one.node_id for one in gateways(overlay)[:10]}
    assert 0 < len(taken) < 14


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=400) | st.text(max_size=20), lambda inner: st.lists(inner, max_size=6), max_leaves=10,
)


@settings(max_examples=40, deadline=None)
@given(body=values | st.lists(st.binary(max_size=300), max_size=ANSWER + 3))
def test_an_answer_of_any_form_is_taken_or_counted_and_the_search_goes_on(overlay: Overlay, body: Any) -> None:
    here, question = searching(overlay)
    here.answered(question.context, question.session, body, 2.1, AT)
    here.wake(15.0, AT)
    assert here.wake_at() is not None
    assert here.watchable(FAR) is not None


# -- a table in parts


def test_one_has_the_table_up_to_its_bound_and_above_it_a_part(overlay: Overlay) -> None:
    records = shown(overlay, gateways(overlay))
    assert not knowing(overlay, records[:8]).holdings.shared_out
    assert not knowing(overlay, records, spread=Spread()).holdings.shared_out
    here = knowing(overlay, records)
    assert here.holdings.shared_out and not here.holdings.everything()
    here.wake(30.0, AT)
    here.take()
    left = here.holdings.ring()
    assert 4 <= len(left) < GATEWAYS
    assert here.holdings.shared_out, "a part is as dense around its node as the whole was"
    assert here.holdings.holds(HOME) and here.book.grants_on(HOME)


def test_where_zones_begin_is_remembered_when_their_grants_are_let_go(overlay: Overlay) -> None:
    here = knowing(overlay, shown(overlay, gateways(overlay)))
    cuts = set(here.book.cuts)
    here.wake(30.0, AT)
    assert set(here.book.cuts) == cuts
    assert any(not here.book.grants_on(cut) for cut in cuts)


def test_parts_are_compared_in_what_all_hold(overlay: Overlay) -> None:
    here = knowing(overlay, shown(overlay, gateways(overlay)))
    here.joined(1, overlay.member.node_id, HOME, initiator=False, now=1.0)
    here.take()
    here.called(1, 1, Method.SUMMARY, {}, 2.0, AT)
    (answer,) = [output for output in here.take() if isinstance(output, Answer)]
    units = [entry[8:].decode() for entry in answer.body]
    assert CORE in units and "table" not in units
    here.called(1, 2, Method.LISTING, {1: CORE, 2: list(range(64))}, 2.0, AT)
    (listing,) = [output for output in here.take() if isinstance(output, Answer)]
    core = {record.identity for record in here.book.records.values() if record.kind in ("root", "revoke") or record.name == parse_path("")}
    assert len(listing.body) == len({i for i in core if here.book.records[i].kind in ("root", "revoke", "grant")})
