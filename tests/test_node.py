"""The node: machines summed; hostile calls, proofs carried elsewhere, damaged disks, two lots (DESIGN 4; issue 2, "Bad input")."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overlay.admission.request import Request
from overlay.calling import CALL_FAILED
from overlay.errors import OverlayError
from overlay.lab.world import Host, World
from overlay.machine import Send
from overlay.name import parse_path
from overlay.node import Node
from overlay.raised import Pong
from overlay.remembered import KEPT
from overlay.session.events import Called
from overlay.setup import OWN, PASSPORT, PEERS
from overlay.wire.address import Address
from overlay.wire.messages import Method
from tests.lab.scenes import digests, enter, node, say, text


def pair(seed: int = 1, admission: str = "open") -> tuple[World, Host, Host]:
    """The founder and, openly joined, alice."""
    world = World(seed)
    founder = world.found("hq/founder", admission=admission)
    world.run(1)
    (alice,) = enter(world, "eu/home/alice")
    world.run(1)
    return world, founder, alice


def call(world: World, caller: Host, callee: Host, method: Method, body: Any) -> Any:
    """One call between two connected nodes: its answer, None where it was refused."""
    answers: list[Any] = []
    peer = node(caller).peers.by_exchange(callee.identity.exchange_public)
    assert peer is not None

    def act(one: Node, at: float) -> None:
        one.calling.call(peer.session, method, body, lambda answer, now, at: answers.append(answer), world.now)

    world.do(caller, act)
    world.run(0.5)
    return answers[0] if answers else "nothing"


# -- hostile calls


def test_what_a_peer_says_when_it_refuses_makes_no_counter() -> None:
    world, founder, alice = pair()
    liar = node(founder)
    liar._handlers[Called] = lambda event, now, at: liar.sessions.refuse(event.session, event.ticket, f"no. {event.ticket}", now)
    before = node(alice).counters["call-failed:refused"]
    for _ in range(5):
        call(world, alice, founder, Method.WAYS, {})
    assert node(alice).counters["call-failed:refused"] >= before + 5
    counted = {key.partition(":")[2] for key in node(alice).counters if key.startswith("call-failed:")}
    assert counted <= CALL_FAILED | {"refused"}


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**63) | st.binary(max_size=40) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 5), inner, max_size=4).map(lambda d: dict(sorted(d.items()))),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def couple() -> tuple[World, Host, Host]:
    return pair()


@pytest.mark.parametrize("method", [m for m in Method if m is not Method.ADMIT], ids=lambda m: m.name)
def test_a_call_with_any_body_is_answered_or_refused_and_both_live_on(couple: tuple[World, Host, Host], method: Method) -> None:
    world, founder, alice = couple
    held = len(node(founder).book)

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(values)
    def calls(body: Any) -> None:
        assert call(world, alice, founder, method, body) != "nothing"

    calls()
    assert len(node(founder).book) == held
    assert len(node(founder).peers.admitted()) == len(node(alice).peers.admitted()) == 1


def test_what_was_malformed_is_counted_by_its_rule() -> None:
    world, founder, alice = pair()
    assert call(world, alice, founder, Method.PUSH, {1: [b"junk"]}) is None
    assert call(world, alice, founder, Method.ENROL, {}) is None
    assert call(world, alice, founder, Method.WATCH, {1: "//", 2: b""}) is None
    counted = {reason for reason, times in node(founder).counters.items() if times and reason.startswith("drop:")}
    assert len(counted) == 3, counted


def test_a_request_to_join_replayed_in_another_session_is_refused_and_changes_nothing() -> None:
    world, founder, alice = pair()
    (bob,) = enter(world, "us/office/bob")
    peer = node(alice).peers.by_exchange(founder.identity.exchange_public)
    assert peer is not None
    request = Request(label="evil", cluster=parse_path("asia/lab"), node_id=alice.identity.node_id)
    body = request.body(alice.identity, peer.handshake_hash, None)
    held = len(node(founder).book)
    assert call(world, bob, founder, Method.ENROL, body) is None
    assert node(founder).counters["drop:enrol-proof"] == 1
    assert len(node(founder).book) == held
    assert call(world, alice, founder, Method.ENROL, body) is not None, "in its own session it holds"


def test_a_session_that_is_not_admitted_gets_no_table() -> None:
    world = World(3)
    founder = world.found("hq/founder", admission="invite")
    world.run(1)
    stranger = world.join("eu/home/stranger")
    world.run(2)
    peer = node(stranger).peers.by_exchange(founder.identity.exchange_public)
    assert peer is not None and not peer.admitted
    for method, body in ((Method.SUMMARY, {}), (Method.FETCH, {1: []}), (Method.PUSH, {1: []})):
        assert call(world, stranger, founder, method, body) == "nothing", method
    counters = node(founder).sessions.counters
    assert counters["drop:grade"] + counters["calls_held"] > 0, counters


def test_who_copies_a_passport_and_not_the_key_is_nobody() -> None:
    world, founder, alice = pair()
    thief = world.host("thief")
    thief.disk = {table: dict(rows) for table, rows in alice.disk.items()}
    with pytest.raises(OverlayError):
        world.start(thief)


def test_a_clone_of_a_machine_is_noticed_and_kept_out_by_its_twin() -> None:
    world, founder, alice = pair()
    clone = world.host("clone")
    clone.identity, clone.disk = alice.identity, {table: dict(rows) for table, rows in alice.disk.items()}
    world.start(clone)
    world.run(30)
    assert {h.name for h in (alice, clone) if h.node is not None and h.node.peers.admitted()} != set(), "one of them goes on"
    assert len(node(founder).peers.admitted()) == 1


# -- disks


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x90", b"\x91\xc4\x04junk"])
def test_a_damaged_passport_on_the_disk_is_an_error_in_words_and_no_traceback(damage: bytes) -> None:
    world, _, alice = pair()
    world.stop(alice)
    alice.disk[OWN][PASSPORT] = damage
    with pytest.raises(OverlayError) as error:
        world.start(alice)
    assert error.value.what


@pytest.mark.parametrize("table", ["peers", "records", "services", "invites"])
def test_damage_elsewhere_on_the_disk_is_counted_and_the_node_runs(table: str) -> None:
    world, founder, alice = pair()
    world.stop(alice)
    alice.disk.setdefault(table, {})[b"\xff broken" if table != "services" else b"broken|tcp"] = b"\xc1" if table != "invites" else b"1"
    world.start(alice)
    world.run(40)
    assert len(digests([founder, alice])) == 1
    assert table == "invites" or sum(node(alice).counters.values()) + node(alice).book.counters["drop:stored-record"] >= 1


def test_a_passport_that_passed_its_date_is_bound_anew_at_the_next_start() -> None:
    world, founder, alice = pair()
    world.stop(alice)
    before = alice.disk[OWN][PASSPORT]
    for host in (alice, founder):
        host.clock_offset = 29 * 86_400.0
    world.start(alice)
    assert world.run_until(lambda: world.joined(alice), 20) is not None
    assert alice.disk[OWN][PASSPORT] == before, "29 days are within a binding's year"


def test_remembered_peers_are_bounded_on_the_disk_and_in_memory() -> None:
    world, founder, _ = pair()
    one = node(founder)
    for number in range(KEPT + 10):
        one.keep(*one.remembered.reached(number.to_bytes(32, "big"), (Address("203.0.113.200", 7653),)))
    world.do(founder, lambda node, at: None)
    assert len(founder.disk[PEERS]) == KEPT
    one.remembered.try_at = world.now
    assert len(one.remembered.due(world.now)) == KEPT


# -- two lots


def test_what_a_step_shows_the_world_comes_after_what_it_stores() -> None:
    world, founder, alice = pair()
    one = node(alice)
    one.publish(one.statements.data(parse_path("eu/home/motd"), "TXT", ("x",), 30, world.at(alice)), world.at(alice))
    step = one.take(world.now, world.at(alice))
    raws = [store.value for store in step.first]
    assert any(isinstance(effect, Send) for effect in step.then)
    assert any(raw is not None and b"motd" in raw for raw in raws)
    assert not one.take(world.now, world.at(alice)), "said once"


def test_a_ping_tells_the_round_trip_and_a_lost_one_says_so() -> None:
    world, founder, alice = pair()
    peer = node(alice).peers.admitted()[0]
    tickets = []
    world.do(alice, lambda one, at: tickets.append(one.ping(peer, world.now)))
    world.run(1)
    (pong,) = [event for event in alice.events if isinstance(event, Pong) and event.ticket == tickets[0]]
    assert pong.rtt is not None and 0.02 <= pong.rtt <= 0.13
    world.crash(founder)
    world.do(alice, lambda one, at: tickets.append(one.ping(peer, world.now)))
    world.run(20)
    (pong,) = [event for event in alice.events if isinstance(event, Pong) and event.ticket == tickets[1]]
    assert pong.rtt is None


def test_between_two_sessions_to_one_node_one_is_kept() -> None:
    world, founder, alice = pair()
    (bob,) = enter(world, "us/office/bob")
    for one, other in ((alice, bob), (bob, alice)):
        world.do(one, lambda n, at, other=other: n.dial(other.identity.exchange_public, [Address(other.address, 7653)], world.now, at))  # type: ignore[misc]
    world.run(5)
    for host in (founder, alice, bob):
        ids = [p.passport.node_id for p in node(host).peers.admitted() if p.passport]
        assert len(ids) == len(set(ids)) == 2
    say(world, alice, "eu/home/motd", "x")
    world.run(1)
    assert text(bob, "eu/home/motd") == ("x",)


def test_a_node_that_goes_away_before_it_was_asked_for_its_passport_was_not_rejected() -> None:
    world, founder, alice = pair()
    world.stop(founder)
    world.run(1)
    world.start(founder)
    assert world.run_until(lambda: bool(node(alice).peers.peers) and not node(alice).peers.admitted(), 20, 0.001) is not None
    world.crash(founder)  # the session is up, and nothing more
    world.run(5)
    world.start(founder)
    assert world.run_until(lambda: bool(node(alice).peers.admitted()), 20) is not None
    assert alice.logs["peer-rejected"] == 0
    assert not node(alice).peers.counters
