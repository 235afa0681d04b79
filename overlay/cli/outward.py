"""The world's DNS listener: the authority with its manners around it, and what ``[dns]`` of the configuration adds (Trio).

It decides the order: keys outermost, since who signs is known; then rates; then the authority with its cookies. Where no
keys are configured nothing signed is looked at. It hands updates to who carries them out, and tells secondaries of changes.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from overlay.config import Dns
from overlay.wire.address import parse_address
from tld import codes
from tld.authority import Source
from tld.cookies import Cookies
from tld.driver.notify import notify
from tld.driver.server import Backend, Forward
from tld.keyed import Keyed
from tld.label import from_text
from tld.manners import Polite
from tld.names import Names
from tld.notify import Notifier, Secondary
from tld.transfer import Parts
from tld.update import Change


class Outward:
    """``backend`` answers the world. ``now`` gives monotonic seconds, ``at`` UTC."""

    def __init__(self, names: Names, dns: Dns, *, now: Callable[[], float], at: Callable[[], float]) -> None:
        self._polite = Polite(names.authoritative, Cookies(os.urandom(16)), now=now, at=at)
        keys = {from_text(name): base64.b64decode(secret) for name, _, secret in (text.partition(":") for text in dns.keys)}
        transfer = frozenset(from_text(name) for name in dns.transfer)
        told = [text.split() for text in dns.notify]
        self._at = at
        self._zones = names.secure
        self._notifier = Notifier([Secondary(from_text(zone), parse_address(where, 53), from_text(key)) for zone, where, key in told], keys)
        changed = (text.split() for text in dns.update)
        update = frozenset((from_text(name), from_text(key)) for name, key in changed)
        self._keyed = Keyed(self._polite, names.secure, keys, transfer, at, update)
        self.carry_out: Callable[[Change], Awaitable[bytes]] | None = None  # who makes changes, once there is somebody
        self.backend: Backend = self if keys else self._polite

    @property
    def counters(self) -> Counter[str]:
        """Of what is answered."""
        return self._polite.counters

    @property
    def told(self) -> Counter[str]:
        """What secondaries were told, and what they said."""
        return self._notifier.counters

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | Forward | Parts | None:
        """See ``server.Backend``."""
        found = self._keyed.answer(data, source, udp)
        if not isinstance(found, Change):
            return found
        if self.carry_out is None:
            return found.finish(codes.SERVFAIL)
        return Forward(partial(self.carry_out, found))

    async def run(self) -> None:
        """Tell secondaries of changes, until cancelled; without any, return."""
        if self._notifier.secondaries:
            await notify(self._notifier, self._zones, self._at)
