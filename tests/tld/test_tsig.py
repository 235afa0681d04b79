"""TSIG: dnspython is the judge of what we sign and signs what we judge; and every way in which a signature does not hold."""

from __future__ import annotations

import time

import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import pytest

from overlay.errors import Malformed
from tld import tsig
from tld.label import from_text

NAME = from_text("knot.example.")
SECRET = b"s" * 32
KEYS = {NAME: SECRET}
KEY = dns.tsig.Key("knot.example.", SECRET, "hmac-sha256")


def query(key: dns.tsig.Key = KEY) -> tuple[dns.message.Message, bytes]:
    message = dns.message.make_query("cloud.", "SOA", use_edns=0)
    message.use_tsig(key)
    return message, message.to_wire()


def judged(data: bytes, at: float | None = None) -> tsig.Verdict:
    verdict = tsig.verify(data, KEYS, int(time.time() if at is None else at))
    assert verdict is not None
    return verdict


def test_what_another_signed_holds_and_comes_back_without_its_signature() -> None:
    message, data = query()
    verdict = judged(data)
    assert (verdict.error, verdict.name) == (0, NAME)
    plain = dns.message.from_wire(verdict.message)
    assert plain.question == message.question and not plain.had_tsig and plain.edns == 0


def test_a_query_that_was_passed_on_under_another_id_holds() -> None:
    assert judged(b"\xab\xcd" + query()[1][2:]).error == 0


def test_what_we_sign_holds_for_another() -> None:
    message, data = query()
    verdict = judged(data)
    reply = dns.message.make_response(dns.message.from_wire(verdict.message)).to_wire()
    signed = tsig.Signer(NAME, SECRET, verdict.tsig.mac).sign(reply, int(time.time()))
    assert dns.message.from_wire(signed, keyring={KEY.name: KEY}, request_mac=message.mac).had_tsig
    with pytest.raises(dns.tsig.BadSignature):
        dns.message.from_wire(signed, keyring={KEY.name: KEY}, request_mac=b"x" * 32)


def test_messages_in_a_row_are_bound_to_each_other() -> None:
    message, data = query()
    verdict = judged(data)
    signer = tsig.Signer(NAME, SECRET, verdict.tsig.mac)
    reply = dns.message.make_response(dns.message.from_wire(verdict.message)).to_wire()
    signed = [signer.sign(reply, int(time.time())) for _ in range(3)]
    context = None
    for one in signed:
        read = dns.message.from_wire(one, keyring={KEY.name: KEY}, request_mac=message.mac, tsig_ctx=context, multi=True)
        context = read.tsig_ctx


@pytest.mark.parametrize(
    ("key", "error"),
    [(dns.tsig.Key("other.example.", SECRET, "hmac-sha256"), tsig.BADKEY), (dns.tsig.Key("knot.example.", SECRET, "hmac-sha512"), None),
     (dns.tsig.Key("knot.example.", b"x" * 32, "hmac-sha256"), tsig.BADSIG), (dns.tsig.Key("knot.example.", SECRET, "hmac-sha1"), tsig.BADKEY)],
)  # fmt: skip
def test_another_key_secret_or_algorithm_does_not_hold(key: dns.tsig.Key, error: int | None) -> None:
    if error is None:  # 64 octets of MAC: more than any that we take
        with pytest.raises(Malformed):
            judged(query(key)[1])
    else:
        assert judged(query(key)[1]).error == error


@pytest.mark.parametrize("late", [-301, 301])
def test_a_signature_holds_for_five_minutes_and_the_answer_tells_our_time(late: int) -> None:
    message, data = query()
    at = int(time.time())
    assert judged(data, at + (299 if late > 0 else -299)).error == 0
    verdict = judged(data, at + late + (1 if late > 0 else -1))
    assert verdict.error == tsig.BADTIME
    reply = dns.message.make_response(dns.message.from_wire(verdict.message))
    reply.set_rcode(dns.rcode.NOTAUTH)
    with pytest.raises(dns.tsig.PeerBadTime):
        dns.message.from_wire(tsig.reject(reply.to_wire(), verdict, KEYS, at + late), keyring={KEY.name: KEY}, request_mac=message.mac)


def test_who_is_not_known_is_told_so_without_a_signature() -> None:
    message, data = query(dns.tsig.Key("other.example.", SECRET, "hmac-sha256"))
    verdict = judged(data)
    reply = dns.message.make_response(dns.message.from_wire(verdict.message))
    reply.set_rcode(dns.rcode.NOTAUTH)
    keyring = {dns.name.from_text("other.example."): dns.tsig.Key("other.example.", SECRET, "hmac-sha256")}
    with pytest.raises(dns.tsig.PeerBadKey):
        dns.message.from_wire(tsig.reject(reply.to_wire(), verdict, KEYS, int(time.time())), keyring=keyring, request_mac=message.mac)


def test_no_bit_of_a_signed_query_can_be_turned() -> None:
    data = query()[1]
    at = time.time()
    for place in range(2, len(data)):
        for bit in (1, 0x80):
            try:
                verdict = tsig.verify(data[:place] + bytes((data[place] ^ bit,)) + data[place + 1 :], KEYS, int(at))
            except Malformed:
                continue
            # Letter case of names in the record itself is not signed, nor is it in the name of the key.
            assert verdict is None or verdict.error, (place, bit)


def test_a_query_without_a_signature_has_no_verdict_and_half_a_record_is_malformed() -> None:
    assert tsig.verify(dns.message.make_query("cloud.", "SOA").to_wire(), KEYS, 0) is None
    data = query()[1]
    for end in range(12, len(data)):
        with pytest.raises(Malformed):
            tsig.verify(data[:end], KEYS, 0)
    with pytest.raises(Malformed):
        tsig.verify(data + b"x", KEYS, 0)
