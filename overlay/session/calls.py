"""Calls over one session: tickets, retries, answers once, pages (DESIGN 3.4; research F4).

It decides when a frame is sent again and when a call is over; ``machine.py`` seals frames and keeps time. A call is
repeated 250 ms, 500 ms .. 4 s after it was sent, under the same ticket; the other end carries it out at most once and
keeps its answer for repeats. Each call says the lowest ticket that its sender still waits for, so the other end knows
exactly which answers it may forget: no table of the past, no guess about its length.

An answer that is a list of octets may be longer than a datagram: it is cut into pages, which the caller fetches
through a window that grows by a page for each that comes and halves with each repeat. Any other answer must fit.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from overlay import limits
from overlay.errors import Malformed
from overlay.session import events
from overlay.session.packet import FRAMES_ROOM
from overlay.wire.codec import Value, encode
from overlay.wire.messages import Frame, Method

FIRST_RETRY = 0.25  # seconds
LAST_RETRY = 4.0
GIVE_UP = 10.0  # seconds without any progress
FIRST_WINDOW, LEAST_WINDOW, MOST_WINDOW = 8, 2, 64  # pages asked for at once; 64 are 70 KiB, a small socket buffer
PAGE_ROOM = FRAMES_ROOM - 40  # octets for a page's items: the frame's head and MessagePack's lengths need less
PAGES = limits.REPLY_OCTETS // 500  # more pages than any answer has: items of 1,000 octets leave little room unused
KEEP_PAGES = 30.0  # seconds that a paged answer is kept
OK, REFUSED = 0, 1

_CALL, _REPLY, _PAGE = Frame.CALL.value, Frame.REPLY.value, Frame.PAGE.value


@dataclass(slots=True)
class _Outgoing:
    ticket: int
    method: int
    body: Value
    next_at: float
    pause: float
    progress_at: float
    pages: list[list[Value] | None] = field(default_factory=list)
    got: int = 0
    asked: int = 0  # pages below this one were asked for
    window: int = FIRST_WINDOW


@dataclass(slots=True)
class _Kept:
    """An answer of ours, for repeats of its call."""

    frame: bytes  # where there are no pages
    at: float
    pages: list[list[bytes]] = field(default_factory=list)
    octets: int = 0  # of pages


@dataclass(frozen=True, slots=True)
class Done:
    """A call of ours is over; ``reason`` is empty where it was answered."""

    ticket: int
    body: Value = None
    reason: str = ""


class Calls:
    """Both directions of one session. Encoded frames to send collect in ``frames``, finished calls in ``done``."""

    __slots__ = ("_answers", "_floor", "_kept", "_queue", "_serving", "counters", "done", "frames", "outgoing")

    def __init__(self, counters: Counter[str]) -> None:
        self.frames: list[bytes] = []
        self.done: list[Done] = []
        self.counters = counters
        self.outgoing: dict[int, _Outgoing] = {}  # calls that wait for their answer, in the order of tickets
        self._queue: deque[tuple[int, int, Value]] = deque()
        self._serving: set[int] = set()
        self._answers: dict[int, _Kept] = {}
        self._kept = 0  # octets of paged answers
        self._floor = 0  # the other end waits for no ticket below

    # -- calling

    def call(self, ticket: int, method: Method, body: Value, now: float) -> None:
        """Send a call, or queue it behind the 8 outstanding."""
        if len(self.outgoing) < limits.CALLS_OUTSTANDING:
            self._start(ticket, method.value, body, now)
        elif len(self._queue) < limits.CALLS_QUEUED:
            self.counters["calls_queued"] += 1
            self._queue.append((ticket, method.value, body))
        else:
            self.counters["drop:call-queue-full"] += 1
            self.done.append(Done(ticket, reason="queue-full"))

    def _start(self, ticket: int, method: int, body: Value, now: float) -> None:
        floor = next(iter(self.outgoing), ticket)
        frame = encode([_CALL, ticket, method, body, floor])
        if len(frame) > FRAMES_ROOM:
            self.done.append(Done(ticket, reason="too-long"))
            return
        self.outgoing[ticket] = _Outgoing(ticket, method, body, now + FIRST_RETRY, FIRST_RETRY, now)
        self.frames.append(frame)

    def _finish(self, done: Done, now: float) -> None:
        del self.outgoing[done.ticket]
        self.done.append(done)
        while self._queue and len(self.outgoing) < limits.CALLS_OUTSTANDING:
            self._start(*self._queue.popleft(), now)

    def abandon(self, reason: str) -> None:
        """The session is gone: all calls fail."""
        self.done.extend(Done(ticket, reason=reason) for ticket in [*self.outgoing, *(ticket for ticket, _, _ in self._queue)])
        self.outgoing.clear()
        self._queue.clear()
        self.frames.clear()

    def replied(self, frame: list[Any], now: float) -> None:
        """A REPLY came: [3, ticket, status, body, pages, page]."""
        if len(frame) != 6 or any(type(frame[n]) is not int for n in (1, 2, 4, 5)):
            raise Malformed("a reply is [3, ticket, status, body, pages, page]", rule="reply-form")
        _, ticket, status, body, pages, page = frame
        call = self.outgoing.get(ticket)
        if call is None:
            self.counters["drop:reply-late"] += 1
        elif status != OK:
            self._finish(Done(ticket, reason=body if type(body) is str and body else "refused"), now)
        elif pages == 0:
            self._finish(Done(ticket, body), now)
        else:
            self._paged(call, body, pages, page, now)

    def _paged(self, call: _Outgoing, body: Value, pages: int, page: int, now: float) -> None:
        if type(body) is not list or not 0 <= page < pages <= PAGES or (call.pages and len(call.pages) != pages):
            raise Malformed("a page out of its order", rule="reply-page")
        if not call.pages:
            call.pages = [None] * pages
            call.asked = 1
        if call.pages[page] is not None:
            return
        call.pages[page] = body
        call.got += 1
        call.asked = max(call.asked, page + 1)
        call.progress_at, call.pause, call.next_at = now, FIRST_RETRY, now + FIRST_RETRY
        if call.got == pages:
            self._finish(Done(call.ticket, [item for items in call.pages for item in items or ()]), now)
            return
        call.window = min(call.window + 1, MOST_WINDOW)
        while call.asked < pages and call.asked - call.got < call.window:
            self.frames.append(encode([_PAGE, call.ticket, call.asked]))
            call.asked += 1

    def told(self, session: int) -> list[events.Answered | events.CallFailed]:
        """What came of the calls that are over, once."""
        done, self.done = self.done, []
        return [
            events.CallFailed(session, one.ticket, one.reason) if one.reason else events.Answered(session, one.ticket, one.body) for one in done
        ]

    # -- serving

    def called(self, ticket: int, floor: int) -> bool:
        """A CALL came. True where it is to be carried out now; a repeat of an answered one is answered again."""
        if not 0 < floor <= ticket:
            raise Malformed("a call waits for itself at least", rule="call-form")
        if floor > self._floor:
            self._floor = floor
            for old in [old for old in self._answers if old < floor]:
                self._forget(old)
        answer = self._answers.get(ticket)
        if answer is not None:
            self.counters["calls_repeated"] += 1
            self._send(ticket, answer, 0)
        elif ticket in self._serving:
            self.counters["calls_repeated"] += 1
        elif ticket < self._floor:
            self.counters["drop:call-over"] += 1
        elif ticket > self._floor and len(self._serving) + len(self._answers) >= limits.REPLIES_KEPT:  # the lowest frees the others
            self.counters["drop:calls-full"] += 1
        else:
            self._serving.add(ticket)
            return True
        return False

    def answer(self, ticket: int, body: Value, now: float) -> None:
        """The answer to a call of theirs."""
        if type(body) is list and body and all(type(item) is bytes for item in body):
            pages, octets = _pages(body)
            if pages:
                self._keep(ticket, _Kept(b"", now, pages, octets))
                return
        else:
            frame = encode([_REPLY, ticket, OK, body, 0, 0])
            if len(frame) <= FRAMES_ROOM:
                self._keep(ticket, _Kept(frame, now))
                return
        self.counters["drop:reply-too-long"] += 1
        self._keep(ticket, _Kept(_refusal(ticket, "too-long"), now))

    def refuse(self, ticket: int, reason: str, now: float) -> None:
        """A call of theirs is not carried out."""
        self._keep(ticket, _Kept(_refusal(ticket, reason), now))

    def _keep(self, ticket: int, answer: _Kept) -> None:
        if ticket not in self._serving:
            return  # nobody asked, or it was answered before
        self._serving.discard(ticket)
        if ticket < self._floor:
            return  # the caller has given up
        self._answers[ticket] = answer
        self._kept += answer.octets
        if self._kept > 2 * limits.REPLY_OCTETS:
            self._shed(answer.at)
        self._send(ticket, answer, 0)

    def _forget(self, ticket: int) -> None:
        self._kept -= self._answers.pop(ticket).octets

    def _shed(self, now: float) -> None:
        """Let the pages of the oldest answers go; that they were carried out is remembered."""
        for ticket, answer in self._answers.items():
            if answer.octets and (self._kept > 2 * limits.REPLY_OCTETS or now - answer.at > KEEP_PAGES):
                self._kept -= answer.octets
                answer.frame, answer.pages, answer.octets = _refusal(ticket, "expired"), [], 0
                self.counters["replies_forgotten"] += 1

    def _send(self, ticket: int, answer: _Kept, page: int) -> None:
        self.frames.append(encode([_REPLY, ticket, OK, answer.pages[page], len(answer.pages), page]) if answer.pages else answer.frame)

    def page_wanted(self, ticket: int, page: int) -> None:
        """A PAGE came: one page of an answer again."""
        answer = self._answers.get(ticket)
        if answer is None or (answer.pages and not 0 <= page < len(answer.pages)):
            self.counters["drop:page-unknown"] += 1
        else:
            self._send(ticket, answer, page)

    # -- time

    def hasten(self, now: float) -> None:
        """The session goes another way: what went unanswered on the old one is repeated at once."""
        for call in self.outgoing.values():
            call.next_at, call.pause = now, FIRST_RETRY / 2

    def wake_at(self) -> float | None:
        """When something is to be repeated or given up."""
        return min((call.next_at for call in self.outgoing.values()), default=None)

    def wake(self, now: float) -> None:
        """Repeat what was not answered."""
        self._shed(now)
        for call in [c for c in self.outgoing.values() if c.next_at <= now]:
            if now - call.progress_at >= GIVE_UP:
                self.counters["calls_timed_out"] += 1
                self._finish(Done(call.ticket, reason="timeout"), now)
                continue
            call.pause = min(call.pause * 2, LAST_RETRY)
            call.next_at = now + call.pause
            self.counters["calls_retried"] += 1
            if call.pages:
                call.window = max(call.window // 2, LEAST_WINDOW)
                missing = [n for n in range(call.asked) if call.pages[n] is None] or [call.asked]
                call.asked = max(call.asked, missing[-1] + 1)
                self.frames.extend(encode([_PAGE, call.ticket, n]) for n in missing[: call.window])
            else:
                self.frames.append(encode([_CALL, call.ticket, call.method, call.body, next(iter(self.outgoing))]))


def _refusal(ticket: int, reason: str) -> bytes:
    return encode([_REPLY, ticket, REFUSED, reason[:200], 0, 0])


def _pages(items: list[bytes]) -> tuple[list[list[bytes]], int]:
    """(items cut into pages that fit a datagram each, their octets); no pages where they are too many or one is too long."""
    pages: list[list[bytes]] = [[]]
    room, total = PAGE_ROOM, 0
    for item in items:
        size = len(item) + 3
        total += size
        if size > PAGE_ROOM or total > limits.REPLY_OCTETS:
            return [], 0
        if size > room:
            pages.append([])
            room = PAGE_ROOM
        pages[-1].append(item)
        room -= size
    return pages, total
