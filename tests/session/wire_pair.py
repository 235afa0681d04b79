"""Sessions joined by a wire with virtual time: loss, duplicates, reordering, blocked UDP, changed addresses, TCP.

``Wire`` keeps the clock and the datagrams under way; an ``End`` is one node's sessions with an address, what it was told
(``events``), and what it answers calls with (``serve``). Everything comes from one seed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay.machine import CloseTcp, OpenTcp, Send
from overlay.session import events
from overlay.session.machine import Sessions
from overlay.wire.address import Address, Way
from overlay.wire.messages import Method

OVERLAY = b"o" * 32
EPOCH = 1_800_000_000.0
E = TypeVar("E")


def private(seed: int) -> X25519PrivateKey:
    """A key of its own for each number."""
    return X25519PrivateKey.from_private_bytes(seed.to_bytes(2, "big") * 16)


@dataclass(slots=True, eq=False)
class End:
    """One node: its sessions, its addresses, what it heard."""

    name: str
    sessions: Sessions
    key: bytes
    addresses: list[Address]
    serve: Callable[[End, events.Called], None]
    events: list[events.Event] = field(default_factory=list)
    sent: list[Send] = field(default_factory=list)
    alive: bool = True
    tcp: bool = True
    clock: float = 0.0

    def of(self, kind: type[E]) -> list[E]:
        """The events of that kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def number(self) -> int:
        """The session opened last."""
        return self.of(events.Opened)[-1].session

    def open_now(self) -> int:
        """How many sessions are open."""
        return len(self.of(events.Opened)) - len(self.of(events.Closed))


def echo(end: End, call: events.Called) -> None:
    """Answer with what came."""
    end.sessions.reply(call.session, call.ticket, call.body, end.clock)


class Wire:
    """The world between the ends."""

    def __init__(self, seed: int = 1, *, delay: tuple[float, float] = (0.01, 0.02), loss: float = 0.0, duplicate: float = 0.0) -> None:
        self.dice = Random(seed)
        self.now = 0.0
        self.delay = delay
        self.loss = loss
        self.duplicate = duplicate
        self.udp_blocked = False
        self.drop: Callable[[End, Send], bool] = lambda end, send: False
        self.seen_as: dict[Address, Address] = {}  # a NAT: outside address of an inside one
        self.ends: list[End] = []
        self.counters: Counter[str] = Counter()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._links: dict[int, tuple[End, Way, End, Way]] = {}

    def end(
        self, seed: int, *hosts: str, overlay_id: bytes = OVERLAY, serve: Callable[[End, events.Called], None] = echo, tcp: bool = True,
        boot: int = 0, **more: Any,
    ) -> End:
        """A node with key number ``seed``; starting it again under the same seed and another ``boot`` is a restart."""
        for old in [e for e in self.ends if e.name == f"end{seed}"]:
            old.alive = False
            self.ends.remove(old)
        dice = Random(seed * 1_000 + boot)
        key = private(seed)
        sessions = Sessions(
            exchange=key, overlay_id=overlay_id, passport_digest=bytes([seed]) * 32, boot_nonce=bytes([seed, boot]) * 4,
            entropy=dice.randbytes, **more,
        )
        addresses = [Address(host, 7653) for host in hosts or (f"203.0.113.{seed}",)]
        end = End(f"end{seed}", sessions, key.public_key().public_bytes_raw(), addresses, serve, tcp=tcp)
        self.ends.append(end)
        return end

    def at(self) -> float:
        """UTC seconds."""
        return EPOCH + self.now

    def dial(self, a: End, b: End, **more: Any) -> int:
        """``a`` dials ``b`` at all its addresses."""
        ticket = a.sessions.dial(b.key, b.addresses, self.now, self.at(), **more)
        self.settle(a)
        return ticket

    def join(self, a: End, b: End) -> None:
        """Open a session and let it settle; both admitted."""
        self.dial(a, b)
        self.run(0.5)
        for end in (a, b):
            end.sessions.admit(end.number)

    def call(self, end: End, body: Any, method: Method = Method.PING) -> int:
        """One call over the end's newest session."""
        ticket = end.sessions.call(end.number, method, body, self.now)
        self.settle(end)
        return ticket

    def answers(self, end: End) -> dict[int, Any]:
        """ticket -> body of all answers so far."""
        return {event.ticket: event.body for event in end.of(events.Answered)}

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            wakes = [(wake, index) for index, end in enumerate(self.ends) if end.alive and (wake := end.sessions.wake_at()) is not None]
            wake, index = min(wakes, default=(until + 1, 0))
            due = self._heap[0][0] if self._heap else until + 1
            if min(wake, due) > until:
                break
            self.now = max(self.now, min(wake, due))
            if due <= wake:
                heapq.heappop(self._heap)[2]()
            else:
                self.counters["wakes"] += 1
                assert self.counters["wakes"] < 100_000, "a timer fires for ever"
                self.ends[index].sessions.wake(self.now, self.at())
                self.settle(self.ends[index])
        self.now = until

    def inject(self, end: End, data: bytes, source: str = "198.51.100.66", port: int = 4000) -> list[Send]:
        """Octets from a stranger; what the end sends because of them."""
        before = len(end.sent)
        end.sessions.receive(data, Way("udp", Address(source, port), end.addresses[0].host), self.now, self.at())
        self.settle(end)
        return end.sent[before:]

    def settle(self, end: End) -> None:
        """Carry out what the end wants."""
        end.clock = self.now
        while outputs := end.sessions.take():
            for output in outputs:
                if isinstance(output, Send):
                    end.sent.append(output)
                    assert 0 < len(output.data) <= 1_232
                    self._send(end, output)
                elif isinstance(output, OpenTcp):
                    self._connect(end, output.address)
                elif isinstance(output, CloseTcp):
                    self._disconnect(output.way)
                else:
                    end.events.append(output)
                    if isinstance(output, events.Called):
                        end.serve(end, output)

    def _after(self, delay: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay, self._order, action))

    def _owner(self, address: Address) -> End | None:
        inside = next((i for i, o in self.seen_as.items() if o == address), address)
        if inside in self.seen_as and self.seen_as[inside] != address:
            return None
        return next((end for end in self.ends if inside in end.addresses), None)

    def _send(self, end: End, send: Send) -> None:
        way = send.way
        if way.proto == "tcp":
            if way.link in self._links and not self.drop(end, send):
                _, _, other, back = self._other(end, way)
                self._after(self.delay[0], lambda: self._deliver(other, send.data, back))
            return
        if self.udp_blocked or self.drop(end, send):
            return
        fitting = [a for a in end.addresses if a.family == way.remote.family]
        source = next((a for a in fitting if a.host == way.local), fitting[0] if fitting else None)
        target = self._owner(way.remote)
        if source is None or target is None:
            self.counters["nowhere"] += 1
            return
        arrived = Way("udp", self.seen_as.get(source, source), next(iter(a.host for a in target.addresses if a.family == source.family)))
        for _ in range(2 if self.dice.random() < self.duplicate else 1):
            if self.dice.random() >= self.loss:
                self._after(self.dice.uniform(*self.delay), lambda: self._deliver(target, send.data, arrived))

    def _deliver(self, end: End, data: bytes, way: Way) -> None:
        if end.alive and (way.proto == "udp" or way.link in self._links):
            self.counters["delivered"] += 1
            end.sessions.receive(data, way, self.now, self.at())
            self.settle(end)

    def _other(self, end: End, way: Way) -> tuple[End, Way, End, Way]:
        a, way_a, b, way_b = self._links[way.link]
        return (a, way_a, b, way_b) if a is end else (b, way_b, a, way_a)

    def _connect(self, end: End, address: Address) -> None:
        self._order += 1
        link = self._order
        target = self._owner(address)
        way = Way("tcp", address, end.addresses[0].host, link)
        if target is None or not target.tcp:
            self._after(self.delay[0], lambda: self._told(end, end.sessions.closed, way))
            return
        back = Way("tcp", Address(end.addresses[0].host, 40_000 + link % 20_000), address.host, link)
        self._links[link] = (end, way, target, back)
        self._after(2 * self.delay[0], lambda: self._told(end, end.sessions.opened, way))
        self._after(self.delay[0], lambda: self._told(target, target.sessions.opened, back))

    def _told(self, end: End, what: Callable[[Way, float, float], None], way: Way) -> None:
        if end.alive:
            what(way, self.now, self.at())
            self.settle(end)

    def _disconnect(self, way: Way) -> None:
        found = self._links.get(way.link)
        if found is not None:
            a, way_a, b, way_b = found

            def gone() -> None:
                if self._links.pop(way.link, None) is not None:
                    self._told(a, a.sessions.closed, way_a)
                    self._told(b, b.sessions.closed, way_b)

            self._after(self.delay[0], gone)

    def cut(self, end: End) -> None:
        """All its TCP connections break."""
        for link, (a, way, b, _) in list(self._links.items()):
            if end in (a, b):
                self._disconnect(way)
                assert link
