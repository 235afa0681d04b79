"""Datagrams over TCP on loopback: framing, strangers, full queues, what a connection's end is called."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from overlay import limits
from overlay.driver import tcp
from overlay.driver.tcp import Http, Tcp
from overlay.driver.udp import Batch
from overlay.wire.address import Address, Way, source_of


def listener(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.listen()
    return sock


class Node:
    def __init__(self, host: str = "127.0.0.1", http: Http | None = None, *, accepting: bool = True) -> None:
        self.counters: Counter[str] = Counter()
        self.sock = listener(host)
        self.address = Address(host, self.sock.getsockname()[1])
        self.heard: list[tuple[bytes, Way]] = []
        self.opened: list[Way] = []
        self.closed: list[tuple[Way, str]] = []
        self.accepting = accepting
        self.tcp = Tcp(self._batch, self.opened.append, lambda way, why: self.closed.append((way, why)), self.counters, http)

    def _batch(self, batch: Batch) -> None:
        self.heard += batch
        if self.accepting:
            self.tcp.accepted(batch[0][1])

    async def hears(self, count: int) -> list[bytes]:
        await until(lambda: len(self.heard) >= count)
        return [data for data, _ in self.heard]

    async def loses(self) -> str:
        await until(lambda: bool(self.closed))
        return self.closed[-1][1]


async def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(100_000):
        if condition():
            return
        await trio.lowlevel.checkpoint()
    raise AssertionError("it never came to pass")


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.tcp.run, [node.sock])
        yield
        nursery.cancel_scope.cancel()
    for node in nodes:
        node.sock.close()


async def to(node: Node) -> trio.SocketStream:
    return await trio.open_tcp_stream(node.address.host, node.address.port)


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_two_nodes_talk_both_ways(host: str) -> None:
    a, b = Node(host), Node(host)
    async with running(a, b):
        there = a.tcp.connect(b.address)
        await until(lambda: a.opened)
        assert a.opened[0].link == there.link and a.opened[0].remote == b.address and a.opened[0].local == host
        assert a.tcp.send(there, b"question")
        assert await b.hears(1) == [b"question"]
        assert b.opened[0].local == host and b.opened[0] == b.heard[0][1]
        assert b.tcp.send(b.heard[0][1], b"answer")
        assert await a.hears(1) == [b"answer"]


async def test_frames_arrive_whole_however_they_are_cut() -> None:
    node = Node()
    sent = [b"a", bytes(limits.WRAPPED), b"third"]
    async with running(node), await to(node) as stream:
        data = b"".join(frame(datagram) for datagram in sent)
        for start in range(0, len(data), 7):
            await stream.send_all(data[start : start + 7])
            await trio.lowlevel.checkpoint()
        assert await node.hears(3) == sent


@pytest.mark.parametrize("prefix", [b"\x00\x00", (limits.WRAPPED + 1).to_bytes(2, "big")])
async def test_an_impossible_length_ends_the_connection(prefix: bytes) -> None:
    node = Node()
    async with running(node), await to(node) as stream:
        await stream.send_all(frame(b"fine") + prefix + bytes(10))
        assert await node.loses() == "frame-length"
        assert node.counters["drop:tcp-frame-length"] == 1
        assert await node.hears(1) == [b"fine"]


async def test_a_silent_stranger_is_closed_after_two_seconds(autojump_clock: trio.testing.MockClock) -> None:
    node = Node()
    async with running(node), await to(node) as stream:
        start = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - start == pytest.approx(limits.TCP_FIRST, abs=0.01)
        assert node.counters["tcp_closed:no-valid-message"] == 1 and node.opened == []


async def test_a_stranger_without_a_valid_message_is_closed_after_two_seconds(autojump_clock: trio.testing.MockClock) -> None:
    node = Node(accepting=False)
    async with running(node), await to(node) as stream:
        await stream.send_all(frame(b"junk"))
        await node.hears(1)
        assert await stream.receive_some() == b""
        assert node.closed[0][1] == "no-valid-message" and node.tcp.connections == 0


async def test_an_accepted_connection_stays_until_it_is_idle(autojump_clock: trio.testing.MockClock) -> None:
    node = Node()
    async with running(node), await to(node) as stream:
        await stream.send_all(frame(b"one"))
        await node.hears(1)
        await trio.sleep(limits.TCP_IDLE - 10)
        await stream.send_all(frame(b"two"))
        await node.hears(2)
        await trio.sleep(limits.TCP_IDLE - 10)
        assert not node.closed
        await trio.sleep(20)
        assert node.closed[0][1] == "idle"


async def test_http_is_handed_over_with_what_was_read() -> None:
    got: list[tuple[bytes, Address]] = []

    async def http(stream: trio.SocketStream, read: bytes, peer: Address, local: str) -> None:
        got.append((read, peer))
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")

    node = Node(http=http)
    async with running(node), await to(node) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        name = stream.socket.getsockname()
        assert got == [(b"GET / HTTP/1.1\r\n", Address(name[0], name[1]))]
        assert await stream.receive_some() == b""
        await until(lambda: node.tcp.connections == 0)
        assert node.opened == []


@pytest.mark.parametrize(("first", "reason"), [(b"\x16\x03\x01\0\1\0", "tcp_closed:tls"), (b"GET /", "drop:tcp-http")])
async def test_what_is_not_ours_is_closed_and_counted(first: bytes, reason: str) -> None:
    node = Node()
    async with running(node), await to(node) as stream:
        await stream.send_all(first)
        with trio.fail_after(5):
            with suppress(trio.BrokenResourceError):  # a reset is an end as well
                assert await stream.receive_some() == b""
        assert node.counters[reason] == 1


async def test_a_peer_that_does_not_read_loses_datagrams_and_nobody_waits() -> None:
    node = Node()
    async with running(node), await to(node) as stream:
        await stream.send_all(frame(b"hello"))
        await node.hears(1)
        way = node.heard[0][1]
        sent = 0
        while node.tcp.send(way, sent.to_bytes(4, "big") + bytes(1_000)):
            sent += 1
        assert node.counters["drop:tcp-queue-full"] == 1
        received = bytearray()
        with trio.fail_after(5):
            while len(received) < sent * 1_006:
                received += await stream.receive_some()
        for n in range(sent):  # what was not dropped arrives whole and in order
            assert received[n * 1_006 : n * 1_006 + 6] == (1_004).to_bytes(2, "big") + n.to_bytes(4, "big")
        assert node.tcp.send(way, b"room again")


async def test_a_refused_connection_is_told() -> None:
    node = Node()
    with listener() as gone:
        port = gone.getsockname()[1]
    async with running(node):
        way = node.tcp.connect(Address("127.0.0.1", port))
        assert await node.loses() == "econnrefused"
        assert node.closed[0][0].link == way.link and node.opened == [] and node.tcp.connections == 0


async def test_a_connection_that_hangs_times_out(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(sock: socket.socket) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio.lowlevel, "wait_writable", never)
    node = Node()
    async with running(node):
        node.tcp.connect(node.address)
        await trio.sleep(limits.TCP_CONNECT + 0.1)
        assert node.closed[-1][1] == "timeout"


async def test_an_address_without_an_interface_is_told() -> None:
    node = Node()
    async with running(node):
        node.tcp.connect(Address("fe80::1%no-such-interface", 1))
        assert await node.loses() == "enodev"


async def test_either_side_may_close() -> None:
    a, b = Node(), Node()
    async with running(a, b):
        a.tcp.connect(b.address)
        await until(lambda: a.opened and b.tcp.connections)
        a.tcp.send(a.opened[0], b"hi")
        await b.hears(1)
        b.tcp.close(b.opened[0])
        assert await a.loses() == "closed-there" and await b.loses() == "closed-here"
        assert not a.tcp.send(a.opened[0], b"late") and a.counters["drop:tcp-gone"] == 1
        a.tcp.close(a.opened[0])  # closed already: nothing happens
        assert len(a.closed) == 1


async def test_the_end_of_the_run_closes_everything() -> None:
    a, b = Node(), Node()
    async with running(a, b):
        a.tcp.connect(b.address)
        await until(lambda: a.opened)
    assert a.closed[0][1] == "shutdown" and a.tcp.connections == 0 and b.tcp.connections == 0
    a.tcp.connect(b.address)
    assert a.closed[-1][1] == "full"


async def test_the_number_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TCP_CONNECTIONS", 3)
    node = Node()
    async with running(node):
        streams = [await to(node) for _ in range(4)]
        await until(lambda: node.counters["drop:tcp-full"])
        assert node.tcp.connections == 3
        for stream in streams:
            await stream.aclose()
        await until(lambda: node.tcp.connections == 0)


async def test_where_all_places_are_taken_by_the_silent_who_talks_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TCP_CONNECTIONS", 3)
    node = Node()
    async with running(node), AsyncExitStack() as opened:
        silent = [await opened.enter_async_context(await to(node)) for _ in range(3)]
        await silent[2].send_all(b"\x04")  # the first octet of a frame, and no more
        await until(lambda: len(node.opened) == 1)
        for number in range(1, 4):
            talker = await opened.enter_async_context(await to(node))
            await talker.send_all(frame(b"hello"))
            await node.hears(number)
        assert node.tcp.connections == 3
        assert node.counters["drop:tcp-full"] == 3
        assert node.counters["tcp_closed:full"] == 1
        late = await opened.enter_async_context(await to(node))  # nobody is silent any more: it finds no place
        for stream in (late, *silent):
            assert await stream.receive_some(1) == b""
        assert node.counters["drop:tcp-full"] == 4


async def test_one_source_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TCP_PER_SOURCE", 2)
    monkeypatch.setattr(tcp, "source_of", lambda host: host)  # loopback stands in for a stranger
    node = Node()
    async with running(node):
        streams = [await to(node) for _ in range(3)]
        await until(lambda: node.counters["drop:tcp-source-full"])
        assert node.tcp.connections == 2
        for stream in streams:
            await stream.aclose()
        await until(lambda: node.tcp.connections == 0 and not node.tcp._by_source)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("127.0.0.5", None),
        ("::1", None),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%2", "fe80::/64"),
    ],
)
def test_a_source_is_an_ipv4_address_or_a_64(host: str, source: str | None) -> None:
    assert source_of(host) == source
