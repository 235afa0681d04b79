"""A full book: whoever fills it, with however many keys, silences nobody else, and keeps no right from being given or taken (DESIGN 3.5)."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.directory.book import Book
from overlay.directory.room import CROWD_OUT
from overlay.errors import TrustError
from overlay.records.record import Record
from overlay.records.rights import Joining
from tests.directory.books import book_of, directory_of, take
from tests.records.actors import AT, Actor, Overlay, found, refused

KEYS = CROWD_OUT + 20  # of one owner: each says less than an honest node


@pytest.fixture
def overlay() -> Overlay:
    """The owner of evil, somebody honest of its own path, all let in by the founder."""
    made = found()
    made.join("evil", "evil", Joining.FIRST)
    made.join("good", "good", Joining.FIRST)
    return made


def keys(overlay: Overlay, number: int = KEYS) -> list[Actor]:
    """Keys that the owner of evil made, each with a name and rights of its own."""
    return [overlay.join(f"key{n}", "evil", Joining.INVITED, by=overlay.actor("evil")) for n in range(number)]


def filled(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BOOK", len(book))


def test_what_the_keys_say_that_an_owner_made_is_its_own(overlay: Overlay) -> None:
    evil, good = overlay.actor("evil"), overlay.actor("good")
    (key,) = keys(overlay, 1)
    book = book_of(overlay)
    room = book.room
    claim = overlay.claim(key, "evil/claimed")
    for record in (key.own, claim, overlay.host(key), overlay.data(key, "evil/key0/x", "TXT", "x"), overlay.revoke(evil, key.own), evil.own):
        take(book, overlay, record)
        assert room.owner(record) == evil.node_id, record.kind
    assert room.owner(good.own) == good.node_id, "a registrar does not run out of room by letting others in"
    assert room.owner(overlay.founder.own) == overlay.founder.node_id == room.owner(overlay.data(overlay.founder, "hq/x", "TXT", "x"))


def test_many_keys_of_one_owner_silence_nobody_else(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    good = overlay.actor("good")
    many = keys(overlay)
    book = book_of(overlay, *(overlay.data(key, f"evil/{key.label}/x", "TXT", "x", via=key.own) for key in many))
    filled(book, monkeypatch)
    for number in range(CROWD_OUT):
        book.add(overlay.data(good, f"good/n{number}", "TXT", "x"), AT)
    assert book.counters["crowded_out"] == CROWD_OUT
    assert all(key.own.digest in book.grants for key in many), "as long as something was merely said, rights stay"
    with refused("book-full", TrustError):
        filled(book, monkeypatch)
        book.add(overlay.data(many[0], "evil/key0/again", "TXT", "x", via=many[0].own), AT)


def test_grants_and_gateways_of_many_keys_give_way_too_unless_something_stands_on_them(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    good = overlay.actor("good")
    many = keys(overlay)
    book = book_of(overlay, *(overlay.host(key) for key in many))
    filled(book, monkeypatch)
    for number in range(2 * CROWD_OUT):
        book.add(overlay.data(good, f"good/n{number}", "TXT", "x"), AT)
    assert book.counters["crowded_out"] == 2 * CROWD_OUT and sum(key.own.digest in book.grants for key in many) < KEYS
    standing = [record for record in book.records.values() if record.via]
    assert all(book.links.get(record.via) is not None for record in standing), "nothing stays whose right went"
    assert overlay.actor("evil").own.digest in book.grants, "what came first"
    assert all(grant in book.records.values() for grant in overlay.founder.grants), "rights on the root stay"


def test_a_book_that_many_filled_evenly_takes_newcomers_and_nothing_else(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = [overlay.join(f"n{n}", f"c{n}", Joining.FIRST) for n in range(8)]
    book = book_of(overlay, *(overlay.data(who, f"c{n}/x{m}", "TXT", "x") for n, who in enumerate(honest) for m in range(3)))
    filled(book, monkeypatch)
    with refused("book-full", TrustError):
        book.add(overlay.data(overlay.actor("good"), "good/x", "TXT", "x"), AT)
    newcomer = overlay.join("late", "late", Joining.FIRST)
    for grant in newcomer.grants:
        book.add(grant, AT)
    assert book.counters["crowded_out"] == len(newcomer.grants)
    with refused("book-full", TrustError):
        book.add(overlay.join("more", "c0", Joining.INVITED, by=honest[0]).own, AT)


def test_a_full_book_takes_revocations_and_root_versions(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PER_SIGNER", 2)
    monkeypatch.setattr(limits, "BOOK", 10_000)
    many = keys(overlay, 4)
    book = Book(overlay.trust())
    for record in (overlay.root, *(g for who in (overlay.founder, overlay.actor("evil")) for g in who.grants)):
        book.add(record, AT)
    monkeypatch.setattr(limits, "PER_SIGNER", 100)
    for key in many:
        book.add(key.own, AT)
    filled(book, monkeypatch)
    monkeypatch.setattr(limits, "PER_SIGNER", 2)
    for key in many:
        assert book.add(overlay.revoke(overlay.founder, key.own), AT) is not None, "a registrar is not bound as members are"
    assert book.add(overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys), AT) is not None


def test_revocations_by_many_keys_of_one_owner_have_a_bound_that_binds_neither_it_nor_registrars(
    overlay: Overlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = keys(overlay, 8)
    book = book_of(overlay)
    monkeypatch.setattr(limits, "ENDS_PER_OWNER", 4)
    ends: list[Record] = [overlay.revoke(key, key.own) for key in many]
    for end in ends[:4]:
        book.add(end, AT)
    with refused("owner-full", TrustError):
        book.add(ends[4], AT)
    book.add(overlay.revoke(overlay.actor("evil"), many[5].own), AT)
    book.add(overlay.revoke(overlay.founder, many[6].own), AT)
    good = overlay.join("friend", "good", Joining.INVITED, by=overlay.actor("good"))
    book.add(good.own, AT)
    book.add(overlay.revoke(good, good.own), AT)


def test_what_a_node_says_and_holds_itself_stays_in_its_own_book(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    many = keys(overlay)
    me = many[-1]
    mine = [overlay.host(me), overlay.data(me, f"evil/{me.label}/mine", "TXT", "x", via=me.own)]
    book = book_of(overlay, *(overlay.data(key, f"evil/{key.label}/x", "TXT", "x", via=key.own) for key in many[:-1]), *mine)
    directory_of(book, me)
    filled(book, monkeypatch)
    for number in range(4 * CROWD_OUT):
        book.add(overlay.data(overlay.actor("good"), f"good/n{number}", "TXT", "x"), AT)
        monkeypatch.setattr(limits, "BOOK", len(book))
        if book.counters["crowded_out"] > 2 * CROWD_OUT:
            break
    held = set(book.records)
    assert all(record.identity in held for record in (*mine, *me.grants))


def test_what_went_is_not_counted_any_more(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    good = overlay.actor("good")
    book = book_of(overlay)
    monkeypatch.setattr(limits, "PER_SIGNER", 3)
    for turn in range(3):
        said = [overlay.data(good, f"good/n{turn}-{number}", "TXT", "x") for number in range(4)]
        for record in said[:3]:
            book.add(record, AT)
        with refused("signer-full", TrustError):
            book.add(said[3], AT)
        book.sweep(AT, shed=said[:3])
