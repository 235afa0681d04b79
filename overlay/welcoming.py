"""Newcomers at this node: their questions to the registrar, those that wait for the public DNS, what the log says of them.

It decides when a question is answered; the answer is the registrar's (``admission/registrar.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from overlay import limits
from overlay.admission.registrar import Asker, Registrar
from overlay.admission.request import ASKING, Reply, read_request
from overlay.machine import Effect, Log, Raise, Store
from overlay.peers import Peer
from overlay.raised import AskPublic
from overlay.records.trust import Verifier
from overlay.session.events import Called
from overlay.wire.address import Way
from overlay.wire.messages import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What a question comes to: the reply (None: it waits), what must be durable first, what else happens."""

    reply: Reply | None = None
    stores: tuple[Store, ...] = ()
    effects: tuple[Effect, ...] = ()


@dataclass(slots=True)
class Welcoming:
    """The door of one node."""

    registrar: Registrar
    verifier: Verifier
    near: Callable[[Way], bool] = lambda way: False  # whether the far end of a way stands on a LAN of ours
    _held: list[tuple[str, Called]] = field(default_factory=list)  # questions that wait for the public DNS, by label
    _last: dict[int, str] = field(default_factory=dict)  # session -> what its newcomer was told last

    def ask(self, event: Called, peer: Peer, at: float) -> Welcome:
        """ENROL or REDEEM came. ``Malformed`` where its proofs do not hold."""
        request = read_request(event.body, peer.handshake_hash, redeem=event.method is Method.REDEEM, verifier=self.verifier)
        asker = Asker(session_hash=peer.handshake_hash, host=peer.way.remote.host, near=self.near(peer.way))
        reply, stores = self.registrar.ask(request, at, asker)
        if reply.code == ASKING and len(self._held) < limits.WAITING:
            self._held.append((reply.what, event))
            return Welcome(effects=(Raise(AskPublic(reply.what)),))
        effects: tuple[Effect, ...] = ()
        if reply.code != self._last.get(event.session):  # who waits asks every 2 s
            self._last = {event.session: reply.code}
            effects = (Log("info", "newcomer", {"outcome": reply.code, "label": request.label, "what": reply.what}),)
        return Welcome(reply=reply, stores=tuple(stores), effects=effects)

    def told(self, label: str, exists: bool | None, at: float) -> list[Called]:
        """The public DNS said whether it has that label: the questions that waited for it."""
        self.registrar.shadows.told(label, exists, at)
        ready = [event for asked, event in self._held if asked == label]
        self._held = [held for held in self._held if held[0] != label]
        return ready
