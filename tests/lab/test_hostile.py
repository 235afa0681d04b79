"""A fifth of the members are hostile: they were let in, they stand in the table, and they lie (GOALS, "Directory").

Forty clusters of one node; zones are kept by their gateway and three custodians. Good nodes look up zones of other good
nodes, cold; what counts is the current content, within seconds. One story, told as chapters; it runs once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from overlay.lab.crypto import NULL
from overlay.lab.world import Host, World
from overlay.name import parse_path
from tests.lab.hostile import KINDS, path_of, turn
from tests.lab.scenes import node, say, text

CLUSTERS = 40
SHARE = 0.2
SECONDS = 5.0  # virtual
LOOKUPS = 300
GONE = 6  # owners that crash: their zones live on at custodians


@dataclass
class Story:
    """What happened: look-ups that were right, how long they took, what went wrong."""

    world: World
    good: list[Host] = field(default_factory=list)
    bad: list[Host] = field(default_factory=list)
    times: dict[str, list[float | None]] = field(default_factory=dict)

    def right(self, chapter: str) -> float:
        times = self.times[chapter]
        return sum(time is not None for time in times) / len(times)


def look_up(story: Story, chapter: str, asked: list[tuple[Host, Host]], word: str) -> None:
    """Everybody asks at once; each is right when it sees that word, which the owner says now."""
    world = story.world
    begin = world.now
    found: dict[int, float] = {}
    for reader, owner in asked:
        watch(world, reader, path_of(owner))
    while world.now < begin + SECONDS and len(found) < len(asked):
        world.run(0.1)
        for number, (reader, owner) in enumerate(asked):
            if number not in found and text(reader, f"{path_of(owner)}/motd") == (f"{owner.name} {word}",):
                found[number] = world.now - begin
    story.times[chapter] = [found.get(number) for number in range(len(asked))]


def watch(world: World, host: Host, path: str) -> None:
    directory = node(host).directory
    assert directory is not None
    world.do(host, lambda one, at: None if directory.watch(parse_path(path), world.now) else None)


def cold(story: Story, count: int, owners: list[Host]) -> list[tuple[Host, Host]]:
    """Pairs of a reader and an owner whose zone the reader does not hold."""
    pairs: dict[tuple[str, str], tuple[Host, Host]] = {}
    up = [host for host in story.good if host.node is not None]
    for _ in range(50 * count):
        reader, owner = story.world.dice.choice(up), story.world.dice.choice(owners)
        directory = node(reader).directory
        assert directory is not None
        if len(pairs) < count and not directory.holdings.holds(parse_path(path_of(owner))):
            pairs[reader.name, owner.name] = (reader, owner)
    return list(pairs.values())


def tell(story: Story, owners: list[Host], word: str) -> None:
    """The owners say something else from now on."""
    for host in owners:
        say(story.world, host, f"{path_of(host)}/motd", f"{host.name} {word}")


@pytest.fixture(scope="module")
def story() -> Story:
    world = World(7, small=2, crypto=NULL)
    hosts = [world.found("hq/founder")]
    world.run(1)
    for number in range(1, CLUSTERS):
        hosts.append(world.join(f"r{number % 6}/c{number}/n"))
        world.run(0.1)
    assert world.run_until(lambda: all(map(world.joined, hosts)), 60) is not None
    tale = Story(world)
    tell(tale, hosts, "once")
    world.run(SECONDS)
    tale.bad = hosts[1 :: round(1 / SHARE)]
    tale.good = [host for host in hosts if host not in tale.bad]
    for number, host in enumerate(tale.bad):
        turn(world, host, KINDS[number % len(KINDS)])
    world.run(10)
    tell(tale, tale.good, "now")
    world.run(SECONDS)
    asked = cold(tale, LOOKUPS, tale.good)
    look_up(tale, "cold", asked, "now")
    gone = tale.good[-GONE:]
    strangers = cold(tale, LOOKUPS // 3, gone)
    for host in gone:
        world.crash(host)
    look_up(tale, "owner gone", [pair for pair in strangers if pair[0].node is not None], "now")
    staying = [host for host in tale.good if host.node is not None]
    tell(tale, staying, "then")
    look_up(tale, "told of a change", [(reader, owner) for reader, owner in asked if reader in staying and owner in staying], "then")
    return tale


def test_a_fifth_is_hostile_in_every_way(story: Story) -> None:
    assert len(story.bad) == round(CLUSTERS * SHARE) and {type(node(host).directory) for host in story.bad} == set(KINDS)


@pytest.mark.parametrize("chapter", ["cold", "owner gone", "told of a change"])
def test_99_of_100_look_ups_are_right_within_seconds(story: Story, chapter: str) -> None:
    assert len(story.times[chapter]) >= LOOKUPS / 5
    assert story.right(chapter) >= 0.99


def test_most_are_right_in_a_moment(story: Story) -> None:
    times = sorted(time for time in story.times["cold"] if time is not None)
    assert times[len(times) // 2] <= 0.6

