"""Sockets of beacons: which interfaces, several nodes of one machine, what does not open (DESIGN 3.6). All on loopback."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from overlay.cluster.beacon import GROUP_4 as GROUP
from overlay.cluster.beacon import GROUP_6, Beacon, Kind, encode
from overlay.cluster.beacon import PORT as USUAL
from overlay.cluster.links import Link
from overlay.cluster.rounds import LAN, ways_of
from overlay.driver.interfaces import Interface
from overlay.driver.lan import LanSockets, links_of
from overlay.driver.udp import Batch
from overlay.wire.address import Address, Way

BEACON = encode(Beacon(Kind.HERE, b"t" * 8, b"k" * 32, 7653))
LOOPBACK = Link("lo", socket.if_nametoindex("lo"), "127.0.0.1", 8)
FOUND = [
    Interface("lo", "127.0.0.1", 8, True), Interface("eth0", "192.168.1.2", 24, False, 7), Interface("eth0", "fe80::2", 64, False, 7),
    Interface("docker0", "172.17.0.1", 16, False, 8), Interface("wg0", "10.9.0.1", 24, False, 9),
]  # fmt: skip


def free_port() -> int:
    """Not the usual one: a node of this machine may run."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


PORT = free_port()
GROUP_4 = Address(GROUP.host, PORT)


def hosts(bound: list[str], wanted: tuple[str, ...] = ()) -> list[str]:
    return [link.host for link in links_of(FOUND, bound, wanted)]


def test_beacons_go_where_the_overlay_listens_and_others_are() -> None:
    assert hosts(["0.0.0.0", "::"]) == ["192.168.1.2", "fe80::2"]
    assert hosts(["0.0.0.0"]) == ["192.168.1.2"]
    assert hosts(["192.168.1.2"]) == ["192.168.1.2"]
    assert hosts(["127.0.0.1", "::1"]) == [], "who listens on loopback alone says nothing to a LAN"
    assert hosts(["0.0.0.0", "::"], ("wg0", "lo")) == ["192.168.1.2", "fe80::2", "10.9.0.1"]
    assert links_of(FOUND, ["0.0.0.0"])[0] == Link("eth0", 7, "192.168.1.2", 24)


@pytest.fixture
def nodes() -> Iterator[list[LanSockets]]:
    """Two nodes of one machine, with a socket each."""
    found = [LanSockets(Counter(), pytest.fail, PORT) for _ in range(2)]
    for sockets in found:
        sockets.follow([LOOPBACK])
    yield found
    for sockets in found:
        sockets.close()


async def heard(nodes: list[LanSockets], send: Way, data: bytes = BEACON, seconds: float = 0.5) -> list[Batch]:
    """What each hears of one datagram of the first."""
    batches: list[Batch] = [[] for _ in nodes]
    async with trio.open_nursery() as nursery:
        for number, sockets in enumerate(nodes):
            nursery.start_soon(sockets.run, batches[number].extend)
        nodes[0].send(send, data)
        with trio.move_on_after(seconds):
            while not all(batches):
                await trio.sleep(0.005)
        nursery.cancel_scope.cancel()
    return batches


async def test_all_nodes_of_a_machine_hear_a_multicast_and_who_sent_it(nodes: list[LanSockets]) -> None:
    for batch in await heard(nodes, Way(LAN, GROUP_4, "127.0.0.1", LOOPBACK.number)):
        assert batch == [(BEACON, Way("udp", Address("127.0.0.1", PORT)))]


async def test_what_is_no_beacon_stays_outside(nodes: list[LanSockets]) -> None:
    assert await heard(nodes, Way(LAN, GROUP_4, "127.0.0.1", LOOPBACK.number), b"\x04" + BEACON[1:], 0.1) == [[], []]
    assert await heard(nodes, Way(LAN, GROUP_4, "127.0.0.1", LOOPBACK.number), BEACON * 30, 0.1) == [[], []]
    assert [sockets.counters["drop:lan-other"] for sockets in nodes] == [2, 2]


async def test_an_interface_that_comes_later_is_heard_while_the_sockets_are_read() -> None:
    sockets = LanSockets(Counter(), pytest.fail, PORT)
    batch: Batch = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sockets.run, batch.extend)
        await trio.testing.wait_all_tasks_blocked()
        assert not sockets.send(Way(LAN, GROUP_4, "127.0.0.1", LOOPBACK.number), BEACON)
        sockets.follow([LOOPBACK])
        assert sockets.send(Way(LAN, GROUP_4, "127.0.0.1", LOOPBACK.number), BEACON)
        with trio.fail_after(2):
            while not batch:
                await trio.sleep(0.005)
        nursery.cancel_scope.cancel()
    sockets.close()
    assert sockets.counters["drop:lan-no-socket"] == 1


def test_what_cannot_be_opened_is_a_notice_once_and_tried_again() -> None:
    notices: list[str] = []
    sockets = LanSockets(Counter(), notices.append, PORT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", PORT))
        sockets.follow([LOOPBACK])
        sockets.follow([LOOPBACK])
        assert len(notices) == 1 and notices[0].startswith("lan: beacons over IPv4 are off")
        assert not sockets.ports()
    sockets.follow([LOOPBACK])
    assert sockets.ports() == {4: PORT}
    sockets.close()


def test_what_cannot_be_sent_is_counted(nodes: list[LanSockets]) -> None:
    assert not nodes[0].send(Way(LAN, GROUP_4, "192.0.2.77", LOOPBACK.number), BEACON), "an address that is not ours"
    assert sum(count for key, count in nodes[0].counters.items() if key.startswith("drop:lan-")) == 1


def test_a_link_local_address_brings_its_family_and_its_scope() -> None:
    (way,) = ways_of([Link("eth0", 7, "fe80::2", 64)])
    assert way == Way(LAN, Address(f"{GROUP_6.host}%7", USUAL), "fe80::2", 7)
