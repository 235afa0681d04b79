"""Invite tokens: spelling, damage, age, and the seed as a key."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.entrance import WayIn
from bootstrap.invite import Token, decode_token, encode_token
from overlay import limits
from overlay.admission.request import Request, read_request
from overlay.errors import Malformed, TrustError
from overlay.identity.keys import Identity, Signer
from overlay.name import ROOT, Path
from overlay.units import b64, unb64
from overlay.wire.address import Address
from overlay.wire.codec import encode

TOKEN = Token(
    overlay_id=bytes(range(32)), zone="cloud.neonics.com", tld="cloud", path=Path(("eu", "home")), seed=bytes(range(64, 96)),
    expires=1_800_000_000,
    ways=(WayIn((Address("2001:db8::1", 7653), Address("203.0.113.10", 7653)), bytes(range(32, 64))),), redeemers=(bytes(range(96, 128)),),
)
VECTOR = (  # wire format, version 1: must never change
    "AYgBxCAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHwKxY2xvdWQubmVvbmljcy5jb20DpWNsb3VkBKdldS9ob21lBcQgQEFCQ0RFRkdISUpLTE1O"
    "T1BRUlNUVVZXWFlaW1xdXl8GzmtJ0gAHkZPEICAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_xBIgAQ24AAAAAAAAAAAAAAABHeXEBssAcQod5QiR"
    "xCBgYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-fw39cwI"
)
NOW = 1_700_000_000.0


def test_the_vector_stays() -> None:
    assert encode_token(TOKEN) == VECTOR
    assert decode_token(VECTOR, NOW) == TOKEN
    assert b64(TOKEN.signer.public) == "JUO5L_EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0"


def test_a_token_does_not_look_like_an_option_and_hides_its_seed_from_logs() -> None:
    assert str(TOKEN)[0] == "A"
    assert "seed" not in repr(TOKEN)


@pytest.mark.parametrize("text", [f"  {VECTOR}\n", f"{VECTOR[:70]}\n{VECTOR[70:]}"])
def test_line_breaks_of_chats_do_no_harm(text: str) -> None:
    assert decode_token(text, NOW) == TOKEN


@pytest.mark.parametrize("position", range(0, len(VECTOR), 7))
def test_one_altered_character_is_found(position: int) -> None:
    other = "B" if VECTOR[position] != "B" else "C"
    with pytest.raises(TrustError) as caught:
        decode_token(VECTOR[:position] + other + VECTOR[position + 1 :], NOW)
    assert caught.value.rule == "token-damaged" and caught.value.exit_status == 4 and "copy it whole" in caught.value.todo


@pytest.mark.parametrize(
    "text",
    ["", "A", VECTOR[:-1], VECTOR[1:], VECTOR + "A", VECTOR + "=", "é", VECTOR * 20, VECTOR.replace("A", "+", 1)],
)
def test_a_token_that_was_not_copied_whole_is_damaged(text: str) -> None:
    with pytest.raises(TrustError, match="damaged"):
        decode_token(text, NOW)


def test_an_expired_token_is_refused() -> None:
    assert decode_token(VECTOR, TOKEN.expires - 1)
    with pytest.raises(TrustError) as caught:
        decode_token(VECTOR, TOKEN.expires)
    assert caught.value.rule == "token-expired" and caught.value.exit_status == 4


def sealed(data: bytes) -> str:
    return b64(data + hashlib.blake2s(data).digest()[:4])


def test_a_token_of_a_newer_kind_says_so() -> None:
    with pytest.raises(TrustError) as caught:
        decode_token(sealed(b"\x02" + unb64(VECTOR)[1:-4]), NOW)
    assert caught.value.rule == "token-version"


BODY = {1: bytes(32), 2: "cloud.neonics.com", 3: "cloud", 4: "", 5: bytes(32), 6: 1_800_000_000}


@pytest.mark.parametrize(
    "change",
    [
        {1: bytes(31)}, {2: "a..b"}, {2: 7}, {3: ""}, {4: "a//b"}, {5: bytes(33)}, {6: -1}, {6: "soon"}, {7: [[bytes(32)]]},
        {7: [[bytes(31), b"\x7f\0\0\1\1\1"]]},
        {7: [[bytes(32), b"\xe0\0\0\1\1\1"]]}, {7: [[bytes(32), b"\x7f\0\0\1\0\0"]]}, {7: [bytes(32)]},
        {7: [[bytes(32), b"\x7f\0\0\1\1\1"]] * 5},
        {8: [bytes(31)]}, {8: [bytes(32)] * 9}, {9: 1},
    ],
)
def test_a_token_that_says_nonsense_with_a_good_checksum_is_damaged(change: dict[int, object]) -> None:
    assert decode_token(sealed(b"\x01" + encode(BODY)), NOW).path == ROOT
    with pytest.raises(TrustError, match="damaged"):
        decode_token(sealed(b"\x01" + encode({**BODY, **change})), NOW)


def test_only_as_many_ways_are_taken_as_can_be_read_back() -> None:
    way = WayIn(tuple(Address(f"2001:db8::{n}", 7653) for n in range(1, 9)), bytes(32))
    ways = tuple(dataclasses.replace(way, key=bytes([n]) * 32) for n in range(6))
    full = dataclasses.replace(TOKEN, ways=ways)
    assert decode_token(encode_token(full), NOW).ways == ways[: limits.TOKEN_WAYS]
    crowded = dataclasses.replace(full, zone=".".join(["a" * 60] * 4), path=Path(("b" * 60, "c" * 60)), redeemers=(bytes(32),) * 8)
    assert 0 < len(decode_token(encode_token(crowded), NOW).ways) <= limits.TOKEN_WAYS


@settings(deadline=500, max_examples=100)
@given(st.one_of(st.binary(max_size=200).map(b64), st.text(max_size=100), st.binary(max_size=100).map(lambda body: sealed(b"\x01" + body))))
def test_no_text_does_anything_but_decode_or_be_refused(text: str) -> None:
    with pytest.raises(TrustError):
        decode_token(text, NOW)


def test_the_seed_proves_the_token_in_one_session_only() -> None:
    newcomer = Identity.from_secret(bytes(32))
    request = Request(label="alice", cluster=None, node_id=newcomer.node_id, seed=TOKEN.signer.public)
    body = request.body(newcomer, b"this session", TOKEN.signer)
    assert read_request(body, b"this session", redeem=True).seed == TOKEN.signer.public
    with pytest.raises(Malformed):
        read_request(body, b"another session", redeem=True)
    with pytest.raises(Malformed):
        read_request(request.body(newcomer, b"this session", Signer.from_seed(bytes(32))), b"this session", redeem=True)
