"""Service parameters of SVCB and HTTPS records between ``key=value`` words and the wire (RFC 9460 2.1, 2.2, 7).

Decides which keys have a form of their own and that keys are unique and in order. Refuses to know what services mean.
Errors in text are ``UsageError``, in octets ``Malformed``.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from overlay.errors import Malformed, UsageError

MANDATORY, ALPN, NO_DEFAULT_ALPN, PORT, IPV4HINT, ECH, IPV6HINT, DOHPATH = range(8)
_KEYS: Final = ("mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath")


def _bad(what: str) -> UsageError:
    return UsageError(what, "see RFC 9460 for SvcParams", rule="svcparam")


def _key_number(text: str) -> int:
    text = text.lower()
    if text in _KEYS:
        return _KEYS.index(text)
    if re.fullmatch(r"key(?:0|[1-9][0-9]{0,4})", text) and int(text[3:]) < 65_535:
        return int(text[3:])
    raise _bad(f"{text[:40]!r} is not a service parameter")


def _key_text(number: int) -> str:
    return _KEYS[number] if number < len(_KEYS) else f"key{number}"


def _octets(text: str) -> bytes:
    """Escapes undone (RFC 1035 5.1: ``\\DDD``, or ``\\X`` where X is no digit); the value of a word as octets."""

    def octet(found: re.Match[str]) -> str:
        code = found[1]
        if len(code) == 3 and int(code) > 255 or len(code) == 1 and code.isdigit():
            raise _bad(f"\\{code} is no octet")
        return chr(int(code)) if len(code) == 3 else code

    if not text.isascii():
        raise _bad(f"{text[:40]!r} has a character outside ASCII")
    return re.sub(r"\\([0-9]{3}|.)", octet, text, flags=re.DOTALL).encode("latin-1")


def _list(value: bytes) -> list[bytes]:
    """A comma-separated list after the first unescaping: ``\\,`` is a comma in an item, ``\\\\`` a backslash."""
    items = [bytearray()]
    position = 0
    while position < len(value):
        if value[position : position + 1] == b",":
            items.append(bytearray())
        else:
            if value[position : position + 1] == b"\\":
                position += 1
            items[-1] += value[position : position + 1]
        position += 1
    return [bytes(item) for item in items]


def _encode(key: int, value: bytes) -> bytes:
    text = value.decode("latin-1")
    if key == MANDATORY:
        numbers = sorted(_key_number(item) for item in text.split(","))
        if MANDATORY in numbers or len(set(numbers)) != len(numbers):
            raise _bad("mandatory lists itself or a key twice")
        return b"".join(number.to_bytes(2, "big") for number in numbers)
    if key == ALPN:
        items = _list(value)
        if not all(0 < len(item) < 256 for item in items):
            raise _bad("an ALPN id has 1 to 255 octets")
        return b"".join(bytes((len(item),)) + item for item in items)
    if key == NO_DEFAULT_ALPN:
        if value:
            raise _bad("no-default-alpn takes no value")
        return b""
    if key == PORT:
        if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) < 65_536):
            raise _bad(f"{text[:20]!r} is not a port")
        return int(text).to_bytes(2, "big")
    if key in (IPV4HINT, IPV6HINT):
        kind: Callable[[str], ipaddress.IPv4Address | ipaddress.IPv6Address]
        kind = ipaddress.IPv4Address if key == IPV4HINT else ipaddress.IPv6Address
        try:
            if "%" in text:
                raise ValueError
            return b"".join(kind(item).packed for item in text.split(","))
        except ValueError:
            raise _bad(f"{text[:60]!r} is not a list of addresses") from None
    if key == ECH:
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise _bad("ech is not base64") from None
    return value


def params_wire(words: Sequence[tuple[str, bool]]) -> bytes:
    """``alpn=h2,h3 port=8443`` as words (text, was quoted as a whole) -> wire form, keys in order."""
    found: dict[int, bytes] = {}
    for word, _ in words:
        name, equals, value = word.partition("=")
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        key = _key_number(name)
        if key in found:
            raise _bad(f"{name[:40]} is there twice")
        if key in (ALPN, PORT, IPV4HINT, IPV6HINT, MANDATORY, ECH) and not (equals and value):
            raise _bad(f"{name[:40]} needs a value")
        data = _encode(key, _octets(value))
        if len(data) > 65_535:
            raise _bad(f"{name[:40]} is too long")
        found[key] = data
    listed = found.get(MANDATORY, b"")
    for index in range(0, len(listed), 2):
        if int.from_bytes(listed[index : index + 2], "big") not in found:
            raise _bad("a mandatory key is not there")
    return b"".join(key.to_bytes(2, "big") + len(found[key]).to_bytes(2, "big") + found[key] for key in sorted(found))


def params_text(data: bytes) -> str:
    """Wire form -> words. ``Malformed`` where keys are out of order or data does not fit."""
    words = []
    position, last = 0, -1
    while position < len(data):
        key = int.from_bytes(data[position : position + 2], "big")
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        value = data[position + 4 : position + 4 + length]
        if position + 4 > len(data) or len(value) != length or not last < key < 65_535:
            raise Malformed("service parameters out of order, cut short, or none (65535)", rule="svcparam")
        position, last = position + 4 + length, key
        text = _decode(key, value)
        words.append(_key_text(key) + (f"={text}" if text else ""))
    return " ".join(words)


def _decode(key: int, value: bytes) -> str:
    if key == MANDATORY and value and len(value) % 2 == 0:
        numbers = [int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value), 2)]
        if any(not before < number < 65_535 for before, number in pairwise([MANDATORY, *numbers])):
            raise Malformed("mandatory lists itself, or keys out of order", rule="svcparam")
        return ",".join(map(_key_text, numbers))
    if key == ALPN and value:
        items = []
        at = 0
        while at < len(value):
            item = value[at + 1 : at + 1 + value[at]]
            if len(item) != value[at] or not item:
                raise Malformed("an ALPN id is cut short", rule="svcparam")
            items.append(item.replace(b"\\", b"\\\\").replace(b",", b"\\,"))
            at += 1 + len(item)
        return _plain(b",".join(items))
    if key == NO_DEFAULT_ALPN and not value:
        return ""
    if key == PORT and len(value) == 2:
        return str(int.from_bytes(value, "big"))
    width = {IPV4HINT: 4, IPV6HINT: 16}.get(key, 0)
    if width and value and len(value) % width == 0:
        return ",".join(str(ipaddress.ip_address(value[at : at + width])) for at in range(0, len(value), width))
    if key == ECH and value:
        return base64.b64encode(value).decode()
    if key < DOHPATH:
        raise Malformed(f"{_key_text(key)} has impossible data", rule="svcparam")
    return _plain(value)


def _plain(value: bytes) -> str:
    """Octets of a value, quoted where they need it."""
    body = "".join("\\" + chr(x) if x in b'"\\' else chr(x) if 32 <= x < 127 else f"\\{x:03d}" for x in value)
    return f'"{body}"' if re.search(r"[\s;()]", body) or not body else body
