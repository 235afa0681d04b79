"""Datagrams over real sockets on loopback: drained, answered from the address asked, dropped with a reason."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
import trio.testing

from overlay import limits
from overlay.driver.udp import Batch, Udp, from_socket, socket_address
from overlay.wire.address import Address, Way


def bound(host: str = "0.0.0.0", port: int = 0) -> socket.socket:
    six = ":" in host
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    if six:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock


@contextmanager
def peer(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with bound(host) as sock:
        sock.settimeout(5)
        yield sock


class Node:
    def __init__(self, *hosts: str) -> None:
        self.counters: Counter[str] = Counter()
        self.sockets = [bound(host) for host in hosts]
        self.udp = Udp(self.sockets, self.counters)
        self.batches: list[Batch] = []

    def port(self, n: int = 0) -> int:
        port = self.sockets[n].getsockname()[1]
        assert isinstance(port, int)
        return port

    @property
    def heard(self) -> Batch:
        return [datagram for batch in self.batches for datagram in batch]

    async def hears(self, count: int) -> Batch:
        with trio.fail_after(5):
            while len(self.heard) < count:
                await trio.lowlevel.checkpoint()
        return self.heard


@asynccontextmanager
async def node(*hosts: str) -> AsyncIterator[Node]:
    world = Node(*hosts)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.udp.run, world.batches.append)
            yield world
            nursery.cancel_scope.cancel()
    finally:
        for sock in world.sockets:
            sock.close()


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.9.2", "127.1.2.3"])
async def test_an_answer_leaves_from_the_address_that_was_asked(asked: str) -> None:
    async with node("0.0.0.0") as ours:
        with peer() as their:
            their.sendto(b"question", (asked, ours.port()))
            data, way = (await ours.hears(1))[0]
            assert (data, way) == (b"question", Way("udp", Address("127.0.0.1", their.getsockname()[1]), asked))
            assert ours.udp.send(way, b"answer")
            assert their.recvfrom(100) == (b"answer", (asked, ours.port()))


async def test_ipv6_answers_come_from_the_address_asked() -> None:
    async with node("::") as ours:
        with peer("::1") as their:
            their.sendto(b"question", ("::1", ours.port()))
            _, way = (await ours.hears(1))[0]
            assert way == Way("udp", Address("::1", their.getsockname()[1]), "::1")
            assert ours.udp.send(way, b"answer")
            assert their.recvfrom(100)[0] == b"answer"


async def test_two_families_are_one_socket_to_the_node() -> None:
    async with node("0.0.0.0", "::") as ours:
        with peer() as four, peer("::1") as six:
            assert ours.udp.send(Way("udp", Address("127.0.0.1", four.getsockname()[1])), b"to four")
            assert ours.udp.send(Way("udp", Address("::1", six.getsockname()[1])), b"to six")
            assert four.recvfrom(100) == (b"to four", ("127.0.0.1", ours.port(0)))
            assert six.recvfrom(100)[1][:2] == ("::1", ours.port(1))


async def test_among_several_addresses_the_asked_one_sends() -> None:
    async with node("127.0.0.2", "127.0.0.3") as ours:
        with peer() as their:
            for n, host in enumerate(("127.0.0.2", "127.0.0.3")):
                assert ours.udp.send(Way("udp", Address("127.0.0.1", their.getsockname()[1]), host), b"x")
                assert their.recvfrom(100)[1] == (host, ours.port(n))


async def test_what_would_leave_from_an_address_that_is_gone_leaves_from_one_that_fits() -> None:
    async with node("0.0.0.0") as ours:
        with peer() as sock:
            way = Way("udp", Address(*sock.getsockname()), "192.0.2.77")
            assert not ours.udp.send(way, b"from nowhere")
            ours.udp.leave_from(["127.0.0.1"])
            assert ours.udp.send(way, b"from here")
            assert sock.recvfrom(100) == (b"from here", ("127.0.0.1", ours.port()))
            ours.udp.leave_from(["127.0.0.1", "192.0.2.77"])
            assert not ours.udp.send(way, b"from where it was asked, should it come back")


async def test_a_wake_up_takes_a_bounded_batch() -> None:
    async with node("127.0.0.1") as ours:
        with peer() as their:
            for n in range(limits.DRAIN + 10):
                their.sendto(n.to_bytes(2, "big"), ("127.0.0.1", ours.port()))
            heard = await ours.hears(limits.DRAIN + 10)
            assert [data for data, _ in heard] == [n.to_bytes(2, "big") for n in range(limits.DRAIN + 10)]
            assert max(len(batch) for batch in ours.batches) == limits.DRAIN
            assert ours.counters["udp_drained_full"] == 1


async def test_what_is_too_long_or_empty_is_dropped_and_counted() -> None:
    async with node("127.0.0.1") as ours:
        with peer() as their:
            for size in (limits.WRAPPED + 1, 9_000, 0, limits.WRAPPED):
                their.sendto(bytes(size), ("127.0.0.1", ours.port()))
            assert [len(data) for data, _ in await ours.hears(1)] == [limits.WRAPPED]
            assert ours.counters["drop:too-long"] == 2 and ours.counters["drop:empty"] == 1


async def test_we_send_nothing_too_long_ourselves() -> None:
    async with node("127.0.0.1") as ours:
        assert not ours.udp.send(Way("udp", Address("127.0.0.1", 9)), bytes(limits.WRAPPED + 1))
        assert ours.counters["drop:too-long"] == 1


async def test_a_closed_port_does_not_stop_the_node() -> None:
    async with node("127.0.0.1") as ours:
        with peer() as gone:
            port = gone.getsockname()[1]
        for _ in range(3):
            assert ours.udp.send(Way("udp", Address("127.0.0.1", port)), b"anybody?")
        with peer() as their:
            their.sendto(b"still here?", ("127.0.0.1", ours.port()))
            assert (await ours.hears(1))[0][0] == b"still here?"


@pytest.mark.parametrize(
    "way",
    [
        Way("udp", Address("127.0.0.1", 9), "203.0.113.77"),  # an address that is not ours
        Way("udp", Address("fe80::1%no-such-interface", 9)),
        Way("udp", Address("255.255.255.255", 9)),  # EACCES: broadcast was not asked for
    ],
)
async def test_what_the_kernel_refuses_is_a_counted_drop(way: Way) -> None:
    async with node("0.0.0.0", "::") as ours:
        assert not ours.udp.send(way, b"x")
        assert sum(count for reason, count in ours.counters.items() if reason.startswith("drop:udp-")) == 1


async def test_without_a_socket_of_the_family_it_is_a_counted_drop() -> None:
    async with node("127.0.0.1") as ours:
        assert not ours.udp.send(Way("udp", Address("::1", 9)), b"x")
        assert ours.counters["drop:udp-no-socket"] == 1


async def test_a_full_socket_drops_and_does_not_wait() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # the only datagrams that fill up on loopback

    class Full(socket.socket):
        def sendmsg(self, *_: object, **__: object) -> int:
            return near.send(bytes(1_000))

    near.setblocking(False)
    with near, far, Full(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        counters: Counter[str] = Counter()
        udp = Udp([sock], counters)
        sent = 0
        while udp.send(Way("udp", Address("127.0.0.1", 9)), b"x"):
            sent += 1
        assert 0 < sent < 100_000 and counters["drop:udp-send-full"] == 1


async def test_reading_stops_while_there_is_no_room() -> None:
    ours = Node("127.0.0.1")
    gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.udp.run, ours.batches.append, gate.wait)
        with peer() as their:
            their.sendto(b"x", ("127.0.0.1", ours.port()))
            await trio.testing.wait_all_tasks_blocked(0.005)
            assert ours.heard == []
            gate.set()
            await ours.hears(1)
        nursery.cancel_scope.cancel()
    ours.sockets[0].close()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.1", 7), Address("192.0.2.1", 7)),
        (("2001:db8::1", 7, 0, 0), Address("2001:db8::1", 7)),
        (("fe80::1", 7, 0, 2), Address("fe80::1%2", 7)),
        (("fe80::1%lo", 7, 0, 1), Address("fe80::1%1", 7)),
        (("::1.2.3.4", 7, 0, 0), Address("::102:304", 7)),
    ],
)
def test_addresses_have_one_spelling(name: tuple[str, int, int, int], address: Address) -> None:
    assert from_socket(name) == address


def test_a_scope_may_be_a_number_or_a_name() -> None:
    assert socket_address(Address("fe80::1%7", 1)) == ("fe80::1", 1, 0, 7)
    assert socket_address(Address("fe80::1%lo", 1)) == ("fe80::1", 1, 0, socket.if_nametoindex("lo"))
