"""PCP's octets are those of RFC 6887, figures 2, 3, 9 and 10."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import Malformed
from overlay.nat import pcp

NONCE = bytes(range(12))
OWN = bytes.fromhex("00000000000000000000ffff c0a80102".replace(" ", ""))


def answer(*, version: int = 2, opcode: int = pcp.MAP, result: int = 0, lifetime: int = 7200, epoch: int = 9, body: bytes | None = None) -> bytes:
    head = bytes((version, 0x80 | opcode, 0, result)) + lifetime.to_bytes(4, "big") + epoch.to_bytes(4, "big") + bytes(12)
    mapping = NONCE + bytes((17, 0, 0, 0)) + bytes.fromhex("1de5 9c40 00000000000000000000ffff cb007107".replace(" ", ""))
    return head + (body if body is not None else mapping if opcode == pcp.MAP else b"")


def test_a_request_for_a_mapping_is_laid_out_as_the_rfc_draws_it() -> None:
    data = pcp.ask("192.168.1.2", NONCE, "udp", 7653, ("", 40000), 7200)
    assert data[:8] == bytes((2, 1, 0, 0)) + (7200).to_bytes(4, "big")
    assert data[8:24] == OWN
    assert data[24:36] == NONCE
    assert data[36:40] == bytes((17, 0, 0, 0))
    assert data[40:44] == (7653).to_bytes(2, "big") + (40000).to_bytes(2, "big")
    assert data[44:] == bytes(10) + b"\xff\xff" + bytes(4), "no wish for an address is 0.0.0.0 in IPv4's clothes"
    assert pcp.ask("2001:db8::2", NONCE, "tcp", 1, ("", 0), 0)[36] == 6
    assert pcp.ask("2001:db8::2", NONCE, "tcp", 1, ("", 0), 0)[44:] == bytes(16)


def test_a_question_for_the_epoch_is_a_header_alone() -> None:
    assert pcp.announce("192.168.1.2") == bytes((2, 0, 0, 0)) + bytes(4) + OWN


def test_an_answer_is_read_field_by_field() -> None:
    assert pcp.read(answer()) == pcp.Answer(pcp.MAP, 0, 7200, 9, NONCE, "udp", 7653, "203.0.113.7", 40000)
    assert pcp.read(answer() + bytes(8)).external_port == 40000, "options are passed over"
    assert pcp.read(answer(opcode=pcp.ANNOUNCE)) == pcp.Answer(pcp.ANNOUNCE, 0, 7200, 9)


@pytest.mark.parametrize(
    "data",
    [
        b"", answer()[:-4], answer() + b"x", answer(version=1), answer(opcode=2), answer(result=14), answer() + bytes(1_100), pcp.announce("1.2.3.4"),
        answer(body=NONCE + bytes((1, 0, 0, 0)) + bytes(20)), answer(body=NONCE + bytes((17, 0, 0, 0, 1, 1, 0, 0)) + bytes(16)),
    ],
)  # fmt: skip
def test_what_is_not_an_answer_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        pcp.read(data)


@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda tail: b"\x02\x81\x00\x00" + tail))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    with suppress(Malformed):
        pcp.read(data)


@pytest.mark.parametrize(
    ("elapsed", "epoch", "kept"),
    [
        (100, 1100, True),
        (100, 1094, True),  # 1/16 slower
        (100, 1107, True),
        (100, 1080, False),  # it lost time: stopped and started in between
        (100, 1120, False),  # it went ahead: another one answers
        (0, 999, True),  # a second back: answers overtook each other
        (100, 3, False),
        (1, 998, False),
    ],
)
def test_an_epoch_that_does_not_fit_the_time_between_is_a_reboot(elapsed: float, epoch: int, kept: bool) -> None:
    assert pcp.continues((1000, 50.0), epoch, 50.0 + elapsed) is kept
