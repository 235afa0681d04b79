"""The table of messages: every number that stands on the wire inside a session, with the grade it needs.

Two grades (DESIGN 3.4): *keyed* (both ends hold the keys they showed) and *admitted* (both passports are checked).
A *message* may be lost; a *call* is answered and carried out at most once; a *stream* is octets in order, both ways.
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
    BEACON = 5
    KNOCK = 6


class Frame(IntEnum):
    """What a sealed packet carries: a list of frames, each ``[number, ...]``."""

    MESSAGE = 1
    CALL = 2
    REPLY = 3
    PAGE = 4
    CLOSE = 5
    CHALLENGE = 6
    PROOF = 7
    KEEPALIVE = 8
    PROBE = 9
    PROBED = 10
    RELAY = 16
    RELAYED = 17
    NO_RELAY = 18
    STREAM_OPEN = 32
    STREAM_DATA = 33
    STREAM_END = 34
    STREAM_RESET = 35
    STREAM_CREDIT = 36
    STREAM_ROOM = 37
    STREAM_ACK = 38


@dataclass(frozen=True, slots=True)
class FrameRule:
    """The form of a frame, as the list that it is, and what it says."""

    form: str
    says: str


FRAMES: dict[Frame, FrameRule] = {
    Frame.MESSAGE: FrameRule("[1, kind, body]", "something that may be lost; in admitted sessions only"),
    Frame.CALL: FrameRule("[2, ticket, method, body, floor]", "a question; its sender waits for no ticket below `floor`"),
    Frame.REPLY: FrameRule(
        "[3, ticket, status, body, pages, page]", "the answer: status 0 carried out, 1 refused (the body says why); pages 0: the body is whole",
    ),
    Frame.PAGE: FrameRule("[4, ticket, page]", "asks for one page of an answer"),
    Frame.CLOSE: FrameRule("[5, reason]", "the session is over; what stands behind it is not looked at"),
    Frame.CHALLENGE: FrameRule("[6, token]", "are you there? 8 octets; proves a path, probes it, keeps it alive"),
    Frame.PROOF: FrameRule("[7, token]", "the answer to a challenge, over the way that it came"),
    Frame.KEEPALIVE: FrameRule("[8]", "nothing; wants no answer"),
    Frame.PROBE: FrameRule("[9, token, padding]", "over any way: does it carry, as whom do you see me there? the session does not move"),
    Frame.PROBED: FrameRule("[10, token, address]", "over the way that it came: the address that it came from; never longer than the probe"),
    Frame.RELAY: FrameRule("[16, to, datagram]", "pass this on to your peer whose exchange key begins with these 8 octets; alone in its packet"),
    Frame.RELAYED: FrameRule("[17, from, datagram]", "passed on for the peer whose exchange key begins with these 8 octets; alone in its packet"),
    Frame.NO_RELAY: FrameRule("[18, to]", "there is no such peer here"),
    Frame.STREAM_OPEN: FrameRule(
        "[32, stream, kind, head]", "a stream is open, both ways; numbers rise by 2, odd ones are of the end with the lower key",
    ),
    Frame.STREAM_DATA: FrameRule("[33, stream, offset, octets]", "octets of a stream, from that offset on"),
    Frame.STREAM_END: FrameRule("[34, stream, offset, octets]", "the same, and the last of this half"),
    Frame.STREAM_RESET: FrameRule("[35, stream, code, sent]", "the stream is over, both ways; so many octets were sent; answered by the same"),
    Frame.STREAM_CREDIT: FrameRule(
        "[36, stream, most]", "octets up to this offset are taken; stream 0: of all streams together; 65,536 each before the first",
    ),
    Frame.STREAM_ROOM: FrameRule("[37, streams]", "so many streams may be opened in all; 16 before the first"),
    Frame.STREAM_ACK: FrameRule(
        "[38, index, delay, high, low, ..]",
        "these packets with frames from 32 to 37 came, sent to that index; the delay in microseconds, spans of counters falling",
    ),
}  # fmt: skip


class Note(IntEnum):
    """Messages: what may be lost."""

    MEMBERS = 1
    LEASE = 2


@dataclass(frozen=True, slots=True)
class NoteRule:
    """What a message carries."""

    body: str
    says: str


NOTES: dict[Note, NoteRule] = {
    Note.MEMBERS: NoteRule("see `overlay/cluster/member.py`", "among members of a cluster: are you alive, and who else is"),
    Note.LEASE: NoteRule("see `overlay/cluster/terms.py`", "among members of a cluster: who speaks for it, until when"),
}


@dataclass(frozen=True, slots=True)
class MethodRule:
    """Who may call it, what it asks and gets, whether it may ride in message 1 (which can be replayed: read-only calls)."""

    grade: Grade
    asks: str
    gets: str
    says: str
    early: bool = False


class Method(IntEnum):
    """Calls."""

    PING = 1
    PASSPORT = 2
    ADMIT = 3
    WAYS = 4
    ENROL = 5
    REDEEM = 6
    FETCH = 16
    PUSH = 17
    SUMMARY = 18
    BUCKETS = 19
    LISTING = 20
    WATCH = 21
    OFFER = 22
    FIND = 23
    MEMBERS = 24
    MATES = 25
    PUNCH = 26
    DIAL_BACK = 27
    OPERATE = 28


_KEYED, _ADMITTED = Grade.KEYED, Grade.ADMITTED
METHODS: dict[Method, MethodRule] = {
    Method.PING: MethodRule(_KEYED, "{}", "{1: UTC seconds, 2: address seen (UDP)}", "are you there, what time is it, who am I", True),
    Method.PASSPORT: MethodRule(_KEYED, "{}", "[records]", "show your passport: binding, grants leaf first, root versions newest first"),
    Method.ADMIT: MethodRule(_KEYED, "{1: own passport's digest, 2: revision}", "{1: true}: you are already", "your passport is good; this is mine"),
    Method.WAYS: MethodRule(_KEYED, "{}", "[cluster records]", "other nodes that a newcomer may knock at"),
    Method.ENROL: MethodRule(_KEYED, "{1: request, 2: signature}", "[status, grants, their chains]", "a name, openly"),
    Method.REDEEM: MethodRule(_KEYED, "{1: request, 2: signature, 3: the token's}", "[status, grants, their chains]", "a name, with an invite"),
    Method.FETCH: MethodRule(_ADMITTED, "{1: [digests], 2: unit, 3: [keys]}", "[records]", "grants by digest, records of a unit by key"),
    Method.PUSH: MethodRule(_ADMITTED, "{1: [records]}", "{1: [digests]}", "news; the answer names the grants that are not known there"),
    Method.SUMMARY: MethodRule(_ADMITTED, "{}", "[digest (8 octets) and unit]", "what do you hold"),
    Method.BUCKETS: MethodRule(_ADMITTED, "{1: unit}", "64 sums of 8 octets", "where does that unit differ from mine"),
    Method.LISTING: MethodRule(_ADMITTED, "{1: unit, 2: [buckets]}", "[key and mark (8 octets each)]", "what is in these buckets"),
    Method.WATCH: MethodRule(_ADMITTED, "{1: path, 2: digest held}", "[1, records] or [0]", "a zone, then its changes for 60 s; [0]: not held", True),
    Method.OFFER: MethodRule(_ADMITTED, "{1: unit, 2: [key and mark]}", "{}", "news that others tell at once: what is lacking may be fetched"),
    Method.MATES: MethodRule(_ADMITTED, "{}", "see `overlay/cluster/member.py`", "who is in our cluster, as far as you know"),
    Method.PUNCH: MethodRule(
        _ADMITTED, "{1: [addresses], 2: hard NAT}", "the same", "datagrams of mine come to you from there, now: send some as well",
    ),
    Method.DIAL_BACK: MethodRule(
        _ADMITTED, "{1: token, 2: address, 3: [first 8 octets of keys]}", "{1: address}: from where another node knocks as well",
        "knock at me from a fresh port, and have a node do so that I do not know; with an address: knock there",
    ),
    Method.OPERATE: MethodRule(
        _ADMITTED, "{1: 'upgrade', 2: channel, 3: without waiting}", "{1: [channels]}, or {2: why not}", "take what is newest, by my `operate`",
    ),
    Method.FIND: MethodRule(
        _ADMITTED, "{1: key} or {2: path}", "[1 or 0, cluster records, grants]", "do you keep that zone, and who do you know near its key", True,
    ),
    Method.MEMBERS: MethodRule(
        _ADMITTED, "{1: cluster, 2: node id to begin after}", "{1: [[name, node id, revision]], 2: more}", "who belongs to your cluster: a page",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reserved:
    """Numbers or words that are given to nothing else."""

    where: str
    what: str
    why: str


RESERVED: tuple[Reserved, ...] = (
    Reserved("first octet of a datagram", "0x00, 0x01", "STUN on the same port (RFC 8489); an initiation (0x01) has 1,180 octets and no STUN cookie"),
    Reserved("frames", "19 .. 31", "more of relays"),
    Reserved("frames", "39 .. 47", "more of streams"),
    Reserved("methods", "7 .. 15", "more for keyed sessions"),
    Reserved("messages", "from 16 on", "for `chat` and the like; unknown ones are counted and dropped"),
    Reserved("fields of record bodies", "from 64 on", "ignored and kept by who does not know them; below 64 an unknown one is refused"),
    Reserved("rights", "talk, stream, task", "messages, streams and tasks between nodes"),
)
