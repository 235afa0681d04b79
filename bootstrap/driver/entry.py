"""Running the plan: lookups, fetches and knocks as it asks for them, until one way lets us in (DESIGN 3.7).

It decides nothing but how long one knock may take. How a way is tried (a session, a passport) is the caller's
``try_way``; the first success cancels all else.

Task tree: one nursery, a task for each thing under way, gone when the plan is fulfilled or given up.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

import trio

from bootstrap.driver.fetch import fetch as fetch_http
from bootstrap.driver.lookup import Lookup
from bootstrap.driver.silence import why_silent
from bootstrap.entrance import WayIn
from bootstrap.goal import Ask, Fetch, GiveUp, Goal, Listen, Tell, Try
from bootstrap.lan import Sender
from bootstrap.plan import Plan
from overlay.errors import Malformed, OverlayError, PeerError, ReachError
from overlay.machine import Entropy
from overlay.wire.address import Address

SILENT: Final = "no-answer"  # the rule of an error that says that nobody answered
TRY_LIMIT: Final = 30.0  # seconds for one knock; guess: UDP with its repeats, then TCP, then the passport

R = TypeVar("R")
TryWay = Callable[[WayIn, bytes], Awaitable[R]]
FetchFrom = Callable[[Address, str], Awaitable[bytes]]
AskLan = Callable[[Callable[[Sender], None]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Entered(Generic[R]):
    """We are in: through which way, into which overlay, and what ``try_way`` returned."""

    way: WayIn
    overlay_id: bytes
    result: R


class Entry(Generic[R]):
    """One attempt to get in.

    ``try_way(way, overlay_id)`` returns when a session to that node is up and its passport leads to the overlay; a
    ``ReachError`` or ``PeerError`` says that this way does not work (its ``what`` is told), any other ``OverlayError``
    ends the attempt. So a bad passport is a ``PeerError``: one liar in the DNS must not keep us from honest nodes. Where
    nobody answered, the host's other ports are asked why (``silence``). ``tell`` takes one line per step, for stderr.
    ``ask_lan(heard)`` asks on the LAN until cancelled; ``at`` gives UTC seconds.
    """

    def __init__(
        self, goal: Goal, try_way: TryWay[R], tell: Callable[[str], None], *,
        lookup: Lookup | None = None, fetch: FetchFrom = fetch_http, entropy: Entropy = secrets.token_bytes, ask_lan: AskLan | None = None,
        at: Callable[[], float] = time.time, silence: Callable[[Address], Awaitable[str]] = why_silent,
    ) -> None:
        self._lookup = lookup or Lookup()
        self.plan = Plan(goal, entropy, self._lookup.counters)
        self._try_way = try_way
        self._tell = tell
        self._fetch = fetch
        self._ask_lan = ask_lan
        self._at = at
        self._why_silent = silence
        self._changed = trio.Event()
        self._entered: Entered[R] | None = None
        self._error: OverlayError | None = None

    async def run(self) -> Entered[R]:
        """Until in; raises what the plan gives up with, or what ``try_way`` ends it with. Repeats for ever otherwise.

        Put a timeout around it and raise :meth:`Plan.unreached` where it strikes.
        """
        async with trio.open_nursery() as nursery:
            self.plan.start(trio.current_time())
            while True:
                self._perform(nursery)
                if self._entered is not None or self._error is not None:
                    break
                wake_at = self.plan.wake_at()
                with trio.move_on_at(float("inf") if wake_at is None else wake_at):
                    await self._changed.wait()
                self._changed = trio.Event()
                self.plan.wake(trio.current_time())
            nursery.cancel_scope.cancel()
        if self._entered is not None:
            return self._entered
        assert self._error is not None
        raise self._error

    def hurry(self) -> None:
        """The network changed: try again at once."""
        self.plan.hurry(trio.current_time())
        self._changed.set()

    def _perform(self, nursery: trio.Nursery) -> None:
        for effect in self.plan.take():
            match effect:
                case Tell(line):
                    self._tell(line)
                case GiveUp(error):
                    self._error = error
                case Listen():
                    if self._ask_lan is not None:
                        nursery.start_soon(self._ask_lan, self._heard)
                case Ask():
                    nursery.start_soon(self._ask, effect)
                case Fetch():
                    nursery.start_soon(self._get, effect)
                case Try():
                    nursery.start_soon(self._knock, effect)

    def _heard(self, sender: Sender) -> None:
        self._report(lambda now: self.plan.heard(sender, now, self._at()))

    async def _ask(self, ask: Ask) -> None:
        try:
            values = await self._lookup.ask(ask.name, ask.rtype)
        except (ReachError, Malformed) as why:
            self._report(partial(self.plan.failed, ask, why.what))
        else:
            self._report(partial(self.plan.answered, ask, values))

    async def _get(self, asked: Fetch) -> None:
        try:
            body = await self._fetch(asked.address, asked.path)
        except (ReachError, Malformed) as why:
            self.plan.counters[f"drop:{why.rule}"] += 1
            self._report(partial(self.plan.failed, asked, why.what))
        else:
            self._report(partial(self.plan.fetched, asked, body))

    async def _knock(self, attempt: Try) -> None:
        try:
            with trio.fail_after(TRY_LIMIT):
                result = await self._try_way(attempt.way, attempt.overlay_id)
        except trio.TooSlowError:
            self._report(partial(self.plan.failed, attempt, "no answer"))
        except (ReachError, PeerError) as why:
            reason = await self._why_silent(attempt.way.addresses[0]) if why.rule == SILENT else ""
            self._report(partial(self.plan.failed, attempt, f"{why.what}; {reason}" if reason else why.what))
        except OverlayError as why:
            self._error = self._error or why
            self._changed.set()
        else:
            self._entered = self._entered or Entered(attempt.way, attempt.overlay_id, result)
            self.plan.entered()
            self._changed.set()

    def _report(self, outcome: Callable[[float], None]) -> None:
        outcome(trio.current_time())
        self._changed.set()
