"""The primitives that sessions stand on, as one value: X25519 and ChaCha20-Poly1305 (RFC 7748, RFC 8439).

They are an argument so that the lab can run a thousand nodes on primitives that cost nothing. What a program runs on is
``STANDARD``; there is no choice of primitives on the wire, since the protocol's version names them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from overlay.errors import Malformed

_public = X25519PublicKey.from_public_bytes  # any 32 octets are a key; whether it is a good one shows when it is used


class Keypair(Protocol):
    """A key to agree with, and its public half of 32 octets."""

    @property
    def public(self) -> bytes:
        """What the other end needs."""

    def exchange(self, other: bytes) -> bytes:
        """The secret shared with the holder of that public key: 32 octets; Malformed where no honest peer has the key."""


class Cipher(Protocol):
    """Authenticated encryption under one key, 16 octets longer than the plaintext."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Seal."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Open, or ``cryptography.exceptions.InvalidTag``."""


@dataclass(frozen=True, slots=True)
class X25519:
    """An X25519 key with its public half."""

    private: X25519PrivateKey
    public: bytes

    @classmethod
    def of(cls, private: X25519PrivateKey) -> X25519:
        """From a key object."""
        return cls(private, private.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> X25519:
        """From 32 octets."""
        return cls.of(X25519PrivateKey.from_private_bytes(seed))

    def exchange(self, other: bytes) -> bytes:
        """The shared secret; a key of low order is Malformed (RFC 7748, 6.1)."""
        try:
            return self.private.exchange(_public(other))
        except ValueError:
            raise Malformed("a key that no honest peer has", rule="noise-key") from None


@dataclass(frozen=True, slots=True)
class Suite:
    """Where keys and ciphers come from: a node's own key, a handshake's key from 32 octets, a cipher from 32 octets."""

    static: Callable[[X25519PrivateKey], Keypair]
    ephemeral: Callable[[bytes], Keypair]
    cipher: Callable[[bytes], Cipher]


STANDARD = Suite(X25519.of, X25519.from_seed, ChaCha20Poly1305)
