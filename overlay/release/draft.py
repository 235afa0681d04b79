"""What a channel's keys sign, on its way to its signatures: drafts that travel between the machines that hold keys, and those keys.

A draft is one record of a channel: its next version, a release, or what lifts a halt. It decides what a person is told
before signing, and how a key is spelt in its file, in the clear or under a passphrase. Files are the caller's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from overlay.errors import TrustError, UsageError
from overlay.identity.keys import KEY, Signer
from overlay.records import kinds
from overlay.records.record import Record, parse
from overlay.records.releases import Channel, Halt, Release, channel_of
from overlay.roots import LAST_DATE, SHOWN, RootDraft, Ruler
from overlay.units import b64, unb64
from overlay.wire.codec import encode

_KEY_TITLE: Final = "overlay release key 1"
_SALT: Final = 16
_NONCE: Final = bytes(12)  # each salt gives a key that seals once
_COST: Final = 2**15  # scrypt N, with r 8 and p 1: 32 MiB and 0.1 s a guess (RFC 7914, 2; OWASP takes twice that)


class ReleaseDraft(RootDraft):
    """A record of a channel on its way to its signatures."""

    TITLE: ClassVar[str] = "overlay release draft 1"
    KINDS: ClassVar[tuple[str, ...]] = ("channel", "release", "halt")

    def said(self) -> Record:
        """As it reads, before anybody has signed."""
        return parse(encode([self.content, [[bytes(KEY), bytes(64)]]]))

    def describe(self) -> str:
        """One line for the person who is about to sign."""
        record = self.said()
        body, until = kinds.read(record), datetime.fromtimestamp(min(record.expires, LAST_DATE), UTC).date()
        channel = channel_of(record.name)
        if isinstance(body, Channel):
            keys = ", ".join(b64(key)[:SHOWN] for key in body.keys)
            return f"channel {channel} version {body.version}: {body.threshold} of {len(body.keys)} keys {keys}, until {until}"
        if isinstance(body, Release):
            parts = ", ".join(f"{a.platform} {a.length} octets, root {b64(a.root)}" for a in body.artifacts)
            return f"release {channel} r{body.revision}: {parts}" + (f" ({body.note})" if body.note else "")
        assert isinstance(body, Halt)
        return f"{'resume' if body.lifted else 'halt'} {channel} r{body.revision}"


def release_draft(overlay_id: bytes, content: bytes, rulers: Sequence[tuple[int, Sequence[bytes]]]) -> ReleaseDraft:
    """A draft of ``content``, of which each of the (threshold, keys) must sign."""
    return ReleaseDraft(overlay_id, content, tuple(Ruler(threshold, frozenset(keys)) for threshold, keys in rulers))


def _sealing(passphrase: str, salt: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(passphrase.encode()))


def release_key_file(channel: str, seed: bytes, passphrase: str, salt: bytes) -> str:
    """The text of a file that holds one key of a channel; sealed where there is a passphrase. ``salt``: 16 octets of entropy."""
    if not passphrase:
        return f"{_KEY_TITLE}\n{channel}\nclear {b64(seed)}\n"
    sealed = _sealing(passphrase, salt).encrypt(_NONCE, seed, channel.encode())
    return f"{_KEY_TITLE}\n{channel}\nsealed {b64(salt)} {b64(sealed)}\n"


def sealed_key(text: str) -> bool:
    """Whether reading that key takes a passphrase."""
    return text.startswith(_KEY_TITLE) and "\nsealed " in text


def read_release_key(text: str, where: str, passphrase: str = "") -> tuple[str, Signer]:
    """A key's file -> (its channel, the key). ``UsageError`` where it is none, ``TrustError`` where the passphrase is wrong."""
    try:
        title, channel, line = text.splitlines()
        how, *parts = line.split(" ")
        if title != _KEY_TITLE or (how, len(parts)) not in (("clear", 1), ("sealed", 2)):
            raise ValueError
        if how == "clear":
            return channel, Signer.from_seed(unb64(parts[0], KEY))
        salt, sealed = unb64(parts[0], _SALT), unb64(parts[1], KEY + 16)
    except (ValueError, UsageError):
        raise UsageError(f"{where} does not hold a key of a channel", "name a file that `overlay release init` wrote", rule="release-key") from None
    try:
        return channel, Signer.from_seed(_sealing(passphrase, salt).decrypt(_NONCE, sealed, channel.encode()))
    except InvalidTag:
        raise TrustError(
            f"{where} is sealed with another passphrase", "give the one of its making, at the terminal or in OVERLAY_PASSPHRASE", rule="passphrase",
        ) from None
