"""Comparing with others: one at a time, but nobody for ever; what a liar lists is not followed to its end (DESIGN 3.5)."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.directory.machine import Directory
from overlay.directory.outputs import Ask
from overlay.directory.reconciling import HURRY, RECORDS, SHARE, WINDOW
from overlay.name import parse_path
from overlay.wire.messages import Method
from tests.directory.books import HOME, book_of, directory_of
from tests.records.actors import AT, Overlay, found

NODES = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}


@pytest.fixture
def overlay() -> Overlay:
    made = found()
    assert made.first
    return made


def asks(directory: Directory, session: int | None = None) -> list[Ask]:
    return [o for o in directory.take() if isinstance(o, Ask) and session in (None, o.session)]


def company(overlay: Overlay, *sessions: int) -> Directory:
    """The founder's directory, which has just opened sessions to these nodes."""
    here = directory_of(book_of(overlay), overlay.founder)
    for session in sessions:
        who = overlay.actor(NODES[session])
        here.joined(session, who.node_id, parse_path(f"xx/{NODES[session]}"), initiator=True, now=1.0)
    return here


def test_a_peer_that_never_answers_holds_the_next_one_up_for_its_share_of_time_and_no_longer(overlay: Overlay) -> None:
    here = company(overlay, 1, 2)
    assert [ask.session for ask in asks(here)] == [1]
    here.wake(1.0 + SHARE - 0.1, AT)
    assert not asks(here, 2)
    here.wake(1.0 + SHARE, AT)
    assert [ask.method for ask in asks(here, 2)] == [Method.SUMMARY]
    assert here.counters["reconciliations_slow"] == 1


def test_who_is_slow_is_listened_to_when_it_answers_after_all(overlay: Overlay) -> None:
    here = company(overlay, 1, 2)
    (summary,) = asks(here)
    here.wake(1.0 + SHARE, AT)
    asks(here)
    here.answered(summary.context, 1, [bytes(8) + b"table"], 20.0, AT)
    assert [ask.method for ask in asks(here, 1)] == [Method.BUCKETS]


def test_comparisons_with_the_slow_are_few_and_the_oldest_is_let_go(overlay: Overlay) -> None:
    here = company(overlay, 1, 2, 3, 4, 5)
    first = asks(here)[0]
    now = 1.0
    for _ in range(5):
        now += SHARE
        here.wake(now, AT)
    here.take()
    here.answered(first.context, 1, [bytes(8) + b"table"], now, AT)
    assert not asks(here, 1)


def test_records_that_are_listed_and_not_handed_out_are_not_asked_for_to_the_end(overlay: Overlay) -> None:
    here = company(overlay, 1)
    (summary,) = asks(here)
    here.answered(summary.context, 1, [bytes(8) + b"table"], 2.0, AT)
    (buckets,) = asks(here)
    here.answered(buckets.context, 1, bytes(512), 2.0, AT)
    (listing,) = asks(here)
    invented = [bytes([n % 64]) + n.to_bytes(7, "big") + b"x" * 8 for n in range(RECORDS * 100)]
    here.answered(listing.context, 1, invented, 2.0, AT)
    fetches = [ask for ask in asks(here) if ask.method is Method.FETCH]
    assert len(fetches) == WINDOW
    for fetch in fetches:
        here.answered(fetch.context, 1, [], 2.0, AT)
    assert not [ask for ask in asks(here) if ask.method is Method.FETCH]
    assert here.counters["drop:listing-empty"] == WINDOW


def test_more_records_than_were_asked_for_are_refused(overlay: Overlay) -> None:
    here = company(overlay, 1)
    (summary,) = asks(here)
    here.answered(("fetch", summary.context[1], "table", 2), 1, [b"a", b"b", b"c"], 2.0, AT)
    assert here.counters["drop:field-type"] == 1


def test_until_one_comparison_was_complete_others_are_tried_every_few_seconds(overlay: Overlay) -> None:
    here = company(overlay, 1, 2)
    tried = []
    now = 1.0
    while now < 40.0:
        for ask in asks(here):
            tried.append(now)
            here.failed(ask.context, ask.session)
        now += 0.5
        here.wake(now, AT)
    assert len(tried) >= 40.0 / (HURRY * 1.5)
    assert not here.settled()


def test_after_one_was_complete_a_comparison_every_half_minute_is_enough(overlay: Overlay) -> None:
    here = company(overlay, 1)
    begun = 0
    now = 1.0
    while now < 300.0:
        for ask in asks(here):
            begun += ask.method is Method.SUMMARY
            here.answered(ask.context, 1, [here.book.units["table"].digest + b"table"], now, AT)
        now += 1.0
        here.wake(now, AT)
    assert begun <= 300.0 / (limits.RECONCILE * 0.75) + 2


def test_what_was_being_compared_ends_with_its_session_and_the_next_begins(overlay: Overlay) -> None:
    here = company(overlay, 1, 2)
    asks(here)
    here.left(1)
    assert [ask.session for ask in asks(here)] == [2]


def test_units_that_are_named_and_unknown_are_looked_at_again_a_bounded_number_of_times(overlay: Overlay) -> None:
    here = company(overlay, 1)
    summaries = 0
    while asked := asks(here):
        for ask in asked:
            summaries += ask.method is Method.SUMMARY
            here.answered(ask.context, 1, [bytes(8) + b"zone:no/where", bytes(8) + "zone:\u00e4".encode(), b"", bytes(7)], 2.0, AT)
    assert summaries == 3
    assert HOME in here.book.cuts
