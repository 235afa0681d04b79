"""Ports by chance: the last way through a NAT that maps each far end to another port (DESIGN 3.7).

Where one end's NAT is such (*hard*) and the other end's lets in only who was written to at that very port, neither knows
where to send. The hard end sends from 256 sockets of its own, which opens 256 ports at its NAT; the other end writes to
ports by chance, a hundred a second. Of 64,512 ports one in 252 is open, so 753 guesses find one with 95 % (the birthday of
RFC 5128's successors; the same sums stand in Tailscale's account of NAT traversal). The first that is answered becomes
the session's way. Two hard ends would need 28,000 guesses each, and stay with their relay.

The threat: a member lets others write to a victim. A run is 1,024 probes of 93 octets at a rate of 9 kB a second, one at a
time and one in ten minutes for a peer; it is switched off by ``[reach] guess = false``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.machine import CloseUdp, Entropy, Send
from overlay.session.frames import probe
from overlay.session.relation import TOKEN, Session
from overlay.wire.address import Address, Way

EACH: Final = 0.05  # seconds between bursts of guesses
BURST: Final = 5  # guesses in one: a hundred a second, which no router takes for a flood
GIVE_UP: Final = 12.0  # seconds (GOALS, "time to direct")
AGAIN: Final = 600.0  # seconds before the same peer is guessed for again
LOWEST: Final = 1_024  # ports below are given to nobody by NATs (RFC 4787, 4.2.2)
SPRAY_AGAIN: Final = 4.0  # seconds after which the hard end sends once more: a NAT forgets in 30, and some are lost


@dataclass(slots=True)
class Guess:
    """One run of one session; ``links`` are the hard end's sockets, ``targets`` where it writes to."""

    began: float
    next_at: float
    host: str = ""
    token: bytes = b""
    left: int = 0
    links: range = range(0)
    targets: tuple[Address, ...] = ()
    used: set[int] = field(default_factory=set)


class Guessing:
    """All runs of one node. ``emit`` sends; ``look_at`` sets a session's date; ``found`` takes a way that answered."""

    def __init__(
        self, *, numbers: Mapping[int, Session], emit: Callable[[Send | CloseUdp], None], look_at: Callable[[Session, float], None], entropy: Entropy,
        counters: Counter[str],
    ) -> None:
        self.allowed = True
        self._numbers = numbers
        self._emit = emit
        self._look_at = look_at
        self._entropy = entropy
        self._counters = counters
        self._runs: dict[int, Guess] = {}  # by session
        self._last: dict[bytes, float] = {}  # peer -> when a run for it began last
        self._next_link = 1

    def begin(self, number: int, hard: bool, targets: tuple[Address, ...], now: float) -> bool:
        """Begin a run: as the hard end, which writes to ``targets``, or as the other, which guesses ports there. False where it may not."""
        session = self._numbers.get(number)
        if session is None or not targets or not self.allowed or now - self._last.get(session.peer, -AGAIN) < AGAIN:
            return False
        if len(self._runs) >= limits.GUESSING:
            self._counters["drop:guess-busy"] += 1
            return False
        self._last[session.peer] = now
        if len(self._last) > limits.SESSIONS:
            del self._last[next(iter(self._last))]
        if hard:
            links = range(self._next_link, self._next_link + limits.GUESS_SOCKETS)
            self._next_link += limits.GUESS_SOCKETS
            run = Guess(now, now, links=links, targets=targets[:1], left=2)
        else:
            run = Guess(now, now, host=targets[0].host, token=self._entropy(TOKEN), left=limits.GUESSES)
        self._runs[number] = run
        self.work(session, now)
        return True

    def answered(self, session: Session, token: bytes, way: Way) -> bool:
        """A PROBED came: whether a guess was right."""
        run = self._runs.get(session.number)
        if run is None or not run.token or run.token != token or way.remote.host != run.host:
            return False
        del self._runs[session.number]
        return True

    def moved(self, session: Session) -> None:
        """The session goes another way: what is not needed any more is closed."""
        run = self._runs.pop(session.number, None)
        if run is not None:
            self._close(run, session.way.link if session.way.proto == "udp" else 0)

    def ended(self, session: Session) -> None:
        """The session is over."""
        run = self._runs.pop(session.number, None)
        if run is not None:
            self._close(run, 0)
        for way in {session.way, *(one.way for one in session.tries)}:
            if way.proto == "udp" and way.link:
                self._emit(CloseUdp(way.link))

    def _close(self, run: Guess, kept: int) -> None:
        for link in run.links:
            if link != kept:
                self._emit(CloseUdp(link))

    def due(self, session: Session) -> float:
        """When :meth:`work` wants to be called."""
        run = self._runs.get(session.number)
        return run.next_at if run is not None else float("inf")

    def work(self, session: Session, now: float) -> None:
        """What is due of a run."""
        run = self._runs.get(session.number)
        if run is None or now < run.next_at:
            return
        if now >= run.began + GIVE_UP or (not run.links and not run.left):
            del self._runs[session.number]
            self._close(run, 0)
            return
        if run.links:
            run.next_at = min(now + SPRAY_AGAIN, run.began + GIVE_UP) if run.left else run.began + GIVE_UP
            self._counters["guesses"] += len(run.links) if run.left else 0
            for link in run.links if run.left else ():
                self._emit(Send(Way("udp", run.targets[0], "", link), session.link.seal(b"\x91" + probe(self._entropy(TOKEN)))))
            run.left -= run.left > 0
        else:
            run.next_at = now + EACH
            for _ in range(min(BURST, run.left)):
                run.left -= 1
                self._counters["guesses"] += 1
                self._emit(Send(Way("udp", Address(run.host, self._port(run))), session.link.seal(b"\x91" + probe(run.token))))
        self._look_at(session, run.next_at)

    def _port(self, run: Guess) -> int:
        while True:
            port = LOWEST + int.from_bytes(self._entropy(4), "big") % (65_536 - LOWEST)
            if port not in run.used:
                run.used.add(port)
                return port
