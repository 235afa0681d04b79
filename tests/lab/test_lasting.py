"""What a node remembers is what it holds: over a long life of changes nothing else grows (GOALS, "Reliability": soak)."""

from __future__ import annotations

from collections.abc import Sized
from random import Random

from overlay.lab.host import Host
from overlay.lab.world import World
from tests.lab.scenes import enter, node, say


def remembered(host: Host) -> dict[str, int]:
    """How many of everything the machines of a node hold."""
    one = node(host)
    rooms = {
        "node": one, "sessions": one.sessions, "handshakes": one.sessions._handshakes, "peers": one.peers, "trust": one.trust, "book": one.book,
        "directory": one.directory, "presence": one.presence, "statements": one.statements, "registrar": one.registrar,
    }  # fmt: skip
    held: dict[str, int] = {}
    for room, machine in rooms.items():
        names = {*getattr(machine, "__dict__", ()), *getattr(type(machine), "__slots__", ())}
        values = {name: getattr(machine, name) for name in names}
        held |= {f"{room}.{name}": len(value) for name, value in values.items() if isinstance(value, Sized) and not isinstance(value, str | bytes)}
    return held


def test_after_hours_of_changes_a_node_remembers_no_more_than_after_minutes() -> None:
    world = World(1, loss=0.01)
    founder = world.found("s0/n0")
    world.run(1)
    hosts = [founder, *enter(world, *(f"s{number % 2}/n{number}" for number in range(1, 5)))]
    watched, dice = hosts[1], Random(1)

    def rounds(count: int) -> None:
        for _ in range(count):
            host = dice.choice(hosts)
            if host is watched or dice.random() < 0.7:
                say(world, host, f"{host.name}/t{dice.randrange(3)}", *([str(dice.random())] if dice.random() < 0.7 else []))
            else:
                dice.choice([world.stop, world.crash])(host)
            world.run(dice.uniform(1, 12))
            if host.node is None:
                world.start(host)

    rounds(60)
    world.run(60)
    before = remembered(watched)
    rounds(300)
    world.run(60)
    after = remembered(watched)
    grown = {name: (before.get(name, 0), size) for name, size in after.items() if size > before.get(name, 0) * 1.25 + 20}
    assert not grown
    assert after["trust._verdicts"] + after["trust._lately"] <= len(node(watched).book) + 100
