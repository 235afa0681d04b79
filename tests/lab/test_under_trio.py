"""The lab's heap against Trio: the same world, each host a task of its own in Trio's virtual time, delivers the same (DESIGN 4).

Trio wakes the tasks of one instant in an order of its own, so equal digests also show that no run depends on that order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import floor

import pytest
import trio
from trio.testing import MockClock

from overlay.lab.agenda import TICKS, Action, Heap
from overlay.lab.crypto import NULL, REAL, Crypto
from overlay.lab.host import Host
from overlay.lab.world import World
from tests.lab.scenes import digests, say

NAMES = ("eu/home/a", "eu/home/b", "eu/home/c", "us/office/d", "us/office/e", "us/office/f")


class Tasks:
    """An agenda whose hosts are tasks: each sleeps until the next of what befalls it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._begin = trio.current_time()
        self._due: dict[int, list[tuple[int, int, int, Action]]] = {}
        self._asleep: dict[int, trio.CancelScope] = {}

    @property
    def ticks(self) -> int:
        """Now; a quarter of a tick makes good what floating seconds lose."""
        return floor((trio.current_time() - self._begin) * TICKS + 0.25)

    def instant(self, tick: float) -> float:
        """Trio's time of a tick."""
        return self._begin + tick / TICKS

    def put(self, tick: int, target: Host, source: Host, action: Action) -> None:
        """Do it then, in the target's task."""
        source.caused += 1
        if target.number not in self._due:
            self._due[target.number] = []
            self._nursery.start_soon(self._live, target.number)
        heapq.heappush(self._due[target.number], (tick, source.number, source.caused, action))
        scope = self._asleep.get(target.number)
        if scope is not None:
            scope.deadline = min(scope.deadline, self.instant(tick))

    async def _live(self, number: int) -> None:
        due = self._due[number]
        while True:
            with trio.CancelScope(deadline=self.instant(due[0][0]) if due else float("inf")) as scope:
                self._asleep[number] = scope
                await trio.sleep_forever()
            while due and due[0][0] <= self.ticks:
                assert due[0][0] == self.ticks, "a task came too late"
                heapq.heappop(due)[3]()


def story(world: World) -> Iterator[float]:
    """Two clusters join, say something, part, crash and come back: yields the seconds that are to pass."""
    hosts = [world.found("hq/founder")]
    yield 1.0
    for name in NAMES:
        hosts.append(world.join(name))
        yield 0.02  # they overtake each other
    yield 8.0
    say(world, hosts[1], "eu/home/a/motd", "one")
    hosts[2].crash_next = True
    say(world, hosts[2], "eu/home/b/motd", "two")
    world.partition(hosts[:4], hosts[4:])
    yield 3.0
    say(world, hosts[6], "us/office/f/motd", "three")
    world.crash(hosts[5])
    yield 3.0
    world.network.heal()
    world.start(hosts[2])
    world.start(hosts[5])
    yield 35.0  # a reconciliation, and some
    assert all(map(world.joined, hosts))
    assert len(digests(hosts)) == 1


def by_heap(world: World) -> World:
    for seconds in story(world):
        world.run(seconds)
    return world


def by_tasks(seed: int, crypto: Crypto) -> World:
    async def main() -> World:
        async with trio.open_nursery() as nursery:
            agenda = Tasks(nursery)
            world = World(seed, loss=0.05, duplicate=0.02, commit=(0.001, 0.02), crypto=crypto, agenda=agenda)
            for seconds in story(world):
                await trio.sleep_until(agenda.instant(agenda.ticks + round(seconds * TICKS) + 0.5))  # after all of that tick
            nursery.cancel_scope.cancel()
        return world

    return trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize(("seed", "crypto"), [(1, NULL), (2, REAL)])
def test_a_seed_gives_the_same_traffic_under_the_heap_and_under_trio(seed: int, crypto: Crypto) -> None:
    heap = by_heap(World(seed, loss=0.05, duplicate=0.02, commit=(0.001, 0.02), crypto=crypto, agenda=Heap()))
    tasks = by_tasks(seed, crypto)
    assert tasks.counters == heap.counters
    assert heap.counters["delivered"] > 1_000
    assert heap.counters["crashed-between-lots"] == 1
    assert [host.trace.digest() for host in tasks.hosts.values()] == [host.trace.digest() for host in heap.hosts.values()]
    assert tasks.digest == heap.digest
