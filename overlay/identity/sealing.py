"""Secrets sealed to an exchange key: only its holder opens them (X25519, HKDF-SHA256, ChaCha20-Poly1305; the shape of RFC 9180).

Each box has an exchange key of its own, made for it and thrown away, so the cipher's key serves once and the nonce is zero.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from overlay.errors import Malformed

SEALED: Final = 32 + 16  # octets that sealing adds: the box's exchange key, and the tag
_NONCE = bytes(12)


def _key(shared: bytes, once: bytes, to: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"overlay sealed 1" + once + to).derive(shared)


def seal(secret: bytes, to: bytes, purpose: bytes, seed: bytes) -> bytes:
    """``secret`` for the holder of the exchange key ``to``, for that purpose alone. ``seed``: 32 fresh octets of entropy."""
    once = X25519PrivateKey.from_private_bytes(seed)
    public = once.public_key().public_bytes_raw()
    shared = once.exchange(X25519PublicKey.from_public_bytes(to))
    return public + ChaCha20Poly1305(_key(shared, public, to)).encrypt(_NONCE, secret, purpose)


def unseal(box: bytes, exchange: X25519PrivateKey, purpose: bytes) -> bytes:
    """The inverse of :func:`seal`; ``Malformed`` where it was sealed to another key, for another purpose, or is damaged."""
    if len(box) < SEALED:
        raise Malformed("half a sealed box", rule="sealed")
    public = box[:32]
    try:
        shared = exchange.exchange(X25519PublicKey.from_public_bytes(public))
        key = _key(shared, public, exchange.public_key().public_bytes_raw())
        return ChaCha20Poly1305(key).decrypt(_NONCE, box[32:], purpose)
    except (InvalidTag, ValueError):
        raise Malformed("a box sealed to another key", rule="sealed") from None
