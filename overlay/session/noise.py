"""Noise IK_25519_ChaChaPoly_BLAKE2s, as the Noise Protocol Framework, revision 34, has it. Pure; keys come as arguments.

    <- s
    -> e, es, s, ss      the initiator knows the responder's key, and shows its own under it
    <- e, ee, se

It decides nothing but the bytes; which payloads travel and when is ``handshakes.py``'s business. Judged by the
published vectors of the pattern (``tests/vectors/noise``). Primitives are handed over (``suite.py``), and HMAC is two
plain BLAKE2s calls: the cost is that of the primitives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from overlay.errors import Malformed
from overlay.session.suite import STANDARD, Cipher, Keypair

PROTOCOL_NAME = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
KEY = 32
TAG = 16

_INNER = bytes(octet ^ 0x36 for octet in range(256))  # RFC 2104's pads, as tables for bytes.translate ..
_OUTER = bytes(octet ^ 0x5C for octet in range(256))
_INNER_REST = b"\x36" * 32  # .. and the half of the 64-octet block that a key of 32 leaves
_OUTER_REST = b"\x5c" * 32
_blake2s = hashlib.blake2s

NewCipher = Callable[[bytes], Cipher]


def hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Noise's HKDF with two outputs (framework, 4.3): HMAC-BLAKE2s, written out for keys of 32 octets."""
    inner = chaining_key.translate(_INNER) + _INNER_REST
    outer = chaining_key.translate(_OUTER) + _OUTER_REST
    secret = _blake2s(outer + _blake2s(inner + material).digest()).digest()
    inner = secret.translate(_INNER) + _INNER_REST
    outer = secret.translate(_OUTER) + _OUTER_REST
    first = _blake2s(outer + _blake2s(inner + b"\x01").digest()).digest()
    return first, _blake2s(outer + _blake2s(inner + first + b"\x02").digest()).digest()


def _nonce(counter: int) -> bytes:
    return b"\x00\x00\x00\x00" + counter.to_bytes(8, "little")


class _Symmetric:
    """The SymmetricState of the framework, with the cipher of the current key."""

    __slots__ = ("_cipher", "_counter", "_new_cipher", "ck", "h")

    def __init__(self, prologue: bytes, responder: bytes, new_cipher: NewCipher) -> None:
        self.h = self.ck = _blake2s(PROTOCOL_NAME).digest()
        self._new_cipher = new_cipher
        self._cipher: Cipher | None = None
        self._counter = 0
        self.mix_hash(prologue)
        self.mix_hash(responder)

    def mix_hash(self, data: bytes) -> None:
        self.h = _blake2s(self.h + data).digest()

    def mix_key(self, material: bytes) -> None:
        self.ck, key = hkdf(self.ck, material)
        self._cipher = self._new_cipher(key)
        self._counter = 0

    def seal(self, plaintext: bytes) -> bytes:
        assert self._cipher is not None
        sealed = self._cipher.encrypt(_nonce(self._counter), plaintext, self.h)
        self._counter += 1
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        assert self._cipher is not None
        try:
            plaintext = self._cipher.decrypt(_nonce(self._counter), sealed, self.h)
        except InvalidTag:
            raise Malformed("a handshake that does not open", rule="noise-tag") from None
        self._counter += 1
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        return hkdf(self.ck, b"")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a handshake leaves: a key a direction and the hash that names the session."""

    send: bytes
    receive: bytes
    hash: bytes


class Initiator:
    """One handshake begun by us."""

    __slots__ = ("_ephemeral", "_static", "_symmetric", "message")

    def __init__(
        self, *, prologue: bytes, static: Keypair, responder: bytes, ephemeral: Keypair, payload: bytes, cipher: NewCipher = STANDARD.cipher,
    ) -> None:
        self._static, self._ephemeral = static, ephemeral
        state = self._symmetric = _Symmetric(prologue, responder, cipher)
        state.mix_hash(ephemeral.public)
        state.mix_key(ephemeral.exchange(responder))
        sealed_static = state.seal(static.public)
        state.mix_key(static.exchange(responder))
        self.message = ephemeral.public + sealed_static + state.seal(payload)

    def finish(self, message: bytes) -> tuple[bytes, Finished]:
        """Message 2 -> (its payload, the keys), or Malformed. May be tried again with another message."""
        if len(message) < KEY + TAG:
            raise Malformed("a response that is too short", rule="too-short")
        saved = (self._symmetric.h, self._symmetric.ck)
        try:
            state, theirs = self._symmetric, message[:KEY]
            state.mix_hash(theirs)
            state.mix_key(self._ephemeral.exchange(theirs))
            state.mix_key(self._static.exchange(theirs))
            payload = state.open(message[KEY:])
        except Malformed:
            self._symmetric.h, self._symmetric.ck = saved  # junk on the way must not spoil the true answer
            raise
        send, receive = state.split()
        return payload, Finished(send, receive, state.h)


class Responder:
    """One handshake begun by the other end. ``initiator`` and ``payload`` are authentic once built, but may be replayed."""

    __slots__ = ("_symmetric", "_their_ephemeral", "initiator", "payload")

    def __init__(self, *, prologue: bytes, static: Keypair, message: bytes, cipher: NewCipher = STANDARD.cipher) -> None:
        if len(message) < KEY + KEY + TAG + TAG:
            raise Malformed("an initiation that is too short", rule="too-short")
        state = self._symmetric = _Symmetric(prologue, static.public, cipher)
        self._their_ephemeral = message[:KEY]
        state.mix_hash(self._their_ephemeral)
        state.mix_key(static.exchange(self._their_ephemeral))
        self.initiator = state.open(message[KEY : KEY + KEY + TAG])
        state.mix_key(static.exchange(self.initiator))
        self.payload = state.open(message[KEY + KEY + TAG :])

    def respond(self, *, ephemeral: Keypair, payload: bytes) -> tuple[bytes, Finished]:
        """(message 2, the keys)."""
        state = self._symmetric
        state.mix_hash(ephemeral.public)
        state.mix_key(ephemeral.exchange(self._their_ephemeral))
        state.mix_key(ephemeral.exchange(self.initiator))
        message = ephemeral.public + state.seal(payload)
        receive, send = state.split()
        return message, Finished(send, receive, state.h)
