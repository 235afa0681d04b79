"""Canonical MessagePack, bounded: the only decoder of structured foreign bytes.

It decides whether bytes are one value in the one spelling that we accept, and refuses to know what the value means.
Canonical (DESIGN 3.1, research F1): integer map keys ascending, shortest forms, no floats, no extensions, depth at
most 6, no duplicate keys, nothing behind the value. Equal values therefore have equal bytes.

The threat: two spellings of one statement (a signature that holds for one reading and not for another), and small
inputs that decode to large ones. The construction: decode under explicit bounds, walk the result, encode it again and
compare. Costs 5 us for a record of 300 bytes, against 120 us for its signature. What the straight way refuses goes
another, slower way that finds the name of the rule.
"""

from __future__ import annotations

from typing import Any

import msgpack

from overlay.errors import Malformed

MAX_DEPTH = 6
MAX_BYTES = 65_536

Value = Any  # None, bool, int, bytes, str, list of Value, dict of int -> Value

_pack = msgpack.Packer(use_bin_type=True).pack  # one for all: half the cost of a value is a new packer


def encode(value: Value) -> bytes:
    """One value -> its canonical bytes. Dict keys must already ascend (:func:`ordered` helps)."""
    packed: bytes = _pack(value)
    return packed


def ordered(fields: dict[int, Value]) -> dict[int, Value]:
    """The same fields with ascending keys, those with value None left out: how optional fields are spelt."""
    return {key: fields[key] for key in sorted(fields) if fields[key] is not None}


def decode(data: bytes, *, limit: int = MAX_BYTES) -> Value:
    """Bytes -> one value, or :class:`Malformed`. ``limit`` bounds the input (bytes)."""
    if len(data) > limit:
        raise Malformed(f"{len(data)} bytes where at most {limit} are taken", rule="too-long")
    try:
        if len(data) - len(data.translate(None, _LONG_HEADS)) > 32:
            _scan(data)
        value = msgpack.unpackb(data, raw=False, strict_map_key=False, ext_hook=_extension, max_ext_len=0)
        if _sound(value, MAX_DEPTH) and _pack(value) == data:
            return value
    except Malformed:
        raise
    except _UNDECODABLE:
        pass
    raise _reason(data)


def octets(value: Value) -> bytes:
    """A value that must be octets."""
    if type(value) is not bytes:
        raise Malformed("octets are wanted", rule="field-type")
    return value


def octet_list(value: Value, most: int) -> list[bytes]:
    """A value that must be a list of octets, of ``most`` items at most."""
    if type(value) is not list or len(value) > most:
        raise Malformed("a list of octets is wanted", rule="field-type")
    return [octets(item) for item in value]


_UNDECODABLE = (ValueError, TypeError, IndexError, msgpack.UnpackException, RecursionError, OverflowError)
_PLAIN = frozenset({bytes, int, str, bool, type(None)})


def _sound(value: Any, depth: int) -> bool:
    """Whether ``value`` is made of what is taken, its map keys ascending, no deeper than ``depth``."""
    kind = type(value)
    if kind in _PLAIN or not depth:
        return kind in _PLAIN
    if kind is dict:
        last = -1
        for key, item in value.items():
            if type(key) is not int or key <= last or (type(item) not in _PLAIN and not _sound(item, depth - 1)):
                return False
            last = key
        return True
    if kind is not list:
        return False
    for item in value:  # noqa: SIM110  # a generator costs three times as much here
        if type(item) not in _PLAIN and not _sound(item, depth - 1):
            return False
    return True


def _reason(data: bytes) -> Malformed:
    """What is wrong with bytes that are not sound."""
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=_pairs, ext_hook=_extension, max_ext_len=0)
        _walk(value, 1)
    except Malformed as why:
        return why
    except _UNDECODABLE as why:
        return Malformed(f"not MessagePack: {type(why).__name__}", rule="undecodable")
    return Malformed("not the shortest spelling", rule="non-canonical")


_LONG_HEADS = b"\xdc\xdd\xde\xdf"  # arrays and maps that may claim 65,535 items and more
_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}  # of the length, by head
_SCALARS = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}  # octets in all


def _scan(data: bytes) -> None:
    """Refuse containers within containers that claim more than is there, before anything is set aside for them.

    MessagePack lets three octets claim 65,535 items, and the library allocates what is claimed: 1,180 octets of such
    heads took 43 ms and 13 MB (measured 2026-11). Data with few such octets cannot do that and is not scanned.
    """
    wanted, at = [1], 0  # values still wanted, a level each; IndexError where the data ends early
    while wanted:
        if not wanted[-1]:
            wanted.pop()
            continue
        wanted[-1] -= 1
        head = data[at]
        width = _WIDTHS.get(head, 0)
        length = int.from_bytes(data[at + 1 : at + 1 + width], "big")
        if 0x80 <= head <= 0x9F or head >= 0xDC and width:
            items = length if width else head & 0x0F
            wanted.append(items * 2 if head < 0x90 or head in (0xDE, 0xDF) else items)
            if wanted[-1] > len(data) - at or len(wanted) > MAX_DEPTH + 1:
                raise Malformed("more items than octets, or nested too deeply", rule="nested")
            at += 1 + width
        elif width or 0xA0 <= head <= 0xBF:
            at += 1 + width + (length if width else head & 0x1F)
        elif head < 0x80 or head >= 0xE0:
            at += 1
        else:
            at += _SCALARS.get(head, 0) or len(data)  # what is not taken ends the scan; the decoder says why


def _pairs(pairs: list[tuple[Any, Any]]) -> dict[int, Any]:
    last = -1
    for key, _ in pairs:
        if type(key) is not int or key <= last:
            raise Malformed("map keys must be ascending integers", rule="map-keys")
        last = key
    return dict(pairs)


def _extension(code: int, data: bytes) -> None:
    raise Malformed("extension types are not taken", rule="extension")


def _walk(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is bytes or kind is int or kind is str or kind is bool or value is None:
        return
    if depth > MAX_DEPTH:
        raise Malformed("nested too deeply", rule="nested")
    if kind is list:
        for item in value:
            _walk(item, depth + 1)
    elif kind is dict:
        for item in value.values():
            _walk(item, depth + 1)
    else:
        raise Malformed(f"values of type {kind.__name__} are not taken", rule="value-type")


class Fields:
    """Checked access to a decoded map: every read states the type and the bounds, and can only raise ``Malformed``.

    ``where`` names the statement in messages (``"record header"``).
    """

    __slots__ = ("_map", "_where")

    def __init__(self, value: Value, where: str) -> None:
        if type(value) is not dict:
            raise Malformed(f"{where}: a map is wanted", rule="field-type")
        self._map: dict[int, Any] = value
        self._where = where

    def _get(self, key: int, kind: type, optional: bool) -> Any:
        value = self._map.get(key)
        if value is None and optional:
            return None
        if type(value) is not kind:
            raise Malformed(f"{self._where}: field {key} must be {kind.__name__}", rule="field-type")
        return value

    def integer(self, key: int, low: int, high: int, *, default: int | None = None) -> int:
        """An integer in [low, high]."""
        value = self._get(key, int, default is not None)
        if value is None:
            assert default is not None
            return default
        if not low <= value <= high:
            raise Malformed(f"{self._where}: field {key} is out of range", rule="field-range")
        return int(value)

    def binary(self, key: int, low: int, high: int, *, default: bytes | None = None) -> bytes:
        """Bytes of a length in [low, high]."""
        value = self._get(key, bytes, default is not None)
        if value is None:
            assert default is not None
            return default
        if not low <= len(value) <= high:
            raise Malformed(f"{self._where}: field {key} has a wrong length", rule="field-range")
        return bytes(value)

    def text(self, key: int, high: int, *, default: str | None = None) -> str:
        """Text of at most ``high`` characters."""
        value = self._get(key, str, default is not None)
        if value is None:
            assert default is not None
            return default
        if len(value) > high:
            raise Malformed(f"{self._where}: field {key} is too long", rule="field-range")
        return str(value)

    def flag(self, key: int) -> bool:
        """A boolean, false where absent."""
        return bool(self._get(key, bool, True))

    def items(self, key: int, high: int) -> list[Any]:
        """A list of at most ``high`` items, empty where absent. The items are still unchecked."""
        value = self._get(key, list, True) or []
        if len(value) > high:
            raise Malformed(f"{self._where}: field {key} has too many items", rule="field-range")
        return list(value)

    def only(self, known: frozenset[int]) -> None:
        """Refuse critical keys (below 64) that are not in ``known`` (DESIGN 3.1)."""
        for key in self._map:
            if key < 64 and key not in known:
                raise Malformed(f"{self._where}: field {key} is critical and unknown", rule="critical-field")
