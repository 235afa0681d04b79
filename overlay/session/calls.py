"""Calls over one session: tickets, retries, answers once, pages (DESIGN 3.4; research F4).

It decides when a frame is sent again and when a call is over; ``machine.py`` seals frames and keeps time. A call is
repeated 250 ms, 500 ms .. 4 s after it was sent, under the same ticket; the other end carries it out at most once and
keeps its answer for repeats. An answer that is a list of octets may be longer than a datagram: it is cut into pages,
which the caller fetches; any other answer must fit.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from overlay import limits
from overlay.errors import Malformed
from overlay.session.packet import ROOM
from overlay.wire.codec import Value, encode
from overlay.wire.messages import Frame, Method

FIRST_RETRY = 0.25  # seconds
LAST_RETRY = 4.0
GIVE_UP = 10.0  # seconds without any progress
PAGE_WINDOW = 8  # pages asked for at once
PAGE_ROOM = ROOM - 40  # octets for a page's items: a frame's head and MessagePack's lengths need less
OK, REFUSED = 0, 1


@dataclass(slots=True)
class _Outgoing:
    ticket: int
    method: Method
    body: Value
    next_at: float
    pause: float
    progress_at: float
    pages: dict[int, list[bytes]] = field(default_factory=dict)
    page_count: int = 0

    def missing(self) -> list[int]:
        return [n for n in range(self.page_count) if n not in self.pages]


@dataclass(frozen=True, slots=True)
class Done:
    """A call of ours is over; ``reason`` is empty where it was answered."""

    ticket: int
    body: Value = None
    reason: str = ""


class Calls:
    """Both directions of one session. Frames to send collect in ``frames``, finished calls in ``done``."""

    def __init__(self) -> None:
        self.frames: list[list[Any]] = []
        self.done: list[Done] = []
        self.counters: Counter[str] = Counter()
        self._outgoing: dict[int, _Outgoing] = {}
        self._queue: deque[tuple[int, Method, Value]] = deque()
        self._serving: set[int] = set()
        self._answers: OrderedDict[int, tuple[int, Value | list[list[bytes]], bool]] = OrderedDict()  # ticket -> status, body or pages, paged
        self._forgotten = 0  # no ticket up to here is carried out any more

    # -- calling

    def call(self, ticket: int, method: Method, body: Value, now: float) -> None:
        """Send a call, or queue it behind the 8 outstanding."""
        if len(self._outgoing) < limits.CALLS_OUTSTANDING:
            self._start(ticket, method, body, now)
        elif len(self._queue) < limits.CALLS_QUEUED:
            self._queue.append((ticket, method, body))
        else:
            self.counters["drop:call-queue-full"] += 1
            self.done.append(Done(ticket, reason="queue-full"))

    def _start(self, ticket: int, method: Method, body: Value, now: float) -> None:
        frame = [Frame.CALL.value, ticket, method.value, body]
        if len(encode(frame)) > ROOM - 4:
            self.done.append(Done(ticket, reason="too-long"))
            return
        self._outgoing[ticket] = _Outgoing(ticket, method, body, now + FIRST_RETRY, FIRST_RETRY, now)
        self.frames.append(frame)

    def _finish(self, done: Done, now: float) -> None:
        self._outgoing.pop(done.ticket, None)
        self.done.append(done)
        while self._queue and len(self._outgoing) < limits.CALLS_OUTSTANDING:
            self._start(*self._queue.popleft(), now)

    def abandon(self, reason: str) -> None:
        """The session is gone: all calls fail."""
        for ticket in [*self._outgoing, *(ticket for ticket, _, _ in self._queue)]:
            self.done.append(Done(ticket, reason=reason))
        self._outgoing.clear()
        self._queue.clear()

    def replied(self, frame: list[Any], now: float) -> None:
        """A REPLY came: [3, ticket, status, body, pages, page]."""
        if len(frame) != 6 or any(type(frame[n]) is not int for n in (1, 2, 4, 5)):
            raise Malformed("a reply is [3, ticket, status, body, pages, page]", rule="reply-form")
        _, ticket, status, body, pages, page = frame
        call = self._outgoing.get(ticket)
        if call is None:
            self.counters["drop:reply-late"] += 1
        elif status == REFUSED:
            self._finish(Done(ticket, reason=body if type(body) is str else "refused"), now)
        elif pages == 0:
            self._finish(Done(ticket, body), now)
        else:
            self._paged(call, body, pages, page, now)

    def _paged(self, call: _Outgoing, body: Value, pages: int, page: int, now: float) -> None:
        most = limits.REPLY_OCTETS // 500
        if type(body) is not list or not 0 <= page < pages <= most or call.page_count not in (0, pages):
            raise Malformed("a page out of its order", rule="reply-page")
        call.page_count = pages
        if page not in call.pages:
            call.pages[page] = body
            call.progress_at = now
            call.pause = FIRST_RETRY
        missing = call.missing()
        if not missing:
            self._finish(Done(call.ticket, [item for n in range(pages) for item in call.pages[n]]), now)
        elif page + 1 == missing[0] and len(call.pages) % PAGE_WINDOW == 1 or len(call.pages) == 1:
            self._ask_pages(call, now)

    def _ask_pages(self, call: _Outgoing, now: float) -> None:
        call.next_at = now + call.pause
        self.frames.extend([Frame.PAGE.value, call.ticket, n] for n in call.missing()[:PAGE_WINDOW])

    # -- serving

    def called(self, ticket: int) -> bool:
        """A CALL came. True where it is to be carried out now; a repeat of an answered one is answered again."""
        answer = self._answers.get(ticket)
        if answer is not None:
            self._send_answer(ticket, answer, 0)
        elif ticket in self._serving:
            self.counters["calls_repeated"] += 1
        elif ticket <= self._forgotten or len(self._serving) >= 4 * limits.CALLS_OUTSTANDING:
            self.counters["drop:call-forgotten"] += 1
        else:
            self._serving.add(ticket)
            return True
        return False

    def answer(self, ticket: int, body: Value) -> None:
        """The answer to a call of theirs."""
        if type(body) is list and all(type(item) is bytes for item in body):
            pages = _pages(body)
            if pages is not None:
                self._keep(ticket, (OK, pages, True))
                return
        elif len(encode(body)) <= PAGE_ROOM:
            self._keep(ticket, (OK, body, False))
            return
        self.counters["drop:reply-too-long"] += 1
        self._keep(ticket, (REFUSED, "too-long", False))

    def refuse(self, ticket: int, reason: str) -> None:
        """A call of theirs is not carried out."""
        self._keep(ticket, (REFUSED, reason[:200], False))

    def _keep(self, ticket: int, answer: tuple[int, Any, bool]) -> None:
        self._serving.discard(ticket)
        self._answers[ticket] = answer
        while len(self._answers) > limits.REPLIES_KEPT:
            oldest, _ = self._answers.popitem(last=False)
            self._forgotten = max(self._forgotten, oldest)
        self._send_answer(ticket, answer, 0)

    def _send_answer(self, ticket: int, answer: tuple[int, Any, bool], page: int) -> None:
        status, body, paged = answer
        if paged:
            self.frames.append([Frame.REPLY.value, ticket, status, body[page], len(body), page])
        else:
            self.frames.append([Frame.REPLY.value, ticket, status, body, 0, 0])

    def page_wanted(self, ticket: int, page: int) -> None:
        """A PAGE came: one page of an answer again."""
        answer = self._answers.get(ticket)
        if answer is not None and answer[2] and 0 <= page < len(answer[1]):
            self._send_answer(ticket, answer, page)
        else:
            self.counters["drop:page-unknown"] += 1

    # -- time

    def wake_at(self) -> float | None:
        """When something is to be repeated or given up."""
        return min((call.next_at for call in self._outgoing.values()), default=None)

    def wake(self, now: float) -> None:
        """Repeat what was not answered."""
        for call in [c for c in self._outgoing.values() if c.next_at <= now]:
            if now - call.progress_at >= GIVE_UP:
                self._finish(Done(call.ticket, reason="timeout"), now)
                continue
            call.pause = min(call.pause * 2, LAST_RETRY)
            call.next_at = now + call.pause
            self.counters["calls_retried"] += 1
            if call.page_count:
                self._ask_pages(call, now)
            else:
                self.frames.append([Frame.CALL.value, call.ticket, call.method.value, call.body])


def _pages(items: list[bytes]) -> list[list[bytes]] | None:
    """Items cut into pages that fit a datagram each; None where they are too many or one is too long."""
    pages: list[list[bytes]] = [[]]
    room, total = PAGE_ROOM, 0
    for item in items:
        size = len(item) + 5
        total += size
        if size > PAGE_ROOM or total > limits.REPLY_OCTETS:
            return None
        if size > room:
            pages.append([])
            room = PAGE_ROOM
        pages[-1].append(item)
        room -= size
    return pages
