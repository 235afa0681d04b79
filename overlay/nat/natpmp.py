"""NAT-PMP (RFC 6886): requests as octets, answers as values. IPv4 only.

It decides which octets are an answer, and refuses to know what was asked. A server that speaks no version but 0 answers
PCP's requests in this form too, with result 1 (section 3.5): so it is told that such a router has no PCP.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from overlay.errors import Malformed

EXTERNAL: Final = 0  # opcode: what is your public address
OPCODES: Final = {"udp": 1, "tcp": 2}
SUCCESS: Final = 0
UNSUPPORTED_VERSION: Final = 1
KNOWN: Final = 5  # the last result code of section 3.5

_ANSWER: Final = 128
_LENGTHS: Final = {EXTERNAL: 12, 1: 16, 2: 16}
_PROTO: Final = {number: word for word, number in OPCODES.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says: ``external_host`` where its address was asked for, the other fields where a mapping was."""

    opcode: int
    result: int
    epoch: int = 0  # seconds
    external_host: str = ""
    proto: str = ""
    internal: int = 0
    external_port: int = 0
    lifetime: int = 0  # seconds


def ask_external() -> bytes:
    """A question for the router's public address (section 3.2)."""
    return bytes((0, EXTERNAL))


def ask(proto: str, internal: int, external: int, lifetime: int) -> bytes:
    """A request for a mapping (section 3.3). Lifetime 0 deletes; ``external`` is 0 then (section 3.4)."""
    ports = internal.to_bytes(2, "big") + external.to_bytes(2, "big")
    return bytes((0, OPCODES[proto], 0, 0)) + ports + lifetime.to_bytes(4, "big")


def read(data: bytes) -> Answer:
    """An answer, or ``Malformed``."""
    if not 8 <= len(data) <= 16 or data[0] != 0 or not data[1] & _ANSWER:
        raise Malformed("not an answer of NAT-PMP", rule="natpmp-form")
    opcode, result = data[1] & 0x7F, int.from_bytes(data[2:4], "big")
    if result > KNOWN:
        raise Malformed("a result that the protocol does not have", rule="natpmp-code")
    epoch = int.from_bytes(data[4:8], "big")
    if result == UNSUPPORTED_VERSION:  # of these 8 octets are enough; the opcode may be any
        return Answer(opcode, result, epoch)
    if opcode not in _LENGTHS or len(data) < 8 or result == SUCCESS and len(data) != _LENGTHS[opcode]:
        raise Malformed("an answer of another length", rule="natpmp-form")
    if opcode == EXTERNAL:
        return Answer(opcode, result, epoch, str(ipaddress.IPv4Address(data[8:12])) if result == SUCCESS else "")
    if len(data) < 16:
        raise Malformed("it does not say which mapping is refused", rule="natpmp-form")
    internal, external = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
    lifetime = int.from_bytes(data[12:16], "big")
    if result == SUCCESS and lifetime and not external:
        raise Malformed("a mapping without a port", rule="natpmp-port")
    return Answer(opcode, result, epoch, "", _PROTO[opcode], internal, external, lifetime)


def continues(before: tuple[int, float], epoch: int, now: float) -> bool:
    """Whether the router has kept its mappings since ``before`` (its epoch, our clock then): section 3.6."""
    then, at = before
    return epoch >= then + (now - at) * 7 / 8 - 2
