"""The storm: clusters that join at once, look up, lose a tenth, part and heal, and a revocation (GOALS, "Directory").

Small ones, for a hundred nodes take half a minute of CPU: those, and a thousand, are run by hand (``benchmarks/thousand.py``).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from overlay.lab.crypto import NULL
from overlay.lab.scenarios import Story
from overlay.lab.scenarios import storm as tell_storm
from overlay.lab.storm import REVOKED, Storm
from overlay.lab.world import World
from tests.lab.scenes import counted, node

CLUSTERS, NODES = 3, 4


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    """A world is one heap of long-lived objects: collections would take a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def storm(seed: int, *, loss: float = 0.0) -> Storm:
    played = Storm(World(seed, crypto=NULL, loss=loss, duplicate=loss / 2), CLUSTERS, NODES)
    played.play()
    return played


def test_the_story_of_the_storm_tells_every_chapter_and_holds() -> None:
    story = Story(1)
    tell_storm(story, 3, 2)
    assert story.held, story.told
    assert len(story.told) == 8
    assert not any("FAILED" in what for _, what in story.told)


@pytest.mark.parametrize("seed", range(2))
def test_smaller_storms_come_through_over_loss_and_nobody_is_blamed_for_two_sequences(seed: int) -> None:
    played = storm(seed, loss=0.02)
    assert played.held, played.times
    assert counted([host for host in played.hosts if host.node is not None])["equivocations"] == 0


def test_a_seed_gives_the_same_storm_to_the_last_datagram_and_another_seed_another() -> None:
    first, again, other = storm(1), storm(1), storm(2)
    assert (first.times, first.world.digest) == (again.times, again.world.digest)
    assert first.world.digest != other.world.digest


def test_a_storm_whose_network_never_heals_has_not_held() -> None:
    played = Storm(World(3, crypto=NULL), 2, 2)
    played.join()
    here, there = played.hosts[:3], played.hosts[3:]
    played.world.partition(here, there)
    played.say(here[-1], "here")
    played.wait("the halves agree", lambda: played.agreed(played.hosts))
    assert played.times["the halves agree"] is None
    assert not played.held


def test_a_revoked_node_has_no_session_left_within_ten_seconds_and_gets_none_again() -> None:
    played = Storm(World(4, crypto=NULL), CLUSTERS, NODES)
    played.join()
    loser = played.hosts[-1]
    assert any(node(host).peers.by_node(loser.identity.node_id) is not None for host in played.hosts[:-1])
    played.revoke()
    took = played.times["no session stands on what was revoked"]
    assert took is not None and took <= REVOKED
    played.world.run(30.0)
    peers = [node(host).peers.by_node(loser.identity.node_id) for host in played.hosts[:-1]]
    assert not any(peer is not None and peer.admitted for peer in peers)
