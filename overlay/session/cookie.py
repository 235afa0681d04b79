"""mac1, mac2 and the stateless cookie: what a handshake costs whom (WireGuard's construction, its paper, 5.3 and 5.4.7).

mac1 is keyed with the responder's public key: who does not know it gets no answer, and junk dies for a microsecond
instead of a handshake. Under load a second mac is wanted, keyed with a cookie that only the holder of the source
address can have received; it is made from a secret that changes every 120 s, so nothing is remembered for strangers.
The cookie travels sealed to who knows the key and sent the mac1 that it answers.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Entropy
from overlay.wire.address import Address

MAC = 16
NO_MAC = bytes(MAC)  # mac2 of who has no cookie
NONCE = 24
COOKIE_LIFE = 120.0  # seconds; WireGuard's


def mac1_key(responder: bytes) -> bytes:
    """The key of mac1 for packets to the holder of that exchange key."""
    return hashlib.blake2s(b"overlay mac1" + responder).digest()


def mac(key: bytes, data: bytes) -> bytes:
    """16 octets of keyed BLAKE2s."""
    return hashlib.blake2s(data, key=key, digest_size=MAC).digest()


def _seal_key(responder: bytes, nonce: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hashlib.blake2s(b"overlay cookie" + responder + nonce).digest())


def open_cookie(responder: bytes, nonce: bytes, sealed: bytes, answered_mac1: bytes) -> bytes:
    """A cookie reply -> the cookie, or Malformed."""
    try:
        return _seal_key(responder, nonce).decrypt(bytes(12), sealed, answered_mac1)
    except InvalidTag:
        raise Malformed("a cookie that does not open", rule="cookie") from None


class CookieJar:
    """The responder's side: when to want a cookie, and which."""

    def __init__(self, responder: bytes, entropy: Entropy) -> None:
        self._responder = responder
        self._entropy = entropy
        self._secrets: list[tuple[float, bytes]] = []
        self._second = 0.0
        self._count = 0

    def loaded(self, now: float) -> bool:
        """Count one initiation; whether there are too many this second."""
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
        self._count += 1
        return self._count > limits.HANDSHAKES_LOADED

    @staticmethod
    def _cookie(secret: bytes, source: Address) -> bytes:
        return mac(secret, b"%d %s" % (source.port, source.host.encode()))  # for our eyes alone; addresses have one spelling

    def accepts(self, mac2: bytes, data: bytes, source: Address, now: float) -> bool:
        """Whether mac2 is right for one of the two newest secrets."""
        if mac2 == NO_MAC:
            return False
        live = [secret for made, secret in self._secrets if now - made < 2 * COOKIE_LIFE]
        return any(hmac.compare_digest(mac(self._cookie(secret, source), data), mac2) for secret in live)

    def reply(self, source: Address, mac1: bytes, now: float) -> bytes:
        """Nonce and sealed cookie for that source: 56 octets."""
        if not self._secrets or now - self._secrets[0][0] >= COOKIE_LIFE:
            self._secrets = [(now, self._entropy(32)), *self._secrets[:1]]
        nonce = self._entropy(NONCE)
        return nonce + _seal_key(self._responder, nonce).encrypt(bytes(12), self._cookie(self._secrets[0][1], source), mac1)
