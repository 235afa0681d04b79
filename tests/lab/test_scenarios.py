"""The stories of `overlay lab run`: they end as they should, and a seed tells the same one each time. For the storm: test_storm.py."""

from __future__ import annotations

import pytest

from overlay.cli import table
from overlay.lab.scenarios import SCENARIOS, Story, play
from overlay.name import parse_path
from tests.lab.scenes import node, text


@pytest.mark.parametrize(("name", "seed"), [*((name, 1) for name in SCENARIOS if name != "storm"), ("join", 2), ("partition", 2), ("crash", 2)])
def test_every_story_but_the_storm_ends_as_it_should(name: str, seed: int) -> None:
    story = play(name, seed)
    assert story.held, story.told
    assert [at for at, _ in story.told] == sorted(at for at, _ in story.told)
    assert not any("FAILED" in what for _, what in story.told)


def test_a_seed_tells_the_same_story_to_the_last_datagram_and_another_seed_another() -> None:
    first, again, other = play("crash", 7), play("crash", 7), play("crash", 8)
    assert (first.told, first.world.digest) == (again.told, again.world.digest)
    assert first.world.digest != other.world.digest


def test_what_never_comes_is_told_and_the_story_has_not_held() -> None:
    story = Story(1)
    (founder,) = story.begin()
    story.wait("the impossible", lambda: False, 2)
    story.wait("the founder runs", lambda: founder.node is not None)
    assert not story.held
    assert story.told[-2:] == [(3.0, "FAILED: not within 2 s: the impossible"), (3.0, "the founder runs")]


def test_a_name_said_in_a_story_is_a_name_that_others_show() -> None:
    story = Story(2)
    founder, alice = story.begin("eu/home/alice")
    story.say(alice, "eu/home/alice/motd", "hello")
    story.wait("they agree", lambda: story.agreed([founder, alice]))
    assert text(founder, "eu/home/alice/motd") == ("hello",)
    assert node(alice).name == parse_path("eu/home/alice")


def test_the_table_of_commands_names_the_stories_that_there_are() -> None:
    assert tuple(SCENARIOS) == table.SCENARIOS
