"""The plug on real sockets: server, stub, upstream together on loopback; dig as the judge where there is one."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path as File

import pytest
import trio

from overlay.errors import Malformed
from overlay.name import Path
from overlay.wire.address import Address
from tests.tld import ports
from tests.tld.views import AT, HOME, data, home, root
from tld import codes, rdata
from tld.authority import Authority
from tld.driver import stub as stub_module
from tld.driver.host import Resolvers
from tld.driver.server import Backend, serve_tcp, serve_udp
from tld.driver.stub import Stub
from tld.driver.upstream import Upstream
from tld.label import from_text, to_wire
from tld.names import Names
from tld.query import ask
from tld.reply import read
from tld.zone import RRset, Zones, build

DIG = shutil.which("dig")
NODATA_SOA = to_wire(from_text("ns.")) * 2 + bytes(20)


def public_dns() -> Authority:
    """The public DNS: example.org, and a google.cloud of the other world. Denies all else."""
    rows = {"example.org.": "192.0.2.1", "www.google.cloud.": "192.0.2.2", "bob.home.eu.cloud.": "192.0.2.66"}
    sets = [RRset(from_text(name), codes.A, 300, (socket.inet_aton(address),)) for name, address in rows.items()]
    return Authority(Zones([build((), [RRset((), codes.SOA, 300, (NODATA_SOA,)), *sets])]), ra=True)


@dataclass
class Place:
    """A stub, an authoritative listener and an upstream on loopback."""

    names: Names
    stub: Stub
    stub_at: Address
    dns_at: Address
    public: Authority


async def _never(_path: Path) -> None:
    await trio.sleep_forever()


def _pair() -> tuple[socket.socket, socket.socket, Address]:
    tcp, udp = ports.pair()
    tcp.listen(16)
    return udp, tcp, Address(*udp.getsockname())


@asynccontextmanager
async def place(policy: str = "overlay-first", *, fetch: Callable[..., object] = _never, held: bool = True) -> AsyncIterator[Place]:
    names = Names(tld="cloud", zone="cloud.neonics.com", policy=policy, nsid=b"alice")
    names.update(root())
    if held:
        names.update(
            home(
                plain=(
                    data("eu/home/blog", "CNAME", "example.org."),
                    data("eu/home/motd", "TXT", *(f"line {n} " + "x" * 200 for n in range(9))),
                )
            )
        )
    names.evidence(at=AT, peers=1)
    sockets = [_pair() for _ in range(3)]
    public = public_dns()
    upstream = Upstream(Resolvers(clock=trio.current_time, own=tuple, configured=(sockets[0][2],), file=File("/nonexistent")))
    stub = Stub(names, upstream, fetch)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        backends: tuple[Backend, ...] = (public, stub, names.authoritative)
        for (udp, tcp, _), backend in zip(sockets, backends, strict=True):
            nursery.start_soon(serve_udp, udp, backend)
            nursery.start_soon(serve_tcp, tcp, backend)
        yield Place(names, stub, sockets[1][2], sockets[2][2], public)
        nursery.cancel_scope.cancel()
    for udp, tcp, _ in sockets:
        udp.close()
        tcp.close()


async def asked(address: Address, name: str, rtype: int = codes.A, *, edns: int = 1232, raw: bytes | None = None) -> bytes:
    """One query over UDP."""
    with trio.fail_after(5), trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await sock.connect(tuple(address))
        await sock.send(raw or ask(99, to_wire(from_text(name)), rtype, edns=edns, flags=codes.RD))
        return await sock.recv(4096)


def texts(reply: bytes) -> list[str]:
    return [rdata.to_text(rrset.type, wire) for rrset in read(reply).answer for wire in rrset.rdatas]


async def test_the_stub_answers_both_worlds_and_mixes_neither() -> None:
    async with place() as here:
        assert texts(await asked(here.stub_at, "bob.home.eu.cloud.")) == ["203.0.113.30"], "the public DNS has another bob"
        assert here.public.counters["dns_udp"] == 0
        assert texts(await asked(here.stub_at, "www.google.cloud.")) == ["192.0.2.2"]
        assert read(await asked(here.stub_at, "nobody.eu.cloud.")).rcode == codes.NXDOMAIN
        assert here.public.counters["dns_udp"] == 1


async def test_exclusive_sends_nothing_of_the_tld_anywhere() -> None:
    async with place("exclusive") as here:
        for name in ("www.google.cloud.", "cloud.", "x.id.cloud.", "whoami.cloud."):
            await asked(here.stub_at, name)
        assert here.public.counters["dns_udp"] == 0


async def test_a_public_answer_is_what_the_upstream_said_to_the_octet() -> None:
    async with place() as here:
        raw = ask(77, to_wire(from_text("example.org.")), 65_534, edns=4096, flags=codes.RD | codes.CD)
        direct = here.public.answer(raw, ("127.0.0.1", 1), True)
        assert await asked(here.stub_at, "", raw=raw) == direct


async def test_an_alias_of_a_public_name_is_answered_whole() -> None:
    async with place() as here:
        assert texts(await asked(here.stub_at, "blog.home.eu.cloud.")) == ["example.org.", "192.0.2.1"]


async def test_public_first_prefers_the_public_answer_and_falls_back() -> None:
    async with place("public-first") as here:
        assert texts(await asked(here.stub_at, "bob.home.eu.cloud.")) == ["192.0.2.66"]
        assert texts(await asked(here.stub_at, "alice.home.eu.cloud.")) == ["203.0.113.20"]
        assert read(await asked(here.stub_at, "no.cloud.")).rcode == codes.NXDOMAIN


async def test_a_zone_is_fetched_once_for_all_who_wait_for_it() -> None:
    arrived = trio.Event()
    fetched: list[Path] = []

    async def fetch(path: Path) -> None:
        fetched.append(path)
        await arrived.wait()
        here.names.update(home())

    async with place(fetch=fetch, held=False) as here:
        replies: list[bytes] = []

        async def client(name: str) -> None:
            replies.append(await asked(here.stub_at, name))

        async with trio.open_nursery() as clients:
            for name in ("bob.home.eu.cloud.", "alice.home.eu.cloud.", "bob.home.eu.cloud."):
                clients.start_soon(client, name)
            while here.stub.counters["dns_udp"] < 3:
                await trio.lowlevel.checkpoint()
            arrived.set()
        assert fetched == [HOME]
        assert sorted(texts(reply)[0] for reply in replies) == ["203.0.113.20", "203.0.113.30", "203.0.113.30"]


async def test_a_zone_that_does_not_come_is_servfail_and_never_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub_module, "FETCH_TIMEOUT", 0.05)
    async with place(held=False) as here:
        said = read(await asked(here.stub_at, "bob.home.eu.cloud."))
        assert said.rcode == codes.SERVFAIL and said.ede is not None and "eu/home" in said.ede[1]
        assert here.public.counters["dns_udp"] == 0


async def test_a_fetch_that_ends_without_a_zone_is_not_tried_for_ever() -> None:
    tries: list[Path] = []

    async def nothing(path: Path) -> None:
        tries.append(path)

    async with place(fetch=nothing, held=False) as here:
        assert read(await asked(here.stub_at, "bob.home.eu.cloud.")).rcode == codes.SERVFAIL
        assert tries == [HOME]


async def test_resolve_tells_what_a_client_would_be_told() -> None:
    async with place() as here:
        mine = await here.stub.resolve("bob.home.eu", "a")
        assert (mine["name"], mine["type"], mine["rcode"], mine["world"], mine["answers"]) == (
            "bob.home.eu.cloud",
            "A",
            "NOERROR",
            "overlay",
            ["203.0.113.30"],
        )
        theirs = await here.stub.resolve("example.org.")
        assert (theirs["name"], theirs["rcode"], theirs["world"], theirs["answers"]) == ("example.org", "NOERROR", "public", ["192.0.2.1"])
        chain = await here.stub.resolve("blog.home.eu")
        assert chain["answers"] == ["example.org.", "192.0.2.1"] and chain["world"] == "overlay"
        assert set(mine) == {"name", "type", "rcode", "world", "answers", "records", "chain", "reason"}
        assert (await here.stub.resolve("no.such.hq"))["rcode"] == "NXDOMAIN"


@pytest.mark.skipif(DIG is None, reason="dig is not installed: the wire is judged by our own reader only")
async def test_dig_agrees() -> None:
    async with place() as here:

        async def dig(address: Address, *words: str) -> str:
            command = [str(DIG), f"@{address.host}", "-p", str(address.port), "+tries=1", "+time=3", *words]
            done = await trio.run_process(command, capture_stdout=True, check=False, stderr=subprocess.STDOUT)
            return done.stdout.decode()

        assert await dig(here.stub_at, "+short", "bob.home.eu.cloud", "AAAA") == "2001:db8::30\n"
        assert await dig(here.stub_at, "+short", "+tcp", "bob.home.eu.cloud") == "203.0.113.30\n"
        assert await dig(here.stub_at, "+short", "example.org") == "192.0.2.1\n"
        assert await dig(here.stub_at, "+short", "+tcp", "example.org") == "192.0.2.1\n"
        assert (await dig(here.stub_at, "+short", "motd.home.eu.cloud", "TXT")).count("line ") == 9, "TC, then TCP"
        whole = await dig(here.dns_at, "+norec", "bob.home.eu.cloud")
        assert "status: NOERROR" in whole and " aa " in whole.replace(";", " ") and " ra" not in whole.split("flags:")[1].split(";")[0]
        assert "status: REFUSED" in await dig(here.dns_at, "example.org")
        assert "EDE: 20" in await dig(here.dns_at, "example.org")
        assert await dig(here.dns_at, "+short", "whoami.cloud") == "127.0.0.1\n"
        assert "status: NXDOMAIN" in await dig(here.stub_at, "nobody.home.eu.cloud")
        for output in (
            whole,
            await dig(here.stub_at, "www.google.cloud"),
            await dig(here.stub_at, "blog.home.eu.cloud"),
            await dig(here.stub_at, "cloud", "ANY"),
        ):
            assert "malformed" not in output.lower() and "warning" not in output.lower()


def test_what_a_reply_says_is_read_or_refused() -> None:
    whole = public_dns().answer(ask(1, to_wire(from_text("example.org.")), codes.A, edns=1232), ("127.0.0.1", 1), True)
    assert whole is not None and texts(whole) == ["192.0.2.1"]
    for end in range(len(whole)):
        with pytest.raises(Malformed):
            read(whole[:end])
