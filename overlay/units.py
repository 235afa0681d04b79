"""Durations, sizes and text forms of keys, as people write them. Pure conversions; every error is a ``UsageError``.

CONTRACT: durations in arguments are ``90s 15m 24h 30d``; keys, ids, signatures and tokens are base64url without padding.
"""

from __future__ import annotations

import base64
import binascii
import re

from overlay.errors import UsageError

SECOND = 1
MINUTE = 60
HOUR = 3600
DAY = 86_400

_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SIZES = {"": 1, "B": 1, "K": 1024, "KiB": 1024, "M": 1024**2, "MiB": 1024**2, "G": 1024**3, "GiB": 1024**3}


def seconds(text: str) -> float:
    """``"15m"`` -> 900.0. Accepts ms, s, m, h, d; the number may have a fraction."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)", text.strip())
    if not found:
        raise UsageError(f"{text!r} is not a duration", "write a number and a unit: 90s, 15m, 24h, 30d", rule="duration")
    return float(found[1]) * _DURATIONS[found[2]]


def size(text: str) -> int:
    """``"16KiB"`` -> 16384 (bytes)."""
    found = re.fullmatch(r"([0-9]{1,15})([A-Za-z]*)", text.strip())
    if not found or found[2] not in _SIZES:
        raise UsageError(f"{text!r} is not a size", "write a number and a unit: 512B, 16KiB, 4MiB", rule="size")
    return int(found[1]) * _SIZES[found[2]]


def b64(data: bytes) -> str:
    """Bytes -> base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str, length: int | None = None) -> bytes:
    """base64url without padding -> bytes, of ``length`` bytes where given. Refuses every other spelling."""
    try:
        if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
            raise ValueError
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        raise UsageError(f"{text[:60]!r} is not base64url", "copy it whole, without spaces or padding", rule="base64") from None
    if b64(data) != text or (length is not None and len(data) != length):
        raise UsageError(f"{text[:60]!r} has the wrong length", "copy it whole", rule="base64")
    return data


def b32(data: bytes) -> str:
    """Bytes -> lower-case base32 without padding: the label form of node ids (CONTRACT, DNS)."""
    return base64.b32encode(data).rstrip(b"=").decode().lower()


def unb32(label: str) -> bytes | None:
    """The inverse of :func:`b32`, or None where ``label`` is not such a label."""
    try:
        data = base64.b32decode(label.upper() + "=" * (-len(label) % 8))
    except (ValueError, binascii.Error):
        return None
    return data if b32(data) == label.lower() else None
