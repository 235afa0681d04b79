"""The codec: one spelling for one value, bounds before meaning, and no failure but Malformed."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import Malformed
from overlay.wire.codec import MAX_BYTES, Fields, Value, _scan, decode, encode, ordered
from tests.records.actors import refused

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=100)
KEYS = st.integers(0, 2**32)


def _maps(values: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return st.dictionaries(KEYS, values, max_size=20).map(lambda found: {key: found[key] for key in sorted(found)})


VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=20) | _maps(inner), max_leaves=40).filter(
    lambda value: _depth(value) <= 6
)


def _depth(value: Value) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
@settings(max_examples=80, deadline=1000)
def test_what_is_encoded_decodes_to_itself(value: Value) -> None:
    data = encode(value)
    again = decode(data)
    assert again == value and encode(again) == data
    _scan(data)  # the guard against claims lets everything sound pass


@given(st.binary(max_size=400))
@settings(max_examples=400, deadline=500)
def test_octets_raise_nothing_but_malformed_and_what_decodes_has_that_spelling_only(data: bytes) -> None:
    try:
        value = decode(data)
    except Malformed as why:
        assert why.rule
    else:
        assert encode(value) == data


@given(
    st.lists(
        st.sampled_from(
            [
                b"\xdc\xff\xff",
                b"\xdd\x00\x00\xff\xff",
                b"\xde\x00\x02",
                b"\xdf\x00\x01\x00\x00",
                b"\x91",
                b"\x81\x01",
                b"\xc4\x01x",
                b"\x01",
            ]
        ),
        max_size=300,
    )
)
@settings(max_examples=200, deadline=500)
def test_heads_in_any_order_raise_nothing_but_malformed(heads: list[bytes]) -> None:
    try:
        decode(b"".join(heads))
    except Malformed as why:
        assert why.rule


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "undecodable"),
        (b"\xc1", "undecodable"),
        (b"\x92\x01", "undecodable"),
        (b"\x01\x01", "undecodable"),
        (b"\xa1\xff", "undecodable"),
        (b"\xa3\xed\xa0\x80", "undecodable"),  # half a surrogate pair
        (b"\xcc\x01", "non-canonical"),
        (b"\xcd\x00\xff", "non-canonical"),
        (b"\xd0\x01", "non-canonical"),
        (b"\xd9\x01a", "non-canonical"),
        (b"\xc5\x00\x01a", "non-canonical"),
        (b"\xdc\x00\x01\x01", "non-canonical"),
        (b"\xde\x00\x01\x01\x01", "non-canonical"),
        (b"\xdb\x00\x00\x00\x01a", "non-canonical"),
        (b"\xd3" + bytes(7) + b"\x01", "non-canonical"),
        (b"\xca" + bytes(4), "value-type"),
        (b"\xcb" + bytes(8), "value-type"),
        (b"\xcb\x7f\xf8" + bytes(6), "value-type"),
        (b"\x82\x02\x01\x01\x01", "map-keys"),
        (b"\x82\x01\x01\x01\x02", "map-keys"),
        (b"\x81\xff\x01", "map-keys"),
        (b"\x81\xc3\x01", "map-keys"),
        (b"\x81\xa1a\x01", "map-keys"),
        (b"\x81\xc0\x01", "map-keys"),
        (b"\x81\x90\x01", "map-keys"),
        (b"\x81\xc4\x01a\x01", "map-keys"),
        (b"\x91" * 7 + b"\x01", "nested"),
        (b"\x81\x01" * 7 + b"\x01", "nested"),
        (b"\xd4\x01\x00", "undecodable"),
        (b"\xc7\x00\x01", "extension"),
        (b"\xd6\xff" + bytes(4), "undecodable"),
    ],
)
def test_unsound_spellings_are_refused_by_name(data: bytes, rule: str) -> None:
    with refused(rule, Malformed):
        decode(data)


def test_every_prefix_of_a_value_is_malformed() -> None:
    data = encode([{1: b"abc", 2: [True, None, "x"]}, 70_000, -5])
    for end in range(len(data)):
        with pytest.raises(Malformed):
            decode(data[:end])


def test_the_length_is_looked_at_first() -> None:
    with refused("too-long", Malformed):
        decode(bytes(11), limit=10)
    with refused("too-long", Malformed):
        decode(bytes(MAX_BYTES + 1))


def test_true_is_not_one() -> None:
    assert encode([True]) != encode([1]) and decode(encode([True]))[0] is True
    with refused("field-type", Malformed):
        Fields({1: True}, "x").integer(1, 0, 10)
    with refused("field-type", Malformed):
        Fields({1: 1}, "x").flag(1)


@pytest.mark.parametrize(
    "head", [b"\xdc\xff\xff", b"\xdc\x04\x00", b"\xdd\x00\x01\x00\x00", b"\xdd\xff\xff\xff\xff", b"\xde\x02\x00", b"\xdf\x00\x00\x80\x00"]
)
@pytest.mark.parametrize("length", [1_000, 1_180, MAX_BYTES])
def test_claims_of_many_items_set_nothing_aside(head: bytes, length: int) -> None:
    """A datagram of nested heads took 43 ms and 13 MB once."""
    bomb = head * (length // len(head))
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


def test_a_bomb_costs_no_more_than_a_sound_value_of_its_size() -> None:
    sound = encode([b"x" * 100] * 11)
    bomb = b"\xdc\x04\x00" * (len(sound) // 3)

    def cost(data: bytes) -> float:
        best = 1.0
        for _ in range(20):
            start = time.perf_counter()
            with suppress(Malformed):
                decode(data)
            best = min(best, time.perf_counter() - start)
        return best

    assert cost(bomb) < 0.001 and cost(sound) < 0.001


@given(VALUES.map(encode))
@settings(max_examples=40, deadline=1000)
def test_the_scan_agrees_with_the_library_on_where_a_value_ends(data: bytes) -> None:
    _scan(data)
    for end in range(0, len(data), 7):
        with pytest.raises((IndexError, Malformed, ValueError, msgpack.UnpackException)):
            _scan(data[:end])
            msgpack.unpackb(data[:end], raw=False, strict_map_key=False)


# -- fields


def test_fields_state_type_and_bounds() -> None:
    fields = Fields({1: 5, 2: b"ab", 3: "text", 4: True, 5: [1, 2], 70: 0}, "x")
    assert (fields.integer(1, 5, 5), fields.binary(2, 2, 2), fields.text(3, 4), fields.flag(4), fields.items(5, 2)) == (
        5,
        b"ab",
        "text",
        True,
        [1, 2],
    )
    assert (
        fields.integer(9, 0, 1, default=1),
        fields.binary(9, 0, 1, default=b"d"),
        fields.text(9, 1, default="d"),
        fields.flag(9),
        fields.items(9, 1),
    ) == (
        1,
        b"d",
        "d",
        False,
        [],
    )
    fields.only(frozenset({1, 2, 3, 4, 5}))
    with refused("critical-field", Malformed):
        fields.only(frozenset({1, 2, 3, 4}))


@pytest.mark.parametrize("value", [None, 1, [], "x", b"", True, 1.0, (1, 2)])
def test_only_a_map_has_fields(value: Value) -> None:
    with refused("field-type", Malformed):
        Fields(value, "x")


@given(VALUES)
@settings(max_examples=50, deadline=1000)
def test_fields_raise_nothing_but_malformed(value: Value) -> None:
    for read in (
        lambda f: f.integer(1, 0, 9),
        lambda f: f.binary(1, 0, 9),
        lambda f: f.text(1, 9),
        lambda f: f.flag(1),
        lambda f: f.items(1, 9),
        lambda f: f.only(frozenset({1})),
    ):
        try:
            read(Fields({1: value}, "x"))
            read(Fields(value, "x"))
        except Malformed as why:
            assert why.rule in ("field-type", "field-range", "critical-field")


def test_optional_fields_are_left_out_and_keys_ascend() -> None:
    assert list(ordered({3: 1, 1: None, 2: 0}).items()) == [(2, 0), (3, 1)]
