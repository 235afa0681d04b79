"""What may reach a terminal: one line, and nothing in it that steers.

Talk and errors quote what others sent (names, reasons, addresses); an escape sequence among it could clear the screen,
retitle the window or hide the line before. One rule for all of them, here.
"""

from __future__ import annotations


def visible(line: str) -> str:
    """A line as it stands, but for what steers or cannot be seen, which is spelt out: an escape character as ``\\x1b``."""
    return line if line.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def one_line(text: str) -> str:
    """Without line ends and control characters: runs of blanks become one, what steers or cannot be seen a mark."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
