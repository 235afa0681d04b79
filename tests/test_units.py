"""Units: durations, sizes and texts of keys as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import UsageError
from overlay.units import b32, b64, seconds, size, unb32, unb64
from tests.records.actors import refused


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000), ("250ms", 0.25), ("1.5h", 5_400), (" 1s ", 1)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "90", "s", "-1s", "1 s", "1w", "1S", "1e3s", "\u0663s", "1,5h", ".5h", "1.h", "inf", "nan", "9" * 400 + "d", "1m30s", "1s\x00"],
)
def test_other_texts_are_no_durations(text: str) -> None:
    with refused("duration", UsageError):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("512B", 512), ("16KiB", 16_384), ("4MiB", 4_194_304), ("1G", 2**30), ("0", 0), ("7K", 7_168)])
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "B", "-1B", "1.5M", "1TiB", "1kib", "\u0663K", "9" * 5000, "1 K"])
def test_other_texts_are_no_sizes(text: str) -> None:
    with refused("size", UsageError):
        size(text)


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=500)
def test_any_text_is_a_finite_number_or_a_usage_error(text: str) -> None:
    for read in (seconds, size):
        try:
            assert math.isfinite(read(text))
        except UsageError as why:
            assert why.todo


@given(st.binary(max_size=80))
@settings(max_examples=150, deadline=500)
def test_octets_read_back_from_both_texts(data: bytes) -> None:
    assert unb64(b64(data)) == data and unb32(b32(data)) == data == unb32(b32(data).upper())
    assert "=" not in b64(data) + b32(data)


@pytest.mark.parametrize("text", ["AA==", "A", "AB", "A A", "AA\n", "+/", "\u0410A", "AAAAA", " AA", "A" * 44])
def test_base64url_has_one_spelling_and_a_length(text: str) -> None:
    with refused("base64", UsageError):
        unb64(text, 32 if len(text) > 40 else None)


@pytest.mark.parametrize("label", ["a", "aaa", "ab", "a1", "\u0131a", "\u017fa", "aa=", "aa\n", "a a", "\u212aa"])
def test_what_is_no_base32_label_is_nothing(label: str) -> None:
    assert unb32(label) is None


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=500)
def test_any_label_is_octets_or_nothing(label: str) -> None:
    data = unb32(label)
    assert data is None or b32(data) == label.lower()
