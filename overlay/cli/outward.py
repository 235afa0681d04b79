"""What those may who share a key with this node, as ``[dns]`` of the configuration has it: transfers, and notice of changes (Trio).

It decides the order: keys outermost, since who signs is known; then what answers the world. Where no keys are configured
nothing signed is looked at.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable

from overlay.config import Dns
from overlay.wire.address import parse_address
from tld.driver.notify import notify
from tld.driver.server import Backend
from tld.keyed import Inner, Keyed
from tld.label import from_text
from tld.notify import Notifier, Secondary
from tld.zone import Zones


class Outward:
    """``backend`` answers the world, by ``inner`` and the keys; ``counters`` of what is sent unasked. ``at`` gives UTC seconds."""

    def __init__(self, inner: Inner, zones: Callable[[], Zones], dns: Dns, at: Callable[[], float]) -> None:
        keys = {from_text(name): base64.b64decode(secret) for name, _, secret in (text.partition(":") for text in dns.keys)}
        transfer = frozenset(from_text(name) for name in dns.transfer)
        told = [text.split() for text in dns.notify]
        self._at = at
        self._zones = zones
        self._notifier = Notifier([Secondary(from_text(zone), parse_address(where, 53), from_text(key)) for zone, where, key in told], keys)
        self.backend: Backend = Keyed(inner, zones, keys, transfer, at) if keys else inner

    @property
    def counters(self) -> Counter[str]:
        """What secondaries were told, and what they said."""
        return self._notifier.counters

    async def run(self) -> None:
        """Tell secondaries of changes, until cancelled; without any, return."""
        if self._notifier.secondaries:
            await notify(self._notifier, self._zones, self._at)
