"""What those may who share a key with this node, as ``[dns]`` of the configuration has it: transfers, notice of changes, updates (Trio).

It decides the order: keys outermost, since who signs is known; then what answers the world. Where no keys are configured
nothing signed is looked at.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from overlay.config import Dns
from overlay.wire.address import parse_address
from tld import codes
from tld.authority import Source
from tld.driver.notify import notify
from tld.driver.server import Backend, Forward
from tld.keyed import Inner, Keyed
from tld.label import from_text
from tld.notify import Notifier, Secondary
from tld.transfer import Parts
from tld.update import Change
from tld.zone import Held


class Outward:
    """``backend`` answers the world, by ``inner`` and the keys. ``at`` gives UTC seconds."""

    def __init__(self, inner: Inner, zones: Held, dns: Dns, at: Callable[[], float]) -> None:
        keys = {from_text(name): base64.b64decode(secret) for name, _, secret in (text.partition(":") for text in dns.keys)}
        transfer = frozenset(from_text(name) for name in dns.transfer)
        told = [text.split() for text in dns.notify]
        self._at = at
        self._zones = zones
        self._notifier = Notifier([Secondary(from_text(zone), parse_address(where, 53), from_text(key)) for zone, where, key in told], keys)
        changed = (text.split() for text in dns.update)
        update = frozenset((from_text(name), from_text(key)) for name, key in changed)
        self._keyed = Keyed(inner, zones, keys, transfer, at, update)
        self.carry_out: Callable[[Change], Awaitable[bytes]] | None = None  # who makes changes, once there is somebody
        self._inner = inner
        self.backend: Backend = self if keys else inner

    @property
    def counters(self) -> Counter[str]:
        """Of what is answered."""
        return self._inner.counters

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
