"""The form of a record: what parses, what is refused and why, and which of two with one identity counts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.errors import Malformed, OverlayError, UsageError
from overlay.identity.keys import Signer, digest
from overlay.name import parse_path
from overlay.records import kinds
from overlay.records.record import MAX_SEQ, MAX_TIME, Draft, Record, parse, sign
from overlay.wire.codec import Value, encode
from tests.records.actors import AT, actor, found, refused, seed

OVERLAY = found()
GOOD = OVERLAY.data(OVERLAY.member, "eu/home/member", "TXT", "hello")
HEADER = {1: "eu/home", 2: "data", 3: b"TXT", 4: 1, 5: AT, 6: AT + 60, 7: bytes(32)}
SIG = [[bytes(32), bytes(64)]]


def raw(header: Value = None, body: Value = None, sigs: Value = None) -> bytes:
    """The octets of a record with those parts, sound or not."""
    return encode([encode([HEADER if header is None else header, {} if body is None else body]), SIG if sigs is None else sigs])


def test_a_record_is_its_bytes() -> None:
    again = parse(GOOD.raw)
    assert again == GOOD and hash(again) == hash(GOOD) and again.raw is GOOD.raw
    assert again.digest == digest(GOOD.content) and GOOD.content in GOOD.raw
    assert again.message(bytes(32)) == b"overlay record 1\x00" + bytes(32) + GOOD.content


def test_a_sound_record_parses() -> None:
    record = parse(raw())
    assert (record.name, record.kind, record.item, record.seq, record.signer) == (parse_path("eu/home"), "data", b"TXT", 1, bytes(32))
    assert record.identity == (record.name, "data", b"TXT", bytes(32))
    assert parse(raw({key: HEADER[key] for key in range(1, 7)})).via == b""


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 40, 100, -64, -1])
def test_a_truncated_record_is_malformed(cut: int) -> None:
    with pytest.raises(Malformed):
        parse(GOOD.raw[:cut])


def test_every_truncation_and_every_extension_is_malformed() -> None:
    for end in range(len(GOOD.raw)):
        with pytest.raises(Malformed):
            parse(GOOD.raw[:end])
    for tail in (b"\x00", b"\xc0", GOOD.raw):
        with pytest.raises(Malformed):
            parse(GOOD.raw + tail)


def test_an_oversized_record_is_malformed() -> None:
    with refused("record-too-long", Malformed):
        parse(bytes(limits.RECORD + 1))
    with refused("record-too-long", UsageError):
        OVERLAY.data(OVERLAY.member, "eu/home/member", "TXT", "x" * limits.RECORD)


@pytest.mark.parametrize("odd", [None, 7, True, "text", bytearray(b"\x92"), [1]])
def test_what_is_no_octets_is_malformed(odd: object) -> None:
    with refused("record-form", Malformed):
        parse(odd)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "outer", [None, 1, [], {}, [b""], [b"", [], []], ["text", SIG], [b"", {}], [[HEADER, {}], SIG], {1: b"", 2: SIG}, [None, None]]
)
def test_a_wrong_outer_form_is_malformed(outer: Value) -> None:
    with pytest.raises(Malformed):
        parse(encode(outer))


@pytest.mark.parametrize(
    "inner", [None, [], [HEADER], [HEADER, {}, {}], [{}, {}], [[], {}], [HEADER, []], [HEADER, None], [HEADER, True], [7, {}]]
)
def test_a_wrong_inner_form_is_malformed(inner: Value) -> None:
    with pytest.raises(Malformed):
        parse(encode([encode(inner), SIG]))


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        (1, b"eu", "field-type"),
        (1, "EU", "record-name"),
        (1, "eu/", "record-name"),
        (1, "/eu", "record-name"),
        (1, "a//b", "record-name"),
        (1, "a/*/b", "record-name"),
        (1, "a.b", "record-name"),
        (1, "-a", "record-name"),
        (1, "a-", "record-name"),
        (1, "a b", "record-name"),
        (1, "\u212aey", "record-name"),
        (1, "\u0131d", "record-name"),
        (1, "b\u00fccher", "record-name"),
        (1, "\x00", "record-name"),
        (1, "a\n", "record-name"),
        (1, "x" * 64, "record-name"),
        (1, "/".join("x" * 17), "record-name"),
        (1, "/".join(["y" * 60] * 3), "record-name"),
        (1, "z" * 256, "field-range"),
        (1, True, "field-type"),
        (2, "k" * 17, "field-range"),
        (2, 7, "field-type"),
        (3, "TXT", "field-type"),
        (3, bytes(65), "field-range"),
        (4, 0, "field-range"),
        (4, True, "field-type"),
        (4, MAX_SEQ + 1, "field-range"),
        (4, 2**64 - 1, "field-range"),
        (4, -1, "field-range"),
        (5, True, "field-type"),
        (5, -1, "field-range"),
        (5, MAX_TIME + 1, "field-range"),
        (6, False, "field-type"),
        (6, None, "field-type"),
        (7, b"", "field-range"),
        (7, bytes(31), "field-range"),
        (7, bytes(33), "field-range"),
        (7, "via", "field-type"),
        (8, 1, "critical-field"),
        (0, 1, "critical-field"),
        (63, b"", "critical-field"),
    ],
)
def test_wrongly_typed_and_illegal_header_fields_are_malformed(field: int, value: Value, rule: str) -> None:
    with refused(rule, Malformed):
        parse(raw({key: (HEADER | {field: value})[key] for key in sorted(HEADER | {field: value})}))


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5, 6])
def test_a_missing_header_field_is_malformed(missing: int) -> None:
    with refused("field-type", Malformed):
        parse(raw({key: value for key, value in HEADER.items() if key != missing}))


@pytest.mark.parametrize(
    "sigs",
    [
        [],
        {},
        None,
        [[]],
        [[bytes(32)]],
        [[bytes(31), bytes(64)]],
        [[bytes(32), bytes(63)]],
        [[bytes(32), bytes(64), b""]],
        [["x" * 32, bytes(64)]],
        [bytes(32), bytes(64)],
        [[bytes(32), bytes(64)], [bytes(32), bytes(64)]],
        [[b"\x02" * 32, bytes(64)], [b"\x01" * 32, bytes(64)]],
        [None],
    ],
)
def test_unsound_lists_of_signatures_are_malformed(sigs: Value) -> None:
    with pytest.raises(Malformed):
        parse(encode([encode([HEADER, {}]), sigs]))


def test_non_canonical_spellings_are_malformed() -> None:
    content = GOOD.content
    for spelling in (
        encode([content, SIG]).replace(b"\x92", b"\xdc\x00\x02", 1),  # an array's length in two octets
        b"\x92" + b"\xc5" + len(content).to_bytes(2, "big") + content + encode(SIG),  # octets' length in two octets
        b"\x92" + b"\xc6" + len(content).to_bytes(4, "big") + content + encode(SIG),
    ):
        with refused("non-canonical", Malformed):
            parse(spelling)
    inside = encode([HEADER, {}]).replace(b"\x04\x01\x05", b"\x04\xcc\x01\x05", 1)  # seq 1 as uint8
    with refused("non-canonical", Malformed):
        parse(encode([inside, SIG]))


def test_duplicate_and_unordered_keys_are_malformed() -> None:
    for pairs in (
        b"\x82\x01\xa0\x01\xa0",
        b"\x82\x02\xa0\x01\xa0",
        b"\x81\xa1a\xa0",
        b"\x81\xff\xa0",
        b"\x81\xc3\xa0",
        b"\x81\xcb" + bytes(8) + b"\xa0",
    ):
        with refused("map-keys", Malformed):
            parse(encode([b"\x92" + encode(HEADER) + pairs, SIG]))


def test_nested_bodies_are_malformed() -> None:
    deep: Value = 1
    for _ in range(8):
        deep = [deep]
    with refused("nested", Malformed):
        parse(raw(body={1: deep}))


# -- which of two counts


def test_a_higher_seq_counts_then_the_lower_digest() -> None:
    one, two = (OVERLAY.data(OVERLAY.member, "eu/home/member", "TXT", "x", seq=seq) for seq in (1, 2))
    assert one.identity == two.identity and two.order > one.order
    rivals = [OVERLAY.data(OVERLAY.member, "eu/home/member", "TXT", text, seq=7) for text in "abcdef"]
    assert max(rivals, key=lambda r: r.order).digest == min(r.digest for r in rivals)


@given(st.permutations([0, 1, 2, 3, 4]))
@settings(max_examples=30, deadline=500)
def test_merging_does_not_depend_on_the_order_of_arrival(order: list[int]) -> None:
    held: Record | None = None
    for number in order:
        if held is None or MERGED[number].order > held.order:
            held = MERGED[number]
    assert held == max(MERGED, key=lambda r: r.order)


MERGED = [
    OVERLAY.data(OVERLAY.member, "eu/home/member", "TXT", text, seq=seq) for text, seq in (("a", 1), ("b", 2), ("c", 2), ("d", 2), ("e", 1))
]


def test_item_kind_name_and_signer_tell_records_apart() -> None:
    own = OVERLAY.own_only
    records = [
        GOOD,
        OVERLAY.data(OVERLAY.member, "eu/home/member", "A", "192.0.2.1"),
        OVERLAY.data(OVERLAY.member, "eu/home/member/x", "TXT", "x"),
        OVERLAY.data(OVERLAY.first, "eu/home/member", "TXT", "x"),
        OVERLAY.host(OVERLAY.member),
        own.own,
        OVERLAY.member.own,
    ]
    assert len({record.identity for record in records}) == len(records)


# -- round trips and fuzz

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=20)
BODIES = st.dictionaries(st.integers(0, 200), SCALARS | st.lists(SCALARS, max_size=4), max_size=5).map(
    lambda d: {key: d[key] for key in sorted(d)}
)


@given(
    st.lists(LABELS, max_size=6),
    st.binary(max_size=64),
    st.integers(1, MAX_SEQ),
    st.integers(0, MAX_TIME),
    st.integers(0, MAX_TIME),
    BODIES,
    st.integers(1, 3),
)
@settings(max_examples=60, deadline=1000)
def test_what_is_signed_parses_to_what_was_meant(
    labels: list[str], item: bytes, seq: int, issued: int, expires: int, body: dict[int, Value], signers: int
) -> None:
    name = parse_path("/".join(labels))
    draft = Draft(name=name, kind="data", item=item, seq=seq, issued=issued, expires=expires, body=body)
    keys = [Signer.from_seed(seed(f"key {number}")) for number in range(signers)]
    record = sign(draft, keys, bytes(32))
    assert (record.name, record.item, record.seq, record.issued, record.expires, record.body) == (name, item, seq, issued, expires, body)
    assert [key for key, _ in record.sigs] == sorted(key.public for key in keys)
    assert parse(record.raw) == record


@given(st.binary(max_size=1100))
@settings(max_examples=300, deadline=500)
def test_no_octets_raise_anything_but_malformed(data: bytes) -> None:
    try:
        kinds.read(parse(data))
    except Malformed:
        return
    raise AssertionError("random octets are no record")


@given(st.data())
@settings(max_examples=300, deadline=500)
def test_no_damage_to_a_record_raises_anything_but_malformed(data: st.DataObject) -> None:
    victim = data.draw(st.sampled_from(VICTIMS))
    page = bytearray(victim.raw)
    for _ in range(data.draw(st.integers(1, 4))):
        page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    try:
        kinds.read(parse(bytes(page)))
    except Malformed as why:
        assert why.rule


@given(st.sampled_from(sorted(kinds.KINDS)), BODIES, st.binary(max_size=40), st.integers(0, 3))
@settings(max_examples=300, deadline=500)
def test_no_body_raises_anything_but_malformed(kind: str, body: dict[int, Value], item: bytes, signers: int) -> None:
    header = HEADER | {2: kind, 3: item, 6: 0 if kind == "root" else AT + 60}
    try:
        kinds.read(parse(raw(header, body, [[bytes([number]) * 32, bytes(64)] for number in range(signers + 1)])))
    except OverlayError as why:
        assert type(why) is Malformed and why.rule


VICTIMS = [
    GOOD,
    OVERLAY.root,
    OVERLAY.host(OVERLAY.member),
    OVERLAY.cluster(OVERLAY.first),
    OVERLAY.carry(OVERLAY.member, "eu/home/www"),
    OVERLAY.head(OVERLAY.first, "eu/home"),
    OVERLAY.invite(OVERLAY.first, "eu/home"),
    OVERLAY.member.own,
    OVERLAY.binding(actor("x")),
    OVERLAY.revoke(OVERLAY.first, OVERLAY.member.own),
]
