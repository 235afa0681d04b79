"""Signed sets on their way through records: nothing is lost, nothing half is taken, a change is small."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import Malformed
from overlay.records.zones import BUCKET, KEYS, ZONE, place
from tests.tld.dnssec.test_signing import AT, KEY, OTHER
from tests.tld.dnssec.test_signing import ZONE as TEXT
from tld import codes, master
from tld.dnssec.pieces import Reader, keys_from_pieces, keys_to_pieces, pack, unpack, zone_to_pieces
from tld.dnssec.signing import Signed, SignedZone, sign, sign_zone
from tld.label import from_text
from tld.zone import RRset

ORIGINS = (from_text("home.eu.cloud."), from_text("home.eu.example.org."))
ROOM = 700


def sets(text: str = TEXT) -> tuple[SignedZone, SignedZone]:
    both = master.parse(text), master.parse(text.replace("home.eu.cloud.", "home.eu.example.org.", 1))
    return sign_zone(both[0], KEY, AT, {}), sign_zone(both[1], KEY, AT, {})


def test_a_zone_comes_out_as_it_went_in() -> None:
    before = sets()
    pieces = zone_to_pieces(before, ORIGINS, 7, ROOM)
    assert all(len(piece.data) <= ROOM for piece in pieces.values())
    found = Reader(ORIGINS).copy(pieces)
    assert found is not None
    assert (found.serial, found.sets) == (7, before)


def test_a_changed_name_changes_its_bucket_and_the_head_alone() -> None:
    before = zone_to_pieces(sets(), ORIGINS, 7, ROOM)
    count = before[place(ZONE)].count
    after = zone_to_pieces(sets(TEXT.replace("192.0.2.7", "192.0.2.8")), ORIGINS, 8, ROOM, count)
    assert count > 4
    assert len({item[:3] for item, piece in after.items() if before.get(item) != piece}) == 2


@pytest.mark.parametrize("role", [ZONE, BUCKET])
def test_what_is_not_whole_is_nothing(role: int) -> None:
    pieces = zone_to_pieces(sets(), ORIGINS, 7, ROOM)
    newer = zone_to_pieces(sets(TEXT.replace("192.0.2.7", "192.0.2.8")), ORIGINS, 8, ROOM, pieces[place(ZONE)].count)
    reader = Reader(ORIGINS)
    for item in pieces:
        if item[0] == role:
            assert reader.copy({key: piece for key, piece in pieces.items() if key != item}) is None
            if newer[item] != pieces[item]:
                assert reader.copy({**pieces, item: newer[item]}) is None
    assert reader.copy(newer) == Reader(ORIGINS).copy(newer) != reader.copy(pieces)


def test_a_set_larger_than_a_piece_is_carried_in_parts() -> None:
    wide = RRset(ORIGINS[0], codes.TXT, 30, tuple(b"\x63" + bytes((number,)) * 99 for number in range(30)))
    zone = {(wide.name, wide.type): Signed(wide, (sign(wide, KEY, wide.name, AT),))}
    pieces = zone_to_pieces((zone, {}), ORIGINS, 7, ROOM)
    assert len(pieces) >= 6
    found = Reader(ORIGINS).copy(pieces)
    assert found is not None
    assert found.sets == (zone, {})


def test_the_keys_of_a_zone_travel_by_themselves() -> None:
    entries = []
    for tree, origin in enumerate(ORIGINS):
        rrset = RRset(origin, codes.DNSKEY, 300, tuple(key.key.rdata for key in (KEY, OTHER)) * 9)
        entries.append((tree, Signed(rrset, (sign(rrset, KEY, origin, AT), sign(rrset, OTHER, origin, AT)))))
    pieces = keys_to_pieces(entries, ORIGINS, 3, 600)
    assert len(pieces) > 1
    found = keys_from_pieces(pieces, ORIGINS)
    assert found is not None
    assert [found.sets[tree][origin, codes.DNSKEY] for tree, origin in enumerate(ORIGINS)] == [signed for _, signed in entries]
    del pieces[place(KEYS, 0, 1)]
    assert keys_from_pieces(pieces, ORIGINS) is None


@given(st.binary(max_size=300))
def test_foreign_octets_are_read_or_refused(data: bytes) -> None:
    try:
        entries = unpack(data, ORIGINS)
    except Malformed:
        return
    assert unpack(pack(entries, ORIGINS), ORIGINS) == entries


@pytest.mark.parametrize(("rtype", "rdata"), [(codes.CNAME, b"\x3f"), (codes.SOA, b"\0"), (codes.A, b"123"), (codes.NSEC, b""), (codes.MX, b"\0")])
def test_data_that_does_not_read_is_refused_before_it_is_in_any_zone(rtype: int, rdata: bytes) -> None:
    odd = RRset((b"www", *ORIGINS[0]), rtype, 30, (rdata,))
    with pytest.raises(Malformed):
        unpack(pack([(0, Signed(odd, (sign(RRset(odd.name, 16, 30, (b"",)), KEY, ORIGINS[0], AT),)))], ORIGINS), ORIGINS)
