"""The table of messages: every number that stands on the wire inside a session, with the grade it needs.

Two grades (DESIGN 3.4): *keyed* (both ends hold the keys they showed) and *admitted* (both passports are checked).
A *message* may be lost; a *call* is answered and carried out at most once; *stream* numbers are reserved.
Adding a number is a wire change: it comes with a vector and a line in the changelog.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

PROTOCOL = "overlay1"
VERSION_LOWEST = 1
VERSION_HIGHEST = 1


class Grade(IntEnum):
    """What a session may carry."""

    KEYED = 1
    ADMITTED = 2


class Packet(IntEnum):
    """First octet of a datagram. 0x00 and 0x01..0x3f 0x01 with STUN's cookie are left to STUN (RFC 8489)."""

    INITIATION = 1
    RESPONSE = 2
    COOKIE = 3
    SEALED = 4


class Frame(IntEnum):
    """What a sealed packet carries: a list of frames, each ``[number, ...]``."""

    MESSAGE = 1  # [1, kind, body]
    CALL = 2  # [2, ticket, method, body, floor]    floor: the lowest ticket that the caller still waits for
    REPLY = 3  # [3, ticket, status, body, pages, page]    pages 0: the body is whole; status 1: refused, the body says why
    PAGE = 4  # [4, ticket, page]           asks for one page of a reply
    CLOSE = 5  # [5, reason]
    CHALLENGE = 6  # [6, token of 8]        proves a path, probes it, keeps it alive
    PROOF = 7  # [7, the same token]
    KEEPALIVE = 8  # [8]
    PROBE = 9  # [9, token, padding]   over another way: as whom do you see me?
    PROBED = 10  # [10, address]
    STREAM_OPEN = 32  # 32..47 reserved for streams (issue "LAN clusters")


@dataclass(frozen=True, slots=True)
class MethodRule:
    """Who may call it, and whether it may ride in message 1 (read-only calls only: message 1 can be replayed)."""

    grade: Grade
    early: bool = False


class Method(IntEnum):
    """Calls."""

    PING = 1  # {} -> {1: at, 2: seen address}
    PASSPORT = 2  # {} -> [raw records: binding, grants leaf first, roots newest first]
    ADMIT = 3  # {1: passport digest, 2: node facts} -> {1: node facts}   "I have checked yours; here is mine"
    WAYS = 4  # {} -> [raw cluster records]    ways in, for newcomers
    ENROL = 5  # ask for a name, openly         -> [raw grants and chain]
    REDEEM = 6  # ask for a name, with an invite -> [raw grants and chain]
    FETCH = 16  # {1: [digests]} -> [raw records]   chains by digest
    PUSH = 17  # {1: [raw records]} -> {1: [digests wanted]}
    SUMMARY = 18  # {} -> [[unit, digest of the unit]...]
    BUCKETS = 19  # {1: unit} -> [bucket digests]
    LISTING = 20  # {1: unit, 2: [buckets]} -> [entries]
    WATCH = 21  # {1: path, 2: digest held} -> [raw records], then pushed for 60 s
    BYE = 22  # farewell with a reason


METHODS: dict[Method, MethodRule] = {
    Method.PING: MethodRule(Grade.KEYED, early=True),
    Method.PASSPORT: MethodRule(Grade.KEYED, early=False),
    Method.ADMIT: MethodRule(Grade.KEYED),
    Method.WAYS: MethodRule(Grade.KEYED),
    Method.ENROL: MethodRule(Grade.KEYED),
    Method.REDEEM: MethodRule(Grade.KEYED),
    Method.FETCH: MethodRule(Grade.ADMITTED),
    Method.PUSH: MethodRule(Grade.ADMITTED),
    Method.SUMMARY: MethodRule(Grade.ADMITTED),
    Method.BUCKETS: MethodRule(Grade.ADMITTED),
    Method.LISTING: MethodRule(Grade.ADMITTED),
    Method.WATCH: MethodRule(Grade.ADMITTED, early=True),
    Method.BYE: MethodRule(Grade.ADMITTED),
}
