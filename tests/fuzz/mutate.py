"""Inputs that are nearly right: octets turned, cut, spliced and lied about, and values inside MessagePack put out of place.

All chance comes from the dice: the same seed gives the same inputs. A mutation knows nothing of the decoder but a few of
its words and whether it speaks MessagePack or text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgpack

EDGES = sorted({sign * (1 << power) + off for power in (0, 7, 8, 15, 16, 31, 32, 53, 63, 64) for off in (-1, 0, 1) for sign in (1, -1)})
# What trips readers of text: an end, a half character, digits and letters that are not ASCII's, separators that nobody sees.
ODD_TEXT = tuple(
    text.encode("utf-8", "surrogatepass")
    for text in ("\x00", "\n", "\r\n", "\t", "\u2028", "\ufeff", "\ud800", "\u00b2", "\u0661", "\u0130", "\u212a", "\uff0e", "\x7f", "\\", '"', "%",
                 "a" * 300)
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, b"", b"\x00", bytes(31), bytes(32), bytes(33), bytes(64), bytes(6), bytes(18), b"\xff" * 18, "", "a", "*", "eu/home",
    "x" * 256, "\x00", "hq//x", [], [[]], [[[[[[]]]]]], [b""] * 300, [0] * 300, {}, {0: 0}, {1: {1: {1: {}}}}, {64: None}, {63: 1}, {-1: 0}, 0.5,
)  # fmt: skip


class Mutator:
    """Makes inputs from a pool, which may grow. ``packed``: mutate values too. ``longest``: octets of an input."""

    def __init__(
        self, dice: Random, pool: Sequence[bytes], *, words: Sequence[bytes] = (), packed: bool = False, text: bool = False, longest: int = 4_096,
    ) -> None:
        self.dice = dice
        self.pool = list(pool) or [b""]
        self._words = (*words, *(ODD_TEXT if text else ()))
        self._packed = packed
        self._longest = longest
        self._acts: list[Callable[[bytearray, int], None]] = [
            self._turn_bit, self._set_octet, self._lie, self._cut_out, self._repeat, self._splice, self._truncate, self._put_word, self._put_word,
        ]  # fmt: skip

    def next(self) -> bytes:
        """One input."""
        data = self.dice.choice(self.pool)
        if self._packed and self.dice.random() < 0.7:
            data = self._inside(data)
            if self.dice.random() < 0.8:
                return data[: self._longest]
        changed = bytearray(data)
        while True:
            self.dice.choice(self._acts)(changed, self.dice.randrange(len(changed) + 1))
            if self.dice.random() < 0.4:
                return bytes(changed[: self._longest])

    # -- octets

    def _turn_bit(self, data: bytearray, at: int) -> None:
        if at < len(data):
            data[at] ^= 1 << self.dice.randrange(8)

    def _set_octet(self, data: bytearray, at: int) -> None:
        data[at : at + 1] = bytes((self.dice.choice((0, 1, 0x7F, 0x80, 0xC0, 0xFF, self.dice.randrange(256))),))

    def _lie(self, data: bytearray, at: int) -> None:
        """A number of 1, 2, 4 or 8 octets, such as a length, becomes another one."""
        width = self.dice.choice((1, 2, 2, 4, 8))
        told = int.from_bytes(data[at : at + width], "big")
        said = self.dice.choice((*EDGES, told + 1, told - 1, told * 2, len(data), len(data) - at))
        data[at : at + width] = (said % (1 << 8 * width)).to_bytes(width, self.dice.choice(("big", "big", "little")))

    def _span(self, data: bytes | bytearray, at: int) -> int:
        return at + self.dice.choice((1, 2, 4, self.dice.randrange(len(data) + 1)))

    def _cut_out(self, data: bytearray, at: int) -> None:
        del data[at : self._span(data, at)]

    def _repeat(self, data: bytearray, at: int) -> None:
        times = self.dice.choice((1, 1, 2, 40))
        data[at:at] = (data[at : self._span(data, at)] * times)[: self._longest]

    def _splice(self, data: bytearray, at: int) -> None:
        other = self.dice.choice(self.pool)
        start = self.dice.randrange(len(other) + 1)
        data[at : self._span(data, at) if self.dice.random() < 0.5 else at] = other[start : self._span(other, start)]

    def _truncate(self, data: bytearray, at: int) -> None:
        del data[at:]

    def _put_word(self, data: bytearray, at: int) -> None:
        if self._words:
            data[at : self._span(data, at) if self.dice.random() < 0.3 else at] = self.dice.choice(self._words)

    # -- values

    def _inside(self, data: bytes) -> bytes:
        """The same MessagePack with one or two values changed, however deep they lie; octets that hold MessagePack are opened too."""
        try:
            value = msgpack.unpackb(data, raw=False, strict_map_key=False)
            for _ in range(self.dice.choice((1, 1, 2))):
                value = self._change(value, 0)
            packed: bytes = msgpack.packb(value, use_bin_type=True)
            return packed
        except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
            return data

    def _change(self, value: Any, depth: int) -> Any:
        here = self.dice.random() < (0.15 if depth < 2 else 0.4)
        if isinstance(value, dict) and value and not here:
            return self._change_map(dict(value), depth)
        if isinstance(value, list) and value and not here:
            return self._change_list(list(value), depth)
        if isinstance(value, bytes) and value and (value[0] & 0xF0 in (0x80, 0x90)) and self.dice.random() < 0.8:
            return self._inside(value)
        return self._other(value)

    def _change_map(self, value: dict[Any, Any], depth: int) -> Any:
        key = self.dice.choice(list(value))
        act = self.dice.random()
        if act < 0.1:
            del value[key]
        elif act < 0.2:
            value[self.dice.choice((0, 1, 2, 3, 7, 8, 63, 64, 65, -1, 2**63))] = self._other(value[key])
        else:
            value[key] = self._change(value[key], depth + 1)
        if self.dice.random() < 0.9 and all(isinstance(key, int) for key in value):
            value = {key: value[key] for key in sorted(value)}
        return value

    def _change_list(self, value: list[Any], depth: int) -> Any:
        at = self.dice.randrange(len(value))
        act = self.dice.random()
        if act < 0.08:
            del value[at]
        elif act < 0.16:
            value.insert(at, value[at])
        elif act < 0.2:
            self.dice.shuffle(value)
        elif act < 0.22:
            value *= 20
        else:
            value[at] = self._change(value[at], depth + 1)
        return value

    def _other(self, value: Any) -> Any:
        act = self.dice.random()
        if act < 0.3:
            return self.dice.choice(ODD_VALUES)
        if isinstance(value, int):
            return self.dice.choice((*EDGES, value + 1, value - 1))
        if isinstance(value, (bytes, str)):
            raw = bytearray(value if isinstance(value, bytes) else value.encode())
            self.dice.choice(self._acts)(raw, self.dice.randrange(len(raw) + 1))
            return bytes(raw) if isinstance(value, bytes) else raw.decode(errors="replace")
        return self.dice.choice(ODD_VALUES)
