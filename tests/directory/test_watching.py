"""A watched zone: which keepers are asked, how many, and who is left for the next (DESIGN 3.5)."""

from __future__ import annotations

from overlay.directory.watching import AT_ONCE, LONGEST_PAUSE, PATIENCE, PAUSE, RENEW, Watch

A, B, C, D = b"a", b"b", b"c", b"d"
KEEPERS = [A, B, C, D]


def test_two_are_asked_at_once_and_nobody_more_while_both_may_still_answer() -> None:
    watch = Watch(0.0)
    assert watch.to_ask(KEEPERS, 0.0) == [A, B]
    assert watch.to_ask(KEEPERS, PATIENCE / 2) == []
    watch.answered(A, 0.1, held=True)
    assert watch.held and watch.to_ask(KEEPERS, 0.1) == []


def test_who_has_nothing_is_left_for_the_next_at_once_and_who_is_silent_after_a_moment() -> None:
    watch = Watch(0.0)
    watch.to_ask(KEEPERS, 0.0)
    watch.answered(A, 0.1, held=False)
    assert watch.to_ask(KEEPERS, 0.1) == [C]
    assert watch.to_ask(KEEPERS, PATIENCE) == [D], "for B, which says nothing"
    watch.answered(B, 5.0, held=True)
    assert list(watch.holders) == [B], "late is not wrong"


def test_when_nobody_has_it_the_round_begins_anew_ever_more_slowly() -> None:
    watch = Watch(0.0)
    now, rounds = 0.0, []
    for _ in range(12):
        asked = watch.to_ask([A, B], now)
        assert asked == [A, B]
        for node_id in asked:
            watch.answered(node_id, now, held=False)
        assert watch.idle(now) and watch.to_ask([A, B], now) == []
        rounds.append(watch.wake_at(now) - now)
        now = watch.wake_at(now)
    assert rounds[0] == PAUSE and rounds[-1] == LONGEST_PAUSE == max(rounds)


def test_a_holder_is_asked_again_before_its_lease_is_over() -> None:
    watch = Watch(0.0)
    watch.to_ask([A], 0.0)
    watch.answered(A, 0.0, held=True)
    assert watch.wake_at(0.0) == RENEW
    assert watch.to_ask([A], RENEW) == [A]
    assert watch.to_ask([A], RENEW) == [], "until it has answered"
    watch.answered(A, RENEW + 0.1, held=True)
    assert watch.to_ask([A], RENEW + 1) == []


def test_a_holder_that_is_gone_is_replaced() -> None:
    watch = Watch(0.0)
    for node_id in watch.to_ask(KEEPERS, 0.0):
        watch.answered(node_id, 0.0, held=True)
    watch.failed(A, 1.0)
    assert watch.held and watch.to_ask(KEEPERS, 1.0) == [C]


def test_in_doubt_all_the_others_are_asked_two_at_a_time() -> None:
    watch = Watch(0.0)
    for node_id in watch.to_ask(KEEPERS, 0.0):
        watch.answered(node_id, 0.0, held=True)
    watch.doubted = True
    assert watch.to_ask([*KEEPERS, b"e"], 0.1) == [C, D]
    assert len(watch.to_ask([*KEEPERS, b"e"], 0.2)) == 0
    watch.answered(C, 0.3, held=True)
    assert watch.to_ask([*KEEPERS, b"e"], 0.3) == [b"e"]
    watch.doubted = False
    assert watch.to_ask([*KEEPERS, b"e", b"f"], 9.0) == [] and len(watch.holders) > AT_ONCE


def test_one_gateway_is_always_asked_and_kept_whoever_else_has_the_zone() -> None:
    watch = Watch(0.0)
    for node_id in watch.to_ask(KEEPERS, 0.0):
        watch.answered(node_id, 0.0, held=True)
    assert watch.to_ask(KEEPERS, 0.1, [C, D]) == [C], "it became known with the first answer"
    watch.answered(C, 0.2, held=True)
    assert watch.to_ask(KEEPERS, 0.3, [C, D]) == []
    assert C in watch.to_ask(KEEPERS, RENEW + 0.2, [C, D]) and len(watch.holders) == AT_ONCE
    watch.failed(C, 50.0)
    assert watch.to_ask(KEEPERS, 50.0, [C, D])[0] == D
