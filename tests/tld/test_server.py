"""The server on loopback: datagrams and streams, answers out of order, bounds, and clients that misbehave."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable

import pytest
import trio
import trio.testing

from overlay import limits
from tld.authority import Source
from tld.driver import batch
from tld.driver.server import Forward, serve_tcp, serve_udp


@pytest.fixture(params=["one by one", "by batches"])
def drained(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of reading datagrams obey the same rules."""
    if request.param == "by batches" and not batch.AVAILABLE:
        pytest.skip("this machine has no recvmmsg that we know")
    monkeypatch.setattr(batch, "AVAILABLE", request.param == "by batches")
    return str(request.param)


class Echo:
    """A backend: ``now...`` is answered at once, ``wait...`` when told, ``none...`` never."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.gate = trio.Event()
        self.running = 0

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | Forward | None:
        if data.startswith(b"now"):
            return data + (b"/udp" if udp else b"/tcp")
        if data.startswith(b"wait"):
            return Forward(lambda: self.later(data), b"busy")
        return None

    async def later(self, data: bytes) -> bytes | None:
        self.running += 1
        await self.gate.wait()
        return None if data == b"wait-silent" else data + b"/late"


def bound(kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


async def with_udp(backend: Echo, act: Callable[[trio.socket.SocketType], object]) -> None:
    with bound(socket.SOCK_DGRAM) as sock, trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        await client.connect(sock.getsockname())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_udp, sock, backend)
            with trio.fail_after(5):
                await act(client)  # type: ignore[misc]
            nursery.cancel_scope.cancel()


async def with_tcp(backend: Echo, act: Callable[[Callable[[], object]], object]) -> None:
    with bound(socket.SOCK_STREAM) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_tcp, sock, backend)

            async def connect() -> trio.SocketStream:
                return await trio.open_tcp_stream(*sock.getsockname())

            await act(connect)  # type: ignore[misc]
            nursery.cancel_scope.cancel()


def framed(*messages: bytes) -> bytes:
    return b"".join(len(x).to_bytes(2, "big") + x for x in messages)


async def read(stream: trio.SocketStream, count: int) -> list[bytes]:
    data, found = b"", []
    while len(found) < count:
        while len(data) >= 2 and len(data) >= 2 + int.from_bytes(data[:2], "big"):
            end = 2 + int.from_bytes(data[:2], "big")
            found.append(data[2:end])
            data = data[end:]
        if len(found) < count:
            more = await stream.receive_some()
            assert more, f"closed after {found}"
            data += more
    return found


@pytest.mark.usefixtures("drained")
@pytest.mark.trio
async def test_a_datagram_is_answered_to_its_sender() -> None:
    async def act(client: trio.socket.SocketType) -> None:
        await client.send(b"none")
        await client.send(b"now")
        assert await client.recv(100) == b"now/udp"

    backend = Echo()
    await with_udp(backend, act)
    assert backend.counters["dns_udp"] == 2


@pytest.mark.usefixtures("drained")
@pytest.mark.trio
async def test_a_full_batch_of_datagrams_is_answered_and_counted() -> None:
    async def act(client: trio.socket.SocketType) -> None:
        for number in range(150):
            await client.send(b"now%d" % number)
        assert {await client.recv(100) for _ in range(150)} == {b"now%d/udp" % number for number in range(150)}

    await with_udp(Echo(), act)


@pytest.mark.usefixtures("drained")
@pytest.mark.trio
async def test_a_slow_answer_holds_up_no_other() -> None:
    backend = Echo()

    async def act(client: trio.socket.SocketType) -> None:
        await client.send(b"wait")
        await client.send(b"wait-silent")
        await client.send(b"now")
        assert await client.recv(100) == b"now/udp"
        backend.gate.set()
        assert await client.recv(100) == b"wait/late"

    await with_udp(backend, act)


@pytest.mark.usefixtures("drained")
@pytest.mark.trio
async def test_above_the_bound_of_slow_answers_the_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_FORWARDS", 3)
    backend = Echo()

    async def act(client: trio.socket.SocketType) -> None:
        for _ in range(5):
            await client.send(b"wait")
        assert [await client.recv(100) for _ in range(2)] == [b"busy", b"busy"]
        backend.gate.set()
        assert [await client.recv(100) for _ in range(3)] == [b"wait/late"] * 3
        await client.send(b"wait")
        assert await client.recv(100) == b"wait/late"

    await with_udp(backend, act)
    assert backend.counters["drop:dns-forwards-full"] == 2


@pytest.mark.usefixtures("drained")
@pytest.mark.trio
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_the_backend_learns_who_asks_and_how_much(family: socket.AddressFamily, host: str) -> None:
    class Witness(Echo):
        def answer(self, data: bytes, source: Source, udp: bool) -> bytes | Forward | None:
            return None if data == b"none" else b"%s %d %d" % (str(source).encode(), len(data), udp)

    with socket.socket(family, socket.SOCK_DGRAM) as sock, trio.socket.socket(family, socket.SOCK_DGRAM) as client:
        sock.setblocking(False)
        sock.bind((host, 0))
        await client.bind((host, 0))
        async with trio.open_nursery() as nursery:
            for data in (b"", b"none", b"x" * 4_096, b"none", b"y" * 5_000):  # what is longer than 4,096 octets is cut
                await client.sendto(data, sock.getsockname())
            nursery.start_soon(serve_udp, sock, Witness())
            with trio.fail_after(5):
                for length in (0, 4_096, 4_096):
                    assert await client.recv(200) == b"%s %d 1" % (str(client.getsockname()).encode(), length)
            nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("drained")
@pytest.mark.trio
async def test_a_client_that_went_away_does_not_end_the_service() -> None:
    backend = Echo()
    with bound(socket.SOCK_DGRAM) as sock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_udp, sock, backend)
            for _ in range(3):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                    gone.sendto(b"now", sock.getsockname())
                await trio.testing.wait_all_tasks_blocked(0.01)
            with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, trio.fail_after(5):
                await client.connect(sock.getsockname())
                await client.send(b"now")
                assert await client.recv(100) == b"now/udp"
            nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_stream_carries_many_queries_and_pieces_of_them() -> None:
    async def act(connect: Callable[[], object]) -> None:
        async with await connect() as stream:  # type: ignore[misc]
            await stream.send_all(framed(b"now1", b"none", b"now2") + framed(b"now3")[:3])
            assert await read(stream, 2) == [b"now1/tcp", b"now2/tcp"]
            await stream.send_all(framed(b"now3")[3:])
            assert await read(stream, 1) == [b"now3/tcp"]

    with trio.fail_after(5):
        await with_tcp(Echo(), act)


@pytest.mark.trio
async def test_answers_on_a_stream_come_as_they_are_ready_even_after_the_client_has_finished() -> None:
    backend = Echo()

    async def act(connect: Callable[[], object]) -> None:
        async with await connect() as stream:  # type: ignore[misc]
            await stream.send_all(framed(b"wait1", b"now2"))
            await stream.send_eof()
            assert await read(stream, 1) == [b"now2/tcp"]
            backend.gate.set()
            assert await read(stream, 1) == [b"wait1/late"]
            assert await stream.receive_some() == b""

    with trio.fail_after(5):
        await with_tcp(backend, act)


@pytest.mark.trio
async def test_a_stream_has_a_bounded_number_of_answers_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_PIPELINE", 4)
    backend = Echo()

    async def act(connect: Callable[[], object]) -> None:
        async with await connect() as stream:  # type: ignore[misc]
            await stream.send_all(framed(*[b"wait"] * 10))
            while backend.running < 4:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert backend.running == 4 and backend.counters["dns_tcp_waits"] == 1
            backend.gate.set()
            assert await read(stream, 10) == [b"wait/late"] * 10

    with trio.fail_after(5):
        await with_tcp(backend, act)


@pytest.mark.trio
async def test_an_idle_stream_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_TCP_IDLE", 0.05)
    backend = Echo()

    async def act(connect: Callable[[], object]) -> None:
        async with await connect() as stream:  # type: ignore[misc]
            await stream.send_all(framed(b"now"))
            assert await read(stream, 1) == [b"now/tcp"]
            assert await stream.receive_some() == b""

    with trio.fail_after(5):
        await with_tcp(backend, act)
    assert backend.counters["dns_tcp_idle_closed"] == 1


@pytest.mark.trio
async def test_a_stream_that_brings_an_octet_now_and_then_is_closed_as_an_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_TCP_IDLE", 0.2)
    backend = Echo()

    async def act(connect: Callable[[], object]) -> None:
        async with await connect() as stream:  # type: ignore[misc]
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"\xff\xff")
                while True:
                    await stream.send_all(b"x")
                    await trio.sleep(0.02)

    with trio.fail_after(5):
        await with_tcp(backend, act)
    assert backend.counters["dns_tcp_idle_closed"] == 1


@pytest.mark.trio
async def test_a_client_has_a_bounded_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DNS_TCP", 2)
    backend = Echo()

    async def act(connect: Callable[[], object]) -> None:
        async with await connect() as first, await connect() as second:  # type: ignore[misc]
            for stream in (first, second):
                await stream.send_all(framed(b"now"))
                assert await read(stream, 1) == [b"now/tcp"]
            async with await connect() as third:  # type: ignore[misc]
                with pytest.raises((trio.BrokenResourceError, AssertionError)):
                    await third.send_all(framed(b"now"))
                    await read(third, 1)
        await trio.testing.wait_all_tasks_blocked(0.02)
        async with await connect() as again:  # type: ignore[misc]
            await again.send_all(framed(b"now"))
            assert await read(again, 1) == [b"now/tcp"]

    with trio.fail_after(5):
        await with_tcp(backend, act)
    assert backend.counters["drop:dns-tcp-full"] == 1


@pytest.mark.trio
async def test_a_client_that_breaks_off_does_not_end_the_service() -> None:
    backend = Echo()

    async def act(connect: Callable[[], object]) -> None:
        async with await connect() as stream:  # type: ignore[misc]
            await stream.send_all(framed(b"wait")[:-1])
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset instead of an end
        async with await connect() as stream:  # type: ignore[misc]
            await stream.send_all(framed(b"now"))
            assert await read(stream, 1) == [b"now/tcp"]

    with trio.fail_after(5):
        await with_tcp(backend, act)
