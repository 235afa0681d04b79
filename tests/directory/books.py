"""Books and directories for tests, filled from the actors of ``tests/records/actors.py``."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from overlay.directory.book import Book
from overlay.directory.machine import Directory
from overlay.name import parse_path
from overlay.records.record import Record
from overlay.records.trust import MissingGrant
from tests.records.actors import AT, Actor, Overlay


def book_of(overlay: Overlay, *more: Record, at: float = AT) -> Book:
    """A book with the root, everything that was granted so far, and what else is given."""
    book = Book(overlay.trust())
    for record in (overlay.root, *overlay.records.values(), *more):
        take(book, overlay, record, at)
    return book


def take(book: Book, overlay: Overlay, record: Record, at: float = AT) -> None:
    """Take a record in as nodes do: a grant that it names and that was given again since is fetched."""
    try:
        book.add(record, at)
    except MissingGrant as missing:
        book.add(overlay.records[missing.wanted], at, wanted=True)
        take(book, overlay, record, at)


def entropy(seed: int = 1) -> Callable[[int], bytes]:
    """Dice that repeat."""
    return Random(seed).randbytes


def directory_of(book: Book, who: Actor, *, now: float = 0.0, small: int = 64) -> Directory:
    """That actor's directory."""
    assert who.name is not None
    return Directory(me=who.node_id, cluster=who.name.parent, book=book, entropy=entropy(), now=now, small=small)


HOME = parse_path("eu/home")
