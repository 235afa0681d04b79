"""The crypto of a world: the real one, or one that costs nothing, for a thousand nodes (DESIGN 4, "priced null").

The null one keeps no secret from anybody who reads this file and must never leave the lab. What it keeps is everything that a run
depends on: public keys are the real ones, sizes are equal, two ends agree on the same secret, and what is sealed or signed
under another key does not open or hold. So a run on it delivers datagrams of the same sizes at the same instants as a run
on real crypto, which a test compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay.identity.keys import SIGNATURE, Identity, Signer, verify
from overlay.records.trust import Verifier
from overlay.session.suite import STANDARD, Suite

_TAG = 16


@dataclass(frozen=True, slots=True)
class NullKeypair:
    """Agrees on the hash of both public keys."""

    public: bytes

    @classmethod
    def of(cls, private: X25519PrivateKey) -> NullKeypair:
        """With the real public key: sessions and the ring stand in its order."""
        return cls(private.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> NullKeypair:
        """A handshake's key, of which nothing but its size matters."""
        return cls(hashlib.blake2s(seed).digest())

    def exchange(self, other: bytes) -> bytes:
        """32 octets."""
        return hashlib.blake2s(min(self.public, other) + max(self.public, other)).digest()


class NullCipher:
    """The plaintext, and a tag that only the same key makes."""

    __slots__ = ("_tag",)

    def __init__(self, key: bytes) -> None:
        self._tag = key[:_TAG]

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """16 octets longer."""
        return data + self._tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """The plaintext, or ``InvalidTag``."""
        if data[-_TAG:] != self._tag:
            raise InvalidTag
        return data[:-_TAG]


@dataclass(frozen=True, slots=True)
class _NullSigning:
    public: bytes

    def sign(self, message: bytes, /) -> bytes:
        return hashlib.blake2b(self.public + message, digest_size=SIGNATURE).digest()


def _null_signer(seed: bytes) -> Signer:
    public = Signer.from_seed(seed).public
    return Signer(_NullSigning(public), public)


def _null_identity(secret: bytes) -> Identity:
    real = Identity.from_secret(secret)
    return Identity(secret, Signer(_NullSigning(real.node_id), real.node_id), real.exchange, real.exchange_public)


def _null_verify(public: bytes, signature: bytes, message: bytes) -> bool:
    return signature == _NullSigning(public).sign(message)


@dataclass(frozen=True, slots=True)
class Crypto:
    """What the nodes of a world are started with; ``signer`` and ``identity`` make keys of 32 octets."""

    suite: Suite
    verifier: Verifier
    signer: Callable[[bytes], Signer]
    identity: Callable[[bytes], Identity]


REAL = Crypto(STANDARD, verify, Signer.from_seed, Identity.from_secret)
NULL = Crypto(Suite(NullKeypair.of, NullKeypair.from_seed, NullCipher), _null_verify, _null_signer, _null_identity)
