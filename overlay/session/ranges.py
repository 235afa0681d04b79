"""Sets of numbers as sorted, disjoint ranges ``(low, high)``, ``high`` left out: octets acknowledged, octets that came, packets seen.

Plain lists, since they hold one or two ranges nearly always; who adds what others choose bounds their length.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

Ranges = list[tuple[int, int]]


def add(ranges: Ranges, low: int, high: int) -> None:
    """Put ``low`` up to ``high`` in; neighbours become one."""
    if not ranges or low > ranges[-1][1]:
        ranges.append((low, high))
        return
    begin = end = bisect_left(ranges, low, key=_high)
    while end < len(ranges) and ranges[end][0] <= high:
        end += 1
    if begin < end:
        low, high = min(low, ranges[begin][0]), max(high, ranges[end - 1][1])
    ranges[begin:end] = [(low, high)]


def remove(ranges: Ranges, low: int, high: int) -> None:
    """Take ``low`` up to ``high`` out."""
    begin = end = bisect_right(ranges, low, key=_high)
    kept: Ranges = []
    while end < len(ranges) and ranges[end][0] < high:
        first, last = ranges[end]
        kept += [(first, low)] if first < low else []
        kept += [(high, last)] if last > high else []
        end += 1
    ranges[begin:end] = kept


def _high(span: tuple[int, int]) -> int:
    return span[1]
