"""The world's DNS listener: the authority with its manners around it, as the configuration has them (Trio).

It decides the order: keys outermost, since who signs is known; then rates; then the authority with its cookies. Where no
keys are configured nothing signed is looked at.

    Outward.run
    |- beat      seconds, for cookies, rates and signatures
    `- notify    secondaries told of changes, where there are any
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import trio

from overlay.config import Dns
from overlay.wire.address import parse_address
from tld.driver.notify import notify
from tld.driver.seconds import beat, with_cookies
from tld.driver.server import Backend
from tld.keyed import Keyed
from tld.label import from_text
from tld.limiter import Limited
from tld.names import Names
from tld.notify import Notifier, Secondary


class Outward:
    """``backend`` answers the world; ``counters`` of what is sent unasked. ``at`` gives UTC seconds."""

    def __init__(self, names: Names, dns: Dns, at: Callable[[], float]) -> None:
        self._at = at
        self._zones = names.zones
        self._cookies = with_cookies(names.authoritative, at)
        self._limited = Limited(names.authoritative)
        keys = {from_text(name): base64.b64decode(secret) for name, _, secret in (text.partition(":") for text in dns.keys)}
        transfer = frozenset(from_text(name) for name in dns.transfer)
        self._keyed = Keyed(self._limited, names.zones, keys, transfer, at()) if keys else None
        told = [text.split() for text in dns.notify]
        self._notifier = Notifier([Secondary(from_text(zone), parse_address(where, 53), from_text(key)) for zone, where, key in told], keys)
        self.backend: Backend = self._keyed or self._limited
        self.counters = self._notifier.counters

    async def run(self) -> None:
        """Keep time, and tell secondaries, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat, self._cookies, self._at, self._limited, self._keyed)
            if self._notifier.secondaries:
                nursery.start_soon(notify, self._notifier, self._zones, self._at)
