"""Views: which statements about a zone count, merged over signers (DESIGN 3.1; R20)."""

from __future__ import annotations

from overlay.directory import views
from overlay.directory.book import Book
from overlay.name import ROOT, parse_path
from tests.records.actors import AT, Overlay, found


def book_of(overlay: Overlay) -> Book:
    """A book with everything that was granted so far."""
    book = Book(overlay.trust())
    book.add(overlay.root, AT)
    for grant in overlay.records.values():
        book.add(grant, AT)
    return book


def test_a_zone_is_shown_beside_a_table_that_holds_heads_and_clusters() -> None:
    overlay = found()
    first = overlay.first
    book = book_of(overlay)
    for record in (overlay.cluster(first), overlay.head(first, "eu/home"), overlay.host(first)):
        book.add(record, AT)
    shown = views.view(book, parse_path("eu/home"))
    assert [host.name for host in shown.hosts] == [first.name]
    assert views.view(book, ROOT).cuts == (parse_path("eu/home"), parse_path("hq"))
