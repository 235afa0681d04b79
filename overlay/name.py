"""Name-paths: labels from the root (``eu/home/web``), in DNS order ``web.home.eu``. Knows syntax, not meaning.

A path is canonical once built: lower case, letters, digits, ``-`` and ``_``; ``*`` only as the last label (a
wildcard, RFC 4592). Sizes follow RFC 1035: 63 octets a label, 255 a name (room is kept for the TLD and the zone).
Code points outside ASCII are taken in their A-label form only (``xn--``), as registries do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from overlay.errors import UsageError

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?|\*")
MAX_PATH = 180  # characters of a path: 255 less a TLD or bootstrap zone of up to 73 (guess; nobody came near it)
MAX_SUFFIX = 73  # characters of the TLD and of the zone: what a path leaves of 255
MAX_DEPTH = 16  # labels
PARSED = 4_096  # paths remembered as they read: 1 MiB at most


@dataclass(frozen=True, slots=True, order=True)
class Path:
    """A name-path. ``Path(("eu", "home"))`` is ``eu/home``; the root is ``ROOT``, an empty tuple of labels."""

    labels: tuple[str, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)  # paths are keys everywhere

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(self.labels))
        if len(self.labels) > MAX_DEPTH or sum(map(len, self.labels)) + len(self.labels) > MAX_PATH:
            raise UsageError(
                f"the name {str(self)[:80]!r} is too long", f"use at most {MAX_PATH} characters and {MAX_DEPTH} labels", rule="name-length",
            )
        for position, label in enumerate(self.labels):
            if not _LABEL.fullmatch(label) or (label == "*" and position != len(self.labels) - 1):
                raise UsageError(
                    f"{label[:80]!r} is not a legal label",
                    "use 1 to 63 of a-z 0-9 - _, no - at either end; * only as the first label of a DNS name",
                    rule="label",
                )

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return "/".join(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __truediv__(self, label: str) -> Path:
        return Path((*self.labels, label.lower()))

    @property
    def dotted(self) -> str:
        """DNS order with dots, without TLD: ``web.home.eu``; empty for the root."""
        return ".".join(reversed(self.labels))

    @property
    def parent(self) -> Path:
        """One label up; the root is its own parent."""
        return _checked(self.labels[:-1])

    @property
    def leaf(self) -> str:
        """The last label (the first in DNS order); empty for the root."""
        return self.labels[-1] if self.labels else ""

    def covers(self, other: Path) -> bool:
        """Whether ``other`` stands at or below this path."""
        return other.labels[: len(self.labels)] == self.labels

    def ancestors(self) -> Iterator[Path]:
        """This path and all above it, nearest first, the root last."""
        for end in range(len(self.labels), -1, -1):
            yield _checked(self.labels[:end])

    def fqdn(self, suffix: str) -> str:
        """The full name under ``suffix`` (the TLD or zone), without final dot."""
        return f"{self.dotted}.{suffix}" if self.labels else suffix


ROOT = Path()


def _checked(labels: tuple[str, ...]) -> Path:
    """A path of labels that stood in one before."""
    path = object.__new__(Path)
    object.__setattr__(path, "labels", labels)
    object.__setattr__(path, "_hash", hash(labels))
    return path


def _lower(text: str) -> str:
    """ASCII in lower case. Other letters stay and are refused as labels: some of them have ASCII as their lower case."""
    return text.lower() if text.isascii() else text


@lru_cache(maxsize=PARSED)
def parse_path(text: str) -> Path:
    """``eu/home`` (or ``""`` for the root), exactly as stored in records and JSON."""
    return Path(tuple(_lower(text).split("/"))) if text else ROOT


def parse_name(text: str, *, zone: str = "", tld: str = "") -> Path:
    """What a person writes: ``web.home.eu``, ``web.home.eu.cloud.``, ``eu/home/web`` (CONTRACT, "the manners").

    A slash makes it a path. A final dot makes it absolute: then it must stand below the zone or the TLD. Otherwise
    the zone, then the TLD, is stripped once where it is the ending.
    """
    text = _lower(text.strip())
    if "/" in text:
        return parse_path(text.strip("/"))
    absolute = text.endswith(".")
    bare = text[:-1] if absolute else text
    for suffix in (zone.lower().rstrip("."), tld.lower().rstrip(".")):
        if suffix and (bare == suffix or bare.endswith("." + suffix)):
            bare = bare[: -len(suffix)].rstrip(".")
            break
    else:
        if absolute and bare:
            raise UsageError(
                f"{text[:80]!r} is not below {tld or 'the TLD'} or {zone or 'the zone'}", "leave out the final dot, or write the full name",
                rule="absolute",
            )
    labels = bare.split(".") if bare else []
    if "" in labels:
        raise UsageError(f"{text[:80]!r} has nothing between two dots", "write one dot between labels, such as web.home.eu", rule="empty-label")
    return Path(tuple(reversed(labels)))


def parse_zone(text: str) -> str:
    """A DNS domain such as ``cloud.neonics.com``: lower case, no final dot, checked label by label."""
    text = _lower(text.strip()).removesuffix(".")
    labels = text.split(".")
    if not text or len(text) > 253 or not all(_LABEL.fullmatch(x) and x != "*" for x in labels):
        raise UsageError(f"{text[:80]!r} is not a domain name", "write a DNS domain such as cloud.example.org", rule="zone")
    return text
