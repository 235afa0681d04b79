"""Queries that are passed on: whom, in which order, what is believed, and what is said when nobody answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as File

import pytest
import trio

from overlay import limits
from overlay.wire.address import Address
from tests.tld import ports
from tld.driver import upstream as upstream_module
from tld.driver.host import Resolvers, is_own, parse_resolv_conf
from tld.driver.upstream import Upstream

QUESTION = b"\x07eXample\x03org\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00"
QUERY = b"\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01" + QUESTION + OPT
BODY = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\xc6\x33\x64\x07"
BODY += b"\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x05\xfd\xe9\x00\x01\x2a"

Reply = Callable[[bytes], list[bytes]]


def good(query: bytes, flags: bytes = b"\x81\xa0") -> list[bytes]:
    return [query[:2] + flags + b"\x00\x01\x00\x01\x00\x00\x00\x01" + query[12 : 12 + len(QUESTION)] + BODY]


def silent(_query: bytes) -> list[bytes]:
    return []


class Fake:
    """An upstream on loopback, UDP and TCP on one port, that says what ``reply`` says and remembers what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.seen: list[bytes] = []
        self.froms: list[tuple[str, int]] = []
        self.listener, self.udp = map(trio.socket.from_stdlib_socket, ports.pair())

    async def start(self, nursery: trio.Nursery) -> Address:
        port = self.udp.getsockname()[1]
        self.listener.listen()
        nursery.start_soon(self._serve_udp)
        nursery.start_soon(trio.serve_listeners, self._serve_tcp, [trio.SocketListener(self.listener)])
        return Address("127.0.0.1", port)

    async def _serve_udp(self) -> None:
        with self.udp, self.listener:
            await self._answer_udp()

    async def _answer_udp(self) -> None:
        while True:
            query, source = await self.udp.recvfrom(4096)
            self.seen.append(query)
            self.froms.append(source)
            for answer in self.reply(query):
                await self.udp.sendto(answer, source)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        query = (await stream.receive_some(4096))[2:]
        self.seen.append(b"tcp" + query)
        for answer in self.reply(query):
            await stream.send_all(len(answer).to_bytes(2, "big") + answer)


def to(*addresses: Address, suffix: str = "") -> Upstream:
    return Upstream(Resolvers(clock=trio.current_time, own=tuple, configured=addresses, file=File("/nonexistent")), probe_suffix=suffix)


async def test_an_answer_is_passed_on_unchanged_but_for_the_id() -> None:
    async with trio.open_nursery() as nursery:
        fake = Fake(good)
        upstream = to(await fake.start(nursery))
        answer = await upstream.ask(QUERY, udp=True)
        assert answer == QUERY[:2] + good(QUERY)[0][2:]
        assert fake.seen[0][2:] == QUERY[2:]
        nursery.cancel_scope.cancel()


async def test_each_query_has_its_own_source_port_and_id() -> None:
    async with trio.open_nursery() as nursery:
        fake = Fake(good)
        upstream = to(await fake.start(nursery))
        for _ in range(8):
            await upstream.ask(QUERY, udp=True)
        assert len({query[:2] for query in fake.seen}) > 4
        assert len({source[1] for source in fake.froms}) > 4
        nursery.cancel_scope.cancel()


async def test_a_truncated_answer_is_passed_on_as_it_is() -> None:
    async with trio.open_nursery() as nursery:
        fake = Fake(lambda query: good(query, b"\x83\xa0"))
        answer = await to(await fake.start(nursery)).ask(QUERY, udp=True)
        assert answer is not None and answer[2] & 0x02
        assert len(fake.seen) == 1
        nursery.cancel_scope.cancel()


async def test_a_query_over_tcp_is_asked_over_tcp() -> None:
    async with trio.open_nursery() as nursery:
        fake = Fake(good)
        answer = await to(await fake.start(nursery)).ask(QUERY, udp=False)
        assert answer == QUERY[:2] + good(QUERY)[0][2:]
        assert fake.seen[0][:3] == b"tcp"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (lambda q: bytes((q[0] ^ 1, q[1])) + good(q)[0][2:], "drop:upstream-forged"),
        (lambda q: good(q)[0][:2] + b"\x01" + good(q)[0][3:], "drop:upstream-forged"),
        (lambda q: good(q)[0][:12] + QUESTION.lower() + good(q)[0][12 + len(QUESTION) :], "drop:upstream-question"),
        (lambda q: good(q)[0][:12] + QUESTION.replace(b"org", b"net") + good(q)[0][12 + len(QUESTION) :], "drop:upstream-question"),
        (lambda q: q[:9], "drop:upstream-forged"),
        (lambda q: q[:2] + b"\x81\x80" + bytes(8), "drop:upstream-question"),
    ],
)
async def test_what_is_no_answer_to_the_letter_is_not_believed(forged: Callable[[bytes], bytes], reason: str) -> None:
    async with trio.open_nursery() as nursery:
        fake = Fake(lambda query: [forged(query), *good(query)])
        upstream = to(await fake.start(nursery))
        assert await upstream.ask(QUERY, udp=True) == QUERY[:2] + good(QUERY)[0][2:]
        assert upstream.counters[reason] == 1
        nursery.cancel_scope.cancel()


async def test_where_one_is_silent_the_next_is_asked_and_the_silent_one_is_last_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_module, "UDP_TIMEOUT", 0.05)
    async with trio.open_nursery() as nursery:
        mute, other = Fake(silent), Fake(good)
        upstream = to(await mute.start(nursery), await other.start(nursery))
        assert await upstream.ask(QUERY, udp=True) == QUERY[:2] + good(QUERY)[0][2:]
        assert await upstream.ask(QUERY, udp=True) == QUERY[:2] + good(QUERY)[0][2:]
        assert (len(mute.seen), len(other.seen)) == (1, 2)
        nursery.cancel_scope.cancel()


async def test_a_refusal_is_passed_on_only_where_nobody_does_better() -> None:
    async with trio.open_nursery() as nursery:
        refusing, other = Fake(lambda query: good(query, b"\x81\x85")), Fake(good)
        one, two = await refusing.start(nursery), await other.start(nursery)
        better = await to(one, two).ask(QUERY, udp=True)
        alone = await to(one).ask(QUERY, udp=True)
        assert better is not None and better[3] & 15 == 0
        assert alone is not None and alone[3] & 15 == 5
        nursery.cancel_scope.cancel()


async def test_servfail_says_that_nobody_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_module, "UDP_TIMEOUT", 0.05)
    async with trio.open_nursery() as nursery:
        answer = await to(await Fake(silent).start(nursery)).ask(QUERY, udp=True)
        assert answer is not None and answer[3] & 15 == 2 and answer[12 : 12 + len(QUESTION)] == QUESTION
        assert b"\x00\x0f" in answer and b"\x00\x16no answer from 127.0.0.1" in answer
        nursery.cancel_scope.cancel()


async def test_servfail_says_that_nobody_can_be_asked() -> None:
    answer = await to().ask(QUERY, udp=True)
    assert answer is not None and answer[3] & 15 == 2 and b"\x00\x17no upstream" in answer


@pytest.mark.parametrize("udp", [True, False])
async def test_a_closed_port_is_noticed_at_once_and_said(udp: bool) -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as unused:
        await unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with trio.fail_after(1):
        answer = await to(Address("127.0.0.1", port)).ask(QUERY, udp=udp)
    assert answer is not None and b"\x00\x17cannot reach 127.0.0.1" in answer


async def test_a_client_without_edns_gets_no_edns() -> None:
    answer = await to().ask(QUERY[:11] + b"\x00" + QUESTION, udp=True)
    assert answer is not None and answer[10:12] == b"\x00\x00" and len(answer) == 12 + len(QUESTION)


async def test_queries_under_way_are_bounded_and_the_rest_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPSTREAM_SAME", 2)
    monkeypatch.setattr(upstream_module, "UDP_TIMEOUT", 0.1)
    async with trio.open_nursery() as nursery:
        upstream = to(await Fake(silent).start(nursery))
        answers: list[bytes | None] = []

        async def ask() -> None:
            answers.append(await upstream.ask(QUERY, udp=True))

        async with trio.open_nursery() as askers:
            for _ in range(5):
                askers.start_soon(ask)
        assert answers.count(None) == 3 and upstream.counters["drop:upstream-full"] == 3
        nursery.cancel_scope.cancel()


async def test_an_upstream_that_leads_back_to_us_is_found_and_left_out() -> None:
    async with trio.open_nursery() as nursery:

        async def echo_chamber() -> None:  # our own stub: what it cannot answer it passes on
            with stub:
                while True:
                    query, source = await stub.recvfrom(4096)
                    nursery.start_soon(pass_on, query, source)

        async def pass_on(query: bytes, source: tuple[str, int]) -> None:
            answer = await upstream.ask(query, udp=True)
            if answer is not None:
                await stub.sendto(answer, source)

        stub = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await stub.bind(("127.0.0.1", 0))
        upstream = to(Address(*stub.getsockname()), await Fake(good).start(nursery), suffix="cloud.example.net")
        nursery.start_soon(upstream.run)
        nursery.start_soon(echo_chamber)
        with trio.fail_after(5):
            answer = await upstream.ask(QUERY, udp=True)
            again = await upstream.ask(QUERY, udp=True)
        assert upstream.counters["upstream_loop"] == 1
        assert again is not None and again[3] & 15 == 0
        assert answer is not None
        nursery.cancel_scope.cancel()


def test_the_systems_resolvers_are_read_from_resolv_conf() -> None:
    text = "# comment\nnameserver 127.0.0.1\nsearch home\nnameserver\nnameserver x.y\n"
    text += "nameserver 2001:DB8::1\nnameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver 9.9.9.9"
    assert parse_resolv_conf(text) == (Address("127.0.0.1", 53), Address("2001:db8::1", 53), Address("fe80::1%eth0", 53))


def test_our_own_addresses_are_never_asked(tmp_path: File) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.1\nnameserver 192.0.2.53\n")
    resolvers = Resolvers(clock=lambda: 0.0, own=lambda: {Address("127.0.0.1", 53)}, file=file)
    assert resolvers.current() == (Address("192.0.2.53", 53),)
    assert resolvers.skipped == (Address("127.0.0.1", 53),)


@pytest.mark.parametrize(
    ("asked", "own", "same"),
    [
        ("127.0.0.53", "0.0.0.0", True),
        ("127.0.0.53", "127.0.0.1", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("::1", "::", True),
        ("192.0.2.1", "0.0.0.0", False),
        ("fe80::1%eth0", "::", False),
    ],
)
def test_asking_a_loopback_address_of_a_wildcard_listener_is_asking_ourselves(asked: str, own: str, same: bool) -> None:
    assert is_own(Address(asked, 53), {Address(own, 53)}) is same
    assert not is_own(Address(asked, 5353), {Address(own, 53)})


def test_a_changed_file_is_read_again_and_a_missing_one_is_empty(tmp_path: File) -> None:
    file = tmp_path / "resolv.conf"
    now = [0.0]
    resolvers = Resolvers(clock=lambda: now[0], own=tuple, file=file)
    assert resolvers.current() == ()
    file.write_text("nameserver 192.0.2.1\n")
    assert resolvers.current() == ()
    now[0] = 2.0
    assert resolvers.current() == (Address("192.0.2.1", 53),)
    file.write_text("nameserver 192.0.2.2\n# moved\n")
    now[0] = 4.0
    assert resolvers.current() == (Address("192.0.2.2", 53),)


async def test_a_connection_that_breaks_before_the_question_is_sent_is_an_upstream_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reset that comes between connecting and sending once ended the node."""

    async def broken(stream: trio.SocketStream, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError

    async with trio.open_nursery() as nursery:
        upstream = to(await Fake(silent).start(nursery))
        monkeypatch.setattr(trio.SocketStream, "send_all", broken)
        answer = await upstream.ask(QUERY, udp=False)
        assert answer is not None and answer[3] & 15 == 2
        assert upstream.counters["upstream_unreachable"] == 1
        nursery.cancel_scope.cancel()
