"""Rendered answers in two levels, bounded by number and octets, void as soon as a zone changes.

Level 1 is keyed by the whole query less its id and gives the whole reply less its id: one dictionary look-up, no parsing.
Level 2 is keyed by the question without case and what else shapes an answer (size class, EDNS, DO), and serves clients
whose queries differ by cookies, letter case or flags. Decides what is worth keeping: level 1 only what was asked before
in the same octets, and neither level an NXDOMAIN, since random names would only thrash them. Refuses to know how answers are made.
"""

from __future__ import annotations

from collections import Counter

from overlay import limits
from tld.query import Key
from tld.render import Rendered
from tld.zone import Zones

_OVERHEAD = 160  # octets that an entry costs beside its own: two objects and a slot of the table


class Answers:
    """The cache of one listener's kind (authoritative or stub: they differ in AA and RA)."""

    __slots__ = ("_first", "_generation", "_octets", "_second", "_seen", "_zones", "counters")

    def __init__(self, zones: Zones, counters: Counter[str]) -> None:
        self._zones = zones
        self._generation = zones.generation
        self._first: dict[bytes, bytes] = {}
        self._second: dict[Key, Rendered] = {}
        self._seen: set[int] = set()  # hashes of queries that level 2 has answered once
        self._octets = [0, 0]
        self.counters = counters

    def reply(self, data: bytes) -> bytes | None:
        """The reply to exactly these octets over UDP, from level 1."""
        if self._generation != self._zones.generation:
            self.clear()
            return None
        rest = self._first.get(data[2:])
        return None if rest is None else data[:2] + rest

    def find(self, key: Key) -> Rendered | None:
        """The rendering for that question and kind of client, from level 2."""
        if self._generation != self._zones.generation:
            self.clear()
            return None
        return self._second.get(key)

    def keep(self, key: Key, rendered: Rendered) -> None:
        """Remember a rendering in level 2."""
        if self._room(1, len(self._second), len(key[0]) + len(rendered.tail) + 20):
            self._second.clear()
        self._second[key] = rendered

    def keep_reply(self, data: bytes, reply: bytes) -> None:
        """Remember the reply to these octets in level 1, once they have come before: cookies and odd case seldom do."""
        rest = data[2:]
        seen = self._seen
        if (mark := hash(rest)) not in seen:
            if len(seen) >= limits.ANSWERS_CACHED:
                seen.clear()
            seen.add(mark)
            return
        if self._room(0, len(self._first), len(data) + len(reply)):
            self._first.clear()
        self._first[rest] = reply[2:]

    def clear(self) -> None:
        """Forget everything; what is kept from now on belongs to the zones as they are now."""
        self._first.clear()
        self._second.clear()
        self._octets = [0, 0]
        self._generation = self._zones.generation

    def _room(self, level: int, entries: int, octets: int) -> bool:
        """Book ``octets`` in a level; True where it is full and must be emptied first."""
        octets += _OVERHEAD
        full = entries >= limits.ANSWERS_CACHED or self._octets[level] + octets > limits.ANSWERS_OCTETS
        self._octets[level] = octets if full else self._octets[level] + octets
        self.counters["dns_cache_evicted"] += entries if full else 0
        return full

    def __len__(self) -> int:
        return len(self._first) + len(self._second)
