"""The Port Control Protocol, version 2 (RFC 6887): requests as octets, answers as values.

It decides which octets are an answer that a client may act on (sections 7 and 8.3), and refuses to know which question
was asked, by whom, or whether the epoch makes sense. Of the opcodes only ANNOUNCE and MAP, of the options none: those
in an answer are passed over, as section 7.3 wants of what is not asked for.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from overlay.errors import Malformed

PORT: Final = 5351  # of the server (section 19.1); announcements go to 5350 of everybody
VERSION: Final = 2
ANNOUNCE: Final = 0
MAP: Final = 1
NONCE: Final = 12  # octets
LONGEST: Final = 1_100  # octets (section 7)
PROTOCOLS: Final = {"tcp": 6, "udp": 17}

SUCCESS: Final = 0
UNSUPPORTED_VERSION: Final = 1
NOT_AUTHORIZED: Final = 2
UNSUPPORTED_OPCODE: Final = 4
ADDRESS_MISMATCH: Final = 12  # there is a NAT between us and the server
KNOWN: Final = 13  # the last result code of section 7.4

_HEADER: Final = 24
_MAP: Final = 36
_ANSWER: Final = 0x80
_PROTO: Final = {number: word for word, number in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says. The fields from ``nonce`` on are those of MAP; ``lifetime`` of an error is how long it holds."""

    opcode: int
    result: int
    lifetime: int  # seconds
    epoch: int  # seconds
    nonce: bytes = b""
    proto: str = ""
    internal: int = 0
    external_host: str = ""
    external_port: int = 0


def announce(own: str) -> bytes:
    """A question for the server's epoch, from our address ``own`` (section 14.1)."""
    return _header(ANNOUNCE, 0, own)


def ask(own: str, nonce: bytes, proto: str, internal: int, external: tuple[str, int], lifetime: int) -> bytes:
    """A MAP request; ``external`` is what we would like: host ("" for any) and port (0 for any). Lifetime 0 deletes."""
    host, port = external
    anywhere = "0.0.0.0" if "." in own else "::"
    ports = internal.to_bytes(2, "big") + port.to_bytes(2, "big")
    return _header(MAP, lifetime, own) + nonce + bytes((PROTOCOLS[proto], 0, 0, 0)) + ports + _sixteen(host or anywhere)


def read(data: bytes) -> Answer:
    """An answer, or ``Malformed``."""
    if not _HEADER <= len(data) <= LONGEST or len(data) % 4:
        raise Malformed("a PCP answer has 24 to 1,100 octets, a multiple of 4", rule="pcp-length")
    if data[0] != VERSION or not data[1] & _ANSWER:
        raise Malformed("not an answer of PCP version 2", rule="pcp-version")
    opcode, result = data[1] & 0x7F, data[3]
    lifetime, epoch = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    if opcode not in (ANNOUNCE, MAP) or result > KNOWN:
        raise Malformed("an opcode or a result that was not asked for", rule="pcp-code")
    if opcode == ANNOUNCE:
        return Answer(opcode, result, lifetime, epoch)
    body = data[_HEADER : _HEADER + _MAP]
    if len(body) < _MAP:
        raise Malformed("an answer to MAP repeats what was asked", rule="pcp-length")
    proto = _PROTO.get(body[NONCE])
    if proto is None:
        raise Malformed("another transport protocol than UDP and TCP", rule="pcp-transport")
    internal, external = int.from_bytes(body[16:18], "big"), int.from_bytes(body[18:20], "big")
    if result == SUCCESS and lifetime and not external:
        raise Malformed("a mapping without a port", rule="pcp-port")
    return Answer(opcode, result, lifetime, epoch, body[:NONCE], proto, internal, _text(body[20:]), external)


def continues(before: tuple[int, float], epoch: int, now: float) -> bool:
    """Whether the server has kept its mappings since ``before`` (its epoch, our clock then): section 8.5."""
    then, at = before
    if epoch < then - 1:
        return False
    ours, theirs = now - at, epoch - then
    return ours + 2 >= theirs - theirs / 16 and theirs + 2 >= ours - ours / 16


def _header(opcode: int, lifetime: int, own: str) -> bytes:
    return bytes((VERSION, opcode, 0, 0)) + lifetime.to_bytes(4, "big") + _sixteen(own)


def _sixteen(host: str) -> bytes:
    """An address in 16 octets, IPv4 as ``::ffff:a.b.c.d`` (section 5)."""
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


def _text(packed: bytes) -> str:
    ip = ipaddress.IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)
