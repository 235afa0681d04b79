"""The few shapes that the pages are made of: a head that says where they come from, tables, blocks taken from docstrings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from types import ModuleType


def head(title: str, *sources: str) -> str:
    """The first lines of a page."""
    return f"<!-- Made by `make docs` from {', '.join(sources)}: change it there. -->\n\n# {title}\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; what would end a cell is escaped, line ends become blanks."""
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def code(text: str, language: str = "text") -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def layout(module: ModuleType) -> str:
    """The first indented block of a module's docstring: where the layouts of octets are drawn."""
    lines = textwrap.dedent((module.__doc__ or "").partition("\n")[2]).splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("    "))
    end = next((number for number, line in enumerate(lines[begin:], begin) if line and not line.startswith("    ")), len(lines))
    return code(textwrap.dedent("\n".join(lines[begin:end])))


def prose(text: str) -> str:
    """A docstring's marks as Markdown has them."""
    return " ".join(text.replace("``", "`").split())


def number(value: int) -> str:
    """With commas from a thousand on."""
    return f"{value:,}"


def duration(seconds: float) -> str:
    """Whole days, hours, minutes or seconds."""
    for unit, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit:,.0f} {word}"
    return f"{seconds:g} s"
