"""Requests of newcomers and answers to them: proofs bound to a session, bounded forms (overlay/admission/request.py)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.admission.request import ELSEWHERE, TAKEN, Reply, Request, read_reply, read_request
from overlay.errors import Malformed
from overlay.identity.keys import Identity, Signer
from overlay.name import parse_path
from overlay.wire.address import Address
from overlay.wire.codec import decode, encode

NEWCOMER = Identity.from_secret(b"n" * 32)
SEED = Signer.from_seed(b"s" * 32)
SESSION, OTHER = b"h" * 32, b"o" * 32
REQUEST = Request(label="alice", cluster=parse_path("eu/home"), node_id=NEWCOMER.node_id, exact=True, seed=SEED.public)


def test_a_request_reads_as_it_was_written() -> None:
    assert read_request(REQUEST.body(NEWCOMER, SESSION, SEED), SESSION, redeem=True) == REQUEST


def test_without_a_token_the_seed_of_a_request_counts_for_nothing() -> None:
    assert read_request(REQUEST.body(NEWCOMER, SESSION, None), SESSION, redeem=False).seed == b""


def test_a_request_carried_to_another_session_is_refused() -> None:
    with pytest.raises(Malformed) as refused:
        read_request(REQUEST.body(NEWCOMER, SESSION, SEED), OTHER, redeem=True)
    assert refused.value.rule == "enrol-proof"


def test_a_token_is_proved_by_its_seed_and_not_by_its_name() -> None:
    body = REQUEST.body(NEWCOMER, SESSION, Signer.from_seed(b"x" * 32))
    with pytest.raises(Malformed) as refused:
        read_request(body, SESSION, redeem=True)
    assert refused.value.rule == "redeem-proof"


def test_nobody_asks_in_anothers_name() -> None:
    with pytest.raises(Malformed) as refused:
        read_request(REQUEST.body(Identity.from_secret(b"e" * 32), SESSION, SEED), SESSION, redeem=True)
    assert refused.value.rule == "enrol-proof"


@pytest.mark.parametrize("label", ["", "UPPER", "a.b", "-a", "*" * 2, "ä"])
def test_illegal_labels_are_refused_before_they_are_names(label: str) -> None:
    request = Request(label=label, cluster=None, node_id=NEWCOMER.node_id)
    with pytest.raises(Malformed):
        read_request(request.body(NEWCOMER, SESSION, None), SESSION, redeem=False)


def test_an_answer_reads_as_it_was_written() -> None:
    reply = Reply(code=ELSEWHERE, what="taken", elsewhere=((b"k" * 32, (Address("203.0.113.1", 7653), Address("2001:db8::1", 7653))),))
    assert read_reply(decode(encode(reply.body()))) == reply
    assert read_reply(Reply(code=TAKEN, what="a", todo="b").body()) == Reply(code=TAKEN, what="a", todo="b")


_plain = st.none() | st.booleans() | st.integers(-5, 2**40) | st.binary(max_size=80) | st.text(max_size=20)
_values = st.recursive(_plain, lambda inner: st.lists(inner, max_size=4))


@settings(max_examples=200, deadline=None)
@given(_values)
def test_hostile_answers_are_malformed_or_read(body: object) -> None:
    try:
        assert isinstance(read_reply(body), Reply)
    except Malformed as why:
        assert why.rule


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, 5), _values, max_size=4))
def test_hostile_requests_are_malformed(body: dict[int, object]) -> None:
    with pytest.raises(Malformed):
        read_request(body, SESSION, redeem=False)
