"""The directory's conversation: pushes, questions, answers, watches; and what strangers may send it (DESIGN 3.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.directory.book import Book
from overlay.directory.machine import Directory
from overlay.directory.outputs import Answer, Arrived, Ask, Changed, Part
from overlay.errors import Malformed, TrustError
from overlay.name import parse_path
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.wire.messages import Method
from tests.directory.books import HOME, book_of, directory_of
from tests.records.actors import AT, Actor, Overlay, found

SUMMARY, BUCKETS, LISTING, FETCH, PUSH, WATCH = (
    Method.SUMMARY, Method.BUCKETS, Method.LISTING, Method.FETCH, Method.PUSH, Method.WATCH,
)


def pair(overlay: Overlay, *more: Record) -> tuple[Directory, Directory]:
    """The founder's directory, which holds ``more``, and that of the first of eu/home, which does not."""
    founder, first = overlay.founder, overlay.first
    return directory_of(book_of(overlay, *more), founder), directory_of(book_of(overlay), first)


def asks(outputs: Iterable[object]) -> list[Ask]:
    return [output for output in outputs if isinstance(output, Ask)]


def carry(a: Directory, b: Directory, rounds: int = 40) -> int:
    """Carry calls and answers between two directories (session 1 on both sides) until both are quiet: how many calls."""
    count = 0
    for number in range(rounds):
        now = 1.0 + number
        quiet = True
        for caller, callee in ((a, b), (b, a)):
            caller.wake(now, AT)
            for ask in asks(caller.take()):
                quiet = False
                count += 1
                callee.called(1, count, ask.method, ask.body, now, AT)
                outputs = callee.take()
                (answer,) = [output for output in outputs if isinstance(output, Answer)]
                for output in outputs:
                    if isinstance(output, Ask):
                        callee._out.append(output)
                caller.answered(ask.context, 1, answer.body, now, AT)
        if quiet:
            break
    return count


def connect(a: Directory, who_a: Actor, b: Directory, who_b: Actor) -> None:
    """A session between the two, opened by ``a``."""
    assert who_a.name is not None and who_b.name is not None
    a.joined(1, who_b.node_id, who_b.name.parent, initiator=True, now=1.0)
    b.joined(1, who_a.node_id, who_a.name.parent, initiator=False, now=1.0)


def same(a: Directory, b: Directory) -> bool:
    return {u: r.digest for u, r in a.book.units.items()} == {u: r.digest for u, r in b.book.units.items()}


def test_two_nodes_that_meet_end_up_with_the_union() -> None:
    overlay = found()
    first = overlay.first
    here, there = pair(overlay, overlay.data(overlay.founder, "hq/motd", "TXT", "x"))
    there.publish(overlay.data(first, "eu/home/motd", "TXT", "y"), AT)
    there.take()
    connect(here, overlay.founder, there, first)
    carry(here, there)
    assert same(here, there) and len(here.book) == len(there.book)
    assert here.settled()


def test_a_node_with_the_root_alone_learns_all_from_one_other() -> None:
    overlay = found()
    first = overlay.first
    full = directory_of(book_of(overlay, overlay.host(first), overlay.cluster(first)), overlay.founder)
    empty_book = Book(overlay.trust())
    empty_book.add(overlay.root, AT)
    empty = directory_of(empty_book, first)
    connect(empty, first, full, overlay.founder)
    carry(empty, full)
    assert same(full, empty)


def test_nodes_that_agree_say_so_in_one_call() -> None:
    overlay = found()
    here, there = pair(overlay)
    connect(here, overlay.founder, there, overlay.first)
    assert carry(here, there) == 1


def test_a_change_is_pushed_at_once_and_not_sent_back() -> None:
    overlay = found()
    first = overlay.first
    here, there = pair(overlay)
    connect(here, overlay.founder, there, first)
    carry(here, there)
    record = overlay.data(first, "eu/home/motd", "TXT", "x")
    there.publish(record, AT)
    (push,) = asks(there.take())
    assert push.method is PUSH and push.body == {1: [record.raw]}
    here.called(1, 99, PUSH, push.body, 50.0, AT)
    outputs = here.take()
    assert [o.record for o in outputs if isinstance(o, Arrived)] == [record]
    assert any(isinstance(o, Changed) for o in outputs)
    assert not asks(outputs)


def test_the_same_push_again_is_no_news() -> None:
    overlay = found()
    first = overlay.first
    here, there = pair(overlay)
    connect(here, overlay.founder, there, first)
    here.take()
    record = overlay.data(first, "eu/home/motd", "TXT", "x")
    for ticket in (1, 2):
        here.called(1, ticket, PUSH, {1: [record.raw]}, 2.0, AT)
    assert here.counters["duplicates"] == 1
    assert sum(isinstance(o, Arrived) for o in here.take()) == 1


def test_a_record_whose_grant_is_missing_waits_for_it_and_both_are_passed_on_in_order() -> None:
    overlay = found()
    first = overlay.first
    bare = Book(overlay.trust())
    bare.add(overlay.root, AT)
    here = directory_of(bare, overlay.founder)
    here.joined(1, first.node_id, HOME, initiator=False, now=1.0)
    here.joined(2, overlay.stranger.node_id, parse_path("us/office"), initiator=False, now=1.0)
    data = overlay.data(first, "eu/home/motd", "TXT", "x")
    chain = [*reversed(overlay.chain(data))]
    here.called(1, 1, PUSH, {1: [data.raw]}, 2.0, AT)
    (answer,) = [o for o in here.take() if isinstance(o, Answer)]
    assert answer.body == {1: [data.via]}
    here.called(1, 2, PUSH, {1: [grant.raw for grant in chain]}, 2.0, AT)
    assert [o.record for o in here.take() if isinstance(o, Arrived)] == [*chain, data]


def test_records_that_wait_for_grants_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENDING", 5)
    overlay = found()
    first = overlay.first
    bare = Book(overlay.trust())
    bare.add(overlay.root, AT)
    here = directory_of(bare, overlay.founder)
    here.joined(1, first.node_id, HOME, initiator=False, now=1.0)
    for number in range(12):
        here.called(1, number + 1, PUSH, {1: [overlay.data(first, f"eu/home/n{number}", "TXT", "x").raw]}, 2.0, AT)
    assert here.counters["drop:pending-full"] == 2
    assert sum(map(len, here._pending.values())) <= 5


def test_what_is_refused_is_counted_under_its_rule_and_goes_no_further() -> None:
    overlay, other = found(), found(ceremony="another ")
    first = overlay.first
    here, _ = pair(overlay)
    here.joined(1, first.node_id, HOME, initiator=False, now=1.0)
    future = overlay.data(first, "eu/home/motd", "TXT", "x", at=AT + 1000)
    foreign = other.data(other.founder, "hq/motd", "TXT", "x")
    size = len(here.book)
    here.called(1, 1, PUSH, {1: [future.raw, foreign.raw]}, 2.0, AT)
    assert here.counters["drop:R02"] == 1
    assert len(here.book) == size
    assert not [o for o in here.take() if isinstance(o, Arrived)]


def test_a_peer_that_sends_forged_signatures_costs_a_few_checks_and_its_session() -> None:
    overlay = found()
    first = overlay.first
    here, _ = pair(overlay)
    here.joined(1, first.node_id, HOME, initiator=False, now=1.0)
    here.take()
    good = [overlay.data(first, f"eu/home/n{number}", "TXT", "x") for number in range(200)]
    forged = [record.raw[:-1] + bytes([record.raw[-1] ^ 1]) for record in good]
    before = here.book.trust.verified
    for start in range(0, 200, 50):
        here.called(1, 1 + start, PUSH, {1: forged[start : start + 50]}, 2.0, AT)
    assert here.book.trust.verified - before <= 2 * limits.FORGED
    assert [output for output in here.take() if isinstance(output, Part)] == [Part(1, "forged-records")]
    assert here.counters["drop:forged"] == 1


def test_own_statements_that_are_not_entitled_are_told_to_who_made_them() -> None:
    overlay = found()
    here, _ = pair(overlay)
    with pytest.raises(TrustError):
        here.publish(overlay.data(overlay.stranger, "hq", "TXT", "x", via=overlay.founder.own), AT)


def test_a_peer_that_does_not_answer_does_not_stop_pushes_to_it_or_reconciliation_with_others() -> None:
    overlay = found()
    first, member = overlay.first, overlay.member
    here, there = pair(overlay)
    here.joined(1, first.node_id, HOME, initiator=True, now=1.0)
    here.joined(2, member.node_id, HOME, initiator=True, now=1.0)
    (only,) = asks(here.take())
    assert (only.session, only.method) == (1, SUMMARY), "one after the other"
    here.failed(only.context, 1)
    (following,) = asks(here.take())
    assert following.session == 2
    assert not here.settled()
    here.left(1)
    here.answered(following.context, 2, [there._summary("table")], 2.0, AT)
    assert here.settled() or asks(here.take())


# -- what strangers may send

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20)
    | st.just("zone:eu/home") | st.just("table"),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(0, 5), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def overlay() -> Overlay:
    made = found()
    assert made.first
    return made


@pytest.mark.parametrize("method", [SUMMARY, BUCKETS, LISTING, FETCH, PUSH, WATCH])
def test_a_call_with_any_body_is_answered_or_malformed(overlay: Overlay, method: Method) -> None:
    here, _ = pair(overlay)
    here.joined(1, overlay.first.node_id, HOME, initiator=False, now=1.0)
    before = len(here.book)

    @settings(max_examples=60)
    @given(values)
    def calls(body: Any) -> None:
        try:
            here.called(1, 1, method, body, 2.0, AT)
        except Malformed as why:
            assert why.rule
        here.take()

    calls()
    assert len(here.book) == before


@pytest.mark.parametrize(
    "context",
    [
        ("push", ()), ("summary", 1), ("buckets", 1, "zone:eu/home"), ("listing", 1, "table", (1, 2)), ("fetch", 1, "table", 3),
        ("summary", 9), ("watch", HOME, b"keeper"),
    ],
    ids=lambda context: context[0],
)
def test_an_answer_with_any_body_is_taken_or_counted(overlay: Overlay, context: tuple[object, ...]) -> None:
    here, _ = pair(overlay)
    here.joined(1, overlay.first.node_id, HOME, initiator=True, now=1.0)

    @settings(max_examples=60)
    @given(values | st.lists(st.binary(min_size=8, max_size=24), max_size=6))
    def answers(body: Any) -> None:
        here.answered(context, 1, body, 2.0, AT)
        here.answered(context, 7, body, 2.0, AT)  # a session that is gone
        here.failed(context, 1)
        here.take()

    answers()


def test_a_call_from_who_was_not_admitted_is_malformed(overlay: Overlay) -> None:
    here, _ = pair(overlay)
    with pytest.raises(Malformed):
        here.called(9, 1, SUMMARY, {}, 1.0, AT)


# -- watching


def test_a_watcher_gets_the_zone_with_its_chains_and_then_every_change() -> None:
    overlay = found()
    first, far = overlay.first, overlay.join("far", "us/office", Joining.FIRST)
    data = overlay.data(first, "eu/home/motd", "TXT", "one")
    keeper = directory_of(book_of(overlay, data), first, small=0)
    keeper.joined(1, far.node_id, parse_path("us/office"), initiator=False, now=1.0)
    keeper.take()
    keeper.called(1, 1, WATCH, {1: "eu/home", 2: b""}, 2.0, AT)
    (answer,) = [o for o in keeper.take() if isinstance(o, Answer)]
    assert answer.body[0] == b"\x01" and data.raw in answer.body and first.own.raw in answer.body
    keeper.publish(overlay.data(first, "eu/home/motd", "TXT", "two"), AT)
    assert [ask.method for ask in asks(keeper.take())] == [PUSH]


def test_without_a_watch_a_far_zone_is_not_told_in_a_large_overlay_and_a_watch_ends() -> None:
    overlay = found()
    first, far = overlay.first, overlay.join("far", "us/office", Joining.FIRST)
    keeper = directory_of(book_of(overlay), first, small=0)
    keeper.joined(1, far.node_id, parse_path("us/office"), initiator=False, now=1.0)
    keeper.publish(overlay.data(first, "eu/home/motd", "TXT", "one"), AT)
    assert not asks(keeper.take())
    keeper.called(1, 1, WATCH, {1: "eu/home", 2: b""}, 2.0, AT)
    keeper.wake(2.0 + limits.WATCH_LEASE + 30, AT)
    keeper.take()
    keeper.publish(overlay.data(first, "eu/home/motd", "TXT", "two"), AT)
    assert not [ask for ask in asks(keeper.take()) if ask.method is PUSH]
    assert keeper.counters["watches_lapsed"] == 1


def test_a_watch_of_a_zone_that_is_not_held_says_so_and_of_one_that_did_not_change_is_short() -> None:
    overlay = found()
    first = overlay.first
    keeper = directory_of(book_of(overlay), first, small=0)
    keeper.joined(1, overlay.founder.node_id, parse_path("hq"), initiator=False, now=1.0)
    keeper.take()
    digest = keeper.book.units["zone:eu/home"].digest
    bodies = []
    for ticket, (path, held) in enumerate((("no/where", b""), ("eu/home", digest)), 1):
        keeper.called(1, ticket, WATCH, {1: path, 2: held}, 2.0, AT)
        bodies += [o.body for o in keeper.take() if isinstance(o, Answer)]
    assert bodies == [[b"\x00"], [b"\x01"]]
    assert keeper.counters["watches_refused"] == 1


