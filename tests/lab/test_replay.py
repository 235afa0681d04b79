"""A recording of the flight recorder leads a fresh node to the same exception, or to the same state (DESIGN 3.13; decision 12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from overlay import acts, limits
from overlay.cluster.links import Link
from overlay.driver.recorder import Recorded, act
from overlay.errors import TrustError, UsageError
from overlay.identity.keys import Identity
from overlay.lab.replay import read, replay
from overlay.lab.world import Host, World
from overlay.name import parse_path
from overlay.records import rights
from overlay.session import frames
from overlay.statements import Service
from tests.lab.scenes import invite, node


@pytest.fixture(autouse=True)
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay.lab.world.Node", Recorded)


def recorded(host: Host) -> Recorded:
    one = node(host)
    assert isinstance(one, Recorded)
    return one


def village(admission: str = "open") -> tuple[World, Host, Host, Host]:
    world = World(3, loss=0.02, duplicate=0.02)
    founder = world.found("hq/founder", admission=admission)
    world.run(1)
    seed = invite(world, founder, "eu/home", uses=2) if admission == "invite" else None
    alice, bob = (world.join(name, seed=seed) for name in ("eu/home/alice", "us/office/bob" if seed is None else "eu/home/bob"))
    assert world.run_until(lambda: world.joined(alice) and world.joined(bob), 60) is not None
    return world, founder, alice, bob


def lived(world: World, host: Host, other: Host) -> None:
    """A bit of everything that may be asked of a node."""
    service = Service(name=parse_path("eu/home/alice/www"), proto="tcp", port=80, addresses=("192.0.2.1",), health="tcp")
    wanted = acts.Given(path=parse_path("eu/home/x"), subject=other.identity.node_id, rights=frozenset({rights.MEMBER}), life=86_400)

    def ask(what: Any, *args: Any) -> None:
        def carried(one: Any, at: float) -> None:
            act(one, what, *args, at)

        world.do(host, carried)
        world.run(0.5)

    ask(acts.add_service, service)
    ask(acts.set_data, parse_path("eu/home/alice/motd"), "TXT", ("hello", "world"), 30)
    world.do(host, lambda one, at: act(one, acts.health, service.name, "tcp", True))
    with pytest.raises(TrustError):
        ask(acts.set_data, parse_path("hq/nothing-of-ours"), "TXT", ("no",), 30)
    ask(acts.grant, wanted)
    ask(acts.invite, None, 1, 3_600, bytes(32))
    ask(acts.remove_service, service)
    world.do(host, lambda one, at: one.interfaces(["192.0.2.7", host.address], [Link("eth0", 2, "192.0.2.7", 24)]))
    world.do(host, lambda one, at: one.ping(one.peers.admitted()[0], world.now) and None)


def test_a_recording_leads_a_fresh_node_from_the_same_disk_to_the_same_state() -> None:
    world, founder, alice, bob = village()
    lived(world, alice, bob)
    world.crash(bob)
    world.run(40)
    for host in (founder, alice):
        flight = read(recorded(host).recording())
        assert flight.whole
        assert flight.error is None
        played = replay(flight, host.identity)
        assert played.same, played
        assert played.steps > 50
        assert not played.diverged


def test_after_a_restart_the_recording_begins_with_the_disk_as_it_was_then() -> None:
    world, _, alice, bob = village()
    lived(world, alice, bob)
    world.crash(alice)
    world.start(alice)
    world.run(20)
    flight = read(recorded(alice).recording())
    assert flight.head["stored"]["own"]
    assert replay(flight, alice.identity).same


def planted(message: str) -> Any:
    """A fault in the middle of a machine: a word in a peer's call makes it stumble."""
    decoded = frames.decoded

    def stumble(plaintext: bytes) -> Any:
        if b"stumble" in plaintext:
            raise ZeroDivisionError(message)
        return decoded(plaintext)

    return stumble


def crashed(monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, Host]:
    """A node that a peer's call brought down, and what its recorder wrote on the way."""
    monkeypatch.setattr("overlay.session.machine.decoded", planted("of the whole by the sum of its parts"))
    world, founder, alice, bob = village()
    lived(world, alice, bob)
    written: list[tuple[bytes, Host]] = []
    for host in (founder, bob):
        recorded(host).crashed = lambda one, host=host: written.append((one.recording(), host))  # type: ignore[misc]
    world.do(alice, lambda one, at: act(one, acts.set_data, parse_path("eu/home/alice/trap"), "TXT", ("stumble",), 30, at))
    with pytest.raises(ZeroDivisionError):
        world.run(60)
    (first,) = written
    return first


def test_a_crash_is_recorded_and_its_replay_meets_the_same_exception_at_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    recording, host = crashed(monkeypatch)
    flight = read(recording)
    assert flight.error is not None
    assert (flight.error["kind"], flight.error["text"]) == ("ZeroDivisionError", "of the whole by the sum of its parts")
    played = replay(flight, host.identity)
    assert played.same
    assert played.error is not None
    assert played.error["where"] == flight.error["where"] == "test_replay.py: stumble"
    assert "machine.py" in played.error["trace"]


def test_with_the_fault_mended_the_replay_goes_on_and_says_that_it_is_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        recording, host = crashed(patched)
    played = replay(read(recording), host.identity)
    assert played.error is None
    assert not played.same


def test_a_newcomer_with_a_token_is_played_again_without_the_tokens_key() -> None:
    world, founder, alice, _ = village("invite")
    recording = recorded(alice).recording()
    assert replay(read(recording), alice.identity).same
    for secret in private_keys(world, founder, alice):
        assert secret not in recording


def private_keys(world: World, *hosts: Host) -> Iterator[bytes]:
    for host in hosts:
        yield host.identity.secret
        yield host.identity.exchange.private_bytes_raw()
        yield host.identity.signer.private.private_bytes_raw()  # type: ignore[attr-defined]


def test_the_ring_is_bounded_and_a_recording_without_its_beginning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FLIGHT", 20_000)
    world, _, alice, bob = village()
    lived(world, alice, bob)
    world.run(60)
    one = recorded(alice)
    assert one._octets <= 20_000
    assert one.counters["flight_forgotten"] == one.forgotten > 0
    flight = read(one.recording())
    assert not flight.whole
    played = replay(flight, alice.identity)
    assert (played.error, played.same, played.whole) == (None, False, False)
    assert played.steps > 10


def test_what_is_no_recording_or_not_of_this_node_is_refused() -> None:
    _, _, alice, bob = village()
    recording = recorded(alice).recording()
    for wrong in (b"", b"overlay flight 1\n", recording[:-1], recording[1:], recording + b"\x00", recording[:99] + b"?" + recording[100:]):
        with pytest.raises(UsageError):
            read(wrong)
    with pytest.raises(UsageError):
        replay(read(recording), bob.identity)
    with pytest.raises(UsageError):
        replay(read(recording), Identity.from_secret(bytes(32)))
