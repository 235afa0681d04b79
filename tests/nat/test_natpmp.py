"""NAT-PMP's octets are those of RFC 6886, sections 3.2 to 3.6."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import Malformed
from overlay.nat import natpmp


def test_requests_are_laid_out_as_the_rfc_draws_them() -> None:
    assert natpmp.ask_external() == b"\0\0"
    assert natpmp.ask("udp", 7653, 40000, 7200) == bytes.fromhex("00010000 1de5 9c40 00001c20".replace(" ", ""))
    assert natpmp.ask("tcp", 80, 0, 0) == bytes.fromhex("00020000 0050 0000 00000000".replace(" ", ""))


def test_answers_are_read_field_by_field() -> None:
    address = bytes.fromhex("0080 0000 00000009 cb007107".replace(" ", ""))
    assert natpmp.read(address) == natpmp.Answer(0, 0, 9, "203.0.113.7")
    mapped = bytes.fromhex("0081 0000 00000009 1de5 9c40 00001c20".replace(" ", ""))
    assert natpmp.read(mapped) == natpmp.Answer(1, 0, 9, "", "udp", 7653, 40000, 7200)
    refused = bytes.fromhex("0082 0002 00000009 1de5 0000 00000000".replace(" ", ""))
    assert natpmp.read(refused) == natpmp.Answer(2, 2, 9, "", "tcp", 7653, 0, 0)


def test_a_router_that_has_no_pcp_says_so_in_eight_octets() -> None:
    assert natpmp.read(bytes.fromhex("0080 0001 00000009".replace(" ", ""))).result == natpmp.UNSUPPORTED_VERSION
    assert natpmp.read(bytes.fromhex("0081 0001 00000009".replace(" ", ""))).result == natpmp.UNSUPPORTED_VERSION


@pytest.mark.parametrize(
    "octets",
    [
        "", "0080", "0180000000000009cb007107", "0000000000000009cb007107", "0080000000000009cb0071", "0083000000000009", "0081000600000009",
        "00810000000000091de5", "008100020000000912", "00810000000000091de5000000001c20",
    ],
)  # fmt: skip
def test_what_is_not_an_answer_is_refused(octets: str) -> None:
    with pytest.raises(Malformed):
        natpmp.read(bytes.fromhex(octets))


@given(st.binary(max_size=20) | st.binary(max_size=16).map(lambda tail: b"\0\x81\0\0" + tail))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    with suppress(Malformed):
        natpmp.read(data)


@pytest.mark.parametrize(("elapsed", "epoch", "kept"), [(80, 1080, True), (80, 1068, True), (80, 1067, False), (80, 0, False), (80, 9999, True)])
def test_an_epoch_that_fell_behind_is_a_reboot(elapsed: float, epoch: int, kept: bool) -> None:
    assert natpmp.continues((1000, 50.0), epoch, 50.0 + elapsed) is kept
