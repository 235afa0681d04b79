"""A recording of the flight recorder, played again: the same inputs, to a fresh node of the same stored state.

It decides what a recording says and whether the run that it leads to is the recorded one: the same exception at the same
place, or the same state where there was none. It needs the identity of the node, which no recording has. A recording
that lost its beginning (the ring is bounded) is played as far as it goes; sessions that were open then are unknown to
the fresh node, so what they carried is dropped.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import TracebackType
from typing import Any

import msgpack

from overlay.driver.recorder import ACTS, DATAGRAM, ENTROPY, INPUT, MAGIC, NODE, TAKE, Shape, described, entries, value_of
from overlay.errors import OverlayError, UsageError
from overlay.identity.keys import Identity, verify
from overlay.node import Node
from overlay.records.trust import Verifier
from overlay.session.suite import STANDARD, Suite
from overlay.setup import Setup


@dataclass(frozen=True, slots=True)
class Flight:
    """A recording, read: what the node was started with, and what came after."""

    head: dict[str, Any]
    entries: tuple[tuple[Any, ...], ...]

    @property
    def whole(self) -> bool:
        """Whether it goes back to the node's start."""
        return bool(self.head["forgotten"] == 0)

    @property
    def error(self) -> dict[str, str] | None:
        """The exception that ended it."""
        found: dict[str, str] | None = self.head["error"]
        return found


@dataclass(slots=True)
class Played:
    """How far it went, and what came of it. ``same``: the recorded exception at its place, or the recorded state."""

    whole: bool
    inputs: int = 0
    steps: int = 0
    at: float = 0.0  # trusted UTC seconds, of the last input
    error: dict[str, str] | None = None
    same: bool = False
    diverged: str = ""


@dataclass(slots=True)
class _Outcome:
    """Takes whatever an input raises: that is what a replay is after. ``answers`` are none of it: refusals of acts, as they were."""

    answers: tuple[type[Exception], ...]
    error: dict[str, str] | None = None

    def __enter__(self) -> _Outcome:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, Exception) and not isinstance(error, self.answers):
            self.error = described(error)
        return isinstance(error, Exception)


@dataclass(slots=True)
class _Draws:
    """The recorded entropy, in order. Where the beginning is lost, other octets stand for it."""

    drawn: deque[bytes]
    dice: Random = field(default_factory=lambda: Random(0))
    diverged: bool = False

    def __call__(self, count: int) -> bytes:
        if self.drawn and len(self.drawn[0]) == count:
            return self.drawn.popleft()
        self.diverged = True
        return self.dice.randbytes(count)


def read(data: bytes) -> Flight:
    """A file's octets. ``UsageError`` where they are no recording of this version."""
    checksum, said = data[len(MAGIC) : len(MAGIC) + 32], data[len(MAGIC) + 32 :]
    if not data.startswith(MAGIC) or hashlib.blake2s(said).digest() != checksum:
        raise UsageError("that is no recording, or a damaged one", "give the file `run/flight` of a home, as this version wrote it")
    size = int.from_bytes(said[:4], "big")
    return Flight(msgpack.unpackb(said[4 : 4 + size], strict_map_key=False), tuple(entries(said[4 + size :])))


def replay(flight: Flight, identity: Identity, *, suite: Suite = STANDARD, verifier: Verifier = verify) -> Played:
    """Play it. ``UsageError`` where the identity is another node's."""
    head = flight.head
    if head["node_id"] != identity.node_id:
        raise UsageError("that recording is another node's", "give the home that it comes from with --home", rule="other-node")
    drawn = deque(entry[1] for entry in flight.entries if entry[0] == ENTROPY)
    draws = _Draws(drawn if flight.whole else deque())
    said = {name: msgpack.unpackb(packed, ext_hook=value_of) for name, packed in head["setup"].items()}
    setup = Setup(**said, identity=identity, entropy=draws, stored=head["stored"], verifier=verifier, suite=suite)
    played, shape = Played(flight.whole), Shape()
    node = Node(setup, head["now"], head["at"])
    draws.drawn = drawn
    refusals = (OverlayError,) if flight.whole else (Exception,)  # of a service that was added before the recording begins, too
    for entry in flight.entries:
        if entry[0] == ENTROPY:
            continue
        played.inputs += 1
        with _Outcome(refusals if entry[0] == INPUT else ()) as outcome:
            if entry[0] == TAKE:
                shape.add(node.take(entry[1], entry[2]))
                played.steps, played.at = played.steps + 1, entry[2]
            elif entry[0] == DATAGRAM:
                _, now, at, way, data = entry
                node.datagram(data, way, now, at)
            else:
                _ask(node, entry[1])
        if outcome.error is not None:
            played.error = outcome.error
            break
    if flight.error is not None or played.error is not None:
        agreed = ("kind", "text", "where")
        played.same = [(flight.error or {}).get(key) for key in agreed] == [(played.error or {}).get(key) for key in agreed]
    else:
        played.same = flight.whole and shape.numbers == head["shape"]
    if draws.diverged and flight.whole:
        played.diverged = "it asked for other entropy than was recorded: the program is not the one that was recorded"
    return played


def _ask(node: Node, packed: bytes) -> None:
    name, args = msgpack.unpackb(packed, ext_hook=partial(value_of, node=node), strict_map_key=False)
    if name in NODE:
        getattr(node, name)(*args)
    elif name in ACTS:
        ACTS[name](node, *args)
    else:
        raise UsageError(f"{name[:40]!r} is nothing that a node is asked", "play it with the version that recorded it")
