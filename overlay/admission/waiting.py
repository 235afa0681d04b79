"""Newcomers who wait for a person's yes, and how many names a neighbourhood of the internet gets (DESIGN 3.3).

It decides who may stand in the waiting room (32, for 15 minutes, 4 of a /24 or /48), under which code, and whether a
source has had its names of this hour. The code is 40 bits of the session's hash, so a person who reads the same on both
machines knows that nobody stands between them. Addresses that are nobody's on the internet are not counted.
"""

from __future__ import annotations

import base64
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from overlay import limits
from overlay.admission.request import Request
from overlay.errors import UsageError
from overlay.units import HOUR

CODE = 5  # octets: 40 bits (DESIGN 3.3)


def code_of(session_hash: bytes) -> str:
    """What both sides show: ``"ABCD-EFGH"``."""
    text = base64.b32encode(session_hash[:CODE]).decode()
    return f"{text[:4]}-{text[4:]}"


def read_code(text: str) -> str:
    """A code as a person writes it -> as it is shown, or a ``UsageError``."""
    letters = "".join(text.upper().replace("-", " ").split())
    if len(letters) != 8 or not all(letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" for letter in letters):
        raise UsageError(f"{text[:40]!r} is no admission code", "copy it from the newcomer's screen: it reads like ABCD-EFGH", rule="code")
    return f"{letters[:4]}-{letters[4:]}"


def neighbourhood(host: str) -> str | None:
    """The /24 or /48 of a source; None for what is nobody's on the internet: loopback, home networks, documentation."""
    try:
        ip = ip_address(host.split("%")[0])
    except ValueError:
        return None
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ip_network(f"{ip}/{24 if ip.version == 4 else 48}", strict=False)) if ip.is_global else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Somebody who asked without a token. ``since`` is UTC seconds, ``host`` where it asks from."""

    code: str
    request: Request
    since: float
    host: str


@dataclass(slots=True)
class WaitingRoom:
    """Who waits, by node id."""

    counters: Counter[str] = field(default_factory=Counter)
    _by_node: dict[bytes, Waiting] = field(default_factory=dict)

    def enter(self, request: Request, session_hash: bytes, host: str, at: float) -> Waiting | None:
        """Take a place, or keep it under the code of a newer session. None where there is none left."""
        self._let_go(at)
        held = self._by_node.get(request.node_id)
        area = neighbourhood(host)
        crowd = sum(area is not None and neighbourhood(other.host) == area for other in self._by_node.values())
        if held is None and (len(self._by_node) >= limits.WAITING or crowd >= limits.WAITING_PER_PREFIX):
            return None
        since = held.since if held is not None else at
        waiting = self._by_node[request.node_id] = Waiting(code=code_of(session_hash), request=request, since=since, host=host)
        return waiting

    def listed(self, at: float) -> list[Waiting]:
        """All who wait, the longest first."""
        self._let_go(at)
        return sorted(self._by_node.values(), key=lambda w: w.since)

    def leave(self, node_id: bytes) -> None:
        """It is in, or does not wait any more."""
        self._by_node.pop(node_id, None)

    def ended(self, session_hash: bytes) -> None:
        """A session ended: who waited on it has gone, or comes again on another."""
        code = code_of(session_hash)
        for node_id in [node_id for node_id, waiting in self._by_node.items() if waiting.code == code]:
            del self._by_node[node_id]

    def _let_go(self, at: float) -> None:
        for node_id in [node_id for node_id, waiting in self._by_node.items() if not 0 <= at - waiting.since < limits.WAITING_TIME]:
            del self._by_node[node_id]
            self.counters["waiting_ended"] += 1


@dataclass(slots=True)
class Quota:
    """Names given openly in the last hour, by neighbourhood."""

    counters: Counter[str] = field(default_factory=Counter)
    most: int = limits.NAMES_PER_PREFIX
    area_of: Callable[[str], str | None] = neighbourhood
    _given: dict[str, deque[float]] = field(default_factory=dict)

    def spent(self, host: str, at: float) -> bool:
        """Whether that source's neighbourhood has had its names of this hour."""
        area = self.area_of(host)
        given = self._given.get(area, deque()) if area is not None else deque()
        while given and not 0 <= at - given[0] < HOUR:
            given.popleft()
        return len(given) >= self.most

    def count(self, host: str, at: float) -> None:
        """A name was given to that source."""
        area = self.area_of(host)
        if area is not None:
            self._given.setdefault(area, deque()).append(at)
            while len(self._given) > limits.PREFIXES:
                del self._given[next(iter(self._given))]
                self.counters["prefixes_forgotten"] += 1
