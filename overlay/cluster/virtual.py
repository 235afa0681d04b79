"""A virtual address that the gateway carries: probed for, announced, defended once, given up (RFC 5227; DESIGN 3.6, F6).

It decides when to ask whether somebody holds the address, when to take it, when to tell the neighbours again and when to
let go. A whole LAN has one gateway, yet a split one has two and a stalled one goes on believing: so the address is never
taken from who answers for it, and whoever leads no more drops it at once. It refuses to know how frames travel and how
an interface gets an address; what it carries lapses by itself unless it says so again (``CARRY``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address
from typing import Final

from overlay.errors import Malformed
from overlay.machine import Entropy, Log

# RFC 5227 1.1, all in seconds but the counts
PROBE_WAIT: Final = 1.0  # at most, before the first probe
PROBE_NUM: Final = 3
PROBE_MIN: Final = 1.0
PROBE_MAX: Final = 2.0
ANNOUNCE_WAIT: Final = 2.0  # after the last probe
ANNOUNCE_NUM: Final = 2
ANNOUNCE_INTERVAL: Final = 2.0
DEFEND_INTERVAL: Final = 10.0
RATE_LIMIT_INTERVAL: Final = 60.0  # the longest pause before it is tried again

RETRY: Final = 5.0  # the first such pause, doubling: a predecessor that hangs loses the address after LIFE (guess)
LIFE: Final = 12.0  # for which the machine keeps it without being told again: three times CARRY, so one stall costs nothing (guess)
CARRY: Final = 4.0
REQUEST: Final = 1
FRAME: Final = 28  # octets of ARP for Ethernet and IPv4 (RFC 826)


@dataclass(frozen=True, slots=True)
class Arp:
    """What of an ARP packet counts: who says so (hardware address), as whom, about whom."""

    operation: int
    hardware: bytes
    sender: IPv4Address
    target: IPv4Address


def read(frame: bytes) -> Arp:
    """An ARP packet for Ethernet and IPv4, without its Ethernet header. ``Malformed`` for anything else."""
    if len(frame) < FRAME or frame[:6] != b"\x00\x01\x08\x00\x06\x04":
        raise Malformed("not ARP for Ethernet and IPv4", rule="arp")
    return Arp(int.from_bytes(frame[6:8], "big"), bytes(frame[8:14]), IPv4Address(bytes(frame[14:18])), IPv4Address(bytes(frame[24:28])))


class Act(Enum):
    """What the machine wants done about the address."""

    PROBE = auto()  # ask who holds it, as nobody
    ANNOUNCE = auto()  # tell all neighbours that it is here
    CARRY = auto()  # have it on the interface for the next LIFE seconds
    DROP = auto()  # have it no more


Output = Act | Log


class _State(Enum):
    OFF = auto()  # this node does not lead
    WAITING = auto()  # it leads; the address is not to be had before `_next`
    PROBING = auto()
    CARRYING = auto()


class Virtual:
    """One virtual address. ``lead`` says whether this node is the gateway; frames are those of others on its LAN."""

    def __init__(self, address: IPv4Address, entropy: Entropy) -> None:
        self.address = address
        self._entropy = entropy
        self._state = _State.OFF
        self._out: list[Output] = []
        self._next = float("inf")  # of probes and announcements, or of another try
        self._left = 0  # of them
        self._carry_at = float("inf")
        self._lapses = float("inf")
        self._defended = float("-inf")
        self._pause = RETRY
        self._shown = False  # whether the log says that it is carried
        self._told = ""  # what stands in the way, as the log has it already

    @property
    def carried(self) -> bool:
        """Whether this node has the address."""
        return self._state is _State.CARRYING

    def lead(self, gateway: bool, now: float) -> None:
        """This node is its cluster's gateway from now on, or is not."""
        if not gateway:
            self._let_go("this node is not the gateway any more")
            self._state, self._next, self._pause, self._told = _State.OFF, float("inf"), RETRY, ""
        elif self._state is _State.OFF:
            self._probe(now)

    def again(self, now: float) -> None:
        """Neighbours may have learnt otherwise (a LAN that was split is whole again): tell them anew."""
        if self.carried:
            self._left, self._next = ANNOUNCE_NUM, now

    def heard(self, frame: bytes, now: float) -> None:
        """An ARP packet of another machine. ``Malformed``."""
        arp = read(frame)
        claims = arp.sender == self.address
        probes = arp.operation == REQUEST and arp.sender == IPv4Address(0) and arp.target == self.address
        if self._state is _State.PROBING and (claims or probes):  # 2.1.1: also who asks at the same time
            self._held(arp.hardware, now)
        elif self.carried and claims:  # 2.4 (b): defended once in a while, given up where somebody insists
            if now - self._defended >= DEFEND_INTERVAL:
                self._defended = now
                self._out.append(Act.ANNOUNCE)
            else:
                self._let_go(f"{arp.hardware.hex(':')} insists on it")
                self._held(arp.hardware, now)

    def refused(self, why: str, now: float) -> None:
        """What it wanted could not be done."""
        if self._state is not _State.OFF:
            self._let_go(why)
            self._tell(Log("warning", "virtual-ip-refused", {"address": str(self.address), "why": why}), why)
            self._wait(now)

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        return min(self._next, self._carry_at, self._lapses)

    def wake(self, now: float) -> None:
        """Do what is due."""
        if now >= self._lapses:  # this process stood still for too long: somebody else may have the address by now
            self._let_go("it was not kept up in time")
            self._probe(now)
        if now >= self._carry_at:
            self._carry(now)
        if now < self._next:
            return
        if self._state is _State.WAITING:
            self._probe(now)
        elif self._state is _State.PROBING and self._left:
            self._left -= 1
            self._next = now + (PROBE_MIN + self._chance() * (PROBE_MAX - PROBE_MIN) if self._left else ANNOUNCE_WAIT)
            self._out.append(Act.PROBE)
        elif self._state is _State.PROBING:
            self._state, self._pause, self._told, self._shown = _State.CARRYING, RETRY, "", False
            self._carry(now)
            self.again(now)
        elif self.carried:
            if not self._shown:
                self._shown = True
                self._out.append(Log("info", "virtual-ip-carried", {"address": str(self.address)}))
            self._left -= 1
            self._next = now + ANNOUNCE_INTERVAL if self._left else float("inf")
            self._out.append(Act.ANNOUNCE)

    def take(self) -> list[Output]:
        """What it wants since last asked, in order."""
        out, self._out = self._out, []
        return out

    def _chance(self) -> float:
        return int.from_bytes(self._entropy(2), "big") / 65_536

    def _probe(self, now: float) -> None:
        self._state, self._left, self._next = _State.PROBING, PROBE_NUM, now + self._chance() * PROBE_WAIT

    def _carry(self, now: float) -> None:
        self._carry_at, self._lapses = now + CARRY, now + LIFE
        self._out.append(Act.CARRY)

    def _held(self, by: bytes, now: float) -> None:
        self._tell(Log("warning", "virtual-ip-held", {"address": str(self.address), "by": by.hex(":")}), by.hex())
        self._wait(now)

    def _wait(self, now: float) -> None:
        self._state, self._next = _State.WAITING, now + self._pause * (1 + self._chance() / 4)  # apart from who waits as well
        self._pause = min(2 * self._pause, RATE_LIMIT_INTERVAL)

    def _tell(self, line: Log, what: str) -> None:
        """Into the log, once as long as nothing changes."""
        if self._told != what:
            self._told = what
            self._out.append(line)

    def _let_go(self, why: str) -> None:
        if self.carried:
            self._state, self._next, self._carry_at, self._lapses = _State.WAITING, float("inf"), float("inf"), float("inf")
            self._out.append(Act.DROP)
            if self._shown:
                self._out.append(Log("info", "virtual-ip-dropped", {"address": str(self.address), "why": why}))
