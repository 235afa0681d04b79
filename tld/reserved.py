"""The labels that the overlay's root keeps for itself (CONTRACT, DNS), as DNS sees them. No data can override them."""

from __future__ import annotations

from typing import Final

from overlay.records import rights

CLUSTERS: Final = b"clusters"
DOWNLOAD: Final = b"download"
ID: Final = b"id"
WHOAMI: Final = b"whoami"

_WORDS: Final = frozenset(word.encode() for word in rights.RESERVED)


def is_reserved(label: bytes) -> bool:
    """Whether a second-level label (lower case) is the root's own: a word of the table, or ``ns1`` .. ``ns999``."""
    return label in _WORDS or (label[:2] == b"ns" and label[2:].isdigit() and len(label) <= 5)
