"""The world's DNS listener: the authority with its manners around it, as the configuration has them (Trio).

It decides the order: keys outermost, since who signs is known; then rates; then the authority with its cookies. Where no
keys are configured nothing signed is looked at.

    Outward.run
    |- _beat     seconds, for signatures
    `- notify    secondaries told of changes, where there are any
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable

import trio

from overlay.config import Dns
from overlay.wire.address import parse_address
from tld.cookies import Cookies
from tld.driver.notify import notify
from tld.driver.server import Backend
from tld.keyed import Keyed
from tld.label import from_text
from tld.manners import Polite
from tld.names import Names
from tld.notify import Notifier, Secondary


class Outward:
    """``backend`` answers the world; ``counters`` of what is sent unasked. ``at`` gives UTC seconds."""

    def __init__(self, names: Names, dns: Dns, *, now: Callable[[], float], at: Callable[[], float]) -> None:
        self._at = at
        self._zones = names.secure
        self._polite = Polite(names.authoritative, Cookies(os.urandom(16)), now=now, at=at)
        keys = {from_text(name): base64.b64decode(secret) for name, _, secret in (text.partition(":") for text in dns.keys)}
        transfer = frozenset(from_text(name) for name in dns.transfer)
        self._keyed = Keyed(self._polite, names.secure, keys, transfer, at()) if keys else None
        told = [text.split() for text in dns.notify]
        self._notifier = Notifier([Secondary(from_text(zone), parse_address(where, 53), from_text(key)) for zone, where, key in told], keys)
        self.backend: Backend = self._keyed or self._polite
        self.counters = self._notifier.counters

    async def run(self) -> None:
        """Keep time, and tell secondaries, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            if self._notifier.secondaries:
                nursery.start_soon(notify, self._notifier, self._zones, self._at)

    async def _beat(self) -> None:
        while self._keyed is not None:
            await trio.sleep(1)
            self._keyed.tick(self._at())
