"""What a node keeps of the channels that it takes: subscriptions, floors, outcomes (DESIGN 3.9, 3.13: durable before use).

It decides what is written down when, and what is to be done next with a channel: fetch, run, or nothing and why. It refuses
to know where bytes come from and how a command is run. A revision that failed is remembered for good, by its content: it is
not tried again under the same number, and the one before stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from overlay.errors import Malformed
from overlay.identity.keys import DIGEST
from overlay.machine import Store
from overlay.name import Path
from overlay.records.observed import Running
from overlay.records.record import Record
from overlay.records.releases import MAX_REVISION, Artifact, channel_path
from overlay.release.gate import Decision, Floor, artifact_for, content_of, decide
from overlay.release.standing import restless
from overlay.wire.codec import Fields, decode, encode, ordered

TABLE: Final = "releases"  # in the store
TRIES: Final = 2  # of a command under which the node died; else it runs once a revision
MAX_TEXT: Final = 4_096  # octets of a command
RUNNING, ACTIVE, FAILED = "running", "active", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a person asked for: take this channel, run this, and see whether it is well."""

    channel: str
    activate: str = ""
    health: str = ""

    def row(self) -> bytes:
        """As it is stored."""
        return encode(ordered({1: self.activate, 2: self.health}))

    @classmethod
    def from_row(cls, channel: str, row: bytes) -> Subscription:
        """The inverse; ``Malformed`` where the disk did not keep it."""
        fields = Fields(decode(row), "stored subscription")
        return cls(channel=channel, activate=fields.text(1, MAX_TEXT), health=fields.text(2, MAX_TEXT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the last revision that was run here. ``content`` as in ``gate.content_of``; ``at`` UTC seconds."""

    revision: int
    content: bytes
    state: str  # RUNNING, ACTIVE, FAILED
    what: str = ""
    tries: int = 1
    at: int = 0

    def row(self) -> bytes:
        """As it is stored."""
        return encode([self.revision, self.content, self.state, self.what[:400], self.tries, self.at])

    @classmethod
    def from_row(cls, row: bytes) -> Outcome:
        """The inverse; ``Malformed`` where the disk did not keep it."""
        value = decode(row)
        if type(value) is not list or len(value) != 6:
            raise Malformed("an outcome has six parts", rule="stored-outcome")
        fields = Fields(dict(enumerate(value)), "stored outcome")
        state = fields.text(2, 8)
        if state not in (RUNNING, ACTIVE, FAILED):
            raise Malformed("an outcome of no kind", rule="stored-outcome")
        return cls(
            revision=fields.integer(0, 1, MAX_REVISION), content=fields.binary(1, DIGEST, DIGEST), state=state, what=fields.text(3, 400),
            tries=fields.integer(4, 1, 100), at=fields.integer(5, 0, 2**40),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """What is to be done with a channel now: ``act`` is `fetch`, `run` or empty, ``why`` says why nothing is."""

    act: str = ""
    why: str = ""
    decision: Decision
    artifact: Artifact | None = None


@dataclass(slots=True)
class Shelfmark:
    """All that is kept of one channel."""

    floor: Floor | None = None
    subscription: Subscription | None = None
    current: Outcome | None = None  # the revision that runs here
    last: Outcome | None = None  # the one that was run last, where that is another
    bad: dict[bytes, int] = field(default_factory=dict)  # content that failed -> its revision
    starts: tuple[int, ...] = ()  # UTC seconds of the last three starts: of a revision, or of the program itself
    urged: bool = False  # a person wants it now: no announcement is waited for


class Subscriptions:
    """Everything of all channels. Stores come out of each change; the caller makes them durable before it goes on."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self.damaged = 0
        self.channels: dict[str, Shelfmark] = {}
        for key, row in rows.items():
            try:
                self._load(key, row)
            except (Malformed, UnicodeDecodeError):
                self.damaged += 1

    def _load(self, key: bytes, row: bytes) -> None:
        what, _, rest = key.partition(b":")
        channel, _, content = rest.partition(b":")
        name = channel.decode("ascii")
        mark = self.of(name)
        match what:
            case b"sub":
                mark.subscription = Subscription.from_row(name, row)
            case b"floor":
                mark.floor = Floor.from_row(row)
            case b"current":
                mark.current = Outcome.from_row(row)
            case b"last":
                mark.last = Outcome.from_row(row)
            case b"starts":
                mark.starts = tuple(_dates(row))
            case b"bad":
                mark.bad[content] = Outcome.from_row(row).revision
            case _:
                raise Malformed("a row of no kind", rule="stored-subscription")

    def of(self, channel: str) -> Shelfmark:
        """What is kept of a channel; begun where nothing is."""
        return self.channels.setdefault(channel, Shelfmark())

    def subscribed(self) -> list[Subscription]:
        """What a person asked for."""
        return [mark.subscription for mark in self.channels.values() if mark.subscription is not None]

    def subscribe(self, wanted: Subscription) -> list[Store]:
        """Take a channel from now on. What failed before may be tried again: the command may be another."""
        channel_path(wanted.channel)
        mark = self.of(wanted.channel)
        gone = [Store(TABLE, _key("bad", wanted.channel, content), None) for content in mark.bad]
        mark.subscription, mark.bad = wanted, {}
        return [Store(TABLE, _key("sub", wanted.channel), wanted.row()), *gone]

    def unsubscribe(self, channel: str) -> list[Store]:
        """Take it no longer. The floor stays: who comes back is not rolled back."""
        mark = self.channels.get(channel)
        if mark is None or mark.subscription is None:
            return []
        mark.subscription = None
        return [Store(TABLE, _key("sub", channel), None)]

    def look(self, channel: str, said: Sequence[Record], at: float, here: Path | None = None) -> tuple[Decision, list[Store]]:
        """What may be installed in the cluster ``here``. The stores must be durable before anything is done about it."""
        mark = self.of(channel)
        installed = mark.current.revision if mark.current is not None else 0
        decision = decide(said, mark.floor, at, installed, here=here, urged=mark.urged)
        if not decision.why:
            mark.urged = False  # the floor has it from now on
        if decision.floor is None or decision.floor == mark.floor:
            return decision, []
        before, mark.floor = mark.floor, decision.floor
        only_time = before is not None and replace(before, at=decision.floor.at) == decision.floor
        if before is not None and only_time and decision.floor.at < before.at + 3600:
            mark.floor = before  # an hour's worth of time: the clock keeps the rest
            return decision, []
        return decision, [Store(TABLE, _key("floor", channel), decision.floor.row())]

    def todo(self, channel: str, decision: Decision, held: bool, platforms: Sequence[str]) -> Todo:
        """What is to be done next. ``held``: the artifact is on the shelf."""
        mark = self.of(channel)
        if decision.release is None or decision.why not in ("", "G10"):
            return Todo(why=decision.why or "G00", decision=decision)
        body = decision.body
        artifact = artifact_for(body, platforms)
        if artifact is None:
            return Todo(why="platform", decision=decision)
        if decision.why:  # octets prove themselves, so they may come before their turn
            return Todo(why=decision.why, act="" if held else "fetch", decision=decision, artifact=artifact)
        content = content_of(body)
        if mark.current is not None and (mark.current.revision, mark.current.content) == (body.revision, content):
            return Todo(why="" if held else "lost", act="" if held else "fetch", decision=decision, artifact=artifact)
        if content in mark.bad:
            return Todo(why="failed", decision=decision, artifact=artifact)
        return Todo(act="run" if held else "fetch", decision=decision, artifact=artifact)

    def begins(self, channel: str, decision: Decision, at: float) -> tuple[Outcome | None, list[Store]]:
        """The command is about to run: written down first, so that it runs once. None where it ran too often without an end."""
        mark = self.of(channel)
        content = content_of(decision.body)
        before = mark.last if mark.last is not None and mark.last.content == content and mark.last.state == RUNNING else None
        tries = before.tries + 1 if before is not None else 1
        if tries > TRIES:
            assert before is not None
            return None, self.ended(channel, replace(before, state=FAILED, what="the node died under it"), at)
        mark.last = Outcome(revision=decision.body.revision, content=content, state=RUNNING, tries=tries, at=int(at))
        return mark.last, [Store(TABLE, _key("last", channel), mark.last.row()), *self.started(channel, at)]

    def started(self, channel: str, at: float) -> list[Store]:
        """A revision of it starts here, or, of the channel of this program, the program itself."""
        mark = self.of(channel)
        mark.starts = (*mark.starts[-2:], int(at))
        return [Store(TABLE, _key("starts", channel), encode(list(mark.starts)))]

    def said(self, channel: str, held: int, at: float) -> Running:
        """What this node says that it runs of a channel; ``held`` is the highest revision on the shelf."""
        mark = self.of(channel)
        current, last = mark.current, mark.last
        return Running(
            revision=current.revision if current is not None else 0, content=current.content if current is not None else b"", held=held,
            restless=bool(restless(mark.starts, at)), failed=last.revision if last is not None and last.state == FAILED else 0,
        )

    def urge(self, channel: str) -> None:
        """A person wants what is newest now: it is not waited for until its publisher's cluster has announced it."""
        self.of(channel).urged = True

    def ended(self, channel: str, outcome: Outcome, at: float) -> list[Store]:
        """The command has ended, well or not."""
        mark = self.of(channel)
        mark.last = replace(outcome, at=int(at))
        stores = [Store(TABLE, _key("last", channel), mark.last.row())]
        if outcome.state == ACTIVE:
            mark.current = mark.last
            return [*stores, Store(TABLE, _key("current", channel), mark.last.row())]
        mark.bad[outcome.content] = outcome.revision
        return [*stores, Store(TABLE, _key("bad", channel, outcome.content), mark.last.row())]

    def again(self, channel: str) -> list[Store]:
        """A person asks for what failed to be tried once more (`upgrade --now`)."""
        mark = self.of(channel)
        gone = [Store(TABLE, _key("bad", channel, content), None) for content in mark.bad]
        mark.bad, mark.last = {}, None
        return [*gone, Store(TABLE, _key("last", channel), None)] if gone else []


def _dates(row: bytes) -> list[int]:
    value = decode(row)
    if type(value) is not list or len(value) > 3 or any(type(date) is not int or not 0 <= date <= 2**40 for date in value):
        raise Malformed("starts are up to three dates", rule="stored-starts")
    return [date for date in value if type(date) is int]


def _key(what: str, channel: str, content: bytes = b"") -> bytes:
    return b":".join((what.encode(), channel.encode(), *((content,) if content else ())))
