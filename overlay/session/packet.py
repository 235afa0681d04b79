"""Datagrams of a session: four layouts, cut and put together. Knows offsets and sizes, opens nothing (DESIGN 3.4).
Indices and counters are little-endian.

    initiation  01 sender:4 mac1:16 mac2:16 noise          padded inside to 1,180 octets, so every answer is smaller
    response    02 sender:4 receiver:4 mac1:16 mac2:16 noise
    cookie      03 receiver:4 nonce:24 sealed:32
    sealed      04 receiver:4 counter:8 ciphertext
"""

from __future__ import annotations

import struct

from overlay import limits
from overlay.errors import Malformed
from overlay.session.cookie import MAC, NO_MAC, mac
from overlay.wire.messages import Packet

_INITIATION = struct.Struct("<BI16s16s")
_RESPONSE = struct.Struct("<BII16s16s")
_COOKIE = struct.Struct("<BI24s32s")
SEALED = struct.Struct("<BIQ")
NOISE_1 = 96  # octets that IK adds to the payload of message 1, and 48 to that of message 2
NOISE_2 = 48
PAYLOAD_1 = limits.DATAGRAM - _INITIATION.size - NOISE_1 - 2  # octets of message 1's payload before padding
PAYLOAD_2 = limits.DATAGRAM - _RESPONSE.size - NOISE_2
TAG = 16
SEALED_LEAST = SEALED.size + TAG + 1  # octets of a packet that carries an empty list
FRAMES_ROOM = limits.DATAGRAM - SEALED_LEAST  # octets of frames in one sealed packet, beside the head of their list


def pad(payload: bytes) -> bytes:
    """A payload of message 1 in its full size, its length in front."""
    if len(payload) > PAYLOAD_1:
        raise ValueError("a payload of message 1 that is too long")
    return len(payload).to_bytes(2, "big") + payload.ljust(PAYLOAD_1, b"\x00")


def unpad(padded: bytes) -> bytes:
    """The inverse of :func:`pad`; padding that is not zero is Malformed."""
    length = int.from_bytes(padded[:2], "big")
    if length > len(padded) - 2 or padded[2 + length :].strip(b"\x00"):
        raise Malformed("padding is zeros", rule="padding")
    return padded[2 : 2 + length]


def initiation(sender: int, noise: bytes, key: bytes, cookie: bytes | None) -> bytes:
    """``key`` is the responder's mac1 key, ``cookie`` what it gave us under load."""
    head = struct.pack("<BI", Packet.INITIATION, sender)
    mac1 = mac(key, head + noise)
    return head + mac1 + (mac(cookie, head + mac1 + noise) if cookie else NO_MAC) + noise


def read_initiation(data: bytes, key: bytes) -> tuple[int, bytes, bytes, bytes, bytes]:
    """(sender, mac1, mac2, what mac2 covers, noise); Malformed where size or mac1 is wrong."""
    if len(data) != limits.DATAGRAM:
        raise Malformed("an initiation has the full size", rule="initiation-size")
    _, sender, mac1, mac2 = _INITIATION.unpack_from(data)
    head, noise = data[:5], data[_INITIATION.size :]
    if mac(key, head + noise) != mac1:
        raise Malformed("mac1 does not hold", rule="mac1")
    return sender, mac1, mac2, head + mac1 + noise, noise


def response(sender: int, receiver: int, noise: bytes, key: bytes) -> bytes:
    """``key`` is the initiator's mac1 key."""
    head = struct.pack("<BII", Packet.RESPONSE, sender, receiver)
    return head + mac(key, head + noise) + NO_MAC + noise


def read_response(data: bytes, key: bytes) -> tuple[int, int, bytes]:
    """(sender, receiver, noise)."""
    if not _RESPONSE.size + NOISE_2 <= len(data) <= limits.DATAGRAM:
        raise Malformed("a response of a wrong size", rule="response-size")
    _, sender, receiver, mac1, _ = _RESPONSE.unpack_from(data)
    head, noise = data[:9], data[_RESPONSE.size :]
    if mac(key, head + noise) != mac1:
        raise Malformed("mac1 does not hold", rule="mac1")
    return sender, receiver, noise


def cookie_reply(receiver: int, nonce_and_sealed: bytes) -> bytes:
    """61 octets, against the 1,180 that they answer."""
    return struct.pack("<BI", Packet.COOKIE, receiver) + nonce_and_sealed


def read_cookie(data: bytes) -> tuple[int, bytes, bytes]:
    """(receiver, nonce, sealed cookie)."""
    if len(data) != _COOKIE.size:
        raise Malformed("a cookie reply of a wrong size", rule="cookie-size")
    _, receiver, nonce, sealed = _COOKIE.unpack(data)
    return receiver, nonce, sealed


def mac1_of(data: bytes) -> bytes:
    """The mac1 of an initiation that we made: a cookie for it is sealed to that."""
    return data[5 : 5 + MAC]
