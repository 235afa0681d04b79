"""PCP and NAT-PMP as one router is spoken to: questions as octets, and what its answers say, in words that both share.

It decides whether an answer belongs to us (the nonce) and whether the router has lost its mappings (the epoch). It refuses
to know whether anything was asked, and when it is asked again: that is ``overlay/nat/portmap.py``.

PCP's nonce is made of a secret that outlives a restart, where there is one: by RFC 6887, 11.3, a server refuses whoever
asks for a mapping that stands there with another nonce, so a node that crashed would wait hours for its own mapping to end.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from overlay.errors import Malformed
from overlay.nat import natpmp, pcp


class Port(NamedTuple):
    """A port of ours: "udp" or "tcp", and its number."""

    proto: str
    number: int


ROUTER: Final = Port("", 0)  # what a question is about that asks after the router itself

GRANTED: Final = "granted"
REFUSED: Final = "refused"
ABSENT: Final = "absent"  # the router does not speak that protocol
SILENT: Final = "silent"  # it does not answer any more (UPnP: its HTTP server)


@dataclass(frozen=True, slots=True)
class Said:
    """What a router said about one of our ports, or about itself (``ROUTER``)."""

    about: Port
    outcome: str
    host: str = ""
    external: int = 0
    life: int = 0  # seconds; of a refusal: how long it holds, 0 where it does not say
    made: bool = True  # False: the mapping was there and stays as it was
    reboot: bool = False  # the router lost what it knew


class Pcp:
    """PCP towards one router, from one address of ours."""

    word: Final = "pcp"

    def __init__(self, own: str, router: str, secret: bytes) -> None:
        self._own = own
        self._secret = hashlib.blake2s(b"overlay pcp nonce\0" + router.encode() + b"\0" + own.encode(), key=secret[:32]).digest()
        self._epoch: tuple[int, float] | None = None

    def look(self) -> bytes:
        return pcp.announce(self._own)

    def map(self, port: Port, wish: tuple[str, int], life: int) -> bytes:
        return pcp.ask(self._own, self._nonce(port), port.proto, port.number, wish, life)

    def unmap(self, port: Port) -> bytes:
        return self.map(port, ("", 0), 0)

    def read(self, data: bytes) -> Said:
        """What an answer says, or ``Malformed``. Nothing is remembered of it."""
        answer = pcp.read(data)
        about = Port(answer.proto, answer.internal) if answer.opcode == pcp.MAP else ROUTER
        if about != ROUTER and answer.nonce != self._nonce(about):
            raise Malformed("an answer to somebody else", rule="pcp-nonce")
        if answer.result == pcp.SUCCESS or answer.result == pcp.UNSUPPORTED_OPCODE and about == ROUTER:
            return Said(about, GRANTED, answer.external_host, answer.external_port, answer.lifetime)
        absent = answer.result in (pcp.UNSUPPORTED_VERSION, pcp.UNSUPPORTED_OPCODE)
        return Said(about, ABSENT if absent else REFUSED, life=answer.lifetime)

    def rebooted(self, data: bytes, now: float) -> bool:
        """Whether an answer, read and found to be asked for, tells of mappings lost since the last one."""
        epoch = pcp.read(data).epoch
        before, self._epoch = self._epoch, (epoch, now)
        return before is not None and not pcp.continues(before, epoch, now)

    def _nonce(self, port: Port) -> bytes:
        return hashlib.blake2s(f"{port.proto} {port.number}".encode(), key=self._secret, digest_size=pcp.NONCE).digest()


class NatPmp:
    """NAT-PMP towards one router. Its public address is asked for apart, and remembered."""

    word: Final = "nat-pmp"

    def __init__(self) -> None:
        self._host = ""
        self._epoch: tuple[int, float] | None = None

    def look(self) -> bytes:
        return natpmp.ask_external()

    def map(self, port: Port, wish: tuple[str, int], life: int) -> bytes:
        return natpmp.ask(port.proto, port.number, wish[1], life)

    def unmap(self, port: Port) -> bytes:
        return natpmp.ask(port.proto, port.number, 0, 0)

    def read(self, data: bytes) -> Said:
        """What an answer says, or ``Malformed``. Of itself a router that has no address just now says no address."""
        answer = natpmp.read(data)
        if answer.result == natpmp.UNSUPPORTED_VERSION:
            return Said(ROUTER, ABSENT)
        if answer.opcode == natpmp.EXTERNAL:
            return Said(ROUTER, GRANTED, answer.external_host)
        about = Port(answer.proto, answer.internal)
        if answer.result != natpmp.SUCCESS:
            return Said(about, REFUSED)
        return Said(about, GRANTED, self._host, answer.external_port, answer.lifetime)

    def rebooted(self, data: bytes, now: float) -> bool:
        """As ``Pcp.rebooted``; an answer about the router also tells its address."""
        answer = natpmp.read(data)
        if answer.opcode == natpmp.EXTERNAL:
            self._host = answer.external_host
        before, self._epoch = self._epoch, (answer.epoch, now)
        return before is not None and not natpmp.continues(before, answer.epoch, now)
