"""The stub's waiting half: what ``tld/names.py`` cannot answer from memory is passed on, fetched or chased here (Trio).

It decides how long somebody is waited for, and that who waits for one zone waits together. A backend of ``server.py``:
answers from memory never leave the drain loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio

from overlay import limits
from overlay.name import Path
from tld import codes
from tld.authority import Source
from tld.driver.server import Forward
from tld.driver.upstream import Upstream
from tld.explain import explain, full_name, outcome
from tld.label import to_wire
from tld.names import MAX_CHAIN, Chase, Fetch, Later, Names, Pass
from tld.query import ask
from tld.reply import read

FETCH_TIMEOUT: Final = 4.0  # seconds for a zone to come; glibc asks again after 5 (resolv.conf(5), timeout)
_HERE: Final[Source] = ("127.0.0.1", 0)

FetchZone = Callable[[Path], Awaitable[object]]


class Stub:
    """Backend of the stub's listeners. ``fetch`` brings a zone into ``names``; it may fail or take for ever."""

    def __init__(self, names: Names, upstream: Upstream, fetch: FetchZone) -> None:
        self.names = names
        self.upstream = upstream
        self._fetch = fetch
        self._fetching: dict[Path, trio.Event] = {}

    @property
    def counters(self) -> Counter[str]:
        """Shared with the answers from memory."""
        return self.names.resolving.counters

    def answer(self, data: bytes, source: Source, udp: bool) -> bytes | Forward | None:
        """See ``server.Backend``."""
        found = self.names.stub(data, source, udp)
        if found is None or isinstance(found, bytes):
            return found
        return Forward(partial(self._later, found, data, source, udp))

    async def resolve(self, text: str, rtype: str = "A") -> dict[str, Any]:
        """What a client of this stub would be told of a name, and why (CONTRACT, ``overlay resolve``)."""
        number = codes.type_number(rtype)
        name = full_name(text, self.names)
        data = ask(0, to_wire(name), number, edns=limits.EDNS, flags=codes.RD)
        found = self.names.stub(data, _HERE, False)
        instead: list[bytes] = []
        reply = found if found is None or isinstance(found, bytes) else await self._later(found, data, _HERE, False, instead)
        told = explain(self.names, name, number, ours=bool(instead) and reply is not instead[0])
        return outcome(told, None if reply is None else read(reply), self.upstream.asked())

    async def _later(self, found: Later, data: bytes, source: Source, udp: bool, ours: list[bytes] | None = None) -> bytes | None:
        """The reply in the end. ``ours`` gets the public answer that the overlay's was preferred to (public-first)."""
        fetched: set[Path] = set()
        passed: bytes | None = None  # the public answer that ours was preferred to (public-first)
        while True:
            if isinstance(found, Pass):
                reply = await self.upstream.ask(data, udp=udp)
                if not found.else_local or reply is None or reply[3] & 15 != codes.NXDOMAIN:
                    return reply
                passed, instead = reply, self.names.instead(data, found.query, source, udp)
                if instead is not None and ours is not None:
                    ours.append(reply)
                if instead is None or isinstance(instead, bytes):
                    return instead or reply
                found = instead
            elif isinstance(found, Fetch):
                if found.path in fetched or len(fetched) >= MAX_CHAIN or not await self._fetched(found.path):
                    self.counters["dns_unfetched"] += 1
                    return passed or self.names.unfetched(found.query, found.path)
                fetched.add(found.path)
                query = found.query
                again = self.names.instead(data, query, source, udp) if passed else self.names.again(data, query, source, udp)
                if again is None or isinstance(again, bytes):
                    return again or passed
                found = again
            else:
                return await self._chase(found, udp)

    async def _chase(self, chase: Chase, udp: bool) -> bytes:
        reply = await self.upstream.ask(chase.question, udp=udp)
        if udp and reply is not None and reply[2] & 2:
            reply = await self.upstream.ask(chase.question, udp=False)
        return self.names.chased(chase, reply, udp)

    async def _fetched(self, path: Path) -> bool:
        """Bring that zone, together with whoever else waits for it; False where it did not come in time."""
        under_way = self._fetching.get(path)
        with trio.move_on_after(FETCH_TIMEOUT):
            if under_way is not None:
                await under_way.wait()
            else:
                done = self._fetching[path] = trio.Event()
                try:
                    await self._fetch(path)
                finally:
                    done.set()
                    del self._fetching[path]
        return path in self.names.views
