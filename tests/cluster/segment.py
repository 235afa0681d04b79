"""A LAN for tests: discoveries on one segment in virtual time; what is said is heard by all, but for what the test takes away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from overlay.cluster.discovery import Discovery, Found, Neighbourhood
from overlay.cluster.links import Link
from overlay.cluster.rounds import LAN
from overlay.machine import Send
from overlay.wire.address import Address, Way

OURS, THEIRS = b"o" * 32, b"t" * 32
AT = 1_800_000_000.0  # UTC at the segment's beginning


@dataclass(eq=False)
class Neighbour:
    """One machine: an IPv4 address on interface 2, and a discovery of its own."""

    host: str
    discovery: Discovery
    found: list[tuple[float, Found]] = field(default_factory=list)
    sent: list[tuple[float, Send]] = field(default_factory=list)
    connected: set[bytes] = field(default_factory=set)
    away: list[Address] = field(default_factory=list)
    asleep: bool = False


@dataclass
class Segment:
    """All machines of one LAN. ``hears(source, target, send)`` says what arrives; ``delay`` is one way, in seconds."""

    hears: Callable[[Neighbour, Neighbour, Send], bool] = lambda source, target, send: True
    now: float = 1000.0
    slept: float = 0.0  # by which the monotonic clocks of all have stood still
    machines: list[Neighbour] = field(default_factory=list)

    @property
    def at(self) -> float:
        return AT + self.now + self.slept

    def link(self, host: str, index: int = 2) -> Link:
        return Link(f"eth{index - 2}", index, host, 64 if ":" in host else 24)

    def add(self, host: str, overlay_id: bytes = OURS, key: bytes | None = None) -> Neighbour:
        key = key or host.encode().ljust(32, b"k")
        machine: Neighbour
        around = Neighbourhood(connected=lambda exchange: exchange in machine.connected, away=lambda: machine.away)
        discovery = Discovery(overlay_id=overlay_id, exchange=key, port=7653, entropy=bytes, around=around, links=[self.link(host)])
        machine = Neighbour(host, discovery)
        self.machines.append(machine)
        return machine

    def run(self, seconds: float) -> None:
        """Let time pass, a tenth of a second a step."""
        end = self.now + seconds
        self._carry()
        while self.now < end - 1e-9:
            self.now += 0.1
            for machine in self.machines:
                wake = machine.discovery.wake_at()
                if not machine.asleep and wake is not None and self.now >= wake:
                    machine.discovery.wake(self.now, self.at)
            self._carry()

    def _carry(self) -> None:
        moved = True
        while moved:
            moved = False
            for source in self.machines:
                for output in source.discovery.take():
                    moved = True
                    if isinstance(output, Found):
                        source.found.append((self.now, output))
                        continue
                    source.sent.append((self.now, output))
                    for target in self.machines:
                        if target.asleep or not self.hears(source, target, output):
                            continue
                        if output.way.proto == LAN or output.way.remote.host == target.host:
                            target.discovery.heard(output.data, Way("udp", Address(source.host, 7654)), self.now, self.at)
