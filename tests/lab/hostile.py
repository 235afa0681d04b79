"""Members that were let in and lie: a directory that stands before the real one and twists what it hears and says.

Each kind does one thing wrong as badly as it can; everything else of the node (sessions, passport, records of its own) is
in order, so it stands in everybody's table and is custodian of what its id is near to.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, cast

from overlay.directory.machine import Directory
from overlay.directory.outputs import Answer, Ask, Output
from overlay.lab.world import Host, World
from overlay.name import parse_path
from overlay.wire.codec import Value
from overlay.wire.messages import Method
from tests.lab.scenes import node

LIE: Final = object()  # no answer of its own: let the real directory speak


class Hostile:
    """A directory between a node and its real one. ``answers`` twists what it serves, ``says`` what it tells others."""

    def __init__(self, real: Directory, dice: Random) -> None:
        self.real = real
        self.dice = dice
        self.now = 0.0
        self.extra: list[Output] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def called(self, session: int, ticket: int, method: Method, body: Value, now: float, at: float) -> None:
        self.now = now
        lie = self.answers(session, method, body)
        if lie is LIE:
            self.real.called(session, ticket, method, body, now, at)
        elif lie is not None:
            self.extra.append(Answer(session, ticket, lie))

    def wake(self, now: float, at: float) -> None:
        self.now = now
        self.real.wake(now, at)

    def take(self) -> list[Output]:
        extra, self.extra = self.extra, []
        return [*extra, *(output for output in self.real.take() if self.says(output))]

    def answers(self, session: int, method: Method, body: Value) -> Any:
        return LIE

    def says(self, output: Output) -> bool:
        return True

    def truth(self, method: Method, body: Value, session: int) -> list[bytes]:
        """What the real directory would say to a question for a list."""
        return list(self.real._serve(self.real._peers[session], method, body, self.now, 0.0))


class Empty(Hostile):
    """Keeps nothing, it says: neither zones nor records that it lists."""

    def answers(self, session: int, method: Method, body: Value) -> Any:
        return {Method.WATCH: [b"\x00"], Method.FETCH: []}.get(method, LIE)


class Silent(Hostile):
    """Takes every question and answers none."""

    def answers(self, session: int, method: Method, body: Value) -> Any:
        return None


class Truncating(Hostile):
    """Leaves out the newer half of every zone, and says that this is all."""

    def answers(self, session: int, method: Method, body: Value) -> Any:
        if method is Method.WATCH:
            whole = self.truth(method, body, session)
            return whole[: max(1, len(whole) // 2)]
        return LIE


class Stale(Hostile):
    """Gives every zone as it was when it was first asked, and takes no news."""

    def __init__(self, real: Directory, dice: Random) -> None:
        super().__init__(real, dice)
        self.frozen: dict[str, list[bytes]] = {}

    def answers(self, session: int, method: Method, body: Value) -> Any:
        if method is Method.WATCH:
            return self.frozen.setdefault(body[1], self.truth(method, {1: body[1]}, session))
        return {1: []} if method is Method.PUSH else LIE


class Misleading(Hostile):
    """Says of every zone that it keeps it, gives none, and shows searches the way to nobody but itself."""

    def answers(self, session: int, method: Method, body: Value) -> Any:
        match method:
            case Method.FIND:
                mine = [record for record in self.real.book.records.values() if record.kind == "cluster" and record.signer == self.real.me]
                return [b"\x01", *(record.raw for record in mine), *(g.raw for record in mine for g in self.real.book.chain_of(record))]
            case Method.WATCH:
                return [b"\x00"]
        return LIE


class Lying(Hostile):
    """Lists units, sums and records that do not exist: whoever compares asks and asks."""

    def answers(self, session: int, method: Method, body: Value) -> Any:
        match method:
            case Method.SUMMARY:
                units = ["table", *(f"zone:{path}" for path in self.real.book.cuts), *(f"zone:x/{n}" for n in range(50))]
                return [self.dice.randbytes(8) + unit.encode() for unit in units]
            case Method.BUCKETS:
                return self.dice.randbytes(512)
            case Method.LISTING:
                return [bytes([n % 64]) + self.dice.randbytes(15) for n in range(2_000)]
            case Method.FETCH:
                return []
        return LIE


class Dropping(Hostile):
    """Thanks for every push, keeps none, passes none on."""

    def answers(self, session: int, method: Method, body: Value) -> Any:
        return {1: []} if method is Method.PUSH else LIE

    def says(self, output: Output) -> bool:
        return not (isinstance(output, Ask) and output.method is Method.PUSH and not self._own(output))

    def _own(self, ask: Ask) -> bool:
        return all(record.signer == self.real.me for record in cast(Any, ask.context[1]))


class Hoarding(Hostile):
    """Watches everything at everybody it has a session with."""

    def wake(self, now: float, at: float) -> None:
        super().wake(now, at)
        for session in list(self.real._peers)[:3]:
            path = self.dice.choice(sorted(self.real.book.cuts))
            self.extra.append(Ask(session, Method.WATCH, {1: str(path)}, ("hoard",)))


class Flooding(Hostile):
    """Says something new a hundred times a second, at all its peers at once, and hands on what nobody signed."""

    def wake(self, now: float, at: float) -> None:
        super().wake(now, at)
        junk = [self.dice.randbytes(200) for _ in range(4)]
        for session in list(self.real._peers):
            self.extra.append(Ask(session, Method.PUSH, {1: junk}, ("flood",)))


KINDS: Final[tuple[type[Hostile], ...]] = (Empty, Silent, Truncating, Stale, Lying, Dropping, Hoarding, Flooding)


def turn(world: World, host: Host, kind: type[Hostile]) -> Hostile:
    """From now on the node of that host is of that kind."""
    one = node(host)
    assert one.directory is not None
    hostile = kind(one.directory, Random(host.number))
    one.directory = cast(Directory, hostile)
    return hostile


def path_of(host: Host) -> str:
    """The cluster that the host's node is alone in."""
    return str(parse_path(host.name).parent)
