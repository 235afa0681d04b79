"""Frames: what a sealed packet carries, put together and taken apart (the table is in ``wire/messages.py``).

A packet's plaintext is one list of frames. Frames are encoded once, each by itself, and joined behind the list's head,
so their sizes are known before they are packed. What comes from outside passes through the bounded codec as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from overlay.errors import Malformed
from overlay.session.packet import FRAMES_ROOM
from overlay.wire.address import Address
from overlay.wire.codec import Value, decode, encode
from overlay.wire.messages import Frame

PROBE_PADDING = 50  # octets: an answer is a packet of at most 63, and a probe one of 93
MOST = 15  # frames in a packet: MessagePack's one-octet list heads
_DATA, _END = Frame.STREAM_DATA.value, Frame.STREAM_END.value
_WRAPPING = [Frame.RELAY.value, Frame.RELAYED.value]
_LOOKING = [Frame.PROBE.value, Frame.PROBED.value]  # a list: what is looked for may be anything


def packets(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Encoded frames, in order, as few plaintexts as they fit."""
    batch: list[bytes] = []
    size = 0
    for frame in frames:
        if batch and (size + len(frame) > FRAMES_ROOM or len(batch) == MOST):
            yield joined(batch)
            batch, size = [], 0
        batch.append(frame)
        size += len(frame)
    if batch:
        yield joined(batch)


def fitting(frames: Iterable[bytes], room: int) -> bytes:
    """The first of these frames that fit into one packet with ``room`` for them, as its plaintext; empty where none does."""
    batch: list[bytes] = []
    for frame in frames:
        room -= len(frame)
        if room < 0 or len(batch) == MOST:
            break
        batch.append(frame)
    return joined(batch) if batch else b""


def joined(batch: list[bytes]) -> bytes:
    """At most 15 encoded frames as one plaintext."""
    return bytes((0x90 | len(batch),)) + b"".join(batch)


def decoded(plaintext: bytes) -> list[Value]:
    """The frames of a packet, their forms unchecked; Malformed where it is no list."""
    frames = decode(plaintext)
    if type(frames) is not list:
        raise Malformed("a packet carries a list of frames", rule="frames")
    return frames


def message(kind: int, body: Value) -> bytes:
    """One MESSAGE frame."""
    return encode([Frame.MESSAGE.value, kind, body])


def challenge(token: bytes) -> bytes:
    """One CHALLENGE frame; as probes they keep paths and mappings alive."""
    return encode([Frame.CHALLENGE.value, token])


def proof(token: bytes) -> bytes:
    """The answer to a challenge, of its size."""
    return encode([Frame.PROOF.value, token])


def close(reason: str) -> bytes:
    """A whole plaintext: CLOSE alone."""
    return encode([[Frame.CLOSE.value, reason[:100]]])


def probe(token: bytes) -> bytes:
    """One PROBE frame, padded so that the packet that answers it is never larger, however many frames came together."""
    return encode([Frame.PROBE.value, token, bytes(PROBE_PADDING)])


def probed(token: bytes, seen: Address) -> bytes:
    """The answer to a probe: the address that it came from."""
    return encode([Frame.PROBED.value, token, seen.packed])


def relay(to: bytes, datagram: bytes) -> bytes:
    """A whole plaintext: RELAY alone. Of a datagram of 1,180 octets it makes a packet of 1,225."""
    return b"\x91" + encode([Frame.RELAY.value, to, datagram])


def relayed(origin: bytes, datagram: bytes) -> bytes:
    """A whole plaintext: RELAYED alone."""
    return b"\x91" + encode([Frame.RELAYED.value, origin, datagram])


def no_relay(to: bytes) -> bytes:
    """A whole plaintext: NO_RELAY alone."""
    return b"\x91" + encode([Frame.NO_RELAY.value, to])


def stream_open(stream: int, kind: int, head: Value) -> bytes:
    """One STREAM_OPEN frame."""
    return encode([Frame.STREAM_OPEN.value, stream, kind, head])


def stream_data(stream: int, offset: int, octets: bytes | bytearray, *, ends: bool) -> bytes:
    """One STREAM_DATA frame, or STREAM_END where the stream ends behind these octets."""
    return encode([_END if ends else _DATA, stream, offset, octets])


def stream_reset(stream: int, code: int, sent: int) -> bytes:
    """One STREAM_RESET frame."""
    return encode([Frame.STREAM_RESET.value, stream, code, sent])


def stream_credit(stream: int, most: int) -> bytes:
    """One STREAM_CREDIT frame; stream 0 stands for all together."""
    return encode([Frame.STREAM_CREDIT.value, stream, most])


def stream_room(streams: int) -> bytes:
    """One STREAM_ROOM frame."""
    return encode([Frame.STREAM_ROOM.value, streams])


def stream_ack(index: int, delay: int, spans: list[int]) -> bytes:
    """One STREAM_ACK frame."""
    return encode([Frame.STREAM_ACK.value, index, delay, *spans])


def probing(frames: list[Value]) -> bool:
    """Whether a packet only looks around: it is no sign that the session's other end has moved."""
    return all(type(frame) is list and frame and frame[0] in _LOOKING for frame in frames)


def wrapping(frames: list[Value]) -> bool:
    """Whether a packet is a relay's: one such frame and nothing else."""
    return len(frames) == 1 and type(frames[0]) is list and bool(frames[0]) and frames[0][0] in _WRAPPING
