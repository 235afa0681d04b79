"""Nodes of the lab that sign their zones: each with names and a signing desk, looked after as a running node would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from overlay import acts
from overlay.cli.signing import ZoneSigning
from overlay.lab.host import Host
from overlay.lab.world import World
from overlay.name import ROOT, Path
from overlay.node import Node
from overlay.roots import entry_keys, key_file
from overlay.units import DAY
from tests.lab.scenes import node
from tld import codes
from tld.label import from_text, to_wire
from tld.names import Fetch, Names
from tld.query import ask

SOURCE = ("127.0.0.1", 5353)
SEED = b"root key of the lab".ljust(32, b".")


@dataclass(slots=True)
class _Clock:
    world: World
    host: Host

    def now(self) -> float:
        return self.world.now

    def at(self) -> float:
        return self.world.at(self.host)


class _Engine:
    """As much of ``driver/run.py`` as signing asks for."""

    def __init__(self, world: World, host: Host) -> None:
        self.world, self.host = world, host
        self.clock = _Clock(world, host)
        self.problems: dict[str, str] = {}
        self.counters: Counter[str] = Counter()

    @property
    def node(self) -> Node:
        return node(self.host)

    def act(self, what: Callable[..., Any], *args: Any) -> None:
        self.world.do(self.host, lambda node, _at: what(node, *args))

    def step(self) -> None:
        """The lab steps by itself."""

    def problem(self, about: str, line: str) -> None:
        self.problems[about] = line


@dataclass(slots=True)
class Signing:
    """One host's names and signing desk."""

    names: Names
    desk: ZoneSigning
    host: Host


class Signed:
    """A world whose nodes sign. ``tmp`` holds the founder's root key."""

    def __init__(self, world: World, tmp: FilePath) -> None:
        self.world = world
        self.desks: dict[str, Signing] = {}
        self._tmp = tmp

    def found(self, name: str, **more: Any) -> Host:
        """Found the overlay; the root key lies in the founder's home."""
        host = self.world.found(name, entries=[key.public for key in entry_keys([SEED])], **more)
        assert self.world.root is not None
        (self._tmp / host.name).mkdir(parents=True)
        (self._tmp / host.name / "root.key").write_text(key_file(self.world.root.digest, SEED))
        return host

    def desk(self, host: Host) -> Signing:
        """That host's, made when it is first asked for."""
        found = self.desks.get(host.name)
        if found is None:
            names = Names(tld="cloud", zone="cloud.example.net", policy="exclusive", overlay_id=bytes(32))
            desk = ZoneSigning(_Engine(self.world, host), names, self._tmp / host.name)  # type: ignore[arg-type]
            found = self.desks[host.name] = Signing(names, desk, host)
        return found

    def restart(self, host: Host) -> None:
        """The node starts anew from its disk, and all that was in memory is gone."""
        self.desks.pop(host.name, None)
        self.world.start(host)

    async def run(self, seconds: float, *, step: float = 0.5) -> None:
        """The world goes on; each living node looks after its zones twice a second."""
        for _ in range(round(seconds / step)):
            self.world.run(step)
            await self.look()

    async def look(self) -> None:
        for host in [host for host in self.world.hosts.values() if host.node is not None and host.node.presence is not None]:
            desk = self.desk(host)
            directory = node(host).directory
            assert directory is not None
            held = directory.holdings.zones()
            for path in [path for path in desk.names.views if path not in held]:
                desk.names.drop(path)
                desk.desk.forget(path)
            for path in held:
                desk.names.update(directory.holdings.view(path))
                desk.desk.show(path)
            desk.names.evidence(at=self.world.at(host), peers=1)
            for path in [path for path in desk.names.views if desk.desk.book.may_sign(path)]:
                await desk.desk.look(path)

    async def until(self, condition: Callable[[], bool], limit: float) -> float | None:
        """Virtual seconds until it holds; None where it does not in time."""
        began = self.world.now
        while self.world.now < began + limit:
            if condition():
                return self.world.now - began
            await self.run(0.5)
        return None

    async def days(self, days: float) -> None:
        """All clocks go on, a day at a time, a minute of life in each."""
        for _ in range(round(days)):
            for host in self.world.hosts.values():
                host.clock_offset += DAY
            await self.run(60, step=5.0)

    def said(self, host: Host, name: str, rtype: int = codes.A) -> tuple[int, bool, bytes]:
        """(rcode, AD, octets) of that host's stub, asked for proof."""
        question = ask(7, to_wire(from_text(name)), rtype, edns=1_232, flags=codes.RD)
        reply = self.desk(host).names.stub(question[:-4] + b"\x80\0" + question[-2:], SOURCE, False)
        if isinstance(reply, Fetch):  # not held here: brought, as the stub would while it waits
            path = reply.path
            self.world.do(host, lambda node, at: acts.bring(node, path, self.world.now, at) and None)
            return codes.SERVFAIL, False, b""
        assert isinstance(reply, bytes), reply
        return reply[3] & 15, bool(reply[3] & codes.AD), reply

    def vouched(self, host: Host, *names: str) -> bool:
        """Whether that host's stub validates these names, which exist."""
        return all(self.said(host, name)[:2] == (0, True) for name in names)

    def key_set(self, host: Host, path: Path = ROOT) -> set[bytes]:
        """The DNSKEY data of a zone, as that host shows it."""
        zone = self.desk(host).names.secure.zones.get(self.desk(host).desk.book.origins(path)[0])
        rrset = zone.nodes[zone.origin].get(codes.DNSKEY) if zone is not None else None
        return set(rrset.rdatas) if rrset is not None else set()
