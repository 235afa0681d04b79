"""Asking the system's resolvers, over UDP and, where the answer was cut, TCP (RFC 1035, 7766; resolv.conf(5)).

It decides whom to ask, how long to wait and what counts as an answer; it follows nothing itself, recursion is the
resolver's. A fresh socket and a random id for each query (RFC 5452); what does not answer the query is passed over and
counted. A bounded patience: ``attempts`` times round all resolvers.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Final

import trio

from bootstrap.dnsmessage import FORMERR, NOERROR, NOTIMP, NXDOMAIN, REFUSED, SERVFAIL, Answer, query, question, read
from overlay import limits
from overlay.errors import Malformed, ReachError
from overlay.machine import Entropy
from overlay.wire.address import Address

RESOLV_CONF: Final = File("/etc/resolv.conf")
MAX_RESOLVERS: Final = 3  # resolv.conf(5): MAXNS
MAX_FILE: Final = 65_536  # octets of resolv.conf that are read
TIMEOUT: Final = 1.5  # seconds for one datagram; the file's own timeout only where it is shorter
TCP_TIMEOUT: Final = 3.0  # seconds, connecting included
DNS_PORT: Final = 53
_WORDS: Final = {FORMERR: "format error", SERVFAIL: "server failure", NOTIMP: "not implemented", REFUSED: "refused"}


@dataclass(frozen=True, slots=True)
class Resolvers:
    """Whom to ask, in order; ``timeout`` seconds each, ``attempts`` times round."""

    addresses: tuple[Address, ...]
    timeout: float = TIMEOUT
    attempts: int = 2


def parse_resolv_conf(text: str) -> Resolvers:
    """``nameserver`` lines (at most three, each once) and the options ``timeout`` and ``attempts``; other lines are passed over.

    Without any nameserver the one of this machine is asked (resolv.conf(5)).
    """
    found: dict[Address, None] = {}
    numbers = {"timeout": 5, "attempts": 2}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            host, percent, scope = words[1].partition("%")
            try:
                ip = ipaddress.ip_address(host)
            except ValueError:
                continue
            found[Address(f"{ip}{percent}{scope}", DNS_PORT)] = None
        elif words and words[0] == "options":
            for word in words[1:]:
                name, _, number = word.partition(":")
                if name in numbers and number.isascii() and number.isdigit() and len(number) < 4:
                    numbers[name] = int(number)
    addresses = tuple(found)[:MAX_RESOLVERS] or (Address("127.0.0.1", DNS_PORT),)
    return Resolvers(addresses, timeout=min(TIMEOUT, max(numbers["timeout"], 1)), attempts=min(max(numbers["attempts"], 1), 3))


def system_resolvers(file: File = RESOLV_CONF) -> Resolvers:
    """Those of ``/etc/resolv.conf``, read anew (a network may have come up since)."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            return parse_resolv_conf(lines.read(MAX_FILE))
    except OSError:
        return parse_resolv_conf("")


class Lookup:
    """Asks. ``resolvers`` None: the system's."""

    def __init__(
        self, resolvers: Resolvers | Sequence[Address] | None = None, *, entropy: Entropy = secrets.token_bytes,
        counters: Counter[str] | None = None,
    ) -> None:
        self._given = resolvers if resolvers is None or isinstance(resolvers, Resolvers) else Resolvers(tuple(resolvers))
        self._entropy = entropy
        self.counters: Counter[str] = Counter() if counters is None else counters

    async def ask(self, name: str, rtype: str) -> tuple[bytes, ...] | tuple[str, ...]:
        """The values: octets of TXT records, texts of the others; none where the name or type does not exist.

        ``ReachError`` where no resolver gave an answer, with the reasons; ``Malformed`` where ``name`` is no DNS name.
        """
        asked = question(name, rtype)
        given = self._given or system_resolvers()
        reasons: dict[Address, str] = {}
        for _ in range(given.attempts):
            for address in given.addresses:
                try:
                    answer = await self._exchange(address, asked, given)
                except (OSError, trio.BrokenResourceError) as why:
                    reasons[address] = getattr(why, "strerror", None) or "connection broken"
                    continue
                except Malformed as why:
                    self.counters[f"drop:{why.rule}"] += 1
                    reasons[address] = f"answers nonsense ({why.what})"
                    continue
                if answer is None:
                    self.counters["lookup_silent"] += 1
                    reasons[address] = "silent"
                elif answer.rcode in (NOERROR, NXDOMAIN):
                    return answer.values
                else:
                    self.counters["lookup_refused"] += 1
                    reasons[address] = _WORDS.get(answer.rcode, f"error {answer.rcode}")
        raise ReachError(
            f"the resolvers do not answer: {', '.join(f'{address.host} {why}' for address, why in reasons.items())}",
            "check the network and /etc/resolv.conf; overlay join IP:port needs no DNS", rule="dns-unreachable",
        )

    async def exists(self, name: str) -> bool | None:
        """Whether the public DNS has that name, with data or without; None where nobody says so. Each resolver is asked once."""
        asked = question(name, "A")
        given = self._given or system_resolvers()
        for address in given.addresses:
            try:
                answer = await self._exchange(address, asked, given)
            except (OSError, trio.BrokenResourceError, Malformed):
                self.counters["lookup_refused"] += 1
                continue
            if answer is not None and answer.rcode in (NOERROR, NXDOMAIN):
                return answer.rcode == NOERROR
        return None

    async def _exchange(self, address: Address, asked: bytes, given: Resolvers) -> Answer | None:
        answer = await self._udp(address, asked, given, edns=True)
        if answer is not None and answer.rcode in (FORMERR, NOTIMP):  # a server from before RFC 6891
            answer = await self._udp(address, asked, given, edns=False)
        if answer is not None and answer.truncated and answer.rcode in (NOERROR, NXDOMAIN):
            self.counters["lookup_tcp"] += 1
            answer = await self._tcp(address, asked)
        return answer

    async def _udp(self, address: Address, asked: bytes, given: Resolvers, *, edns: bool) -> Answer | None:
        ident = self._entropy(2)
        with _socket(address, socket.SOCK_DGRAM) as sock, trio.move_on_after(given.timeout):
            await sock.connect(_target(address))  # the kernel takes a random port and drops what comes from elsewhere
            await sock.send(query(ident, asked, edns=edns))
            while True:
                data = await sock.recv(limits.LOOKUP_ANSWER)
                try:
                    return read(data, ident, asked)
                except Malformed as why:
                    if why.rule != "dns-other":
                        raise
                    self.counters["drop:dns-other"] += 1
        return None

    async def _tcp(self, address: Address, asked: bytes) -> Answer | None:
        ident = self._entropy(2)
        message = query(ident, asked, edns=True)
        with _socket(address, socket.SOCK_STREAM) as sock, trio.move_on_after(TCP_TIMEOUT):
            await sock.connect(_target(address))
            stream = trio.SocketStream(sock)
            await stream.send_all(len(message).to_bytes(2, "big") + message)
            head = await _exactly(stream, 2)
            answer = read(await _exactly(stream, int.from_bytes(head, "big")), ident, asked)
            if answer.truncated:
                raise Malformed("cut, even over TCP", rule="dns-truncated")
            return answer
        return None


def _socket(address: Address, kind: int) -> trio.socket.SocketType:
    return trio.socket.socket(socket.AF_INET6 if address.family == 6 else socket.AF_INET, kind)


def _target(address: Address) -> tuple[str, int] | tuple[str, int, int, int]:
    """The address as the socket wants it: a scope as number."""
    if address.family == 4:
        return address.host, address.port
    host, _, scope = address.host.partition("%")
    return host, address.port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    """``count`` octets, or ``BrokenResourceError`` where the stream ends before."""
    found = bytearray()
    while len(found) < count:
        chunk = await stream.receive_some(count - len(found))
        if not chunk:
            raise trio.BrokenResourceError
        found += chunk
    return bytes(found)
