"""HTTP for small resources: what clients get, which hosts are served, what hostile ones can do."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h11
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.driver.http import App, File, Request, Response, Site, as_json, host_allowed, text
from overlay.driver.tcp import Tcp

SUFFIXES = ("cloud.example.org", "cloud", "")


async def app(request: Request) -> Response:
    if request.path == "/" and request.asks("IP") is not None:
        extra = (("x-nonce", request.asks("nonce") or ""),) if request.asks("nonce") else ()
        return text(request.peer.host, 200, ("cache-control", "no-store"), *extra)
    if request.path == "/.well-known/overlay":
        return as_json({"local": str(request.local), "agent": request.header("user-agent")})
    if request.path == "/nothing":
        return Response(204)
    return text("not found", 404)


class World:
    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self.port = port

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def raw(self, data: bytes) -> bytes:
        """Send, end, read all."""
        async with await self.connect() as stream:
            try:
                await stream.send_all(data)
                await stream.send_eof()
            except trio.BrokenResourceError:
                pass
            return await everything(stream)

    async def get(self, target: str, *, method: str = "GET", host: str = "127.0.0.1", headers: str = "") -> tuple[int, dict[str, str], bytes]:
        return parsed(await self.raw(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n".encode()), method)


async def everything(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.fail_after(300):
        try:
            while more := await stream.receive_some():
                data += more
        except trio.BrokenResourceError:
            pass
    return data


def parsed(data: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response), data
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    return response.status_code, {key.decode(): value.decode() for key, value in response.headers}, body


@asynccontextmanager
async def serving(served: App = app) -> AsyncIterator[World]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    site = Site(served, lambda: SUFFIXES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.serve, [sock])
        yield World(site, sock.getsockname()[1])
        nursery.cancel_scope.cancel()


async def test_the_mirror_tells_the_callers_address() -> None:
    async with serving() as world:
        status, headers, body = await world.get("/?IP&nonce=abc")
        assert (status, body, headers["cache-control"], headers["x-nonce"]) == (200, b"127.0.0.1\n", "no-store", "abc")
        assert headers["content-length"] == "10" and headers["date"].endswith("GMT")


async def test_json_and_request_headers() -> None:
    async with serving() as world:
        status, headers, body = await world.get("/.well-known/overlay", headers="User-Agent: me\r\n")
        assert status == 200 and headers["content-type"] == "application/json"
        assert json.loads(body) == {"local": f"127.0.0.1:{world.port}", "agent": "me"}


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("HEAD / HTTP/1.1\r\nHost: elsewhere.example\r\n", 421), ("HEAD nowhere HTTP/1.0\r\n", 400), ("HEAD /?%s HTTP/1.0\r\n" % ("a&" * 40), 400)],
)
async def test_a_refused_head_has_no_body_and_ends_nothing_but_itself(request_line: str, status: int) -> None:
    """It once ended the node: a body was written where the protocol has none."""
    async with serving() as world:
        data = await world.raw(f"{request_line}\r\n".encode())
        assert parsed(data, "HEAD")[0] == status and data.endswith(b"\r\n\r\n")
        assert (await world.get("/?IP"))[0] == 200


async def test_what_follows_a_head_is_answered_whole() -> None:
    async with serving() as world:
        data = await world.raw(b"HEAD /?IP HTTP/1.1\r\nHost: localhost\r\n\r\nnonsense\r\n\r\n")
        _, _, second = data.partition(b"\r\n\r\n")
        assert parsed(second)[0] == 400 and parsed(second)[2]


async def test_head_is_get_without_the_body() -> None:
    async with serving() as world:
        status, headers, body = await world.get("/?IP", method="HEAD")
        assert (status, headers["content-length"], body) == (200, "10", b"")


async def test_an_answer_without_content_has_no_length() -> None:
    async with serving() as world:
        status, headers, body = await world.get("/nothing")
        assert (status, body) == (204, b"") and "content-length" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
async def test_other_methods_are_not_allowed(method: str) -> None:
    async with serving() as world:
        status, headers, _ = await world.get("/?IP", method=method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")


async def test_what_is_not_there_is_404() -> None:
    async with serving() as world:
        assert (await world.get("/no/such"))[0] == 404


async def test_a_connection_serves_many_requests() -> None:
    async with serving() as world, await world.connect() as stream:
        for _ in range(3):
            await stream.send_all(b"GET /?IP HTTP/1.1\r\nHost: localhost\r\n\r\n")
            data = b""
            while not data.endswith(b"127.0.0.1\n"):
                data += await stream.receive_some()
        assert world.site.counters["http_requests"] == 3 and world.site.open == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as world:
        data = await world.raw(b"GET /?IP HTTP/1.1\r\nHost: localhost\r\n\r\nGET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert data.index(b"200") < data.index(b"127.0.0.1\n") < data.index(b"404")


async def test_http_1_0_without_a_host_is_served() -> None:
    async with serving() as world:
        assert (await world.raw(b"GET /?IP HTTP/1.0\r\n\r\n")).endswith(b"127.0.0.1\n")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("192.168.1.1:8053", True),
        ("[::1]:80", True),
        ("[2001:db8::1]", True),
        ("localhost:80", True),
        ("LOCALHOST.", True),
        ("cloud", True),
        ("web.home.eu.cloud:80", True),
        ("download.cloud.example.org.", True),
        ("evil.example.org", False),
        ("notcloud", False),
        ("cloud.evil.com", False),
        ("", False),
        ("[::1", False),
        ("[::1]x", False),
        ("127.0.0.1:80:80", False),
        ("127.0.0.1@evil", False),
        ("::1", False),
        ("1.2.3", False),
    ],
)
def test_which_hosts_are_served(host: str, allowed: bool) -> None:
    assert host_allowed(host, SUFFIXES) is allowed


async def test_a_foreign_host_is_misdirected() -> None:
    async with serving() as world:
        assert (await world.get("/?IP", host="evil.example.org"))[0] == 421
        assert (await world.get("http://evil.example.org/?IP"))[0] == 421
        assert (await world.get("http://localhost/?IP", host="evil.example.org"))[0] == 200  # RFC 9112 3.2.2
        assert world.site.counters["drop:http-host"] == 2


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"CONNECT evil:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET /?" + b"a=1&" * 40 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000, 413),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 417),
    ],
)
async def test_bad_requests_get_their_status_and_an_end(data: bytes, status: int) -> None:
    async with serving() as world:
        answer = await world.raw(data)
        assert parsed(answer)[0] == status
        assert (await world.get("/?IP"))[0] == 200
        assert world.site.counters["drop:http-head"] == (status == 431)


async def test_a_small_body_is_read_past() -> None:
    async with serving() as world:
        data = await world.raw(
            b"GET /?IP HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert data.startswith(b"HTTP/1.1 200") and b"404" in data


async def test_a_silent_client_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as world, await world.connect() as stream:
        start = trio.current_time()
        assert await everything(stream) == b""
        assert trio.current_time() - start == pytest.approx(limits.HTTP_HEAD_TIME, abs=0.1)


async def test_a_slow_head_times_out(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as world, await world.connect() as stream:
        await stream.send_all(b"GET / HT")
        assert parsed(await everything(stream))[0] == 408
        assert world.site.counters["http_timeouts"] == 1


async def test_an_idle_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with serving() as world, await world.connect() as stream:
        await stream.send_all(b"GET /?IP HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await everything(stream)).endswith(b"127.0.0.1\n")
        assert world.site.counters["http_idle_closed"] == 1


async def test_a_client_that_does_not_read_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async def endless(request: Request) -> Response:
        return Response(200, bytes(32 * 1024 * 1024))

    async with serving(endless) as world, await world.connect() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await trio.sleep(limits.HTTP_WRITE + 60)
        assert world.site.counters["http_timeouts"] == 1 and world.site.open == 0


async def test_an_app_that_hangs_is_busy(autojump_clock: trio.testing.MockClock) -> None:
    async def hanging(request: Request) -> Response:
        await trio.sleep_forever()

    async with serving(hanging) as world:
        status, headers, _ = await world.get("/")
        assert (status, headers["retry-after"]) == (503, "5")


async def test_part_of_a_file_is_sent_and_its_descriptor_closed(tmp_path: Path) -> None:
    content = os.urandom(200_000)
    (tmp_path / "f").write_bytes(content)
    opened: list[int] = []

    async def files(request: Request) -> Response:
        opened.append(os.open(tmp_path / "f", os.O_RDONLY))
        return Response(206, File(opened[-1], 1_000, 150_000))

    async with serving(files) as world:
        assert (await world.get("/"))[2] == content[1_000:151_000]
        assert (await world.get("/", method="HEAD"))[1]["content-length"] == "150000"
    for descriptor in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS", 2)
    async with serving() as world:
        a, b, c = [await world.connect() for _ in range(3)]
        assert await everything(c) == b"" and world.site.counters["drop:http-full"] == 1
        await a.aclose()
        await b.aclose()
        await c.aclose()


async def test_the_overlay_port_serves_http_too() -> None:
    site = Site(app, lambda: SUFFIXES)
    tcp = Tcp(lambda batch: None, lambda way: None, lambda way, why: None, site.counters, site.connection)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    with sock:
        async with trio.open_nursery() as nursery:
            await nursery.start(tcp.run, [sock])
            assert (await World(site, sock.getsockname()[1]).get("/?IP"))[2] == b"127.0.0.1\n"
            nursery.cancel_scope.cancel()


HOSTILE = st.one_of(
    st.binary(max_size=400),
    st.lists(
        st.sampled_from(
            [b"GET ", b"/", b"?IP", b" HTTP/1.1", b"\r\n", b"Host: localhost", b"Host: \xff", b"\r\n\r\n", b"Content-Length: 3"]
            + [b"Transfer-Encoding: chunked", b"0\r\n\r\n", b"\x00", b":", b"%ff%00", b"http://[", b"]", b"&=&", b"Expect: 100-continue", b"#"]
        ),
        max_size=14,
    ).map(b"".join),
)


@settings(max_examples=150, deadline=None)
@given(HOSTILE)
def test_whatever_arrives_the_next_client_is_served(data: bytes) -> None:
    async def run() -> None:
        async with serving() as world:
            answer = await world.raw(data)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
            assert (await world.get("/?IP"))[2] == b"127.0.0.1\n"

    trio.run(run)


async def test_a_node_that_listens_nowhere_for_http_has_nothing_to_serve() -> None:
    with trio.fail_after(1):
        await Site(app).serve([])
