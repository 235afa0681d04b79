"""One machine of the lab: an address, clocks, a processor, a disk, and at times a running node. State, no acts.

Its processor does one thing after the other: what arrives while it is busy, or stalled, waits in a receive queue. Its disk
commits one lot after the other, and a crash loses what was not committed. Both are moved by ``world.py``.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from overlay.identity.keys import Identity
from overlay.lab.nat import Nat
from overlay.lab.price import Meter
from overlay.machine import Step, Store
from overlay.node import Node
from overlay.wire.address import Way


class Power(Enum):
    """Whether the machine goes on."""

    RUNNING = "running"
    STALLED = "stalled"  # no processor (SIGSTOP, a noisy neighbour): clocks go on, datagrams wait in the queue
    SUSPENDED = "suspended"  # asleep with its network (a closed lid): the monotonic clock stands, UTC goes on


@dataclass(slots=True, eq=False)
class Host:
    """State of one machine. Times are ticks of the world unless they say otherwise."""

    name: str
    number: int
    address: str
    identity: Identity
    dice: Random  # all chance that it meets
    meter: Meter
    extra: dict[int, int] = field(default_factory=dict)  # ports of extra UDP sockets, and their numbers
    nats: tuple[Nat, ...] = ()  # the routers before it, the nearest first
    lan: str = ""  # the LAN it stands on, a /24; empty: none
    lan_admit: bool = False  # `[lan] admit` of its configuration
    clock_offset: float = 0.0  # seconds
    clock_drift: float = 0.0  # seconds a second
    node: Node | None = None
    life: int = 0  # counts starts and crashes: what was under way for an earlier one is void
    wake: int | None = None  # when its node wants to be woken
    events: list[object] = field(default_factory=list)
    logs: Counter[str] = field(default_factory=Counter)
    counters: Counter[str] = field(default_factory=Counter)
    # the processor
    power: Power = Power.RUNNING
    busy: float = 0.0  # until when
    queue: deque[tuple[bytes, Way]] = field(default_factory=deque)
    serving: bool = False  # whether the queue will be looked at
    slept: int = 0  # in suspension, in all
    halted_at: int = 0  # since when it is not running
    # the disk
    disk: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    lots: deque[Step] = field(default_factory=deque)  # steps that wait for a commit
    committing: tuple[Step, ...] = ()
    crash_next: bool = False  # crash between the two lots of the next step that stores something
    # what it met
    caused: int = 0  # instants to come: orders those of one tick
    links: int = 0  # TCP connections opened
    trace: hashlib.blake2s = field(default_factory=hashlib.blake2s)  # over every datagram delivered
    shape: int = 0  # the same over instants and sizes alone

    def store(self, store: Store) -> None:
        """One write."""
        table = self.disk.setdefault(store.table, {})
        if store.value is None:
            table.pop(store.key, None)
        else:
            table[store.key] = store.value

    def heard(self, data: bytes, tick: int) -> None:
        """A datagram is delivered to its node: note it in both traces."""
        self.trace.update(tick.to_bytes(6, "big") + data)
        self.shape = hash((self.shape, tick, len(data), data[0]))


@dataclass(slots=True)
class Connection:
    """A TCP connection: its two ends, and which of them hear no more."""

    ends: tuple[tuple[Host, Way], tuple[Host, Way]]
    deaf: set[int] = field(default_factory=set)

    def other(self, host: Host) -> tuple[Host, Way]:
        """The end that is not ``host``."""
        return self.ends[1] if self.ends[0][0] is host else self.ends[0]
