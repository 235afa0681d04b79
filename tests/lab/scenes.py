"""Small words for lab scenarios: who is in, what everybody sees, when they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from overlay import acts
from overlay.directory.view import ZoneView
from overlay.identity.keys import Signer
from overlay.lab.world import Host, World, refusal_of
from overlay.name import Path, parse_path
from overlay.node import Node
from overlay.units import DAY


def node(host: Host) -> Node:
    """The node that runs on the host."""
    assert host.node is not None
    return host.node


def zone(host: Host, path: Path | str) -> ZoneView:
    """A zone as that host's node shows it."""
    directory = node(host).directory
    assert directory is not None
    return directory.holdings.view(path if isinstance(path, Path) else parse_path(path))


def text(host: Host, name: str) -> tuple[str, ...] | None:
    """The TXT set at a name as that host's node shows it, None where there is none."""
    path = parse_path(name)
    book = node(host).book
    return next((d.data.values for d in zone(host, book.outline.zone_of(path)).data if d.name == path and d.rtype == "TXT"), None)


def say(world: World, host: Host, name: str, *values: str, done: Callable[[], None] | None = None) -> None:
    """A person sets (or, without values, removes) a TXT set on that host; ``done`` is called when it is durable."""
    world.do(host, lambda node, at: acts.set_data(node, parse_path(name), "TXT", values, 30, at), done)


def invite(world: World, host: Host, path: str | None, *, uses: int = 1, life: int = DAY) -> Signer:
    """A person issues an invite on that host: the seed that is in the token."""
    seed = world.crypto.signer(world.dice.randbytes(32))
    world.do(host, lambda node, at: acts.invite(node, None if path is None else parse_path(path), uses, life, seed.public, at))
    return seed


def digests(hosts: Iterable[Host]) -> set[tuple[tuple[str, bytes], ...]]:
    """The different states of table and zones among the hosts: one where they agree."""
    return {tuple(sorted((unit, replica.digest) for unit, replica in node(host).book.units.items())) for host in hosts}


def enter(world: World, *names: str, limit: float = 20.0) -> list[Host]:
    """Let newcomers in openly, one after the other."""
    hosts = []
    for name in names:
        host = world.join(name)
        assert world.run_until(lambda host=host: world.joined(host), limit) is not None, (name, refusal_of(host))  # type: ignore[misc]
        hosts.append(host)
    return hosts


def counted(hosts: Sequence[Host]) -> Counter[str]:
    """All counters of all machines of those nodes together."""
    total: Counter[str] = Counter()
    for host in hosts:
        one = node(host)
        for counters in (one.counters, one.book.counters, one.sessions.counters, one.peers.counters):
            total.update(counters)
        if one.directory is not None:
            total.update(one.directory.counters)
    return total
