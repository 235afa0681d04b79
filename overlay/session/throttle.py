"""How often one source may cost us something: a rate and a burst, for each IPv4 address or IPv6 /64.

The generic cell rate algorithm (ITU-T I.371): one number for each source, the instant up to which it has used its share;
no timers. Who has used nothing is not remembered; where sources are too many, the one longest unheard is forgotten.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from overlay import limits
from overlay.wire.address import source_of


class Throttle:
    """``rate`` times a second, ``burst`` at once. Loopback has no share: it is this machine."""

    def __init__(self, rate: int, burst: int, counters: Counter[str]) -> None:
        self._each = 1 / rate
        self._slack = (burst - 1) / rate
        self._used: OrderedDict[str, float] = OrderedDict()
        self._counters = counters

    def lets(self, host: str, now: float) -> bool:
        """Whether this source may once more; it is then charged."""
        source = source_of(host)
        if source is None:
            return True
        used = max(self._used.get(source, now), now)
        if used - now > self._slack:
            return False
        self._used[source] = used + self._each
        self._used.move_to_end(source)
        if len(self._used) > limits.THROTTLED:
            self._used.popitem(last=False)
            self._counters["throttled_forgotten"] += 1
        return True
