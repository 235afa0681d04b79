"""Beacons on the wire: 44 octets, whose they are and for how long (DESIGN 3.6)."""

from __future__ import annotations

import pytest

from overlay.cluster.beacon import ANY, HOUR, LENGTH, Beacon, Kind, Tags, decode, encode, seek, tag_of
from overlay.errors import Malformed

OURS, THEIRS = b"o" * 32, b"t" * 32
AT = 1_800_000_000.0
HERE = Beacon(Kind.HERE, tag_of(OURS, 500_000), b"k" * 32, 7653)


def test_a_beacon_is_read_back_as_it_was_sent() -> None:
    for kind in Kind:
        beacon = HERE._replace(kind=kind)
        assert decode(encode(beacon)) == beacon
        assert len(encode(beacon)) == LENGTH == 44


def test_the_octets_stay_what_they_are() -> None:
    """A vector: nodes of other versions read these."""
    assert encode(HERE).hex() == "05" "01" "{}" "{}" "1de5".format(tag_of(OURS, 500_000).hex(), (b"k" * 32).hex())
    assert tag_of(OURS, 500_000).hex() == "d9234c6c7461485b"
    assert seek(ANY, 40_000).hex() == "0503" + "00" * 8 + "00" * 32 + "9c40"


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "beacon-length"), (encode(HERE)[:-1], "beacon-length"), (encode(HERE) + b"\0", "beacon-length"),
        (b"\x04" + encode(HERE)[1:], "beacon-form"), (b"\x05\x00" + encode(HERE)[2:], "beacon-form"), (b"\x05\x04" + encode(HERE)[2:], "beacon-form"),
        (encode(HERE)[:-2] + bytes(2), "beacon-form"),
    ],
)  # fmt: skip
def test_anything_else_is_malformed(data: bytes, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(data)
    assert caught.value.rule == rule


def test_an_overlay_is_recognized_in_the_hours_around_by_who_knows_its_id_and_by_nobody_else() -> None:
    ours, theirs = Tags(OURS), Tags(THEIRS)
    sent = ours.now(AT)
    assert [ours.knows(sent, AT + hours * HOUR) for hours in (-2, -1, 0, 1, 2)] == [False, True, True, True, False]
    assert not any(theirs.knows(sent, AT + hours * HOUR) for hours in (-1, 0, 1))
    assert not ours.knows(ANY, AT)


def test_a_tag_lasts_an_hour() -> None:
    hour = AT // HOUR * HOUR
    tags = Tags(OURS)
    assert tags.now(hour) == tags.now(hour + HOUR - 1) != tags.now(hour + HOUR)
