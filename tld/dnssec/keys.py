"""Keys of zones: DNSKEY and DS records of Ed25519 keys (RFC 4034 2 and 5, RFC 8080, RFC 4509). Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from overlay.identity.keys import Signer
from tld.label import Name, to_wire

ALGORITHM: Final = 15  # Ed25519, RFC 8080
SHA256: Final = 2  # digest type of DS records, RFC 4509
ZONE_KEY: Final = 0x0100
ENTRY_POINT: Final = 0x0001  # marks a key-signing key, RFC 4034 2.1.1
KEY_TTL: Final = 300  # seconds: so long a new key waits until it signs
DS_TTL: Final = 300


@dataclass(frozen=True, slots=True)
class ZoneKey:
    """One public key of a zone: 32 octets of Ed25519, ``entry`` for a key-signing key."""

    public: bytes
    entry: bool = False

    @property
    def rdata(self) -> bytes:
        """DNSKEY data."""
        return (ZONE_KEY | (ENTRY_POINT if self.entry else 0)).to_bytes(2, "big") + bytes((3, ALGORITHM)) + self.public

    @property
    def tag(self) -> int:
        """The key tag (RFC 4034 appendix B)."""
        return key_tag(self.rdata)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key of a zone."""

    signer: Signer
    entry: bool = False

    @property
    def key(self) -> ZoneKey:
        """Its public half."""
        return ZoneKey(self.signer.public, self.entry)


def key_tag(rdata: bytes) -> int:
    """The tag of DNSKEY data: a checksum that narrows down which key signed."""
    total = sum(octet if index & 1 else octet << 8 for index, octet in enumerate(rdata))
    return (total + (total >> 16 & 0xFFFF)) & 0xFFFF


def ds_rdata(owner: Name, key: ZoneKey) -> bytes:
    """DS data of a key-signing key under that owner name: the same key has another DS in another tree."""
    digest = hashlib.sha256(to_wire(owner) + key.rdata).digest()
    return key.tag.to_bytes(2, "big") + bytes((ALGORITHM, SHA256)) + digest
