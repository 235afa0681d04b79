"""Members of one cluster in virtual time: words are delayed, lost, doubled and overtaken; members stall, crash, part (seeds replay)."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Any

from overlay.cluster.member import Card
from overlay.cluster.members import Membership
from overlay.cluster.outputs import Life, MemberChanged, Tell
from overlay.identity.keys import digest
from overlay.wire.codec import decode, encode

OVERHEAD = 28 + 16 + 16 + 6  # octets around a word: IP and UDP, sealed packet's head, its tag, frames


def node_id(number: int) -> bytes:
    """The id of the member of that number."""
    return digest(b"member %d" % number)


@dataclass
class One:
    """A member."""

    machine: Membership
    up: bool = True
    stalled_until: float = 0.0
    waiting: list[Callable[[], None]] = field(default_factory=list)
    wake: float = float("inf")
    life: int = 0


class Swarm:
    """So many members; ``heard`` notes (when, who, about whom, life)."""

    def __init__(self, members: int, seed: int, *, loss: float = 0.0, duplicate: float = 0.0, delay: tuple[float, float] = (0.0005, 0.003)) -> None:
        self.dice = Random(seed)
        self.loss, self.duplicate, self.delay = loss, duplicate, delay
        self.now = 0.0
        self.heard: list[tuple[float, int, int, Life]] = []
        self.sent = 0
        self.octets = 0
        self.parts: dict[int, int] = {}
        self.numbers = {node_id(number): number for number in range(members)}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.ones: list[One] = []
        for number in range(members):
            self.ones.append(One(self.machine(number)))

    def machine(self, number: int, incarnation: int = 1) -> Membership:
        """A fresh machine for that member."""
        card = Card(node_id=node_id(number), exchange=node_id(number), incarnation=incarnation)
        return Membership(node_id(number), card, self.dice.randbytes, self.now)

    def meet(self) -> None:
        """Everybody has a session with everybody."""
        for number, one in enumerate(self.ones):
            for other in range(len(self.ones)):
                if other != number:
                    one.machine.greet(node_id(other), node_id(other), self.now)
            self.settle(number)

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do it then."""
        heapq.heappush(self._heap, (when, next(self._order), action))

    def do(self, number: int, action: Callable[[Membership], None]) -> None:
        """An input to that member, now, or when its stall is over."""
        one = self.ones[number]
        if not one.up:
            return
        if one.stalled_until > self.now:
            one.waiting.append(partial(self.do, number, action))
            return
        action(one.machine)
        self.settle(number)

    def settle(self, number: int) -> None:
        """Carry out what a member wants."""
        one = self.ones[number]
        for event in one.machine.take():
            if isinstance(event, Tell):
                self._send(number, self.numbers[event.to], encode(event.body))
            elif isinstance(event, MemberChanged):
                self.heard.append((self.now, number, self.numbers[event.node_id], event.life))
        due = one.machine.wake_at()
        if due != one.wake:
            one.wake = due
            self.at(max(due, self.now), partial(self._wake, number, due, one.life))

    def _send(self, source: int, target: int, data: bytes) -> None:
        self.sent += 1
        self.octets += len(data) + OVERHEAD
        if self.parts.get(source) != self.parts.get(target):
            return
        for _ in range(1 + (self.dice.random() < self.duplicate)):
            if self.dice.random() >= self.loss:
                arrive = partial(self.do, target, partial(_receive, sender=node_id(source), body=decode(data), swarm=self))
                self.at(self.now + self.dice.uniform(*self.delay), arrive)

    def _wake(self, number: int, due: float, life: int) -> None:
        one = self.ones[number]
        if one.wake != due or one.life != life or not one.up:
            return
        if one.stalled_until > self.now:
            self.at(one.stalled_until, partial(self._wake, number, due, life))
            return
        one.wake = float("inf")
        one.machine.wake(self.now)
        self.settle(number)

    def stall(self, number: int, seconds: float) -> None:
        """A member does nothing for a while; what comes meanwhile waits."""
        one = self.ones[number]
        one.stalled_until = self.now + seconds
        self.at(one.stalled_until, partial(self._go_on, number))

    def _go_on(self, number: int) -> None:
        one = self.ones[number]
        if one.stalled_until <= self.now:
            waiting, one.waiting = one.waiting, []
            for action in waiting:
                action()

    def crash(self, number: int) -> None:
        """A member is gone without a word."""
        self.ones[number].up = False

    def restart(self, number: int, incarnation: int) -> None:
        """It comes back, with all that it knew lost but how often it started, and meets member 0."""
        one = self.ones[number] = One(self.machine(number, incarnation), life=self.ones[number].life + 1)
        for here, there in ((number, 0), (0, number)):
            self.do(here, lambda machine, there=there: machine.greet(node_id(there), node_id(there), self.now))  # type: ignore[misc]
        one.machine.merge(node_id(0), self.ones[0].machine.sync(), self.now)
        self.settle(number)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float) -> float | None:
        """Let time pass until the condition holds: seconds, or None."""
        begin = self.now
        while not condition():
            if self.now - begin >= limit:
                return None
            self.run(0.05)
        return self.now - begin

    def lives(self, about: int) -> list[Any]:
        """What each live member thinks of that one."""
        found = []
        for number, one in enumerate(self.ones):
            if one.up and number != about:
                member = one.machine.members().get(node_id(about))
                found.append(member.life if member is not None else None)
        return found

    def all_say(self, about: int, life: Life) -> bool:
        """Whether all agree."""
        return all(said is life for said in self.lives(about))

    def alarms(self) -> int:
        """How often somebody was taken for dead while it was up."""
        return sum(life is Life.DEAD and self.ones[about].up for _, _, about, life in self.heard)


def _receive(machine: Membership, *, sender: bytes, body: Any, swarm: Swarm) -> None:
    machine.receive(sender, body, swarm.now)
