"""WHOIS on loopback: one line, one answer, the end; clients that say too much, nothing, or come in crowds."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from overlay import limits
from tld.driver import whois
from tld.driver.whois import serve_whois

Ask = Callable[[bytes], Awaitable[bytes]]
Act = Callable[[tuple[str, int], Ask], Awaitable[None]]


async def served(act: Act) -> Counter[str]:
    counters: Counter[str] = Counter()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)

        async def ask(query: bytes) -> bytes:
            stream = await trio.open_tcp_stream(*sock.getsockname())
            async with stream:
                await stream.send_all(query)
                return b"".join([part async for part in stream])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_whois, sock, lambda query: b"about " + query.strip() + b"\r\n", counters)
            with trio.fail_after(10):
                await act(sock.getsockname(), ask)
            nursery.cancel_scope.cancel()
    return counters


async def test_a_line_is_answered_and_the_connection_closed_whatever_ends_the_line() -> None:
    async def act(at: tuple[str, int], ask: Ask) -> None:
        for query in (b"alice\r\n", b"alice\n", b"alice\r\nbob\r\n"):
            assert await ask(query) == b"about alice\r\n"
        assert await ask(b"\r\n") == b"about \r\n"

    assert (await served(act))["whois_requests"] == 4


async def test_a_query_that_is_too_long_gets_no_answer() -> None:
    async def act(at: tuple[str, int], ask: Ask) -> None:
        with pytest.raises((AssertionError, trio.BrokenResourceError)):
            assert await ask(b"x" * (limits.WHOIS_QUERY + 1))
        assert await ask(b"x" * (limits.WHOIS_QUERY - 2) + b"\r\n")

    assert (await served(act))["drop:whois-too-long"] == 1


async def test_who_says_nothing_is_let_go_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WHOIS_TIME", 0.05)

    async def act(at: tuple[str, int], ask: Ask) -> None:
        async with await trio.open_tcp_stream(*at) as silent:
            assert await silent.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()

    assert (await served(act))["whois_timeouts"] == 1


@pytest.mark.parametrize(("everybody", "one"), [(2, 100), (100, 2)])
async def test_a_crowd_is_turned_away_and_the_first_are_served(monkeypatch: pytest.MonkeyPatch, everybody: int, one: int) -> None:
    monkeypatch.setattr(limits, "WHOIS_CONNECTIONS", everybody)
    monkeypatch.setattr(limits, "WHOIS_PER_SOURCE", one)
    monkeypatch.setattr(whois, "source_of", lambda host: host)  # loopback would have no budget of its own

    async def act(at: tuple[str, int], ask: Ask) -> None:
        first = [await trio.open_tcp_stream(*at) for _ in range(2)]
        async with await trio.open_tcp_stream(*at) as third:
            assert await third.receive_some() == b""
        for stream in first:
            await stream.send_all(b"alice\r\n")
            assert b"".join([part async for part in stream]) == b"about alice\r\n"
            await stream.aclose()
        while not (await ask(b"alice\r\n")):
            await trio.lowlevel.checkpoint()

    assert (await served(act))["drop:whois-full"] >= 1
