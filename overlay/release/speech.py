"""What mates say to each other about one release, on one stream, both ways (DESIGN 3.9).

    octet  what   then
    1      BITS   a bitmap of the pieces that are here, the first piece in the highest bit
    2      HAVE   u32 piece, again and again: these have come
    3      WANT   u32 piece
    4      PIECE  u32 asked, u32 piece, its octets
    5      NO     u32 asked, then up to three node ids: ask those
    6      LAYER? nothing: the hashes of all leaves are wanted
    7      LAYER  the hashes of all leaves

Before each: one octet that says which, u32 octets that follow. Who sends what makes no sense is left, and told nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from overlay.errors import Malformed
from overlay.identity.keys import DIGEST, KEY
from overlay.records.releases import MAX_REVISION
from overlay.release.merkle import LEAF, leaves_of
from overlay.release.swarm import NAMED, PIECE
from overlay.wire.codec import Fields, Value

KIND: Final = 1  # of streams (docs/wire.md)
_HEAD: Final = struct.Struct(">BI")
_NUMBER: Final = struct.Struct(">I")
_TWO: Final = struct.Struct(">II")
MOST_HAVE: Final = 4_096  # pieces in one HAVE


class Say(IntEnum):
    """The kinds of words."""

    BITS = 1
    HAVE = 2
    WANT = 3
    PIECE = 4
    NO = 5
    ASK_LAYER = 6
    LAYER = 7


class Said(NamedTuple):
    """One word that came: what it is, the numbers in it, its octets."""

    what: Say
    numbers: tuple[int, ...] = ()
    data: bytes = b""
    nodes: tuple[bytes, ...] = ()


def pieces_of(length: int) -> int:
    """How many pieces so many octets have."""
    return -(-leaves_of(length) // PIECE)


def piece_leaves(piece: int, length: int) -> range:
    """The leaves of a piece."""
    return range(piece * PIECE, min((piece + 1) * PIECE, leaves_of(length)))


def bits(have: Iterable[int], pieces: int) -> bytes:
    """BITS."""
    field = bytearray(-(-pieces // 8))
    for piece in have:
        field[piece // 8] |= 0x80 >> piece % 8
    return _said(Say.BITS, bytes(field))


def have(pieces: Iterable[int]) -> bytes:
    """HAVE."""
    return _said(Say.HAVE, b"".join(map(_NUMBER.pack, pieces)))


def want(piece: int) -> bytes:
    """WANT."""
    return _said(Say.WANT, _NUMBER.pack(piece))


def gives(asked: int, piece: int, octets: bytes) -> bytes:
    """PIECE."""
    return _said(Say.PIECE, _TWO.pack(asked, piece) + octets)


def no(asked: int, nodes: Iterable[bytes]) -> bytes:
    """NO."""
    return _said(Say.NO, _NUMBER.pack(asked) + b"".join(nodes))


def ask_layer() -> bytes:
    """LAYER?"""
    return _said(Say.ASK_LAYER, b"")


def tell_layer(layer: bytes) -> bytes:
    """LAYER."""
    return _said(Say.LAYER, layer)


def _said(what: Say, rest: bytes) -> bytes:
    return _HEAD.pack(what, len(rest)) + rest


def head(channel: str, revision: int, root: bytes) -> Value:
    """The head of a stream: which release it is about."""
    return {1: channel, 2: revision, 3: root}


def read_head(value: Value) -> tuple[str, int, bytes] | None:
    """The inverse; None where it makes no sense."""
    try:
        fields = Fields(value, "head of a stream")
        return fields.text(1, 63), fields.integer(2, 1, MAX_REVISION), fields.binary(3, DIGEST, DIGEST)
    except Malformed:
        return None


class Hearing:
    """Octets of a stream -> words about a release of so many octets. Only ``Malformed`` leaves :meth:`hear`."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._pieces = pieces_of(length)
        self._held = bytearray()
        self._most = {
            Say.BITS: -(-self._pieces // 8), Say.HAVE: 4 * MOST_HAVE, Say.WANT: 4, Say.PIECE: 8 + PIECE * LEAF, Say.NO: 4 + NAMED * KEY,
            Say.ASK_LAYER: 0, Say.LAYER: DIGEST * leaves_of(length),
        }

    def hear(self, data: bytes) -> Iterator[Said]:
        """The words that are whole now."""
        self._held += data
        while len(self._held) >= _HEAD.size:
            number, octets = _HEAD.unpack_from(self._held)
            if number not in self._most or octets > self._most[Say(number)]:
                raise Malformed("a word that nobody says", rule="swarm-word")
            if len(self._held) < _HEAD.size + octets:
                return
            rest = bytes(self._held[_HEAD.size : _HEAD.size + octets])
            del self._held[: _HEAD.size + octets]
            yield self._read(Say(number), rest)

    def _read(self, what: Say, rest: bytes) -> Said:
        if what is Say.BITS:
            if len(rest) != self._most[what]:
                raise Malformed("a bitmap of another length", rule="swarm-word")
            found = tuple(piece for piece in range(self._pieces) if rest[piece // 8] & 0x80 >> piece % 8)
            return Said(what, found)
        if what is Say.HAVE:
            if len(rest) % 4:
                raise Malformed("half a number", rule="swarm-word")
            return Said(what, tuple(self._piece(number) for (number,) in _NUMBER.iter_unpack(rest)))
        if what is Say.WANT and len(rest) == 4:
            return Said(what, (self._piece(*_NUMBER.unpack(rest)),))
        if what is Say.PIECE and len(rest) >= 8:
            asked, piece = map(self._piece, _TWO.unpack_from(rest))
            return Said(what, (asked, piece), rest[8:])
        if what is Say.NO and len(rest) >= 4 and (len(rest) - 4) % KEY == 0:
            nodes = tuple(rest[at : at + KEY] for at in range(4, len(rest), KEY))
            return Said(what, (self._piece(*_NUMBER.unpack_from(rest)),), nodes=nodes)
        if what in (Say.ASK_LAYER, Say.LAYER):
            return Said(what, data=rest)
        raise Malformed("a word of a wrong length", rule="swarm-word")

    def _piece(self, number: int) -> int:
        if number >= self._pieces:
            raise Malformed("a piece beyond the end", rule="swarm-piece")
        return number
