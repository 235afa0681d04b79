"""Attempts race a quarter of a second apart; a failure starts the next at once (RFC 8305, 5)."""

from __future__ import annotations

from bootstrap.race import STAGGER, Race
from overlay import limits


def test_attempts_begin_a_stagger_apart() -> None:
    race: Race[str] = Race()
    race.add("abc")
    assert race.start(0.0) == ["a"] and race.wake_at() == STAGGER
    assert race.start(STAGGER - 0.01) == []
    assert race.start(STAGGER) == ["b"] and race.start(2 * STAGGER) == ["c"]
    assert race.wake_at() is None and not race.idle


def test_a_failure_starts_the_next_at_once() -> None:
    race: Race[str] = Race()
    race.add("abc")
    race.start(0.0)
    assert race.ended("a", 0.01) and race.start(0.01) == ["b"]
    assert not race.ended("a", 0.02) and race.start(0.02) == []


def test_each_is_tried_once_a_round() -> None:
    race: Race[str] = Race()
    race.add("aa")
    assert race.start(0.0) == ["a"]
    race.ended("a", 0.1)
    race.add("a")
    assert race.idle
    race.again()
    race.add("a")
    assert race.start(0.2) == ["a"]


def test_no_more_than_the_limit_run_at_once() -> None:
    race: Race[int] = Race()
    race.add(range(20))
    for step in range(20):
        race.start(float(step))
    assert race.wake_at() is None and race.counters["knocks_waiting"] > 0
    race.ended(0, 20.0)
    assert race.start(20.0) == [limits.KNOCKS]


def test_what_is_needed_no_more_is_forgotten() -> None:
    race: Race[str] = Race()
    race.add("abc")
    race.start(0.0)
    race.forget(lambda attempt: attempt == "b")
    assert race.start(1.0) == ["c"]
