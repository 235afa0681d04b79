"""The book: which of two records counts, units and cuts, letting go (DESIGN 3.1, 3.5)."""

from __future__ import annotations

import pytest

from overlay import limits
from overlay.directory.book import RECORDS, TABLE, Book, zone_unit
from overlay.directory.room import CROWD_OUT
from overlay.errors import TrustError
from overlay.machine import Store
from overlay.name import ROOT, parse_path
from overlay.records.trust import MissingGrant
from overlay.units import DAY
from tests.directory.books import HOME, book_of
from tests.records.actors import AT, Overlay, found, refused


@pytest.fixture
def overlay() -> Overlay:
    made = found()
    assert made.first and made.member
    return made


def test_of_two_versions_the_higher_seq_counts_whatever_the_order_of_arrival(overlay: Overlay) -> None:
    old, new = (overlay.data(overlay.first, HOME, "TXT", word) for word in ("old", "new"))
    for order in ((old, new), (new, old)):
        book = book_of(overlay, *order)
        assert book.records[old.identity] == new
        assert list(book.members(zone_unit(HOME))).count(old) == 0


def test_what_is_held_already_is_no_news_and_is_not_judged_again(overlay: Overlay) -> None:
    record = overlay.data(overlay.first, HOME, "TXT", "x")
    book = book_of(overlay, record)
    verified = book.trust.verified
    assert book.add(record, AT) is None
    assert book.held(record.raw) is record and book.known(record)
    assert book.trust.verified == verified


def test_two_records_of_one_seq_are_an_equivocation_all_agree_on_the_lower_digest_and_it_is_counted(overlay: Overlay) -> None:
    pair = [overlay.data(overlay.first, HOME, "TXT", word, seq=AT * 1000) for word in ("one", "two")]
    winner = min(pair, key=lambda r: r.digest)
    loser = max(pair, key=lambda r: r.digest)
    books = [book_of(overlay, winner, loser), book_of(overlay, loser, winner)]
    assert {book.records[winner.identity].raw for book in books} == {winner.raw}
    assert books[0].counters["equivocations"] == 1


def test_of_two_root_versions_of_one_number_each_book_keeps_the_first_and_knows_of_the_second(overlay: Overlay) -> None:
    """By whichever digest: who gets hold of old keys could make one with any."""
    second, rival = (
        overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys, admission=admission) for admission in ("open", "invite")
    )
    assert second.identity == rival.identity
    for first, other in ((second, rival), (rival, second)):
        book = book_of(overlay, first)
        with refused("R17", TrustError):
            book.add(other, AT)
        assert book.trust.roots[1] == first and book.trust.rivals == {2: other} and other not in book.records.values()
        book.add(first, AT)
        again = book_of(overlay)
        again.load([one.raw for one in (other, first)], AT)
        assert len(again.trust.roots) == 2, "even were both on the disk"


def test_a_record_whose_grant_is_not_known_is_asked_for_and_not_held(overlay: Overlay) -> None:
    record = overlay.data(overlay.first, HOME, "TXT", "x")
    book = Book(overlay.trust())
    with pytest.raises(MissingGrant) as missing:
        book.add(record, AT)
    assert missing.value.wanted == record.via
    assert len(book) == 0 and not book.take_stores()


def test_records_go_to_the_unit_of_their_zone_and_what_all_must_know_to_the_table(overlay: Overlay) -> None:
    first = overlay.first
    data = overlay.data(first, "eu/home/motd", "TXT", "x")
    records = {"host": overlay.host(first), "cluster": overlay.cluster(first), "head": overlay.head(first, HOME), "data": data}
    book = book_of(overlay, *records.values())
    units = {kind: book.unit_of(record) for kind, record in records.items()}
    assert units == {"host": zone_unit(HOME), "cluster": TABLE, "head": TABLE, "data": zone_unit(HOME)}
    assert book.unit_of(first.own) == zone_unit(HOME)
    assert book.unit_of(first.grants[-1]) == TABLE
    assert book.unit_of(overlay.root) == TABLE


def test_a_zone_cut_that_comes_later_takes_its_names_from_the_zone_above(overlay: Overlay) -> None:
    root_data = overlay.data(overlay.founder, "us/office/motd", "TXT", "x")
    book = book_of(overlay, root_data)
    assert book.unit_of(root_data) == zone_unit(ROOT)
    before = book.units[zone_unit(ROOT)].digest
    sign = overlay.grant(overlay.founder, overlay.stranger, "us/office", {"own", "sign"})
    book.add(sign, AT)
    assert root_data in book.members(zone_unit(parse_path("us/office")))
    assert root_data not in book.members(zone_unit(ROOT))
    assert book.units[zone_unit(ROOT)].digest != before
    assert book.by_key(zone_unit(parse_path("us/office")), root_data.key) == root_data


def test_a_zone_cut_that_goes_gives_its_names_back(overlay: Overlay) -> None:
    sign = overlay.grant(overlay.founder, overlay.stranger, "us/office", {"own", "sign"}, life=DAY)
    data = overlay.data(overlay.founder, "us/office/motd", "TXT", "x")
    book = book_of(overlay, data)
    book.sweep(AT + DAY + limits.LAPSED)
    assert parse_path("us/office") not in book.cuts
    assert sign.digest not in book.grants
    assert zone_unit(parse_path("us/office")) not in book.units
    assert data not in book.records.values(), "its own date has passed by then"


def test_a_zone_is_the_same_whichever_came_first_its_cut_or_its_names(overlay: Overlay) -> None:
    sign = overlay.grant(overlay.founder, overlay.stranger, "us/office", {"own", "sign"})
    data = overlay.data(overlay.founder, "us/office/motd", "TXT", "x")
    books = []
    for late in (sign, data):
        book = Book(overlay.trust())
        for record in (overlay.root, *(r for r in (*overlay.records.values(), data) if r != late), late):
            book.add(record, AT)
        books.append({unit: replica.digest for unit, replica in book.units.items()})
    assert books[0] == books[1]


def test_past_its_date_a_record_goes_and_a_grant_lapses_for_30_days_first(overlay: Overlay) -> None:
    host, grant = overlay.host(overlay.member), overlay.member.own
    book = book_of(overlay, host)
    book.sweep(host.expires)
    assert host.identity not in book.records
    book.sweep(grant.expires)
    assert grant.digest in book.grants and grant not in book.grants_on(grant.name, grant.expires)
    book.sweep(grant.expires + limits.LAPSED)
    assert grant.digest not in book.grants and grant.identity not in book.records
    assert overlay.root in book.records.values()


def test_a_revocation_takes_away_what_stood_on_the_grant_and_keeps_itself(overlay: Overlay) -> None:
    data = overlay.data(overlay.member, overlay.member.name or HOME, "TXT", "x", via=overlay.member.own)
    book = book_of(overlay, data)
    book.add(overlay.revoke(overlay.first, overlay.member.own), AT)
    assert data not in book.records.values()
    assert overlay.member.own not in book.grants_of(overlay.member.node_id, AT)
    assert book.counters["revoked"] >= 1
    with pytest.raises(TrustError):
        book.add(overlay.data(overlay.member, overlay.member.name or HOME, "TXT", "y", via=overlay.member.own), AT)


def test_bindings_are_refused_they_travel_in_passports_only(overlay: Overlay) -> None:
    with pytest.raises(TrustError) as refusal:
        book_of(overlay).add(overlay.binding(overlay.first), AT)
    assert refusal.value.rule == "bind"


def test_one_signer_cannot_fill_the_book(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PER_SIGNER", 10)
    book = book_of(overlay)
    with pytest.raises(TrustError) as refusal:
        for number in range(20):
            book.add(overlay.data(overlay.member, f"eu/home/member/n{number}", "TXT", "x", via=overlay.member.own), AT)
    assert refusal.value.rule == "signer-full"
    book.add(overlay.data(overlay.first, HOME, "TXT", "others may"), AT)


def test_who_fills_the_book_silences_nobody_else(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    flooder, other = overlay.first, overlay.founder
    book = book_of(overlay, overlay.host(flooder), overlay.cluster(flooder))
    kept = set(book.records)
    for number in range(CROWD_OUT + 20):
        book.add(overlay.data(flooder, f"eu/home/flood{number}", "TXT", "x"), AT)
    monkeypatch.setattr(limits, "BOOK", len(book))
    book.take_stores()
    for number in range(3):
        book.add(overlay.data(other, f"hq/calm{number}", "TXT", "x"), AT)
    assert book.counters["crowded_out"] == CROWD_OUT
    assert sum(store.value is None for store in book.take_stores()) == CROWD_OUT
    assert kept <= set(book.records), "its name, its grants and its gateway stay"
    with pytest.raises(TrustError) as refusal:
        monkeypatch.setattr(limits, "BOOK", len(book))
        book.add(overlay.data(flooder, "eu/home/again", "TXT", "x"), AT)
    assert refusal.value.rule == "book-full"


def test_what_is_not_entitled_makes_no_room_in_a_full_book(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    book = book_of(overlay, *(overlay.data(overlay.first, f"eu/home/n{n}", "TXT", "x") for n in range(CROWD_OUT + 20)))
    monkeypatch.setattr(limits, "BOOK", len(book))
    with pytest.raises(TrustError):
        book.add(overlay.data(overlay.stranger, "hq", "TXT", "x", via=overlay.founder.own), AT)
    assert book.counters["crowded_out"] == 0


def test_a_full_book_takes_newer_versions_and_nothing_new(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    old = overlay.data(overlay.first, HOME, "TXT", "old")
    book = book_of(overlay, old)
    monkeypatch.setattr(limits, "BOOK", len(book))
    with pytest.raises(TrustError) as refusal:
        book.add(overlay.data(overlay.first, "eu/home/more", "TXT", "x"), AT)
    assert refusal.value.rule == "book-full"
    assert book.add(overlay.data(overlay.first, HOME, "TXT", "new"), AT) is not None


# -- the store


def stored(stores: list[Store]) -> dict[bytes, bytes]:
    """What a disk holds after these stores."""
    disk: dict[bytes, bytes] = {}
    for store in stores:
        assert store.table == RECORDS
        if store.value is None:
            disk.pop(store.key, None)
        else:
            disk[store.key] = store.value
    return disk


def loaded(overlay: Overlay, raws: list[bytes], at: float = AT) -> Book:
    """A book at the next start. The founding record comes first, as the node gives it."""
    book = Book(overlay.trust())
    book.load([overlay.root.raw, *raws], at)
    return book


def test_a_restarted_node_holds_the_same_without_verifying_a_signature(overlay: Overlay) -> None:
    first, member = overlay.first, overlay.member
    more = [overlay.host(first), overlay.cluster(first), overlay.data(member, "eu/home/member", "TXT", "x", via=member.own)]
    book = book_of(overlay, *more)
    book.add(overlay.revoke(overlay.first, overlay.member.own), AT)
    again = loaded(overlay, list(stored(book.take_stores()).values()))
    assert set(again.records) == set(book.records)
    assert {u: r.digest for u, r in again.units.items()} == {u: r.digest for u, r in book.units.items()}
    assert again.highest_seq[first.node_id] == book.highest_seq[first.node_id]
    assert again.trust.verified <= 1  # the fixture's own look at the founding record
    assert not again.take_stores()


def test_damage_in_the_store_is_counted_and_the_rest_is_there(overlay: Overlay) -> None:
    book = book_of(overlay, overlay.host(overlay.first))
    again = loaded(overlay, [b"", b"junk", *stored(book.take_stores()).values()])
    assert again.counters["drop:stored-record"] == 2
    assert set(again.records) == set(book.records)


def test_what_passed_its_date_while_the_node_was_down_is_dropped_from_the_store_too(overlay: Overlay) -> None:
    host = overlay.host(overlay.first)
    book = book_of(overlay, host)
    again = loaded(overlay, list(stored(book.take_stores()).values()), at=host.expires + 1)
    assert host.identity not in again.records
    assert Store(RECORDS, host.key, None) in again.take_stores()


def test_what_is_dated_ahead_of_a_clock_that_went_back_stays_in_the_store(overlay: Overlay) -> None:
    host = overlay.host(overlay.first)
    book = book_of(overlay, host)
    again = loaded(overlay, list(stored(book.take_stores()).values()), at=host.issued - limits.FUTURE - 1)
    assert host.identity not in again.records
    assert not [store for store in again.take_stores() if store.value is None]
