"""DNS names: a tuple of lower-case labels, leftmost first, the root being ``()``; its wire form and its text form.

Decides what is a legal name (RFC 1035 2.3.4 and 3.1: 63 octets a label, 255 a name; any octet in a label, RFC 2181 11)
and how names are ordered (RFC 4034 6.1). Refuses to know what a name stands for. Case is dropped here: comparison is
without it (RFC 4343), and who must echo a spelling keeps the octets. Bad octets are ``Malformed``, bad text ``UsageError``.
"""

from __future__ import annotations

from overlay.errors import Malformed, UsageError

Name = tuple[bytes, ...]
ROOT: Name = ()
MAX_LABEL = 63
MAX_NAME = 255  # octets on the wire, lengths and the final zero included
_MAX_JUMPS = 32  # compression pointers followed in one name; each must point backwards, so this only bounds the work
_ESCAPED = frozenset(b'."\\;()@$')
_TODO = "use labels of 1 to 63 characters, 253 in all, with dots between"


def wire_length(name: Name) -> int:
    """Octets of the name on the wire, uncompressed."""
    return sum(map(len, name)) + len(name) + 1


def to_wire(name: Name) -> bytes:
    """The uncompressed wire form. ``name`` must be legal, as all names built here are."""
    return b"".join([bytes((len(label),)) + label for label in name]) + b"\0"


def skip(data: bytes, offset: int) -> int:
    """The offset behind the name at ``offset``, without following pointers. ``Malformed`` where it does not end."""
    end = len(data)
    start = offset
    while offset < end:
        length = data[offset]
        if length == 0:
            return offset + 1
        if length >= 0xC0:
            if offset + 2 > end:
                break
            return offset + 2
        if length > MAX_LABEL or offset - start > MAX_NAME:
            raise Malformed("a label longer than 63 octets", rule="name")
        offset += length + 1
    raise Malformed("a name runs out of its message", rule="name")


def from_wire(data: bytes, offset: int = 0) -> tuple[Name, int]:
    """The name at ``offset`` in a message, and the offset behind it.

    Follows compression pointers (RFC 1035 4.1.4) strictly backwards, so no loop is possible. ``Malformed`` for every
    name that does not end, points forward, or is over-long.
    """
    labels: list[bytes] = []
    size = 1
    behind = -1
    lowest = offset
    jumps = 0
    while True:
        if offset >= len(data):
            raise Malformed("a name runs out of its message", rule="name")
        length = data[offset]
        if length == 0:
            return tuple(labels), offset + 1 if behind < 0 else behind
        if length >= 0xC0:
            if offset + 2 > len(data):
                raise Malformed("half a compression pointer", rule="name")
            target = (length & 0x3F) << 8 | data[offset + 1]
            jumps += 1
            if target >= lowest or jumps > _MAX_JUMPS:
                raise Malformed("a compression pointer that does not point backwards", rule="name-pointer")
            if behind < 0:
                behind = offset + 2
            offset = lowest = target
            continue
        label = data[offset + 1 : offset + 1 + length]
        size += length + 1
        if length > MAX_LABEL or len(label) != length or size > MAX_NAME:
            raise Malformed("an over-long label or name", rule="name")
        labels.append(label.lower())
        offset += length + 1


def split_text(text: str) -> tuple[list[bytes], bool]:
    """The labels of a name in presentation form with their case kept, and whether it ended with a dot.

    ``\\.`` and ``\\DDD`` are understood (RFC 1035 5.1). ``UsageError`` for empty or over-long labels and for characters
    outside ASCII (an A-label, ``xn--``, is the way to write those).
    """
    if text == ".":
        return [], True
    labels: list[bytes] = []
    label = bytearray()
    position = 0
    fresh = True  # at the beginning of a label
    while position < len(text):
        char = text[position]
        position += 1
        if char == ".":
            if fresh:
                raise UsageError(f"{text[:80]!r} has an empty label", _TODO, rule="name")
            _close(labels, label, text)
            fresh = True
            continue
        if char == "\\":
            octet, position = _escape(text, position)
        else:
            octet = ord(char)
            if octet > 126 or octet < 33:
                raise UsageError(f"{text[:80]!r} has a character outside ASCII", "write it as xn-- or \\DDD", rule="name")
        label.append(octet)
        fresh = False
    absolute = fresh and bool(labels)
    if not absolute:
        if fresh:
            raise UsageError("a name is empty", _TODO, rule="name")
        _close(labels, label, text)
    return labels, absolute


def _close(labels: list[bytes], label: bytearray, text: str) -> None:
    if len(label) > MAX_LABEL:
        raise UsageError(f"{text[:80]!r} has a label of over 63 octets", _TODO, rule="name")
    labels.append(bytes(label))
    label.clear()


def _escape(text: str, position: int) -> tuple[int, int]:
    digits = text[position : position + 3]
    if len(digits) == 3 and digits.isascii() and digits.isdigit():
        if int(digits) > 255:
            raise UsageError(f"{text[:80]!r} has an escape above \\255", "", rule="name")
        return int(digits), position + 3
    if position >= len(text) or ord(text[position]) > 126 or ord(text[position]) < 32 or text[position].isdigit():
        raise UsageError(f"{text[:80]!r} has half an escape", "write \\. or \\046", rule="name")
    return ord(text[position]), position + 1


def from_text(text: str, origin: Name | None = ROOT) -> Name:
    """``"WWW.Home.eu"`` below ``origin``, or absolute with its final dot -> labels. ``@`` is the origin itself.

    ``UsageError`` where it is illegal, or relative while ``origin`` is None.
    """
    if text == "@" and origin is not None:
        return origin
    labels, absolute = split_text(text)
    if not absolute and origin is None:
        raise UsageError(f"{text[:80]!r} is relative and no origin is known", "end it with a dot, or write $ORIGIN first", rule="name")
    name = tuple(label.lower() for label in labels) + (() if absolute or origin is None else origin)
    if wire_length(name) > MAX_NAME:
        raise UsageError(f"{text[:80]!r} is longer than 255 octets", _TODO, rule="name")
    return name


def spelled_wire(text: str, origin: Name | None = ROOT) -> bytes:
    """Like ``to_wire(from_text(...))``, but with the letters as they are written (names inside of record data)."""
    name = from_text(text, origin)
    if text == "@":
        return to_wire(name)
    labels, _ = split_text(text)
    return to_wire((*labels, *name[len(labels) :]))


def label_text(label: bytes) -> str:
    """One label in presentation form, escaped where it must be."""
    return "".join(f"\\{chr(octet)}" if octet in _ESCAPED else chr(octet) if 32 < octet < 127 else f"\\{octet:03d}" for octet in label)


def to_text(name: Name) -> str:
    """Absolute presentation form with the final dot: ``"www.home.eu.cloud."``; ``"."`` for the root."""
    return ".".join(map(label_text, name)) + "." if name else "."


def under(name: Name, origin: Name) -> bool:
    """Whether ``name`` is ``origin`` or stands below it."""
    depth = len(origin)
    return not depth or (len(name) >= depth and name[-depth:] == origin)


def order(name: Name) -> tuple[bytes, ...]:
    """A sort key for the canonical order of names (RFC 4034 6.1)."""
    return name[::-1]
