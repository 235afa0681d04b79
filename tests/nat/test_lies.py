"""What a lying, broken or hostile router, or a stranger in its name, can make the port mapper do: nothing beyond its bounds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.nat import pcp
from overlay.nat.outputs import Fetch, Mapped, SendTo, Unmapped
from overlay.nat.portmap import PortMaps
from overlay.nat.wanted import LONGEST
from overlay.wire.address import Address
from tests.nat.gateway import ROUTER, Lan, Router
from tests.nat.test_upnp import found

OWN = "192.168.1.2"
SERVER = Address(ROUTER, 5351)


def only(word: str, **more: object) -> Lan:
    net = Lan(Router(speaks={word}, **more))  # type: ignore[arg-type]
    net.client().want(7653, "udp", net.now)
    return net


@pytest.mark.parametrize("word", ["pcp", "nat-pmp"])
def test_another_port_than_asked_for_is_what_is_told_as_a_candidate(word: str) -> None:
    net = only(word, give=lambda asked: 40_001)
    net.run(10_000)
    assert {(out.external_port, out.proved) for _, out in net.told[OWN] if isinstance(out, Mapped)} == {(40_001, False)}


@pytest.mark.parametrize("word", ["pcp", "nat-pmp"])
def test_a_life_without_end_is_believed_for_a_day(word: str) -> None:
    net = only(word, lease=lambda asked: 2**32 - 1)
    net.run(1)
    assert net.mapped().expires <= net.now + LONGEST
    net.run(LONGEST)
    assert len(net.told[OWN]) >= 2, "and renewed as if it was one"


@pytest.mark.parametrize("word", ["pcp", "nat-pmp"])
@pytest.mark.parametrize("life", [0, 1, 7])
def test_a_life_too_short_to_keep_is_no_mapping_and_does_not_hurry_us(word: str, life: int) -> None:
    net = only(word, lease=lambda asked: life)
    net.run(3600)
    assert not any(isinstance(out, Mapped) for _, out in net.told[OWN])
    assert net.sent < 200


def test_a_short_life_is_kept_with_a_bounded_number_of_renewals() -> None:
    net = only("pcp", lease=lambda asked: 8)
    net.run(800)
    assert isinstance(net.last(), Mapped) and net.sent <= 800 / 4 + 800 / 26 + 20


@pytest.mark.parametrize("word", ["pcp", "nat-pmp"])
def test_an_epoch_that_always_starts_anew_costs_two_questions_a_look(word: str) -> None:
    net = only(word)
    net.router.epoch = lambda now: Random(now).randrange(2**32)  # type: ignore[method-assign]
    net.run(3600)
    assert net.sent < 3600 / 26 * 2 + 40


def test_a_soap_server_that_never_makes_sense_is_not_asked_without_end() -> None:
    net = only("upnp", soap_broken=True)
    net.run(36_000)
    assert not any(isinstance(out, Mapped) for _, out in net.told[OWN])
    assert net.sent < 500


def test_a_soap_server_that_breaks_later_loses_the_mapping_at_its_end() -> None:
    net = only("upnp")
    net.run(100)
    net.router.soap_broken = True
    before = net.sent
    net.run(8_000)
    assert isinstance(net.last(), Unmapped)
    assert net.sent - before < 8_000 / 15 * 5
    net.router.soap_broken = False
    net.run(3_600)
    assert isinstance(net.last(), Mapped)


@pytest.mark.parametrize("elsewhere", ["http://192.168.1.66:80/x", "http://127.0.0.1:8053/status", "http://192.168.1.1@10.0.0.1/"])
def test_a_place_elsewhere_is_not_fetched(elsewhere: str) -> None:
    net = only("upnp", location=elsewhere)
    net.run(60)
    assert net.clients[OWN].counters["drop:upnp-elsewhere"] and not [word for _, word in net.router.heard if word == "http"]


def test_a_mapping_that_another_one_took_over_is_made_anew_at_another_port() -> None:
    net = only("upnp")
    net.run(1)
    net.router.table["udp", 7653].client = "192.168.1.66"
    net.run(70)
    assert net.mapped().external_port != 7653
    assert net.router.table["udp", 7653].client == "192.168.1.66"


def test_where_all_ports_are_taken_few_are_tried() -> None:
    net = Lan(Router(speaks={"upnp"}))
    net.router.http = lambda client, request, now, real=net.router.http: (  # type: ignore[method-assign, misc]
        real("192.168.1.66", request, now) if b"AddPort" not in request.body else (500, b"<a><Fault><errorCode>718</errorCode></Fault></a>")
    )
    machine = net.client()
    machine.want(7653, "udp", net.now)
    net.run(10)
    assert net.last() == Unmapped("udp", 7653, "refused") and machine.counters["portmap_crowded"] == 1
    assert len([1 for _, word in net.router.heard if word == "http"]) <= 2 * limits.PORTMAP_PORTS + 3


# -- strangers

def asked(machine: PortMaps) -> bytes:
    """The last request for a mapping in PCP."""
    return [out.data for out in machine.take() if isinstance(out, SendTo) and out.data[:2] == b"\x02\x01"][-1]


def machine_at_map() -> tuple[PortMaps, bytes]:
    machine = PortMaps(Random(1).randbytes, 0.0, secret=b"s")
    machine.router(ROUTER, OWN, 0.0)
    machine.want(7653, "udp", 0.0)
    machine.receive(SERVER, bytes((2, 0x80, 0, 0)) + bytes(20), 0.01)
    return machine, asked(machine)


def granted(request: bytes, *, nonce: bytes = b"") -> bytes:
    body = request[24:]
    return bytes((2, 0x81, 0, 0)) + request[4:8] + bytes(16) + (nonce or body[:12]) + body[12:20] + bytes(10) + b"\xff\xff\xcb\x00\x71\x07"


@pytest.mark.parametrize(
    ("source", "counter"),
    [
        (Address("192.168.1.66", 5351), "drop:portmap-stranger"),
        (Address(OWN, 5351), "drop:portmap-stranger"),
        (Address(ROUTER, 5350), "drop:ssdp-form"),
        (Address(ROUTER, 53), "drop:ssdp-form"),
    ],
)
def test_only_the_router_at_its_own_port_is_listened_to(source: Address, counter: str) -> None:
    machine, request = machine_at_map()
    machine.receive(source, granted(request), 0.02)
    assert machine.take() == [] and machine.counters[counter if "stranger" in counter else "drop:portmap-unasked"] == 1
    machine.receive(SERVER, granted(request), 0.03)
    assert any(isinstance(out, Mapped) for out in machine.take())


def test_an_answer_without_our_nonce_or_without_our_question_counts_for_nothing() -> None:
    machine, request = machine_at_map()
    machine.receive(SERVER, granted(request, nonce=b"n" * 12), 0.02)
    assert machine.take() == [] and machine.counters["drop:pcp-nonce"] == 1
    machine.receive(SERVER, granted(request), 0.03)
    assert len(machine.take()) == 1
    machine.receive(SERVER, granted(request), 0.04)
    machine.receive(SERVER, bytes((2, 0x80, 0, 0)) + bytes(20), 0.05)
    assert machine.take() == [] and machine.counters["drop:portmap-unasked"] == 2, "the same twice is nothing"


def test_nonces_differ_by_port_router_and_secret_and_outlive_a_restart() -> None:
    def nonce(router: str, secret: bytes, port: int) -> bytes:
        machine = PortMaps(Random(1).randbytes, 0.0, secret=secret)
        machine.router(router, OWN, 0.0)
        machine.want(port, "udp", 0.0)
        machine.receive(Address(router, 5351), bytes((2, 0x80, 0, 0)) + bytes(20), 0.01)
        return asked(machine)[24:36]

    one = nonce(ROUTER, b"s", 7653)
    assert one == nonce(ROUTER, b"s", 7653)
    assert len({one, nonce("192.168.1.254", b"s", 7653), nonce(ROUTER, b"t", 7653), nonce(ROUTER, b"s", 7654)}) == 4


def test_a_flood_of_announcements_makes_a_bounded_number_of_looks() -> None:
    net = only("pcp")
    net.run(100)
    before, machine = net.sent, net.clients[OWN]
    for _ in range(6_000):
        for _ in range(10):
            machine.announced(SERVER, net.now)
            machine.announced(Address("192.168.1.66", 5351), net.now)
        net.run(0.1)
    net.run(1)
    assert net.sent - before < limits.PORTMAP_DOUBTS * 11 * 2 + 600 / 26 + 20
    assert machine.counters["drop:portmap-doubt"] > 50_000


def test_answers_to_a_search_are_looked_up_a_few_times_a_round_and_one_at_a_time() -> None:
    machine = PortMaps(Random(1).randbytes, 0.0)
    machine.router(ROUTER, OWN, 0.0)
    machine.want(7653, "udp", 0.0)
    fetches: list[Fetch] = []
    for number in range(100):
        machine.receive(Address(ROUTER, 1900), found(f"http://{ROUTER}/{number}"), 0.01)
        new = [out for out in machine.take() if isinstance(out, Fetch)]
        fetches += new
        for one in new:
            machine.http_done(one.ticket, 200, b"oops", 0.01)
    assert len(fetches) == 4


def test_an_answer_to_no_request_of_http_counts_for_nothing() -> None:
    net = only("upnp")
    net.run(10)
    machine = net.clients[OWN]
    for ticket in range(-1, 50):
        machine.http_done(ticket, 200, b"<root/>", net.now)
    assert machine.take() == [] and machine.counters["drop:portmap-unasked"] == 51


def test_what_was_meant_for_one_router_does_not_go_to_the_next() -> None:
    machine, _ = machine_at_map()
    machine.want(7654, "udp", 0.1)
    machine.router("192.168.1.254", OWN, 0.1)
    sent = [out.address.host for out in machine.take() if isinstance(out, SendTo)]
    assert sent and ROUTER not in sent


# -- anything in any order

STEPS = st.lists(
    st.tuples(st.sampled_from(["power", "lie", "http-lie", "announce", "pass", "want", "drop", "router", "repeat"]), st.integers(0, 2**32 - 1)),
    max_size=60,
)
SPOKEN = st.sampled_from([{"pcp"}, {"nat-pmp"}, {"upnp"}, {"pcp", "nat-pmp", "upnp"}])


@settings(max_examples=60)
@given(STEPS, SPOKEN)
def test_whatever_is_said_in_whatever_order_the_machine_goes_on_within_its_bounds(steps: list[tuple[str, int]], speaks: set[str]) -> None:
    net = Lan(Router(speaks=set(speaks)))
    machine = net.client()
    machine.want(7653, "udp", net.now)
    for kind, number in steps:
        dice = Random(number)
        port = 7653 + dice.randrange(3)
        match kind:
            case "lie":
                head = dice.choice([b"\x02\x81\x00\x00", b"\x02\x80\x00\x00", b"\x00\x80\x00\x00", b"\x00\x81\x00\x00", b""])
                machine.receive(Address(ROUTER, dice.choice([5351, 1900])), head + dice.randbytes(dice.choice([4, 8, 12, 20, 56])), net.now)
            case "repeat":
                machine.receive(SERVER, net.router.pcp(OWN, pcp.announce(OWN), net.now), net.now)
            case "http-lie":
                machine.http_done(dice.randrange(20), dice.choice([0, 200, 500]), b"<a></a>", net.now)
            case "announce":
                machine.announced(SERVER, net.now)
            case "want":
                machine.want(port, "udp", net.now)
            case "drop":
                machine.drop(port, "udp", net.now)
            case "router":
                machine.router(*dice.choice([(ROUTER, OWN), (None, None)]), net.now)
            case "power":
                net.router.up = not net.router.up
            case "pass":
                net.run(dice.choice([0.01, 0.3, 5, 700]))
    machine.router(ROUTER, OWN, net.now)
    machine.want(7653, "udp", net.now)
    net.router.up = True
    net.run(2)
    net.announce()
    before = net.sent
    net.run(2 * limits.PORTMAP_REST)
    assert net.sent - before < 2_000
    assert isinstance(net.last(), Mapped), "an honest router is heard in the end"
