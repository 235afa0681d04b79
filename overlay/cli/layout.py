"""Tables and trees for people: aligned columns, colour only where a terminal shows it.

It decides how values look (durations, yes and no, what is not known) and never lets a value steer the terminal: what
came from other nodes is printed without control characters. It refuses to know what the values mean.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

BOLD, DIM = "1", "2"
NOTHING: Final = "-"


def shown(value: object) -> str:
    """One cell."""
    if value is None or value == "" or value == []:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value)
    if isinstance(value, Mapping):
        return " ".join(f"{shown(key)}={shown(item)}" for key, item in value.items())
    return "".join(char if char.isprintable() else "?" for char in str(value))


def span(seconds: float | None) -> str:
    """``7384`` -> ``2h 3m``."""
    if seconds is None:
        return NOTHING
    whole = int(seconds)
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    for place, (letter, size) in enumerate(units):
        if whole >= size and place < len(units) - 1:
            smaller, of = units[place + 1]
            rest = whole % size // of
            return f"{whole // size}{letter}" + (f" {rest}{smaller}" if rest else "")
    return f"{whole}s"


def coloured(text: str, *codes: str) -> str:
    """``text`` in colour where stdout is a terminal that wants it (https://no-color.org)."""
    if not codes or sys.stdout is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def table(rows: Iterable[Sequence[object]], heads: Sequence[str]) -> str:
    """Rows under their heads, columns two blanks apart."""
    cells = [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(heads), *cells]) for column in range(len(heads))]
    lines = [coloured(_line([head.upper() for head in heads], widths), BOLD)]
    lines += [_line(row, widths) for row in cells]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """A name and its value a line."""
    known = [(name, shown(value)) for name, value in rows]
    width = max((len(name) for name, _ in known), default=0)
    return "\n".join(f"{coloured(name.ljust(width), BOLD)}  {value}" for name, value in known)


def tree(branch: Mapping[str, Any]) -> str:
    """Nested ``{label, kinds, children}`` drawn with lines."""
    lines = [_leaf(branch)]

    def draw(children: Sequence[Mapping[str, Any]], before: str) -> None:
        for place, child in enumerate(children):
            last = place == len(children) - 1
            lines.append(f"{before}{'└── ' if last else '├── '}{_leaf(child)}")
            draw(child.get("children") or [], before + ("    " if last else "│   "))

    draw(branch.get("children") or [], "")
    return "\n".join(lines)


def _leaf(branch: Mapping[str, Any]) -> str:
    kinds = branch.get("kinds") or []
    return shown(branch.get("label")) + (coloured(f"  ({shown(kinds)})", DIM) if kinds else "")
