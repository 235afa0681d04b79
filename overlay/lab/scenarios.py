"""Stories that an operator may rehearse: nodes that join, part, come and go, crash (CONTRACT, `overlay lab run`).

Each is played in a world of virtual time by real nodes with real crypto (the storm's costs nothing but its price). What it
tells is what a person would see, and when; all chance comes from the seed, so the same seed tells the same story, to the
digest of every datagram. A story that did not end as it should says so: then the seed is worth a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from overlay import acts
from overlay.lab.crypto import NULL
from overlay.lab.host import Host
from overlay.lab.storm import Storm
from overlay.lab.world import World, refusal_of
from overlay.name import parse_path
from overlay.node import Node

LIMIT: Final = 90.0  # seconds until what should happen has happened: three reconciliations


@dataclass(slots=True)
class Story:
    """One run: what was told so far, and whether everything came as it should."""

    seed: int
    loss: float = 0.01
    world: World = field(init=False)
    told: list[tuple[float, str]] = field(default_factory=list)
    held: bool = True

    def __post_init__(self) -> None:
        self.world = World(self.seed, loss=self.loss, duplicate=0.01)

    def tell(self, what: str) -> None:
        self.told.append((round(self.world.now, 3), what))

    def wait(self, what: str, condition: Callable[[], bool], limit: float = LIMIT) -> None:
        """Let time pass until it is so, and tell how long it took, or that it never was."""
        took = self.world.run_until(condition, limit)
        self.held = self.held and took is not None
        self.tell(f"{what} after {took:.1f} s" if took else what if took is not None else f"FAILED: not within {limit:g} s: {what}")

    def begin(self, *names: str) -> list[Host]:
        """Found an overlay and let these in, one after the other."""
        founder = self.world.found("hq/founder")
        self.tell("hq/founder founds the overlay")
        self.world.run(1)
        return [founder, *(self.enter(name) for name in names)]

    def enter(self, name: str) -> Host:
        host = self.world.join(name)
        self.wait(f"{name} is in", lambda: self.world.joined(host))
        refusal = refusal_of(host)
        if refusal is not None:
            self.tell(f"{name} was refused: {refusal.error.what}")
        return host

    def say(self, host: Host, name: str, value: str) -> None:
        """A person sets a name on that host."""
        self.world.do(host, lambda node, at: acts.set_data(node, parse_path(name), "TXT", (value,), 30, at))
        self.tell(f"on {host.name}: {name} TXT {value!r}")

    def agreed(self, hosts: Iterable[Host]) -> bool:
        """Whether all that run hold the same table and the same zones."""
        return len({_held(host.node) for host in hosts if host.node is not None}) == 1


def _held(node: Node) -> tuple[tuple[str, bytes], ...]:
    return tuple(sorted((unit, replica.digest) for unit, replica in node.book.units.items()))


def join(story: Story) -> None:
    """A founder, and five that come: first of their cluster, second, and one whose name is taken."""
    hosts = story.begin("eu/home/alice", "eu/home/bob", "us/office/carol", "asia/lab/dave")
    late = story.world.join("eu/home/alice", host=story.world.host("another alice"))
    story.wait("the second eu/home/alice has its answer", lambda: refusal_of(late) is not None)
    refusal = refusal_of(late)
    if refusal is not None:
        story.tell(refusal.error.what)
    story.wait("all hold the same names", lambda: story.agreed(hosts))


def partition(story: Story) -> None:
    """Two halves that do not hear each other, a change in each, and what both know when the cut is mended."""
    hosts = story.begin("eu/home/alice", "eu/home/bob", "us/office/carol", "us/office/dave")
    story.wait("all hold the same names", lambda: story.agreed(hosts))
    here, there = hosts[:3], hosts[3:]
    story.world.partition(here, there)
    story.tell("the net is cut between eu and us")
    story.say(here[1], "eu/home/alice/motd", "said in eu")
    story.say(there[0], "us/office/carol/motd", "said in us")
    story.wait("each half agrees with itself", lambda: story.agreed(here) and story.agreed(there))
    story.world.run(120)
    story.tell("halves agree with each other" if story.agreed(hosts) else "the halves differ")
    story.world.network.heal()
    story.tell("the cut is mended")
    story.wait("all hold the same names", lambda: story.agreed(hosts))


def churn(story: Story) -> None:
    """Ten nodes, of which some stop, crash and come back all the time, while names are set."""
    dice = story.world.host("dice").dice
    hosts = story.begin(*(f"site{number % 3}/n{number}" for number in range(9)))
    for number in range(8):
        for host in [host for host in hosts if host.node is None]:
            story.world.start(host)
            story.tell(f"{host.name} starts again")
        running = [host for host in hosts if host.node is not None]
        speaker, goes, crashes = dice.sample(running, 3)
        story.say(speaker, f"{speaker.name}/motd", str(number))
        story.world.run(dice.uniform(0.5, 3))
        story.world.stop(goes)
        story.world.crash(crashes)
        story.tell(f"{goes.name} stops, {crashes.name} crashes")
        story.world.run(dice.uniform(1, 10))
        story.wait("the others agree", lambda: story.agreed(hosts))
    for host in hosts:
        if host.node is None:
            story.world.start(host)
    story.wait("all are back and agree", lambda: story.agreed(hosts))


def crash(story: Story) -> None:
    """A node that loses power between what it stores and what it sends: what it had acknowledged stands."""
    alice, other = story.begin("eu/home/alice", "us/office/carol")[1:]
    for number in range(1, 6):
        alice.crash_next = number % 2 == 1
        story.say(alice, "eu/home/alice/diary", f"entry {number}")
        story.world.run(2)
        if alice.node is None:
            story.tell("eu/home/alice loses power: stored, and nobody told")
            story.world.start(alice)
            story.tell("eu/home/alice starts again")
        story.wait("us/office/carol knows it", lambda: story.agreed([alice, other]))


def storm(story: Story, clusters: int = 10, nodes: int = 10) -> None:
    """A hundred nodes in ten clusters join at once, look up, come and go, part and heal; a name is revoked."""
    story.world = World(story.seed, crypto=NULL)
    played = Storm(story.world, clusters, nodes, story.tell)
    played.play()
    story.held = played.held


SCENARIOS: Final[dict[str, Callable[[Story], None]]] = {"join": join, "partition": partition, "churn": churn, "crash": crash, "storm": storm}


def play(name: str, seed: int) -> Story:
    """Play one of ``SCENARIOS``."""
    story = Story(seed)
    SCENARIOS[name](story)
    story.tell("everything came as it should" if story.held else "not everything came as it should")
    return story
