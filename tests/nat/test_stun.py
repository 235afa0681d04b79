"""STUN on the overlay's port (RFC 8489): published vectors (RFC 5769), damage, rates."""

from __future__ import annotations

import ipaddress

import pytest

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Send
from overlay.nat.stun import ERROR, HEAD, SUCCESS, Stun, answer, read
from overlay.wire.address import Address, Way

# RFC 5769, 2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY and FINGERPRINT.
SAMPLE = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff"
    "80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249"
    "c1b571a280280004e57a3bcf",
)
# RFC 5769, 2.2 and 2.3: the XOR-MAPPED-ADDRESS of 192.0.2.1:32853 and of 2001:db8:1234:5678:11:2233:4455:6677 port 32853, same transaction.
XOR_V4 = bytes.fromhex("002000080001a147e112a643")
XOR_V6 = bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")
PLAIN = bytes.fromhex("000100002112a442b7e7a701bc34d686fa87dfae")


def test_the_published_addresses_are_told_as_the_rfc_says() -> None:
    for host, wanted in (("192.0.2.1", XOR_V4), ("2001:db8:1234:5678:11:2233:4455:6677", XOR_V6)):
        told = answer(PLAIN, Address(host, 32_853))
        kind, length, _, transaction = HEAD.unpack_from(told)
        assert (kind, length, transaction) == (SUCCESS, len(wanted), PLAIN[8:])
        assert told[HEAD.size :] == wanted
        assert ipaddress.ip_address(host)


def test_the_published_request_is_read_and_what_must_be_known_and_is_not_is_named() -> None:
    assert read(SAMPLE) == (SAMPLE[8:20], (0x0024,), True)
    told = answer(SAMPLE, Address("192.0.2.1", 32_853))
    assert HEAD.unpack_from(told)[0] == ERROR
    assert bytes.fromhex("000a00020024") in told
    assert told[-8:-4] == bytes.fromhex("80280004")


@pytest.mark.parametrize("place", range(0, len(SAMPLE), 7))
def test_a_fingerprint_that_does_not_fit_is_refused(place: int) -> None:
    damaged = bytearray(SAMPLE)
    damaged[place] ^= 0x10
    with pytest.raises(Malformed):
        read(bytes(damaged))


@pytest.mark.parametrize("data", [
    b"", PLAIN[:-1], PLAIN + b"x", b"\x01" + PLAIN[1:], PLAIN[:4] + bytes(4) + PLAIN[8:],
    PLAIN[:2] + b"\0\4" + PLAIN[4:] + b"\0\6\0\5", PLAIN + bytes(600),
])  # fmt: skip
def test_what_is_no_binding_request_gets_no_answer(data: bytes) -> None:
    with pytest.raises(Malformed):
        answer(data, Address("192.0.2.1", 1))


def test_a_source_gets_so_many_answers_a_second_and_loopback_all() -> None:
    sent: list[Send] = []
    stun = Stun(sent.append)
    for host, wanted in (("198.51.100.1", limits.STUN), ("127.0.0.1", 200)):
        sent.clear()
        for _ in range(200):
            stun.asked(PLAIN, Way("udp", Address(host, 4_000)), 1.0, 0.0)
        assert len(sent) == wanted
    sent.clear()
    stun.asked(PLAIN, Way("udp", Address("198.51.100.1", 4_000)), 2.5, 0.0)
    assert len(sent) == 1
    assert stun.counters["drop:stun-rate"] == 200 - limits.STUN
