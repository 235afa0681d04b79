"""What the directory wants of the node: questions to peers, answers, news."""

from __future__ import annotations

from dataclasses import dataclass

from overlay.directory.book import Unit
from overlay.directory.neighbours import Neighbour
from overlay.records.record import Record
from overlay.wire.codec import Value
from overlay.wire.messages import Method


@dataclass(frozen=True, slots=True)
class Ask:
    """Call a peer; the answer comes back through ``answered`` or ``failed`` with the same context."""

    session: int
    method: Method
    body: Value
    context: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a peer's call."""

    session: int
    ticket: int
    body: Value


@dataclass(frozen=True, slots=True)
class Changed:
    """These units changed: views of them are out of date."""

    units: frozenset[Unit]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record that this node did not have before: others may have to act on it (revocations, roots, grants).

    ``told``: a peer sent it, it is not this node's own saying.
    """

    record: Record
    told: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """Open a session to this node: there is something to ask it."""

    to: Neighbour


@dataclass(frozen=True, slots=True)
class Part:
    """Close a session: what it was opened for is done, or its other end is not worth listening to."""

    session: int
    reason: str = "done"


Output = Ask | Answer | Changed | Arrived | Reach | Part
