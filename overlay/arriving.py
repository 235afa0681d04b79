"""A node on its way in: what the newcomer's machine wants, carried to sessions and back (DESIGN 3.3).

It decides nothing that ``newcomer.py`` does not; it knows how a question becomes a call, a pointer a dial, and what is
told to whoever plugged in. A node that has its name keeps one of these, asleep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from overlay.admission.request import Request
from overlay.errors import OverlayError
from overlay.identity.keys import Identity, Signer
from overlay.newcomer import Asked, Newcomer, Others, Output, Pointed, Question, Refused, ways_of
from overlay.peers import Peer, Peers
from overlay.raised import AdmissionAsked, JoinRefused
from overlay.session.relaying import SHORT
from overlay.wire.address import Address
from overlay.wire.codec import Value
from overlay.wire.messages import Method

Back = Callable[[Any, float, float], None]  # (answer or None, now, at)


@dataclass(frozen=True, slots=True)
class Ports:
    """What a node lends: calls with their answers, dialling, telling."""

    call: Callable[[int, Method, Value, Back, float], int]
    dial: Callable[[bytes, Iterable[Address], float, float, Iterable[bytes]], None]
    tell: Callable[[object], None]


class Arriving:
    """One attempt at a time, or none."""

    def __init__(self, identity: Identity, peers: Peers, ports: Ports) -> None:
        self._identity = identity
        self._peers = peers
        self._ports = ports
        self._newcomer: Newcomer | None = None

    def begin(self, request: Request, seed: Signer | None, redeemers: frozenset[bytes]) -> None:
        """Ask whoever is reached."""
        self._newcomer = Newcomer(self._identity, request, seed, redeemers)
        for peer in self._peers.peers.values():
            if peer.passport is not None:
                self._newcomer.known(peer)

    @property
    def request(self) -> Request:
        """What it asks for."""
        assert self._newcomer is not None
        return self._newcomer.request

    def end(self) -> None:
        """It has its name."""
        self._newcomer = None

    def disbelieved(self, error: OverlayError, now: float) -> None:
        """The grants that it was given do not hold: others are asked."""
        if self._newcomer is not None:
            self._newcomer.disbelieved(error, now)

    def known(self, peer: Peer) -> None:
        """A node with a good passport is at the other end of that session."""
        if self._newcomer is not None:
            self._newcomer.known(peer)

    def unreachable(self, exchange: bytes, now: float) -> None:
        """No session came of a dial."""
        if self._newcomer is not None:
            self._newcomer.unreachable(exchange, now)

    def wake_at(self) -> float | None:
        """When :meth:`wake` wants to be called."""
        return self._newcomer.wake_at() if self._newcomer is not None else None

    def wake(self, now: float) -> None:
        """Time passed."""
        if self._newcomer is not None:
            self._newcomer.wake(now)

    def take(self) -> list[Output]:
        """What it wants since last asked."""
        return self._newcomer.take() if self._newcomer is not None else []

    def handlers(self) -> dict[type, Callable[[Any, float, float], None]]:
        """Event -> handler, of all that :meth:`take` gives but the grants."""
        return {Question: self._question, Pointed: self._pointed, Refused: self._refused, Asked: self._asked, Others: self._others}

    def _question(self, question: Question, now: float, at: float) -> None:
        newcomer = self._newcomer

        def back(body: Any, now: float, at: float) -> None:
            if newcomer is not None and body is None:
                newcomer.failed(question.session)
            elif newcomer is not None:
                newcomer.answered(question.session, body, now)

        self._ports.call(question.session, question.method, question.body, back, now)

    def _pointed(self, event: Pointed, now: float, at: float) -> None:
        peer = self._peers.by_exchange(event.exchange)
        if peer is not None and peer.passport is not None:
            self.known(peer)
        else:
            relays = () if event.addresses else tuple(peer.exchange[:SHORT] for peer in self._peers.peers.values())
            self._ports.dial(event.exchange, event.addresses, now, at, relays)

    def _asked(self, event: Asked, now: float, at: float) -> None:
        self._ports.tell(AdmissionAsked(event.code, event.where))

    def _others(self, event: Others, now: float, at: float) -> None:
        """Somebody said no: another node is asked as well, found by way of all that we are connected to."""

        def back(body: Any, now: float, at: float) -> None:
            for exchange, addresses in ways_of(body):
                if self._newcomer is not None and self._peers.by_exchange(exchange) is None:
                    self._ports.dial(exchange, addresses, now, at, ())

        for peer in list(self._peers.peers.values()):
            self._ports.call(peer.session, Method.WAYS, {}, back, now)

    def _refused(self, event: Refused, now: float, at: float) -> None:
        self._newcomer = None
        self._ports.tell(JoinRefused(event.error))
