"""The virtual address on a LAN of machines: asked for, announced, defended, given up; never taken from who answers for it (RFC 5227)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from random import Random

import pytest

from overlay.cluster import virtual
from overlay.cluster.virtual import Act, Virtual
from overlay.machine import Log

VIP = IPv4Address("192.168.1.250")
NOBODY = IPv4Address(0)


def arp(number: int, sender: IPv4Address, *, operation: int = 1, target: IPv4Address = VIP) -> bytes:
    """What the machine with that number says to everybody."""
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, bytes([2, 0, 0, 0, 0, number]), sender.packed, bytes(6), target.packed)


@dataclass
class Lan:
    """Machines on one wire, in virtual time. ``apart`` are those that hear nobody and are not heard."""

    count: int = 1
    seed: int = 1
    now: float = 100.0
    apart: set[int] = field(default_factory=set)
    told: list[tuple[float, int, Act | Log]] = field(default_factory=list)
    holder: int | None = None  # a stranger that answers for the address

    def __post_init__(self) -> None:
        self.machines = [Virtual(VIP, Random(self.seed * 100 + n).randbytes) for n in range(self.count)]

    def settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for number, machine in enumerate(self.machines):
                for output in machine.take():
                    busy = True
                    self.told.append((self.now, number, output))
                    if output in (Act.PROBE, Act.ANNOUNCE):
                        self.say(number, arp(number, NOBODY if output is Act.PROBE else VIP))

    def say(self, number: int, frame: bytes) -> None:
        if number not in self.apart:
            for other, machine in enumerate(self.machines):
                if other != number and other not in self.apart:
                    machine.heard(frame, self.now)
                elif self.holder is not None and other == number:
                    machine.heard(arp(self.holder, VIP, operation=2), self.now)
        # who carries it answers whoever asks
        if frame[24:28] == VIP.packed and frame[14:18] == bytes(4) and number not in self.apart:
            for other, machine in enumerate(self.machines):
                if other != number and other not in self.apart and machine.carried:
                    self.machines[number].heard(arp(other, VIP, operation=2), self.now)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        self.settle()
        while (due := min(machine.wake_at() for machine in self.machines)) <= until:
            self.now = max(self.now, due)
            for machine in self.machines:
                machine.wake(self.now)
            self.settle()
        self.now = until

    def when(self, act: Act, number: int = 0) -> list[float]:
        return [at for at, one, output in self.told if one == number and output is act]

    def lines(self, number: int = 0) -> list[str]:
        return [output.event for _, one, output in self.told if one == number and isinstance(output, Log)]

    def carrying(self) -> list[int]:
        return [number for number, machine in enumerate(self.machines) if machine.carried]


@pytest.mark.parametrize("seed", range(20))
def test_an_address_that_nobody_has_is_probed_for_three_times_taken_and_announced_twice(seed: int) -> None:
    lan = Lan(seed=seed)
    began = lan.now
    lan.machines[0].lead(True, lan.now)
    lan.run(30)
    probes, announced, carried = lan.when(Act.PROBE), lan.when(Act.ANNOUNCE), lan.when(Act.CARRY)
    assert len(probes) == virtual.PROBE_NUM and 0 <= probes[0] - began <= virtual.PROBE_WAIT
    assert all(virtual.PROBE_MIN <= later - earlier <= virtual.PROBE_MAX for earlier, later in zip(probes, probes[1:], strict=False))
    assert carried[0] == pytest.approx(probes[-1] + virtual.ANNOUNCE_WAIT) and carried[0] - began <= 7
    assert [at - carried[0] for at in announced] == pytest.approx([0, virtual.ANNOUNCE_INTERVAL])
    assert lan.lines() == ["virtual-ip-carried"]


def test_what_is_carried_is_said_again_well_before_it_lapses_and_nothing_is_sent_for_it() -> None:
    lan = Lan()
    lan.machines[0].lead(True, lan.now)
    lan.run(600)
    carried = lan.when(Act.CARRY)
    assert max(later - earlier for earlier, later in zip(carried, carried[1:], strict=False)) <= virtual.LIFE / 3
    assert len(lan.when(Act.ANNOUNCE)) == virtual.ANNOUNCE_NUM


def test_what_another_answers_for_is_not_taken_is_said_once_and_tried_ever_more_rarely() -> None:
    lan = Lan(holder=77)
    lan.machines[0].lead(True, lan.now)
    lan.run(3_600)
    tries = lan.when(Act.PROBE)
    assert lan.carrying() == [] and not lan.when(Act.CARRY) and not lan.when(Act.ANNOUNCE)
    assert lan.lines() == ["virtual-ip-held"]
    assert tries[1] - tries[0] >= virtual.RETRY and tries[-1] - tries[-2] >= virtual.RATE_LIMIT_INTERVAL and len(tries) >= 40
    lan.holder = None
    lan.run(virtual.RATE_LIMIT_INTERVAL * 1.25 + 7)
    assert lan.carrying() == [0]


@pytest.mark.parametrize("seed", range(50))
def test_of_two_that_think_they_lead_at_once_never_both_take_it_and_one_does(seed: int) -> None:
    lan = Lan(2, seed)
    for machine in lan.machines:
        machine.lead(True, lan.now)
    for _ in range(600):
        lan.run(0.5)
        assert len(lan.carrying()) <= 1
    assert len(lan.carrying()) == 1


def test_who_leads_no_more_drops_it_at_once_and_the_next_gateway_takes_it() -> None:
    lan = Lan(2)
    lan.machines[0].lead(True, lan.now)
    lan.run(20)
    lan.machines[0].lead(False, lan.now)
    lan.machines[1].lead(True, lan.now)
    lan.settle()
    assert lan.when(Act.DROP) == [lan.now] and lan.carrying() == [] and lan.lines() == ["virtual-ip-carried", "virtual-ip-dropped"]
    lan.run(7.1)
    assert lan.carrying() == [1]


@pytest.mark.parametrize("seed", range(10))
def test_after_a_split_has_healed_the_one_that_yields_drops_it_and_the_winner_tells_everybody_anew(seed: int) -> None:
    lan = Lan(2, seed, apart={1})
    for machine in lan.machines:
        machine.lead(True, lan.now)
    lan.run(30)
    assert lan.carrying() == [0, 1]  # one for each part: there is no other way
    lan.apart.clear()
    healed = lan.now
    lan.machines[0].again(lan.now)
    lan.run(1.5)
    lan.machines[1].lead(False, lan.now)  # what the lease promises: within 2 s
    yielded = lan.now
    lan.run(30)
    (dropped,) = lan.when(Act.DROP, 1)  # perhaps before it knows that it lost: the winner's announcement is a claim
    assert lan.carrying() == [0] and not lan.when(Act.DROP, 0) and dropped <= yielded
    assert any(at > dropped for at in lan.when(Act.ANNOUNCE)) and lan.when(Act.ANNOUNCE)[-1] - healed <= 4


def test_a_claim_is_answered_once_and_given_in_to_where_it_comes_again_within_ten_seconds() -> None:
    lan = Lan()
    machine = lan.machines[0]
    machine.lead(True, lan.now)
    lan.run(20)
    for _ in range(3):  # somebody who looks in now and then
        machine.heard(arp(9, VIP), lan.now)
        lan.run(virtual.DEFEND_INTERVAL)
    assert lan.carrying() == [0] and len(lan.when(Act.ANNOUNCE)) == virtual.ANNOUNCE_NUM + 3
    machine.heard(arp(9, VIP), lan.now)
    lan.run(virtual.DEFEND_INTERVAL - 1)
    machine.heard(arp(9, VIP), lan.now)
    lan.settle()
    assert lan.carrying() == [] and lan.when(Act.DROP) == [lan.now]
    assert lan.lines() == ["virtual-ip-carried", "virtual-ip-dropped", "virtual-ip-held"]


def test_a_process_that_stood_still_asks_anew_before_it_takes_the_address_again() -> None:
    lan = Lan()
    lan.machines[0].lead(True, lan.now)
    lan.run(20)
    lan.now += virtual.LIFE + 1
    lan.holder = 5  # in the meantime
    lan.run(10)
    assert lan.carrying() == [] and lan.lines() == ["virtual-ip-carried", "virtual-ip-dropped", "virtual-ip-held"]


def test_what_the_machine_refuses_is_said_once_and_tried_again_later() -> None:
    lan = Lan()
    machine = lan.machines[0]
    machine.lead(True, lan.now)
    for _ in range(2):
        while Act.PROBE not in (outputs := machine.take()):
            assert all(isinstance(output, Log) for output in outputs)
            lan.now = machine.wake_at()
            machine.wake(lan.now)
        machine.refused("no interface", lan.now)
        assert machine.wake_at() >= lan.now + virtual.RETRY
    assert not machine.carried and machine.take() == []


def test_frames_that_are_nobodys_claim_change_nothing() -> None:
    lan = Lan()
    machine = lan.machines[0]
    machine.lead(True, lan.now)
    other = IPv4Address("192.168.1.9")
    for frame in (arp(9, other), arp(9, other, target=other), arp(9, NOBODY, target=other), arp(9, other, operation=2)):
        machine.heard(frame, lan.now)
    lan.run(20)
    machine.heard(arp(9, NOBODY), lan.now)  # a probe for it: the kernel answers that the address is here
    lan.run(20)
    assert lan.carrying() == [0] and len(lan.when(Act.ANNOUNCE)) == virtual.ANNOUNCE_NUM
