"""Queries for names that are not the overlay's, passed on: bytes in, bytes out, unchanged but for the message id.

It decides whom to ask (in order, one that was silent last), what counts as an answer (from the address asked, our own
random id, the same question to the letter), and notices when an upstream is ourselves. It refuses to know what the
query means. Fresh source port and id for each query (RFC 5452); failures say why (RFC 8914: 22 nobody answered,
23 nobody could be asked). Rules: DESIGN 3.8, research dns.md sections 3 and 6.

A loop shows itself by a probe: with the first query for an upstream a random name below the bootstrap zone is asked
there too; a probe that arrives at our own stub came through that upstream, which is then left out for a while.
"""

from __future__ import annotations

import secrets
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Entropy
from overlay.wire.address import Address
from tld import codes
from tld.driver.host import Resolvers
from tld.query import Query, parse
from tld.render import refuse

UDP_TIMEOUT: Final = 1.5  # seconds for each upstream; glibc gives the whole of us 5 (resolv.conf(5), timeout)
TCP_TIMEOUT: Final = 3.0  # seconds for each upstream, connecting included
SILENT_FOR: Final = 30.0  # seconds that an upstream which did not answer is asked last
LOOP_FOR: Final = 60.0  # seconds that an upstream which leads back to us is left out
PROBE_AGAIN: Final = 600.0  # seconds until an upstream is probed for a loop again
UDP_ANSWER: Final = 65_535  # octets
RETRY_RCODES: Final = frozenset({codes.SERVFAIL, codes.NOTIMP, codes.REFUSED})  # another upstream may do better (as glibc does)
EDE_OTHER: Final = 0

Exchange = Callable[[Address, bytes, bytes], Awaitable["bytes | None"]]


class Upstream:
    """Passes queries on. ``run`` probes for loops; ``ask`` works without it, unprobed.

    ``probe_suffix``: the bootstrap zone, without final dot; empty for no probes.
    """

    def __init__(self, resolvers: Resolvers, *, probe_suffix: str = "", entropy: Entropy = secrets.token_bytes) -> None:
        self._resolvers = resolvers
        self._suffix = tuple(probe_suffix.encode().split(b".")) if probe_suffix else ()
        self._entropy = entropy
        self._silent: dict[Address, float] = {}  # asked last until
        self._loops: dict[Address, float] = {}  # left out until
        self._probed: dict[Address, float] = {}  # not probed again until
        self._probes: dict[bytes, Address] = {}  # question of a probe under way -> through whom
        self._asking: Counter[bytes] = Counter()  # questions under way
        self._in_flight = 0
        self._to_probe, self._probing = trio.open_memory_channel[Address](8)
        self.counters: Counter[str] = Counter()

    async def run(self) -> None:
        """Probe upstreams for loops as they come into use; for ever."""
        async for address in self._probing:
            await self._probe(address)

    def asked(self) -> tuple[str, ...]:
        """Whom a query would be passed on to now, in order."""
        return tuple(address.host for address in self._order())

    async def ask(self, query: bytes, *, udp: bool) -> bytes | None:
        """The answer for the client (its own id restored), a SERVFAIL of ours that says why, or None (dropped, counted)."""
        try:
            parsed = parse(query)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            return None
        question = parsed.question
        if not question:
            return refuse(parsed, parsed.fault, ra=True)
        through = self._probes.get(question.lower())
        if through is not None:
            self.counters["upstream_loop"] += 1
            self._loops[through] = trio.current_time() + LOOP_FOR
            return refuse(parsed, codes.REFUSED, (EDE_OTHER, "this query came from here"), ra=True)
        if self._in_flight >= limits.UPSTREAM or self._asking[question] >= limits.UPSTREAM_SAME:
            self.counters["drop:upstream-full"] += 1
            return None
        self._in_flight += 1
        self._asking[question] += 1
        try:
            return await self._ask_in_order(query, parsed, self._udp if udp else self._tcp)
        finally:
            self._in_flight -= 1
            self._asking[question] -= 1
            if not self._asking[question]:
                del self._asking[question]

    async def _ask_in_order(self, query: bytes, parsed: Query, exchange: Exchange) -> bytes:
        kept: bytes | None = None  # a refusal that is passed on where nobody does better
        tried = self._order()
        silent = 0
        for address in tried:
            self._probe_soon(address)
            self.counters["upstream_asked"] += 1
            try:
                answer = await exchange(address, query, parsed.question)
            except OSError:
                self.counters["upstream_unreachable"] += 1
                self._silent[address] = trio.current_time() + SILENT_FOR
                continue
            if answer is None:
                silent += 1
                self.counters["upstream_silent"] += 1
                self._silent[address] = trio.current_time() + SILENT_FOR
                continue
            self._silent.pop(address, None)
            if answer[3] & 0x0F not in RETRY_RCODES:
                return answer
            kept = kept or answer
        if kept is not None:
            return kept
        self.counters["upstream_failed"] += 1
        if silent:
            reason = (codes.EDE_NO_REACHABLE_AUTHORITY, f"no answer from {', '.join(a.host for a in tried)}")
        elif tried:
            reason = (codes.EDE_NETWORK_ERROR, f"cannot reach {', '.join(a.host for a in tried)}")
        else:
            reason = (codes.EDE_NETWORK_ERROR, "no upstream resolver: none configured, none in resolv.conf but ourselves")
        return refuse(parsed, codes.SERVFAIL, reason, ra=True)

    def _order(self) -> list[Address]:
        now = trio.current_time()
        usable = [address for address in self._resolvers.current() if self._loops.get(address, 0.0) <= now]
        return sorted(usable, key=lambda address: self._silent.get(address, 0.0) > now)  # stable: else as configured

    async def _udp(self, address: Address, query: bytes, question: bytes) -> bytes | None:
        ident = self._entropy(2)
        with socket.socket(socket.AF_INET6 if address.family == 6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(tuple(address))  # the kernel takes a random port and drops what comes from elsewhere
            sock.send(ident + query[2:])
            with trio.move_on_after(UDP_TIMEOUT):
                while True:
                    await trio.lowlevel.wait_readable(sock)
                    try:
                        answer = sock.recv(UDP_ANSWER)
                    except BlockingIOError:
                        continue
                    if self._believed(answer, ident, question):
                        return query[:2] + answer[2:]
        return None

    async def _tcp(self, address: Address, query: bytes, question: bytes) -> bytes | None:
        ident = self._entropy(2)
        with trio.move_on_after(TCP_TIMEOUT), trio.socket.socket(socket.AF_INET6 if address.family == 6 else socket.AF_INET) as sock:
            await sock.connect(tuple(address))
            stream = trio.SocketStream(sock)
            try:
                await stream.send_all(len(query).to_bytes(2, "big") + ident + query[2:])
                head = await _exactly(stream, 2)
                answer = await _exactly(stream, int.from_bytes(head, "big"))
            except trio.BrokenResourceError as why:
                raise ConnectionError("broken") from why
            if self._believed(answer, ident, question):
                return query[:2] + answer[2:]
        return None

    def _believed(self, answer: bytes, ident: bytes, question: bytes) -> bool:
        """Whether this is the answer to what was asked (RFC 5452, 9.1), to the letter (the client's own case mixing)."""
        if len(answer) < 12 or answer[:2] != ident or not answer[2] & 0x80:
            self.counters["drop:upstream-forged"] += 1
            return False
        if answer[12 : 12 + len(question)] == question and answer[4:6] == b"\x00\x01":
            return True
        if answer[4:6] == b"\x00\x00" and answer[3] & 0x0F:  # old servers leave the question out of an error
            return True
        self.counters["drop:upstream-question"] += 1
        return False

    def _probe_soon(self, address: Address) -> None:
        now = trio.current_time()
        if not self._suffix or self._probed.get(address, 0.0) > now:
            return
        try:
            self._to_probe.send_nowait(address)
        except trio.WouldBlock:
            return
        self._probed[address] = now + PROBE_AGAIN

    async def _probe(self, address: Address) -> None:
        labels = (b"_loop-" + self._entropy(8).hex().encode(), *self._suffix)
        question = b"".join(bytes((len(label),)) + label for label in labels) + b"\x00\x00\x10\x00\x01"  # TXT IN
        self._probes[question.lower()] = address
        try:
            await self._udp(address, b"\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + question, question)
        except OSError:
            self._probed.pop(address, None)
        finally:
            del self._probes[question.lower()]


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    """``count`` octets, or ``ConnectionError`` where the stream ends before, ``trio.BrokenResourceError`` where it breaks."""
    found = bytearray()
    while len(found) < count:
        chunk = await stream.receive_some(count - len(found))
        if not chunk:
            raise ConnectionError("closed")
        found += chunk
    return bytes(found)
