"""Names: what is legal, how they are compared and written, and that foreign octets can only be Malformed."""

from __future__ import annotations

import dns.name
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import Malformed, UsageError
from tld.label import from_text, from_wire, order, skip, spelled_wire, to_text, to_wire, under

names = st.lists(st.binary(min_size=1, max_size=20).map(bytes.lower), max_size=8).map(tuple)


def test_letter_case_does_not_distinguish_names() -> None:
    assert from_text("WWW.Home.EU.cloud.") == from_text("www.home.eu.cloud.") == (b"www", b"home", b"eu", b"cloud")


def test_only_letters_lose_their_case() -> None:
    assert from_text("a\\200\\192.") == (b"a\xc8\xc0",)


def test_a_name_inside_of_data_keeps_its_spelling() -> None:
    assert spelled_wire("WwW", (b"cloud",)) == b"\x03WwW\x05cloud\x00"


@pytest.mark.parametrize("text", ["", "..", ".a", "a..b", "a" * 64, ".".join(["a" * 63] * 4), "a b", "ä.b", "\\", "a\\25", "\\256"])
def test_illegal_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        from_text(text)


def test_a_relative_name_needs_an_origin() -> None:
    with pytest.raises(UsageError, match="relative"):
        from_text("www", None)


def test_a_name_of_255_octets_is_legal_and_one_of_256_is_not() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61]) + "."
    assert len(to_wire(from_text(longest))) == 255
    with pytest.raises(UsageError):
        from_text("a" + longest)


def test_compression_pointers_are_followed_backwards() -> None:
    data = b"\x05cloud\x00\x03www\xc0\x00"
    assert from_wire(data, 7) == ((b"www", b"cloud"), 13)
    assert skip(data, 7) == 13


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05clo",
        b"\x03www",
        b"\xc0",
        b"\xc0\x00",  # to itself
        b"\xc0\x02\x00",  # forwards
        b"\x01a\xc0\x00",  # a loop
        b"\x40" + b"a" * 64 + b"\x00",  # a label type of the past
        (b"\x3f" + b"a" * 63) * 4 + b"\x00",  # 257 octets
    ],
)
def test_illegal_octets_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        from_wire(data, 0)


@settings(max_examples=200, deadline=500)
@given(names)
def test_wire_and_text_forms_lead_back_to_the_name(name: tuple[bytes, ...]) -> None:
    assert from_wire(to_wire(name)) == (name, len(to_wire(name)))
    assert from_text(to_text(name)) == name
    assert dns.name.from_text(to_text(name)).to_wire() == to_wire(name)


@settings(max_examples=300, deadline=500)
@given(st.binary(max_size=80), st.integers(0, 80))
def test_any_octets_are_a_name_or_malformed(data: bytes, offset: int) -> None:
    for decode in (from_wire, skip):
        try:
            decode(data, offset)
        except Malformed as fault:
            assert fault.rule.startswith("name")


@settings(max_examples=200, deadline=500)
@given(st.text(max_size=40))
def test_any_text_is_a_name_or_a_usage_error(text: str) -> None:
    try:
        assert len(to_wire(from_text(text))) <= 255
    except UsageError as fault:
        assert fault.rule == "name"


def test_the_canonical_order_is_that_of_rfc_4034() -> None:
    texts = [
        "example.",
        "a.example.",
        "yljkjljk.a.example.",
        "Z.a.example.",
        "zABC.a.EXAMPLE.",
        "z.example.",
        "\\001.z.example.",
        "*.z.example.",
        "\\200.z.example.",
    ]
    expected = [from_text(text) for text in texts]
    shuffled = expected[4:] + expected[:4]
    assert sorted(shuffled, key=order) == expected


def test_a_name_is_under_itself_its_parents_and_the_root() -> None:
    name = from_text("a.b.c.")
    assert [under(name, from_text(text)) for text in ("a.b.c.", "b.c.", "c.", ".", "x.b.c.", "z.a.b.c.")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
