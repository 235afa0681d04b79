"""What a machine of the lab is: a processor that does one thing after the other, a disk that takes its time, sleep (DESIGN 4)."""

from __future__ import annotations

import pytest

from overlay.lab.crypto import NULL, REAL, Crypto
from overlay.lab.host import Host, Power
from overlay.lab.price import Price
from overlay.lab.world import World
from overlay.wire.address import Address, Way
from tests.lab.scenes import digests, enter, node, say, text


def couple(**how: float) -> tuple[World, Host, Host]:
    world = World(1, price=Price(**how))  # type: ignore[arg-type]
    founder = world.found("hq/founder")
    world.run(1)
    (alice,) = enter(world, "eu/home/alice")
    world.run(2)
    return world, founder, alice


def flood(world: World, host: Host, datagrams: int) -> None:
    """Junk that arrives at one instant."""
    way = Way("udp", Address("203.0.113.9", 9), host.address)
    for _ in range(datagrams):
        world._arrive(host, b"\x04junk", way)


# -- the processor


def test_a_host_handles_one_datagram_after_the_other_at_its_price() -> None:
    world, founder, _ = couple(message=1e-3)
    before = world.counters["delivered"]
    flood(world, founder, 100)
    world.run(0.05)
    assert 45 <= world.counters["delivered"] - before <= 55, "50 ms at 1 ms each"
    world.run(0.06)
    assert world.counters["delivered"] - before >= 100


def test_what_finds_200_datagrams_waiting_is_lost_and_counted() -> None:
    world, founder, _ = couple()
    flood(world, founder, 1_000)
    handled_at_once = round(1e-3 / world.price.message)
    assert world.counters["queue-full"] == founder.counters["queue-full"] == 1_000 - 200 - handled_at_once
    world.run(1)
    assert not founder.queue


def test_handshakes_and_fresh_signatures_keep_a_processor_busy() -> None:
    quick, slow = (World(2, price=Price(handshake=h, verify=v, message=0.0)) for h, v in ((0.0, 0.0), (0.1, 0.1)))
    took = []
    for world in (quick, slow):
        world.found("hq/founder")
        world.run(1)
        host = world.join("eu/home/alice")
        took.append(world.run_until(lambda world=world, host=host: world.joined(host), 30, 0.01))  # type: ignore[misc]
    assert took[0] is not None and took[1] is not None
    assert took[1] > took[0] + 0.5, "two sides of a handshake and some signatures at 0.1 s each"


def test_an_overloaded_node_recovers_and_loses_nobody() -> None:
    world, founder, alice = couple()
    for _ in range(50):
        flood(world, founder, 400)
        world.run(0.1)
    say(world, alice, "eu/home/alice/motd", "still here")
    assert world.run_until(lambda: text(founder, "eu/home/alice/motd") == ("still here",), 10) is not None


# -- stalls and sleep


def test_a_stalled_machine_goes_on_where_it_was_and_its_sessions_with_it() -> None:
    world, founder, alice = couple()
    session = node(alice).peers.admitted()[0].session
    world.power(alice, Power.STALLED)
    say(world, founder, "hq/motd", "meanwhile")
    world.run(2)
    assert text(alice, "hq/motd") is None
    world.power(alice, Power.RUNNING)
    assert world.run_until(lambda: text(alice, "hq/motd") == ("meanwhile",), 1, 0.01) is not None
    assert [peer.session for peer in node(alice).peers.admitted()] == [session]


def test_a_machine_that_slept_an_hour_is_back_within_seconds() -> None:
    world, founder, alice = couple()
    world.power(alice, Power.SUSPENDED)
    world.run(3)
    say(world, founder, "hq/motd", "meanwhile")
    world.run(3600)
    world.power(alice, Power.RUNNING)
    assert world.run_until(lambda: text(alice, "hq/motd") == ("meanwhile",), 40) is not None
    say(world, alice, "eu/home/alice/motd", "awake")
    assert world.run_until(lambda: text(founder, "eu/home/alice/motd") == ("awake",), 40) is not None


# -- the disk


def test_what_a_person_did_is_acknowledged_when_it_is_on_disk_and_told_to_nobody_before() -> None:
    world = World(3, commit=(0.5, 0.5))
    founder = world.found("hq/founder")
    world.run(2)
    (alice,) = enter(world, "eu/home/alice")
    world.run(10)
    told: list[float] = []
    begun = world.now
    say(world, alice, "eu/home/alice/motd", "slowly", done=lambda: told.append(world.now))
    world.run(0.49)
    assert not told and text(founder, "eu/home/alice/motd") is None
    world.run(0.3)
    assert told == [begun + 0.5] and text(founder, "eu/home/alice/motd") == ("slowly",)


def test_a_crash_loses_what_was_not_committed_and_nothing_else() -> None:
    world = World(4, commit=(0.5, 0.5))
    world.found("hq/founder")
    world.run(2)
    (alice,) = enter(world, "eu/home/alice")
    world.run(10)
    say(world, alice, "eu/home/alice/motd", "kept")
    world.run(1)
    say(world, alice, "eu/home/alice/motd", "in flight")
    say(world, alice, "eu/home/alice/motd", "behind it")
    world.crash(alice)
    world.start(alice)
    assert text(alice, "eu/home/alice/motd") in {("kept",), ("in flight",)}, "a lot under way may have reached the disk"


# -- crypto that costs nothing


def life(crypto: Crypto, seed: int, clusters: int = 6, nodes: int = 18) -> tuple[list[int], World]:
    """Half a minute of a world with loss, a crash, a partition: what each host met, as instants and sizes."""
    world = World(seed, loss=0.02, duplicate=0.01, crypto=crypto, small=4)
    founder = world.found("hq/founder")
    world.run(1)
    hosts = [founder, *(world.join(f"r/c{n % clusters}/n{n}") for n in range(nodes))]
    world.run(8)
    say(world, hosts[3], f"{hosts[3].name}/motd", "hello")
    world.crash(hosts[5])
    world.partition(hosts[:8], hosts[8:])
    world.run(8)
    world.start(hosts[5])
    world.network.heal()
    world.run(20)
    return [host.shape for host in hosts], world


@pytest.mark.parametrize("seed", [1, 2])
def test_a_world_on_null_crypto_sees_datagrams_of_the_same_sizes_at_the_same_instants(seed: int) -> None:
    real, world = life(REAL, seed)
    null, other = life(NULL, seed)
    assert real == null
    assert world.counters == other.counters
    assert world.digest != other.digest
    assert len(digests(world.hosts.values())) == len(digests(other.hosts.values()))


def test_null_crypto_refuses_what_was_made_under_another_key() -> None:
    mine, other = NULL.signer(bytes(32)), NULL.signer(bytes([1]) * 32)
    assert NULL.verifier(mine.public, mine.sign(b"x"), b"x")
    assert not NULL.verifier(other.public, mine.sign(b"x"), b"x")
    assert not NULL.verifier(mine.public, mine.sign(b"x"), b"y")
    assert mine.public == REAL.signer(bytes(32)).public
    a, b = NULL.suite.ephemeral(b"a" * 32), NULL.suite.ephemeral(b"b" * 32)
    assert a.exchange(b.public) == b.exchange(a.public) != a.exchange(a.public)
