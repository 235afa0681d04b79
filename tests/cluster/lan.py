"""A LAN in virtual time for the election alone: hosts with disks and clocks of their own, loss, delay, parts, stalls, crashes.

What each host knows of the others (SWIM's part in the product) comes after a delay, host by host. Whatever a lease says
is put before the judge (``judge.Judge``) as it becomes visible: after the commit of the step, when it is really sent.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from overlay.cluster.lease import Lease
from overlay.cluster.outputs import Role, RoleChanged, Tell
from overlay.cluster.rank import Rank
from overlay.cluster.terms import NUMBER, TERM, stored_number
from overlay.machine import Store
from tests.cluster.judge import Judge

PROVEN = 5  # the highest revision that a signed release proves, in every history
LIE = 10**9
TWICE = 0.01  # of messages come again
FOUND, MISSED, FAREWELL = (0.05, 0.5), (2.0, 5.0), (0.0, 0.05)  # seconds until another is known to be there, to be dead, to leave


@dataclass(eq=False, slots=True)
class Host:
    """One machine; what stands above ``lease`` survives a crash."""

    node_id: bytes
    speaks: bool
    rate: float  # of its clock, and where it began
    offset: float
    revision: int
    reach: int
    liar: bool = False
    disk: dict[bytes, bytes] = field(default_factory=dict)
    lease: Lease | None = None
    run: int = 0  # incarnations
    part: int = 0
    stalled: float = 0.0  # until then
    knows: dict[bytes, float] = field(default_factory=dict)  # alive, as it sees it, and since when
    ready: float = 0.0  # when the last of its commits is through
    tripped: bool = False  # the next commit is its last act
    leaving: bool = False
    wake: float | None = None
    told: RoleChanged | None = None

    def clock(self, now: float) -> float:
        return self.offset + now * self.rate

    @property
    def up(self) -> bool:
        return self.lease is not None


class Lan:
    """All of it. ``loss``: the share of messages lost; ``delay``: seconds, from and to; ``commit``: the longest, in seconds."""

    def __init__(self, dice: Random, *, loss: float, delay: tuple[float, float], commit: float) -> None:
        self.dice, self.loss, self.delay, self.commit = dice, loss, delay, commit
        self.now = 0.0
        self.hosts: dict[bytes, Host] = {}
        self.met: set[bytes] = set()  # speakers whose grant is in everybody's book
        self.judge = Judge(self)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    # -- time

    def at(self, when: float, what: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, what))

    def after(self, delay: tuple[float, float], what: Callable[[], None]) -> None:
        self.at(self.now + self.dice.uniform(*delay), what)

    def until(self, end: float) -> None:
        while self._heap and self._heap[0][0] <= end:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = end
        self.judge.look()

    # -- what happens to hosts

    def add(self, *, speaks: bool = True, liar: bool = False, revision: int = 0, reach: int = 0) -> Host:
        host = Host(
            self.dice.randbytes(32), speaks, self.dice.uniform(0.99, 1.01), self.dice.uniform(-1e6, 1e6), revision, reach, liar,
        )  # fmt: skip
        self.hosts[host.node_id] = host
        return host

    def start(self, host: Host) -> None:
        if host.up:
            return
        host.run, host.tripped, host.leaving, host.wake, host.ready, host.told = host.run + 1, False, False, None, self.now, None
        host.knows, host.stalled = {}, 0.0
        clock = host.clock(self.now)
        host.lease = Lease(host.node_id, stored_number(host.disk.get(NUMBER)), host.speaks, self.dice.randbytes, clock)
        if host.speaks:
            self.met.add(host.node_id)
        self.judge.fresh(host)
        self.say_rank(host)
        self._sync(host, host.run)
        for other in self.hosts.values():
            self._find_each_other(host, other)
            if other.up and other is not host and host.speaks:  # the newcomer's grant is in the book
                self.after(FOUND, lambda other=other, run=other.run: self._sync(other, run))

    def crash(self, host: Host, cause: str = "crash") -> None:
        if not host.up:
            return
        host.lease, host.wake = None, None
        self.judge.disturbed(host.part, cause, host)
        for other in self.hosts.values():
            self._miss(other, host, FAREWELL if cause == "left" else MISSED)

    def stall(self, host: Host, seconds: float) -> None:
        if not host.up or host.stalled > self.now:
            return
        host.stalled = self.now + seconds
        self.judge.disturbed(host.part, "stall", host)
        for other in self.hosts.values():
            self._miss(other, host, MISSED)

        def over(run: int = host.run) -> None:
            if host.run == run and host.up:
                self.judge.woke(host, seconds)
                for other in self.hosts.values():
                    self._find_each_other(host, other)

        self.at(host.stalled, over)

    def split(self, parts: dict[bytes, int]) -> None:
        for node_id, part in parts.items():
            self.hosts[node_id].part = part
        self.judge.regrouped("split")
        for one in self.hosts.values():
            for other in self.hosts.values():
                if one.part != other.part:
                    self._miss(one, other, MISSED)

    def heal(self) -> None:
        for host in self.hosts.values():
            host.part = 0
        self.judge.regrouped("heal")
        for one in self.hosts.values():
            for other in self.hosts.values():
                self._find_each_other(one, other)

    def leave(self, host: Host) -> None:
        if not host.up or host.stalled > self.now:
            return
        host.leaving = True
        self.judge.leaves(host)
        assert host.lease is not None
        host.lease.leave(host.clock(self.now))
        self._perform(host)

    def say_rank(self, host: Host) -> None:
        if host.stalled > self.now:
            self.at(host.stalled + 0.01, lambda: self.say_rank(host))
        elif host.lease is not None:
            self.judge.ranked(host)
            revision = LIE + self.dice.randrange(3) if host.liar else host.revision
            now = host.clock(self.now)
            host.lease.rank(Rank(revision, host.reach, now - 5.0, host.node_id), now, proven=PROVEN)
            self._perform(host)

    # -- who knows whom

    def reach(self, one: Host, other: Host) -> bool:
        return one.up and other.up and one.part == other.part

    def _find_each_other(self, one: Host, other: Host) -> None:
        for here, there in ((one, other), (other, one)):
            if here is not there and self.reach(here, there) and there.node_id not in here.knows:
                self.after(FOUND, lambda here=here, there=there, run=here.run: self._found(here, there, run))

    def _found(self, here: Host, there: Host, run: int) -> None:
        if here.run == run and self.reach(here, there) and there.stalled <= self.now and there.node_id not in here.knows:
            here.knows[there.node_id] = self.now
            self._sync(here, run)

    def _miss(self, here: Host, there: Host, delay: tuple[float, float]) -> None:
        if here is not there and here.up and there.node_id in here.knows:
            self.after(delay, lambda run=here.run: self._missed(here, there, run))

    def _missed(self, here: Host, there: Host, run: int) -> None:
        lost = not self.reach(here, there) or there.stalled > self.now
        if here.run == run and here.up and lost and here.knows.pop(there.node_id, None) is not None:
            self._sync(here, run)

    def _sync(self, host: Host, run: int) -> None:
        if host.run != run or host.lease is None:
            return
        if host.stalled > self.now:
            self.at(host.stalled + 0.01, lambda: self._sync(host, run))
            return
        host.lease.members({*host.knows, host.node_id}, self.met, host.clock(self.now))
        self._perform(host)

    def mistake(self, here: Host, there: Host, seconds: float) -> None:
        """``here`` takes ``there`` for dead, which is not so, for a while."""
        if here.up and here.knows.pop(there.node_id, None) is not None:
            self.judge.mistaken(here.part)
            self._sync(here, here.run)
            self.at(self.now + seconds, lambda run=here.run: self._found(here, there, run))

    # -- steps

    def _perform(self, host: Host) -> None:
        """What the lease wants: stores are committed before anything is told, and steps keep their order."""
        lease = host.lease
        assert lease is not None
        out = lease.take()
        stores = [one for one in out if isinstance(one, Store)]
        then = [one for one in out if not isinstance(one, Store)]
        if out:
            host.ready = max(host.ready, self.now)
            if stores:
                host.ready += self.dice.uniform(0.0, self.commit)
            if host.ready <= self.now:
                self._commit(host, host.run, stores, then)
            else:
                self.at(host.ready, lambda run=host.run: self._commit(host, run, stores, then))
        if host.lease is not None:
            self._arm(host)
            self.judge.look()

    def _commit(self, host: Host, run: int, stores: list[Store], then: list[Tell | RoleChanged]) -> None:
        if host.run != run or not host.up:
            return  # it crashed before the commit: neither is there
        for store in stores:
            assert store.table == TERM and store.value is not None
            host.disk[store.key] = store.value
        if stores and host.tripped:
            self.crash(host)  # after the commit, before anything is told
            return
        if host.stalled > self.now:
            self.at(host.stalled, lambda: self._told(host, run, then))
        else:
            self._told(host, run, then)

    def _told(self, host: Host, run: int, then: list[Tell | RoleChanged]) -> None:
        if host.run != run or not host.up:
            return
        for one in then:
            if isinstance(one, RoleChanged):
                self.judge.role(host, one)
                host.told = one
            else:
                self.judge.tells(host, one)
                self._send(host, one)
        if host.leaving and host.told is not None and host.told.role is not Role.GATEWAY and host.lease is not None:
            if host.lease.role is not Role.GATEWAY:
                self.after(FAREWELL, lambda: self.crash(host, "left") if host.run == run else None)

    def _send(self, host: Host, tell: Tell) -> None:
        target = self.hosts.get(tell.to)
        if target is None or self.dice.random() < self.loss or not self.reach(host, target):
            return
        for _ in range(2 if self.dice.random() < TWICE else 1):
            self.after(self.delay, lambda run=target.run: self._arrive(host, target, run, tell))

    def _arrive(self, host: Host, target: Host, run: int, tell: Tell) -> None:
        if target.run != run or target.lease is None or host.part != target.part:
            return
        if target.stalled > self.now:  # it waits in the socket
            self.at(target.stalled + self.dice.uniform(0.0, 0.02), lambda: self._arrive(host, target, run, tell))
            return
        target.lease.receive(host.node_id, tell.body, target.clock(self.now))
        self._perform(target)

    def _arm(self, host: Host) -> None:
        assert host.lease is not None
        due = host.lease.wake_at()
        if due is not None and due != host.wake:
            host.wake = due
            self.at(max(self.now, (due - host.offset) / host.rate + 1e-6), lambda run=host.run: self._wake(host, run, due))

    def _wake(self, host: Host, run: int, due: float) -> None:
        if host.run != run or host.lease is None or host.wake != due:
            return
        if host.stalled > self.now:
            self.at(host.stalled + self.dice.uniform(0.0, 0.02), lambda: self._wake(host, run, due))
            return
        host.wake = None
        host.lease.wake(host.clock(self.now))
        self._perform(host)
