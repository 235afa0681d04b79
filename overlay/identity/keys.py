"""A node's identity: an Ed25519 signing key and an X25519 exchange key, both derived from one secret of 32 octets.

It decides how keys come from the secret and how the secret is spelt in the file ``identity``; it never touches the
file. Derivation is BLAKE2s, keyed with the secret, over a domain string each, so neither key tells of the other.
Sources: RFC 8032 (Ed25519), RFC 7748 (X25519), RFC 7693 (BLAKE2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay.errors import StateError, UsageError
from overlay.units import b64, unb64

KEY = 32  # octets of a public key, and of the secret
SIGNATURE = 64
DIGEST = 32

_FILE_TITLE = "overlay identity 1"


def digest(data: bytes) -> bytes:
    """BLAKE2s-256: the one digest of the overlay."""
    return hashlib.blake2s(data).digest()


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2s(purpose, key=secret).digest()


class Signing(Protocol):
    """What signs: an Ed25519 key, or what the lab has in its place."""

    def sign(self, message: bytes, /) -> bytes:
        """64 octets."""


@dataclass(frozen=True, slots=True)
class Signer:
    """A private signing key with its public half (32 octets): nodes, root keys and invite seeds are such."""

    private: Signing = field(repr=False)
    public: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> Signer:
        """From 32 octets."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(private, private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 octets."""
        return self.private.sign(message)


@dataclass(frozen=True, slots=True)
class Identity:
    """All of a node's keys."""

    secret: bytes = field(repr=False)
    signer: Signer
    exchange: X25519PrivateKey = field(repr=False)
    exchange_public: bytes

    @property
    def node_id(self) -> bytes:
        """The public signing key: 32 octets, the node's id everywhere."""
        return self.signer.public

    @classmethod
    def from_secret(cls, secret: bytes) -> Identity:
        """From 32 octets of entropy."""
        if len(secret) != KEY:
            raise StateError("an identity needs 32 octets", rule="identity")
        exchange = X25519PrivateKey.from_private_bytes(_derive(secret, b"overlay exchange key 1"))
        return cls(secret, Signer.from_seed(_derive(secret, b"overlay signing key 1")), exchange, exchange.public_key().public_bytes_raw())

    def derived(self, purpose: bytes) -> bytes:
        """32 octets of this identity's own for a purpose: equal at each start, and tell of nothing else."""
        return _derive(self.secret, purpose)

    def to_file(self) -> str:
        """The text of the file ``identity``: title, secret, checksum."""
        return f"{_FILE_TITLE}\n{b64(self.secret)}\n{b64(digest(self.secret)[:8])}\n"

    @classmethod
    def from_file(cls, text: str, where: str) -> Identity:
        """The inverse of :meth:`to_file`; damage is a ``StateError`` that names the file ``where``."""
        try:
            title, secret_text, checksum = text.splitlines()
            secret = unb64(secret_text, KEY)
            if title != _FILE_TITLE or unb64(checksum, 8) != digest(secret)[:8]:
                raise ValueError
        except (ValueError, UsageError):
            raise StateError(
                f"{where} is damaged: it does not hold an identity",
                "restore it from a backup; without one, move it aside and join again under a new name",
                rule="identity",
            ) from None
        return cls.from_secret(secret)


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """One Ed25519 verification, 120 us: the scarcest resource of a node. False for malformed keys as well."""
    if len(public) != KEY or len(signature) != SIGNATURE:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
