"""A large overlay in a minute: a join storm, look-ups, churn, a partition that heals, a revocation (GOALS, "Directory").

Whole nodes, with crypto that costs nothing but its price: sizes and instants are those of the real one (``crypto.py``).
What is told are virtual times; how long it took on the wall is the business of who runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from overlay import acts
from overlay.directory.book import TABLE, zone_unit
from overlay.lab.host import Host
from overlay.lab.world import World, name_of
from overlay.name import Path, parse_path
from overlay.node import Node

LIMIT: Final = 90.0  # virtual seconds until what should happen has happened: three reconciliations
REVOKED: Final = 10.0  # virtual seconds in which a revocation is in force in every session (GOALS)
SETTLES: Final = 0.1  # seconds between looks


@dataclass(slots=True)
class Storm:
    """One run. ``times``: what it took, in virtual seconds; None where it did not happen within ``LIMIT``."""

    world: World
    clusters: int
    nodes: int  # in each
    tell: Callable[[str], None] = lambda what: None
    hosts: list[Host] = field(default_factory=list)
    times: dict[str, float | None] = field(default_factory=dict)

    def play(self) -> None:
        """All chapters, in order."""
        for chapter in (self.join, self.look_up, self.churn, self.part, self.revoke):
            chapter()

    @property
    def held(self) -> bool:
        """Whether everything came as it should."""
        return None not in self.times.values()

    def wait(self, what: str, condition: Callable[[], bool], limit: float = LIMIT) -> None:
        """Let time pass until it is so, and tell how long it took, or that it was not so in time."""
        took = self.times[what] = self.world.run_until(condition, limit, SETTLES)
        self.tell(f"{what} after {took:.1f} s" if took is not None else f"FAILED: not within {limit:g} s: {what}")

    def join(self) -> None:
        """The first nodes of all clusters at once, then all others at once."""
        world = self.world
        self.hosts = [world.found("hq/founder")]
        world.run(1.0)
        firsts = [world.join(f"c{number}/n0") for number in range(self.clusters)]
        self.wait(f"{len(firsts)} clusters are founded", lambda: all(map(world.joined, firsts)))
        rest = [world.join(f"c{number}/n{n}", through=firsts[number]) for n in range(1, self.nodes) for number in range(self.clusters)]
        self.wait(f"{len(rest)} more nodes are in", lambda: all(map(world.joined, rest)))
        self.hosts += [*firsts, *rest]
        self.wait("all agree", partial(self.agreed, self.hosts))

    def look_up(self) -> None:
        """Some nodes want names of clusters that they do not hold."""
        asked = [(host, self._far(host)) for host in self.world.dice.sample(self.hosts[1:], min(100, len(self.hosts) - 1))]
        self.wait(f"{len(asked)} look-ups have their answers", lambda: sum(self._brought(*pair) for pair in asked) == len(asked))

    def churn(self) -> None:
        """A tenth of all crashes at once, others say something, and they come back."""
        world = self.world
        goes = world.dice.sample(self.hosts[1:], max(1, len(self.hosts) // 10))
        for host in goes:
            world.crash(host)
        up = [host for host in self.hosts if host.node is not None]
        speakers = world.dice.sample(up[1:], max(1, len(up) // 50))
        for host in speakers:
            self.say(host, "churn")
        world.run(5.0)
        for host in goes:
            world.start(host)
        self.wait(f"{len(goes)} that crashed are back", lambda: all(map(world.joined, goes)))
        self.wait("all agree on what was said meanwhile", partial(self.agreed, self.hosts))

    def part(self) -> None:
        """Two halves that do not hear each other, a change in each, and healing."""
        world = self.world
        half = 1 + len(self.hosts) // 2
        here, there = self.hosts[:half], self.hosts[half:]
        world.partition(here, there)
        world.run(10.0)
        self.say(here[-1], "here")
        self.say(there[-1], "there")
        world.run(5.0)
        world.network.heal()
        self.wait("the halves agree", partial(self.agreed, self.hosts))

    def revoke(self) -> None:
        """A node's name is revoked: its sessions end everywhere."""
        loser = self.hosts[-1]
        node = _node(loser)
        assert node.peers.own is not None
        grant = node.peers.own.chain[0].digest
        others = [host for host in self.hosts if host is not loser]
        giver = next(host for host in others if host.identity.node_id == node.peers.own.chain[0].signer)
        self.world.do(giver, lambda node, at: _ignore(acts.revoke(node, grant, at)))
        self.wait("no session stands on what was revoked", lambda: not any(self._talks(host, loser) for host in others), REVOKED)

    # -- small words

    def say(self, host: Host, what: str) -> None:
        """A person sets a TXT below the host's own name."""
        name = name_of(host)
        assert name is not None
        self.world.do(host, lambda node, at: acts.set_data(node, name / "said", "TXT", (what,), 30, at))

    def agreed(self, hosts: Iterable[Host]) -> bool:
        """Whether all hold the same table, and the nodes of each cluster the same zone."""
        states: dict[object, bytes] = {}
        for host in hosts:
            units = _node(host).book.units
            name = name_of(host)
            assert name is not None
            for unit in (TABLE, zone_unit(name.parent)):
                digest = units[unit].digest if unit in units else b""
                if states.setdefault(unit, digest) != digest:
                    return False
        return True

    def _far(self, host: Host) -> Path:
        own = name_of(host)
        others = [number for number in range(self.clusters) if own is None or own.parent != parse_path(f"c{number}")]
        return parse_path(f"c{self.world.dice.choice(others)}")

    def _brought(self, host: Host, path: Path) -> bool:
        found: list[bool] = []
        self.world.do(host, lambda node, at: found.append(acts.bring(node, path, self.world.now, at)))
        directory = _node(host).directory
        assert directory is not None
        return found == [True] and len(directory.holdings.view(path).hosts) == self.nodes

    def _talks(self, host: Host, other: Host) -> bool:
        return host.node is not None and host.node.peers.by_node(other.identity.node_id) is not None


def _node(host: Host) -> Node:
    assert host.node is not None
    return host.node


def _ignore(result: object) -> None:
    """What an act returns is of no interest."""
