"""The election keeps its promises through seeded histories of a LAN, and the judge of them sees what breaks one.

The long form is ``python -m tests.cluster.histories --seeds 10000`` (benchmarks/results/lease.json).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from overlay.cluster import lease, rank, terms
from overlay.cluster.lease import Lease
from tests.cluster.histories import history

SEEDS = range(300)
Patch = pytest.MonkeyPatch


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, 25))
def test_every_promise_holds_at_every_instant_of_a_history(first: int) -> None:
    broken = {seed: faults for seed in range(first, first + 25) if (faults := history(seed)[0])}
    assert not broken


def test_a_history_is_the_same_for_the_same_seed() -> None:
    assert history(8) == history(8)


# -- a judge that finds nothing must be one that can find something: each defect is put in, and has to be seen


def unfenced(patch: Patch) -> None:
    patch.setattr(Lease, "holds", lambda self, now: self._held is not None)


def impatient(patch: Patch) -> None:
    patch.setattr(lease, "PATIENCE", 0.9)


def sleepy(patch: Patch) -> None:
    patch.setattr(lease, "PATIENCE", 4.2)


def volatile(patch: Patch) -> None:
    patch.setattr(terms.Numbers, "reserve", lambda self: setattr(self, "_reserved", 10**6))


def forgetful(patch: Patch) -> None:
    patch.setattr(lease, "Numbers", lambda stored: terms.Numbers(0))


def stubborn(patch: Patch) -> None:
    kept = Lease._renewed
    patch.setattr(Lease, "_renewed", lambda self, sender, word, number, now: self._held or kept(self, sender, word, number, now))


def hasty(patch: Patch) -> None:
    """Steps down when it has asked, not when it is followed."""
    kept = Lease._go_on_handing

    def hand_and_stop(self: Lease, held: object, handing: object, now: float) -> None:
        kept(self, held, handing, now)
        if self._held is not None:
            self._step_down()

    patch.setattr(Lease, "_go_on_handing", hand_and_stop)


def fickle(patch: Patch) -> None:
    patch.setattr(lease, "SOAK", 10.0)
    patch.setattr(rank, "SOAK", 5.0)


def gullible(patch: Patch) -> None:
    kept = rank.Standing.merit
    patch.setattr(rank.Standing, "merit", lambda self, now, proven: kept(self, now, 2**60))


def slow_to_hand(patch: Patch) -> None:
    patch.setattr(Lease, "_handed", lambda self, sender, word, now: None)


@pytest.mark.parametrize(
    "defect, seen",
    [
        (unfenced, "after its lease has run out"), (impatient, "two gateways"), (sleepy, "no gateway for"), (volatile, "before it is durable"),
        (forgetful, "is held by two incarnations"), (stubborn, "two gateways"), (hasty, "no gateway, for no reason"),
        (fickle, "two hand-overs for rank"), (gullible, "no better"), (slow_to_hand, "a planned hand-over took"),
    ],
)  # fmt: skip
def test_the_judge_sees_what_breaks_a_promise(defect: Callable[[Patch], None], seen: str, monkeypatch: Patch) -> None:
    defect(monkeypatch)
    for seed in [*range(8, 800, 8), *range(1, 200)]:
        if any(seen in fault for fault in history(seed)[0]):
            return
    pytest.fail("no history showed it")
