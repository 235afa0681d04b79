"""Signed answers, transfers and NOTIFY: dnspython, dig, kdig and a real secondary (knotd) as judges."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.message
import dns.rcode
import dns.tsig
import dns.xfr
import dns.zone
import pytest
import trio

from overlay.wire.address import Address
from tests.tld.ports import pair
from tld import codes
from tld.authority import Authority
from tld.cookies import Cookies
from tld.driver.notify import notify
from tld.driver.server import serve_tcp, serve_udp
from tld.keyed import Keyed
from tld.label import from_text, to_wire
from tld.manners import Polite
from tld.master import parse
from tld.notify import FIRST, TRIES, Notifier, Secondary
from tld.query import ask
from tld.query import parse as read_query
from tld.transfer import MESSAGE, Parts, transfer, up_to_date
from tld.zone import Zones

NAME, OTHER = from_text("knot."), from_text("other.")
SECRET = b"s" * 32
KEYS = {NAME: SECRET, OTHER: b"o" * 32}
KEY = dns.tsig.Key("knot.", SECRET, "hmac-sha256")
HERE = ("127.0.0.1", 4_000)
SECRET64 = base64.b64encode(SECRET).decode()
SIGNED = f"hmac-sha256:knot:{SECRET64}"


def zone(serial: int, hosts: int = 3) -> str:
    head = f"cloud. 60 IN SOA ns1.cloud. host.cloud. {serial} 3600 900 604800 30\ncloud. 60 NS ns1\nns1 60 A 127.0.0.1\n*.w 30 TXT any\n"
    return head + "".join(f"h{number} 30 A 10.0.{number // 256}.{number % 256}\n" for number in range(hosts))


def server(hosts: int = 3) -> tuple[Keyed, Zones]:
    zones = Zones([parse(zone(1, hosts))])
    return Keyed(Authority(zones), zones, KEYS, frozenset({NAME}), time.time), zones


def signed(kind: str, name: str = "cloud.", key: dns.tsig.Key = KEY, serial: int | None = None) -> dns.message.Message:
    message = dns.message.make_query(name, kind, use_edns=0)
    if serial is not None:
        text = f"{name} 60 IN SOA ns1.cloud. host.cloud. {serial} 1 1 1 1"
        message.authority.append(dns.rrset.from_text(name, 60, "IN", "SOA", text.partition("SOA ")[2]))
    message.use_tsig(key)
    return message


def reply_to(backend: Keyed, message: dns.message.Message, *, udp: bool = False) -> dns.message.Message:
    reply = backend.answer(message.to_wire(), HERE, udp)
    assert isinstance(reply, bytes)
    return dns.message.from_wire(reply, keyring={KEY.name: KEY}, request_mac=message.mac)


@pytest.mark.parametrize("hosts", [0, 3, 5_000])
def test_a_holder_of_the_key_takes_the_whole_zone_in_signed_messages(hosts: int) -> None:
    backend, _ = server(hosts)
    message = signed("AXFR")
    reply = backend.answer(message.to_wire(), HERE, False)
    assert isinstance(reply, Parts)
    taken = dns.zone.Zone("cloud.")
    context, count = None, 0
    with dns.xfr.Inbound(taken, dns.rdatatype.AXFR) as inbound:
        for wire in reply.messages:
            assert len(wire) <= MESSAGE + 256
            part = dns.message.from_wire(
                wire, keyring={KEY.name: KEY}, request_mac=message.mac, xfr=True, origin=taken.origin, tsig_ctx=context, multi=True,
                one_rr_per_rrset=False,
            )
            context, count, done = part.tsig_ctx, count + 1, inbound.process_message(part)
    assert done and part.had_tsig and (hosts < 5_000 or count > 3)
    assert {name.to_text() for name in taken} == {"@", "ns1", "*.w", *(f"h{number}" for number in range(hosts))}


def test_who_has_no_key_or_one_for_other_things_gets_no_zone() -> None:
    backend, _ = server()
    plain = backend.answer(ask(7, to_wire(from_text("cloud.")), codes.AXFR), HERE, False)
    assert isinstance(plain, bytes) and plain[3] & 15 == codes.REFUSED
    other = dns.tsig.Key("other.", b"o" * 32, "hmac-sha256")
    message = signed("AXFR", key=other)
    reply = backend.answer(message.to_wire(), HERE, False)
    assert isinstance(reply, bytes)
    assert dns.message.from_wire(reply, keyring={other.name: other}, request_mac=message.mac).rcode() == dns.rcode.REFUSED
    wrong = backend.answer(signed("AXFR", key=dns.tsig.Key("knot.", b"x" * 32, "hmac-sha256")).to_wire(), HERE, False)
    assert isinstance(wrong, bytes) and wrong[3] & 15 == codes.NOTAUTH and backend.counters["dns_tsig_refused"] == 1


def test_a_transfer_is_a_matter_of_tcp_and_of_zones_that_are_held() -> None:
    backend, _ = server()
    assert reply_to(backend, signed("AXFR"), udp=True).rcode() == dns.rcode.REFUSED
    assert reply_to(backend, signed("AXFR", "h1.cloud.")).rcode() == dns.rcode.NOTAUTH
    assert reply_to(backend, signed("AXFR", "elsewhere.")).rcode() == dns.rcode.NOTAUTH


@pytest.mark.parametrize(("held", "whole"), [(None, True), (0, True), (1, False), (2, False), (1 << 31, False), ((1 << 31) + 2, True)])
def test_who_asks_for_changes_gets_the_zone_or_only_its_soa(held: int | None, whole: bool) -> None:
    reply = server()[0].answer(signed("IXFR", serial=held).to_wire(), HERE, False)
    assert isinstance(reply, Parts) is whole
    assert up_to_date(5, 0xFFFFFFF0) and not up_to_date(0xFFFFFFF0, 5)


def test_who_asks_for_changes_over_udp_is_shown_the_serial() -> None:
    assert [rrset.to_text() for rrset in reply_to(server()[0], signed("IXFR", serial=0), udp=True).answer] == [
        "cloud. 60 IN SOA ns1.cloud. host.cloud. 1 3600 900 604800 30"
    ]


def test_who_may_transfer_is_shown_the_serial_of_what_it_would_get() -> None:
    live, whole = Zones([parse(zone(1))]), Zones([parse(zone(2))])
    backend = Keyed(Authority(live), whole, KEYS, frozenset({NAME}), time.time)
    assert reply_to(backend, signed("SOA"), udp=True).answer[0][0].serial == 2
    assert reply_to(Keyed(Authority(live), whole, KEYS, frozenset(), time.time), signed("SOA"), udp=True).answer[0][0].serial == 1


def test_a_signed_zone_is_given_with_its_proof() -> None:
    text = zone(1) + "h1 NSEC h2 A NSEC\nh1 RRSIG A 15 2 30 20330322173103 20230320173103 2642 cloud. oJB1\n"
    (message,) = transfer(parse(text), read_query(ask(7, to_wire(from_text("cloud.")), codes.AXFR)))
    taken = {(rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype)): rrset.ttl for rrset in dns.message.from_wire(message).answer}
    assert taken["h1.cloud.", "NSEC"] and taken["h1.cloud.", "RRSIG"] == taken["h1.cloud.", "A"] == 30


def test_ordinary_queries_are_answered_with_a_signature_and_unsigned_ones_without() -> None:
    backend, _ = server()
    assert reply_to(backend, signed("SOA"), udp=True).had_tsig
    for udp in (True, False):
        assert backend.answer(ask(7, to_wire(from_text("h1.cloud.")), codes.A), HERE, udp) == Authority(Zones([parse(zone(1))])).answer(
            ask(7, to_wire(from_text("h1.cloud.")), codes.A), HERE, udp
        )


def test_malformed_signatures_are_faults_and_replies_get_silence() -> None:
    backend, _ = server()
    data = signed("SOA").to_wire()
    moved = data[:6] + b"\0\2" + data[8:10] + b"\0\0" + data[12:]  # TSIG among the answers
    for bad in (data + b"x", data[:-1], moved):
        reply = backend.answer(bad, HERE, True)
        assert isinstance(reply, bytes) and reply[3] & 15 == codes.FORMERR
    assert backend.answer(data[:2] + b"\x80" + data[3:], HERE, True) is None
    assert backend.answer(data[:11], HERE, True) is None


# -- NOTIFY


def secondary(port: int = 53) -> Secondary:
    return Secondary(from_text("cloud."), Address("127.0.0.1", port), NAME)


def test_a_secondary_is_told_until_it_answers_and_again_at_the_next_serial() -> None:
    zones = Zones([parse(zone(1))])
    at = time.time()
    machine = Notifier([secondary()], KEYS)
    ((address, first),) = machine.due(zones, 0.0, at, lambda n: b"\1" * n)
    assert machine.due(zones, FIRST - 0.1, at, lambda n: b"\2" * n) == []
    ((_, again),) = machine.due(zones, FIRST, at, lambda n: b"\3" * n)
    read = dns.message.from_wire(again, keyring={KEY.name: KEY})
    assert (read.opcode(), read.question[0].to_text()) == (dns.opcode.NOTIFY, "cloud. IN SOA")
    answer = dns.message.make_response(read)
    machine.heard(answer.to_wire()[:12] + first[12:], address, at)
    machine.heard(answer.to_wire(), Address("127.0.0.1", 54), at)
    assert machine.due(zones, 3 * FIRST, at, lambda n: b"\4" * n), "neither a forged answer nor one from elsewhere counts"
    ((_, last),) = [found for now in (7 * FIRST,) for found in machine.due(zones, now, at, lambda n: b"\5" * n)]
    machine.heard(dns.message.make_response(dns.message.from_wire(last, keyring={KEY.name: KEY})).to_wire(), address, at)
    assert machine.counters["dns_notify_heard"] == 1
    assert machine.due(zones, 1e6, at, lambda n: b"\6" * n) == []
    zones.put(parse(zone(2)))
    assert machine.due(zones, 1e6, at, lambda n: b"\7" * n)


def test_a_secondary_that_is_down_is_given_up() -> None:
    machine = Notifier([secondary()], KEYS)
    zones = Zones([parse(zone(1))])
    sent = [now for now in range(10_000) if machine.due(zones, float(now), 0.0, bytes)]
    assert len(sent) == TRIES and machine.counters["dns_notify_unheard"] == 1
    assert Notifier([secondary()], KEYS).due(Zones(), 0.0, 0.0, bytes) == [], "a zone that is not held is not told of"


# -- the judges


@asynccontextmanager
async def served(zones: Zones, secondaries: list[Secondary]) -> AsyncIterator[int]:
    """All of it on a port of loopback."""
    tcp, udp = pair()
    tcp.listen()
    world = Polite(Authority(zones), Cookies(SECRET[:16]), now=time.monotonic, at=time.time)
    keyed = Keyed(world, zones, KEYS, frozenset({NAME}), time.time)
    with tcp, udp:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_udp, udp, keyed)
            nursery.start_soon(serve_tcp, tcp, keyed)
            if secondaries:
                nursery.start_soon(notify, Notifier(secondaries, KEYS), zones, time.time)
            yield int(tcp.getsockname()[1])
            nursery.cancel_scope.cancel()


async def said(*words: str) -> str:
    with trio.fail_after(30):
        done = await trio.run_process(list(words), capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    return done.stdout.decode()


@pytest.mark.trio
@pytest.mark.parametrize("judge", ["dig", "kdig"])
async def test_stock_clients_transfer_with_the_key_and_not_without(judge: str) -> None:
    if shutil.which(judge) is None:
        pytest.skip(f"{judge} is not installed: tools/debian.sh has it")
    async with served(Zones([parse(zone(1, 2_000))]), []) as port:
        ask_it = (judge, "@127.0.0.1", "-p", str(port))
        out = await said(*ask_it, "-y", SIGNED, "cloud", "AXFR")
        assert out.count("\tA\t") + out.count(" A ") >= 2_000 and "ailed" not in out and "rror" not in out.replace("NOERROR", ""), out[-2_000:]
        assert "h1999.cloud." not in await said(*ask_it, "cloud", "AXFR")
        out = await said(*ask_it, "-y", SIGNED, "h1.cloud", "A")
        assert "10.0.0.1" in out and "NOERROR" in out and "erify" not in out, out
        out = await said(*ask_it, "-y", SIGNED.replace(SECRET64, base64.b64encode(b"x" * 32).decode()), "h1.cloud", "A")
        assert "10.0.0.1" not in out and ("BADSIG" in out or "bad signature" in out.lower()), out


KNOT = """
server:
    rundir: "{dir}"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
key:
  - id: knot
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: primary
    address: 127.0.0.1@{primary}
    key: knot
acl:
  - id: told
    key: knot
    action: notify
database:
    storage: "{dir}"
template:
  - id: default
    storage: "{dir}"
zone:
  - domain: cloud
    master: primary
    acl: told
"""


@pytest.mark.trio
async def test_a_real_secondary_takes_the_zone_and_its_changes_on_notice(tmp_path: Path) -> None:
    knotd = shutil.which("knotd") or shutil.which("/usr/sbin/knotd")
    if knotd is None:
        pytest.skip("knotd is not installed: tools/debian.sh has it")
    tcp, udp = pair()
    port = int(tcp.getsockname()[1])
    tcp.close()
    udp.close()
    zones = Zones([parse(zone(1, 2_000))])
    async with served(zones, [secondary(port)]) as primary:
        config = tmp_path / "knot.conf"
        config.write_text(KNOT.format(dir=tmp_path, port=port, primary=primary, secret=SECRET64))
        with (tmp_path / "log").open("wb") as log:
            process = await trio.lowlevel.open_process([knotd, "-c", str(config)], stderr=log)
            try:
                await until_served(port, "h1999.cloud.", "10.0.7.207", tmp_path)
                zones.put(parse(zone(2, 2_001)))
                began = trio.current_time()
                await until_served(port, "h2000.cloud.", "10.0.7.208", tmp_path)
                assert trio.current_time() - began < 30, "long before the SOA's refresh of an hour"
            finally:
                process.terminate()
                await process.wait()


async def until_served(port: int, name: str, address: str, where: Path) -> None:
    with trio.move_on_after(40):
        while True:
            out = await said("dig", "@127.0.0.1", "-p", str(port), "+short", "+tries=1", "+time=1", name, "A")
            if address in out:
                return
            await trio.sleep(0.2)
    pytest.fail(f"the secondary does not serve {name}: {(where / 'log').read_text()[-3_000:]}")
