"""Noise IK against every published vector, and against what its neighbours on the wire may do to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from overlay.errors import Malformed
from overlay.session.noise import Finished, Initiator, Responder
from overlay.session.suite import X25519

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors/noise/ik_25519_chachapoly_blake2s.json").read_text())


def key(text: str) -> X25519:
    return X25519.from_seed(bytes.fromhex(text))


def seeded(seed: int) -> X25519:
    return X25519.from_seed(bytes([seed]) * 32)


def initiate(payload: bytes = b"hello", *, prologue: bytes = b"overlay1") -> Initiator:
    return Initiator(prologue=prologue, static=seeded(1), responder=seeded(2).public, ephemeral=seeded(3), payload=payload)


def respond(message: bytes, *, prologue: bytes = b"overlay1") -> Responder:
    return Responder(prologue=prologue, static=seeded(2), message=message)


def test_four_independent_sources_publish_vectors_of_the_pattern() -> None:
    assert {vector["source"] for vector in VECTORS} == {"noise-c", "cacophony", "snow", "flynn-noise"}
    assert all(vector["protocol_name"] == "Noise_IK_25519_ChaChaPoly_BLAKE2s" for vector in VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['source']}-{len(v['prologue'])}-{len(v['messages'][0]['payload'])}")
def test_published_vectors_hold_octet_for_octet(vector: dict[str, Any]) -> None:
    prologue = bytes.fromhex(vector["prologue"])
    payloads = [bytes.fromhex(m["payload"]) for m in vector["messages"]]
    expected = [bytes.fromhex(m["ciphertext"]) for m in vector["messages"]]
    initiator = Initiator(
        prologue=prologue, static=key(vector["init_static"]), responder=key(vector["resp_static"]).public,
        ephemeral=key(vector["init_ephemeral"]), payload=payloads[0],
    )
    assert initiator.message == expected[0]
    responder = Responder(prologue=prologue, static=key(vector["resp_static"]), message=expected[0])
    assert (responder.initiator, responder.payload) == (key(vector["init_static"]).public, payloads[0])
    message, theirs = responder.respond(ephemeral=key(vector["resp_ephemeral"]), payload=payloads[1])
    assert message == expected[1]
    payload, ours = initiator.finish(message)
    assert payload == payloads[1]
    assert ours.hash == theirs.hash == bytes.fromhex(vector.get("handshake_hash", ours.hash.hex()))
    for number, (payload, ciphertext) in enumerate(zip(payloads[2:], expected[2:], strict=True)):
        sender, receiver = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        nonce = bytes(4) + (number // 2).to_bytes(8, "little")
        assert ChaCha20Poly1305(sender.send).encrypt(nonce, payload, None) == ciphertext
        assert ChaCha20Poly1305(receiver.receive).decrypt(nonce, ciphertext, None) == payload


def test_another_prologue_cannot_be_opened() -> None:
    with pytest.raises(Malformed) as why:
        respond(initiate(prologue=b"overlay1" + b"A" * 32).message, prologue=b"overlay1" + b"B" * 32)
    assert why.value.rule == "noise-tag"


def test_no_single_altered_octet_of_either_message_is_taken() -> None:
    message = initiate().message
    for position in range(len(message)):
        with pytest.raises(Malformed):
            respond(message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :])
    initiator = initiate()
    answer, _ = respond(initiator.message).respond(ephemeral=seeded(4), payload=b"hi")
    for position in range(len(answer)):
        with pytest.raises(Malformed):
            initiator.finish(answer[:position] + bytes([answer[position] ^ 1]) + answer[position + 1 :])


def test_junk_on_the_way_does_not_spoil_the_true_answer() -> None:
    initiator = initiate()
    answer, theirs = respond(initiator.message).respond(ephemeral=seeded(4), payload=b"hi")
    for junk in (b"", bytes(48), bytes(100), answer[:-1], answer + b"x", seeded(9).public + answer[32:]):
        with pytest.raises(Malformed):
            initiator.finish(junk)
    payload, ours = initiator.finish(answer)
    assert payload == b"hi"
    assert ours == Finished(theirs.receive, theirs.send, theirs.hash)


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little"), (2**255 - 19).to_bytes(32, "little")])
def test_keys_of_low_order_are_refused(point: bytes) -> None:
    with pytest.raises(Malformed) as why:
        respond(point + initiate().message[32:])
    assert why.value.rule == "noise-key"


def test_the_initiators_key_is_hidden_from_who_sees_the_wire() -> None:
    assert seeded(1).public not in initiate().message
