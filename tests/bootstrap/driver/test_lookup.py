"""Asking resolvers: fake ones on loopback, real datagrams and connections; what is believed and what is said of failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio
from trio.testing import MockClock

from bootstrap.driver.lookup import Lookup, Resolvers, parse_resolv_conf, system_resolvers
from overlay.errors import Malformed, ReachError
from overlay.wire.address import Address

NAME = "_node._overlay.cloud.neonics.com"
Reply = Callable[[bytes, bool], "list[bytes]"]  # query, over TCP -> answers


def respond(query: bytes, *texts: str, rcode: int = 0, flags: int = 0) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(query), recursion_available=True)
    message.set_rcode(dns.rcode.Rcode(rcode))
    message.flags |= flags
    if texts:
        question = message.question[0]
        message.answer = [dns.rrset.from_text_list(question.name, 60, "IN", question.rdtype, texts)]
    return message.to_wire()


def good(query: bytes, _tcp: bool) -> list[bytes]:
    return [respond(query, '"v=overlay1;" "at=x"')]


def silent(_query: bytes, _tcp: bool) -> list[bytes]:
    return []


class Server:
    """A resolver on loopback, UDP and TCP on one port, that says what ``reply`` says."""

    def __init__(self, reply: Reply, host: str = "127.0.0.1") -> None:
        self.reply = reply
        self.host = host
        self.seen: list[tuple[bytes, bool]] = []
        self.ports: set[int] = set()

    async def start(self, nursery: trio.Nursery) -> Address:
        family = trio.socket.AF_INET6 if ":" in self.host else trio.socket.AF_INET
        for _ in range(50):  # until a port is free for both
            udp, tcp = (trio.socket.socket(family, kind) for kind in (trio.socket.SOCK_DGRAM, trio.socket.SOCK_STREAM))
            await udp.bind((self.host, 0))
            address = Address(self.host, udp.getsockname()[1])
            try:
                await tcp.bind(tuple(address))
            except OSError:
                udp.close()
                tcp.close()
                continue
            tcp.listen()
            nursery.start_soon(self._serve_udp, udp)
            nursery.start_soon(trio.serve_listeners, self._serve_tcp, [trio.SocketListener(tcp)])
            return address
        raise OSError("no port is free for both UDP and TCP")

    async def _serve_udp(self, udp: trio.socket.SocketType) -> None:
        with udp:
            while True:
                query, source = await udp.recvfrom(4_096)
                self.seen.append((query, False))
                self.ports.add(source[1])
                for answer in self.reply(query, False):
                    await udp.sendto(answer, source)

    async def _serve_tcp(self, stream: trio.SocketStream) -> None:
        query = (await stream.receive_some(4_096))[2:]
        self.seen.append((query, True))
        for answer in self.reply(query, True):
            await stream.send_all(len(answer).to_bytes(2, "big") + answer[:1])
            await stream.send_all(answer[1:])


@asynccontextmanager
async def serving(*servers: Server) -> AsyncIterator[Lookup]:
    async with trio.open_nursery() as nursery:
        yield Lookup([await server.start(nursery) for server in servers])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.9.9", "::1"])
async def test_texts_come_whole(host: str) -> None:
    async with serving(Server(good, host)) as lookup:
        assert await lookup.ask(NAME, "TXT") == (b"v=overlay1;at=x",)


async def test_a_name_that_is_not_there_has_no_values() -> None:
    async with serving(Server(lambda query, _: [respond(query, rcode=3)])) as lookup:
        assert await lookup.ask(NAME, "TXT") == ()


async def test_each_query_has_its_own_port() -> None:
    server = Server(good)
    async with serving(server) as lookup:
        for _ in range(6):
            await lookup.ask(NAME, "TXT")
        assert len(server.ports) > 3 and len({query[:2] for query, _ in server.seen}) > 3


async def test_a_cut_answer_is_asked_again_over_tcp() -> None:
    server = Server(lambda query, tcp: [respond(query, '"whole"')] if tcp else [respond(query, flags=dns.flags.TC)])
    async with serving(server) as lookup:
        assert await lookup.ask(NAME, "TXT") == (b"whole",)
        assert [tcp for _, tcp in server.seen] == [False, True]


async def test_an_answer_cut_even_over_tcp_is_no_answer() -> None:
    async with serving(Server(lambda query, _: [respond(query, flags=dns.flags.TC)])) as lookup:
        with pytest.raises(ReachError, match="cut, even over TCP"):
            await lookup.ask(NAME, "TXT")


async def test_a_connection_that_breaks_is_no_answer() -> None:
    server = Server(lambda query, tcp: [] if tcp else [respond(query, flags=dns.flags.TC)])
    async with serving(server) as lookup:
        with pytest.raises(ReachError, match="connection broken"):
            await lookup.ask(NAME, "TXT")


async def test_forged_answers_are_passed_over_and_counted() -> None:
    def forge(query: bytes, _: bool) -> list[bytes]:
        wrong_id = bytes((query[0] ^ 1,)) + respond(query, '"forged"')[1:]
        other = respond(query[:13] + b"x" + query[14:], '"forged"')
        return [wrong_id, other, b"junk", respond(query, '"true"')]

    async with serving(Server(forge)) as lookup:
        assert await lookup.ask(NAME, "TXT") == (b"true",)
        assert lookup.counters["drop:dns-other"] == 3


@pytest.mark.parametrize("rcode", [1, 4])
async def test_a_server_from_before_edns_is_asked_without(rcode: int) -> None:
    server = Server(lambda query, _: [respond(query, rcode=rcode)] if query[11] else [respond(query, '"old"')])
    async with serving(server) as lookup:
        assert await lookup.ask(NAME, "TXT") == (b"old",)


@pytest.mark.parametrize("rcode", [2, 5])
async def test_after_a_failing_resolver_the_next_is_asked(rcode: int) -> None:
    async with serving(Server(lambda query, _: [respond(query, rcode=rcode)]), Server(good)) as lookup:
        assert await lookup.ask(NAME, "TXT") == (b"v=overlay1;at=x",)


async def test_after_a_resolver_that_is_not_there_the_next_is_asked() -> None:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as gone:
        await gone.bind(("127.0.0.1", 0))
        dead = Address("127.0.0.1", gone.getsockname()[1])
    async with trio.open_nursery() as nursery:
        lookup = Lookup([dead, await Server(good).start(nursery)])
        assert await lookup.ask(NAME, "TXT") == (b"v=overlay1;at=x",)
        with pytest.raises(ReachError, match="refused"):
            await Lookup([dead]).ask(NAME, "TXT")
        nursery.cancel_scope.cancel()


async def test_nonsense_is_told_apart_from_silence() -> None:
    async with serving(Server(lambda query, _: [respond(query, '"x"')[:-13]])) as lookup:
        with pytest.raises(ReachError, match="nonsense"):
            await lookup.ask(NAME, "TXT")
        assert lookup.counters["drop:dns-short"] == 2


async def test_silence_is_bounded_and_told(autojump_clock: MockClock) -> None:
    server = Server(silent)
    async with serving(server) as lookup:
        with pytest.raises(ReachError) as caught:
            await lookup.ask(NAME, "TXT")
        assert "127.0.0.1 silent" in caught.value.what and caught.value.exit_status == 5
        assert trio.current_time() < 5
    assert lookup.counters["lookup_silent"] == 2


async def test_what_is_no_name_is_not_asked() -> None:
    with pytest.raises(Malformed):
        await Lookup([]).ask("a..b", "A")


@pytest.mark.parametrize(
    ("text", "resolvers"),
    [
        ("nameserver 192.0.2.1\nnameserver 2001:DB8::1\nsearch example.org\n", ("192.0.2.1", "2001:db8::1")),
        ("# nameserver 192.0.2.9\n;x\nnameserver nonsense\nnameserver\nnameserver\t192.0.2.1 #x\nnameserver 192.0.2.1", ("192.0.2.1",)),
        ("nameserver fe80::1%lo\n", ("fe80::1%lo",)),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 9)), ("192.0.2.1", "192.0.2.2", "192.0.2.3")),
        ("", ("127.0.0.1",)), ("\x00\xff" * 50, ("127.0.0.1",)),
    ],
)
def test_resolv_conf_is_read_as_its_manual_says(text: str, resolvers: tuple[str, ...]) -> None:
    assert parse_resolv_conf(text).addresses == tuple(Address(host, 53) for host in resolvers)


@pytest.mark.parametrize(
    ("options", "expected"),
    [("timeout:1 attempts:3", (1, 3)), ("timeout:30 attempts:0", (1.5, 1)), ("timeout:x attempts:-1 rotate", (1.5, 2)),
     ("timeout:0 attempts:999", (1, 3))],
)
def test_options_are_bounded(options: str, expected: tuple[float, int]) -> None:
    found = parse_resolv_conf(f"nameserver 192.0.2.1\noptions {options}\n")
    assert (found.timeout, found.attempts) == expected


def test_without_the_file_this_machine_is_asked(tmp_path: Path) -> None:
    assert system_resolvers(tmp_path / "missing") == Resolvers((Address("127.0.0.1", 53),))
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    assert system_resolvers(tmp_path / "resolv.conf").addresses == (Address("192.0.2.1", 53),)
