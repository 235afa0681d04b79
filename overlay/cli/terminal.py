"""What may reach a terminal: one line, and nothing in it that steers.

Talk and errors quote what others sent (names, reasons, addresses); an escape sequence among it could clear the screen,
retitle the window or hide the line before. One rule for all of them, here.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    """Without line ends and control characters: runs of blanks become one, what steers or cannot be seen a mark."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))
