"""A release over plain HTTP from those who have it: leaf by leaf, each proved before it is kept (DESIGN 3.9; research/release 6).

It decides when a source is given up: at its first leaf that is not what was signed, when it is slower than the floor, when
it is busy, broken or lies about what it has. What has come stays: the next source, or the next run, goes on from there.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import h11
import trio

from overlay import __version__, limits
from overlay.driver.releases import Part, Shelf
from overlay.errors import Malformed, ReachError, UsageError
from overlay.identity.keys import DIGEST
from overlay.records.releases import Artifact, Delta
from overlay.release.merkle import LEAF, leaf_span, leaves_of, read_layer
from overlay.units import unb64
from overlay.wire.address import Address, parse_address

CONNECT: Final = 5.0  # seconds, as limits.TCP_CONNECT
STALL: Final = 5.0  # seconds in which a source brings a leaf at least (research/release 6: a slow peer is replaced within 5 s)
SPAN: Final = 256  # leaves asked for at once: 4 MiB, so that another source can take over soon
_READ: Final = 65_536
T = TypeVar("T")


class Source(NamedTuple):
    """Where a release is said to lie."""

    address: Address
    path: str  # /CHANNEL/rN

    @classmethod
    def of_url(cls, url: str) -> Source | None:
        """From a URL with an IP literal; None for all else: what a release names is asked for without DNS."""
        try:
            parts = urlsplit(url)
            if parts.scheme != "http" or not parts.path.isascii() or not parts.path.isprintable() or parts.hostname is None:
                return None
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return cls(parse_address(f"{host}:{parts.port or 80}", 80), parts.path)
        except (ValueError, UsageError):
            return None


class GivenUp(Exception):
    """This source is of no use now. ``banned``: nor later; it sent what was never signed."""

    def __init__(self, why: str, *, banned: bool = False, pause: float = 0.0) -> None:
        super().__init__(why)
        self.why, self.banned, self.pause = why, banned, pause


@dataclass(slots=True)
class Fetching:
    """One release on its way to the shelf. ``sources`` says whom to ask, the best first, each time that one is wanted."""

    shelf: Shelf
    channel: str
    revision: int
    artifact: Artifact | Delta
    sources: Callable[[], Sequence[Source]]
    counters: Counter[str]
    kind: str = ""  # ".from-B" of a patch
    banned: set[Address] = field(default_factory=set)
    told: Callable[[int, int], None] = lambda done, whole: None

    async def run(self) -> None:
        """Until it is on the shelf; ``ReachError`` where nobody brings it now, ``StateError`` where the disk takes nothing."""
        artifact, shelf = self.artifact, self.shelf
        hashes = await self._from_any(self._layer)
        part = await trio.to_thread.run_sync(Part, shelf, self.channel, self.revision, artifact.length, hashes, self.kind)
        try:
            while part.missing():
                await self._from_any(lambda source: self._span(source, part))
            await trio.to_thread.run_sync(part.finish)
        finally:
            part.close()

    async def _from_any(self, ask: Callable[[Source], Awaitable[T]]) -> T:
        """What the first source that is of use says."""
        reasons = []
        pause = 0.0
        for source in self.sources():
            if source.address in self.banned:
                continue
            try:
                return await ask(source)
            except GivenUp as why:
                reasons.append(f"{source.address}: {why.why}")
                pause = max(pause, why.pause)
                if why.banned:
                    self.banned.add(source.address)
                    self.counters["sources_banned"] += 1
        raise ReachError(
            f"nobody gives {self.channel} r{self.revision} away now ({'; '.join(reasons)[:200] or 'no mirror is known'})",
            "it is tried again by itself", rule="no-source",
        )

    async def _layer(self, source: Source) -> list[bytes]:
        """The hashes of all leaves, proved by the signed root."""
        most = DIGEST * leaves_of(self.artifact.length)
        data = bytearray()
        async with _get(source, f"{self.kind}.leaves", {}) as (response, more):
            _expect(response, 200)
            while piece := await more():
                data += piece
                if len(data) > most:
                    raise GivenUp("more hashes than there are leaves", banned=True)
        try:
            return read_layer(bytes(data), self.artifact.length, self.artifact.root)
        except Malformed as why:
            raise GivenUp(why.what, banned=True) from None

    async def _span(self, source: Source, part: Part) -> None:
        """The next leaves that are missing, in one request."""
        missing = part.missing()
        first = missing[0]
        count = next((n for n, number in enumerate(missing) if number != first + n), len(missing))
        last = first + min(count, SPAN) - 1
        begin, (end, octets) = first * LEAF, leaf_span(last, part.length)
        headers = {"Range": f"bytes={begin}-{end + octets - 1}"}
        number, held = first, bytearray()
        async with _get(source, self.kind, headers) as (response, more):
            whole = begin == 0 and last == leaves_of(part.length) - 1
            _expect(response, 200 if whole and response.status_code == 200 else 206)
            while piece := await more():
                held += piece
                while number <= last and len(held) >= (size := leaf_span(number, part.length)[1]):
                    leaf = bytes(held[:size])
                    del held[:size]
                    if not part.put(number, leaf):
                        raise GivenUp(f"leaf {number} is not what was signed", banned=True)
                    number += 1
                    self.counters["leaves_fetched"] += 1
                    self.told(number * LEAF, part.length)
                if number > last:
                    return
        raise GivenUp("it ended early")


def _expect(response: h11.Response, status: int) -> None:
    if response.status_code == status:
        return
    after = next((value for name, value in response.headers if name == b"retry-after"), b"")
    raise GivenUp(f"HTTP status {response.status_code}", pause=min(60.0, float(after)) if after.isdigit() else 0.0)


@asynccontextmanager
async def _get(source: Source, more: str, headers: dict[str, str]) -> AsyncIterator[tuple[h11.Response, Callable[[], Awaitable[bytes]]]]:
    """One GET: the head, and the body in pieces. ``GivenUp`` where there is none, or it comes too slowly."""
    address = source.address
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEAD)
    family = socket.AF_INET6 if address.family == 6 else socket.AF_INET
    with trio.socket.socket(family) as sock:
        try:
            with trio.fail_after(CONNECT):
                await sock.connect(tuple(address))
            stream = trio.SocketStream(sock)
            said = {"Host": str(address), "User-Agent": f"overlay/{__version__}", "Connection": "close", **headers}
            request = h11.Request(method="GET", target=source.path + more, headers=list(said.items()))
            await stream.send_all((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
            with trio.fail_after(STALL):
                response = await _head(stream, connection)
            yield response, partial(_more, stream, connection)
        except trio.TooSlowError:
            raise GivenUp("too slow") from None
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as why:
            raise GivenUp(f"the connection broke ({type(why).__name__})") from None


async def _head(stream: trio.SocketStream, connection: h11.Connection) -> h11.Response:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_READ))
        elif isinstance(event, h11.Response):
            return event
        elif not isinstance(event, h11.InformationalResponse):
            raise GivenUp("it said nothing")


async def _more(stream: trio.SocketStream, connection: h11.Connection) -> bytes:
    """The next octets, empty at the end; a leaf's worth of them within STALL seconds, so who sends a little now and then is too slow."""
    octets, pieces = 0, []
    with trio.fail_after(STALL):
        while octets < LEAF:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(_READ))
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
                octets += len(event.data)
            else:
                break
    return b"".join(pieces)


async def hint_of(source: Source) -> bytes:
    """The hint of who gives it away, as its header has it; empty where there is none."""
    with suppress(GivenUp, UsageError):
        async with _get(source, "", {"Range": "bytes=0-0"}) as (response, _):
            return unb64(next((value.decode("latin-1") for name, value in response.headers if name == b"x-overlay-hint"), ""))
    return b""


def url_sources(urls: Iterable[str]) -> list[Source]:
    """Those URLs of a release that can be asked."""
    return [source for source in map(Source.of_url, urls) if source is not None]
