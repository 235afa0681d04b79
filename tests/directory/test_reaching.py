"""Questions to nodes without a session: it is opened for them, and closed when nobody needs it (``reaching.py``)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from benchmarks.lookup import member
from overlay import limits
from overlay.directory.outputs import Ask, Output, Part, Reach
from overlay.directory.pushing import Partner
from overlay.directory.reaching import IDLE, LASTS, Reaching
from overlay.name import ROOT
from overlay.wire.messages import Method

ONE, TWO = (member(Random(n), network=n) for n in (1, 2))


class Scene:
    def __init__(self) -> None:
        self.partners: dict[int, Partner] = {}
        self.out: list[Output] = []
        self.counters: Counter[str] = Counter()
        self.reaching = Reaching(partners=self.partners, out=self.out.append, counters=self.counters)

    def joined(self, session: int, node_id: bytes) -> Partner:
        partner = self.partners[session] = Partner(session, node_id, ROOT)
        self.reaching.joined(partner)
        return partner

    def taken(self) -> list[Output]:
        out, self.out[:] = list(self.out), []
        return out


def test_a_question_waits_for_its_session_and_several_open_one() -> None:
    scene = Scene()
    for number in (1, 2):
        assert scene.reaching.ask(ONE, Method.WATCH, {}, ("find", number), 0.0)
    assert scene.taken() == [Reach(ONE)]
    scene.joined(7, ONE.node_id)
    assert scene.taken() == [Ask(7, Method.WATCH, {}, ("find", 1)), Ask(7, Method.WATCH, {}, ("find", 2))]
    scene.reaching.ask(ONE, Method.WATCH, {}, ("find", 3), 1.0)
    assert scene.taken() == [Ask(7, Method.WATCH, {}, ("find", 3))]


def test_a_session_that_does_not_come_in_time_fails_its_questions_once() -> None:
    scene = Scene()
    scene.reaching.ask(ONE, Method.WATCH, {}, ("find", 1), 0.0)
    assert scene.reaching.wake_at() == LASTS
    assert list(scene.reaching.gave_up(LASTS - 0.1)) == []
    assert list(scene.reaching.gave_up(LASTS)) == [("find", 1)]
    assert list(scene.reaching.gave_up(LASTS + 1)) == []
    scene.joined(7, ONE.node_id)
    assert scene.taken() == [Reach(ONE)], "nothing is asked any more"


def test_who_is_not_needed_is_parted_from_after_a_while_unless_it_depends_on_us() -> None:
    scene = Scene()
    for session, node in ((1, ONE), (2, TWO)):
        scene.reaching.ask(node, Method.WATCH, {}, ("find",), 0.0)
        scene.joined(session, node.node_id)
    scene.taken()
    scene.reaching.ask(TWO, Method.WATCH, {}, ("find",), 60.0)
    scene.taken()
    scene.reaching.close_idle(IDLE, {ONE.node_id})
    assert scene.taken() == [], "needed, or used a minute ago"
    scene.partners[1].watching[ROOT] = 1e9
    scene.reaching.close_idle(IDLE + 60.0, ())
    assert scene.taken() == [Part(2)]


def test_a_session_that_others_opened_is_never_parted_from() -> None:
    scene = Scene()
    scene.joined(1, ONE.node_id)
    scene.reaching.ask(ONE, Method.WATCH, {}, ("find",), 0.0)
    scene.taken()
    scene.reaching.close_idle(10 * IDLE, ())
    assert scene.taken() == []


def test_questions_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REACHING", 3)
    scene = Scene()
    asked = [scene.reaching.ask(member(Random(n), network=n), Method.WATCH, {}, ("find", n), 0.0) for n in range(5)]
    assert asked == [True, True, True, False, False]
    assert scene.counters["drop:reaching-full"] == 2
