"""What a newcomer asks, and its proofs (DESIGN 3.3): bound to its session, its key, its token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.admission.request import ELSEWHERE, GRANTED, Reply, Request, read_reply, read_request
from overlay.errors import Malformed
from overlay.identity.keys import Signer
from overlay.name import ROOT, parse_path
from overlay.wire.address import Address
from overlay.wire.codec import encode
from tests.records.actors import actor, found, refused, seed

ALICE, MALLORY = actor("alice"), actor("mallory")
SESSION, OTHER = seed("session"), seed("another session")
TOKEN = Signer.from_seed(seed("token"))
REQUEST = Request(label="alice", cluster=parse_path("eu/home"), node_id=ALICE.node_id, exact=True, seed=TOKEN.public)


def test_what_was_asked_is_what_is_read() -> None:
    body = REQUEST.body(ALICE.identity, SESSION, TOKEN)
    assert read_request(body, SESSION, redeem=True) == REQUEST
    assert read_request(body, SESSION, redeem=False) == replace(REQUEST, seed=b""), "an open request spends no token"


def test_a_newcomer_without_a_cluster_says_so_and_the_root_is_not_that() -> None:
    for cluster in (None, ROOT):
        request = replace(REQUEST, cluster=cluster, seed=b"")
        assert read_request(request.body(ALICE.identity, SESSION, None), SESSION, redeem=False) == request


def test_a_request_carried_to_another_session_is_refused() -> None:
    with refused("enrol-proof", Malformed):
        read_request(REQUEST.body(ALICE.identity, SESSION, TOKEN), OTHER, redeem=True)


def test_a_request_for_anothers_key_is_refused() -> None:
    with refused("enrol-proof", Malformed):
        read_request(REQUEST.body(MALLORY.identity, SESSION, TOKEN), SESSION, redeem=True)


def test_a_token_cannot_be_used_without_its_seed_or_with_anothers_proof() -> None:
    for prover in (None, Signer.from_seed(seed("another token"))):
        with pytest.raises(Malformed):
            read_request(REQUEST.body(ALICE.identity, SESSION, prover), SESSION, redeem=True)


def test_a_proof_of_the_token_taken_from_another_session_is_refused() -> None:
    mine = REQUEST.body(ALICE.identity, SESSION, None)
    stolen = REQUEST.body(ALICE.identity, OTHER, TOKEN)
    with refused("redeem-proof", Malformed):
        read_request({**mine, 3: stolen[3]}, SESSION, redeem=True)


@pytest.mark.parametrize(
    "change", [
        {1: "Alice"}, {1: "-x"}, {1: "a/b"}, {1: ""}, {1: "x" * 64}, {2: "eu//home"}, {2: "EU home"}, {2: "x" * 256}, {3: b"short"}, {4: 1},
        {5: b"x"}, {7: 1},
    ], ids=str,
)
def test_a_request_with_an_illegal_field_is_malformed_though_well_signed(change: dict[int, Any]) -> None:
    fields = {1: "alice", 2: "eu/home", 3: ALICE.node_id, **change}
    core = encode({key: fields[key] for key in sorted(fields)})
    proof = ALICE.signer.sign(b"overlay enrol 1\x00" + SESSION + core)
    with pytest.raises(Malformed):
        read_request({1: core, 2: proof}, SESSION, redeem=False)


bodies: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=70) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 6), inner, max_size=4), max_leaves=8,
)


@settings(max_examples=100)
@given(bodies, st.booleans())
def test_any_body_is_a_request_or_malformed(body: Any, redeem: bool) -> None:
    with pytest.raises(Malformed):
        read_request(body, SESSION, redeem=redeem)


@settings(max_examples=100)
@given(bodies | st.lists(st.binary(max_size=60), max_size=4))
def test_any_answer_is_a_reply_or_malformed(body: Any) -> None:
    try:
        assert isinstance(read_reply(body), Reply)
    except Malformed as why:
        assert why.rule


def test_an_answer_reads_as_it_was_given() -> None:
    overlay = found()
    ways = ((seed("key"), (Address("203.0.113.1", 7653), Address("2001:db8::1", 7653))),)
    for reply in (
        Reply(code=GRANTED, records=(overlay.founder.own, overlay.root)),
        Reply(code=ELSEWHERE, what="eu/home is taken", todo="ask there", elsewhere=ways),
    ):
        assert read_reply(reply.body()) == reply
