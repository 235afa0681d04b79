"""Record data between its presentation form and its wire form, by one table: type -> fields.

Decides how each field is written (RFC 1035 5.1; AAAA 3596, SRV 2782, NAPTR 3403, DS and DNSKEY 4034, SSHFP 4255, TLSA
6698, CAA 8659, URI 7553, SVCB and HTTPS 9460). Types without a row take RFC 3597's ``\\# length hex`` and so does every
other. Refuses to know names of owners, TTLs and zones. Errors are ``UsageError`` with rule ``rdata``: a person wrote it.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from overlay.errors import Malformed, UsageError
from tld import codes
from tld.label import ROOT, Name, from_wire, spelled_wire
from tld.label import to_text as name_text
from tld.svcb import params_text, params_wire

MAX_RDATA = 65_535


@dataclass(frozen=True, slots=True)
class Token:
    """One word of presentation form: its octets with escapes undone, its text as written, and whether it stood in quotes."""

    text: str
    value: bytes
    quoted: bool = False


def bad(what: str, todo: str = "write the data as it stands in a master file") -> UsageError:
    """A fault in presentation form."""
    return UsageError(what, todo, rule="rdata")


def tokens(text: str) -> list[Token]:
    """The words of one line of record data; quotes and escapes are understood, nothing else."""
    if "\n" in text:
        raise bad("record data stands on one line")
    found: list[Token] = []
    position = 0
    while position < len(text):
        if text[position] in " \t":
            position += 1
            continue
        token, position = read_token(text, position)
        found.append(token)
    return found


def read_token(text: str, position: int, stops: str = " \t") -> tuple[Token, int]:
    """The word that begins at ``position`` and the position behind it. A newline may not stand inside of quotes."""
    start = position
    quoted = text[position] == '"'
    position += quoted
    inside = False  # of quotes that began within the word: key="a b"
    value = bytearray()
    while position < len(text):
        char = text[position]
        if quoted:
            if char == '"':
                return Token(text[start + 1 : position], bytes(value), True), position + 1
            if char == "\n":
                break
        elif char == '"':
            inside = not inside
        elif char == "\n" or (not inside and char in stops):
            break
        if char == "\\":
            digits = text[position + 1 : position + 4]
            if len(digits) == 3 and digits.isascii() and digits.isdigit():
                if int(digits) > 255:
                    raise bad(f"\\{digits} is no octet", "use \\000 to \\255")
                value.append(int(digits))
                position += 4
                continue
            position += 1
            if position >= len(text) or text[position] == "\n":
                raise bad("half an escape at the end")
            char = text[position]
        value += char.encode(errors="replace")
        position += 1
    if quoted or inside:
        raise bad("a quotation mark is not closed")
    return Token(text[start:position], bytes(value)), position


class Reader:
    """The words of one record's data, taken one by one."""

    __slots__ = ("_next", "_tokens", "origin")

    def __init__(self, words: Sequence[Token], origin: Name | None) -> None:
        self._tokens = words
        self._next = 0
        self.origin = origin

    def take(self, what: str) -> Token:
        """The next word, which should be ``what``."""
        if self._next >= len(self._tokens):
            raise bad(f"{what} is missing")
        self._next += 1
        return self._tokens[self._next - 1]

    def rest(self) -> Sequence[Token]:
        """All words that are left."""
        words = self._tokens[self._next :]
        self._next = len(self._tokens)
        return words

    def done(self) -> None:
        """Nothing may be left."""
        if self._next < len(self._tokens):
            raise bad(f"{self._tokens[self._next].text[:40]!r} is too much")


Take = Callable[[Reader], bytes]
Give = Callable[[bytes, int], tuple[str, int]]  # data, offset -> text, offset behind


@dataclass(frozen=True, slots=True)
class Field:
    """One field of record data: how to read it from words and how to write it."""

    take: Take
    give: Give


def _number(width: int) -> Field:
    top = 256**width - 1

    def take(reader: Reader) -> bytes:
        text = reader.take("a number").text
        if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= top):
            raise bad(f"{text[:40]!r} is not a number of 0 to {top}")
        return int(text).to_bytes(width, "big")

    def give(data: bytes, at: int) -> tuple[str, int]:
        return str(int.from_bytes(_slice(data, at, width), "big")), at + width

    return Field(take, give)


def _slice(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise Malformed("record data ends too early", rule="rdata")
    return data[at : at + length]


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def ttl(text: str) -> int | None:
    """``"3600"``, ``"1h30m"`` -> seconds; None where it is no duration of a master file (RFC 2308 does not know units; BIND does)."""
    if not text or not text[0].isdigit() or not re.fullmatch(r"(?:[0-9]{1,10}[smhdw])+|[0-9]{1,10}", text.lower()):
        return None
    total = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw]?)", text.lower()))
    return total if total < 2**31 else None


def _take_time(reader: Reader) -> bytes:
    text = reader.take("a time").text
    value = ttl(text)
    if value is None:
        raise bad(f"{text[:40]!r} is not a time in seconds")
    return value.to_bytes(4, "big")


def _take_name(reader: Reader) -> bytes:
    return spelled_wire(reader.take("a name").text, reader.origin)


def spelled_text(data: bytes, at: int) -> tuple[str, int]:
    """The uncompressed name at ``at`` with its letters as they are, and the offset behind it."""
    _, end = from_wire(data, at)
    labels: list[bytes] = []
    while length := data[at]:
        if length > 63:
            raise Malformed("a pointer in record data", rule="rdata")
        labels.append(data[at + 1 : at + 1 + length])
        at += length + 1
    return name_text(tuple(labels)), end


def _take_ip(version: int) -> Take:
    def take(reader: Reader) -> bytes:
        text = reader.take("an address").text
        try:
            if "%" in text:  # a scope means something on one machine only
                raise ValueError
            return ipaddress.IPv4Address(text).packed if version == 4 else ipaddress.IPv6Address(text).packed
        except ValueError:
            raise bad(f"{text[:60]!r} is not an IPv{version} address") from None

    return take


def _give_ip(width: int) -> Give:
    return lambda data, at: (str(ipaddress.ip_address(_slice(data, at, width))), at + width)


def _string(value: bytes) -> bytes:
    if len(value) > 255:
        raise bad("a string is longer than 255 octets", "split it into several strings")
    return bytes((len(value),)) + value


def quote(value: bytes) -> str:
    """Octets as a quoted character string."""
    body = "".join("\\" + chr(octet) if octet in b'"\\' else chr(octet) if 32 <= octet < 127 else f"\\{octet:03d}" for octet in value)
    return f'"{body}"'


def _give_string(data: bytes, at: int) -> tuple[str, int]:
    length = _slice(data, at, 1)[0]
    return quote(_slice(data, at + 1, length)), at + 1 + length


def _take_strings(reader: Reader) -> bytes:
    words = reader.rest()
    if not words:
        raise bad("a string is missing")
    return b"".join(_string(word.value) for word in words)


def _give_strings(data: bytes, at: int) -> tuple[str, int]:
    texts = []
    while at < len(data):
        text, at = _give_string(data, at)
        texts.append(text)
    if not texts:
        raise Malformed("no string at all", rule="rdata")
    return " ".join(texts), at


def _take_hex(reader: Reader) -> bytes:
    joined = "".join(word.text for word in reader.rest())
    try:
        return bytes.fromhex(joined)
    except ValueError:
        raise bad(f"{joined[:40]!r} is not hexadecimal") from None


def _take_base64(reader: Reader) -> bytes:
    joined = "".join(word.text for word in reader.rest())
    try:
        return base64.b64decode(joined, validate=True)
    except (binascii.Error, ValueError):
        raise bad(f"{joined[:40]!r} is not base64") from None


def _take_type(reader: Reader) -> bytes:
    return codes.type_number(reader.take("a type").text).to_bytes(2, "big")


def _take_bitmap(reader: Reader) -> bytes:
    windows: dict[int, bytearray] = {}
    for number in sorted({codes.type_number(word.text) for word in reader.rest()}):
        bitmap = windows.setdefault(number >> 8, bytearray())
        bitmap.extend(bytes((number & 255) // 8 + 1 - len(bitmap)))
        bitmap[(number & 255) // 8] |= 0x80 >> (number & 7)
    return b"".join(bytes((window, len(bitmap))) + bitmap for window, bitmap in windows.items())


def _give_bitmap(data: bytes, at: int) -> tuple[str, int]:
    names = []
    last = -1
    while at < len(data):
        window, length = _slice(data, at, 2)
        bitmap = _slice(data, at + 2, length)
        if window <= last or not 1 <= length <= 32 or not bitmap[-1]:  # RFC 4034 4.1.2
            raise Malformed("a bitmap of types with windows out of order, empty, or longer than they need to be", rule="rdata")
        last = window
        names += [
            codes.type_name(window << 8 | index * 8 + bit) for index, octet in enumerate(bitmap) for bit in range(8) if octet & 0x80 >> bit
        ]
        at += 2 + length
    return " ".join(names), at


def _take_signed_time(reader: Reader) -> bytes:
    text = reader.take("a time").text
    if re.fullmatch(r"[0-9]{14}", text):
        try:
            stamp = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            raise bad(f"{text!r} is not a time YYYYMMDDHHMMSS") from None
        return (int(stamp.timestamp()) & 0xFFFFFFFF).to_bytes(4, "big")
    if re.fullmatch(r"[0-9]{1,10}", text) and int(text) < 2**32:
        return int(text).to_bytes(4, "big")
    raise bad(f"{text[:40]!r} is not a time YYYYMMDDHHMMSS")


def _give_signed_time(data: bytes, at: int) -> tuple[str, int]:
    stamp = datetime.fromtimestamp(int.from_bytes(_slice(data, at, 4), "big"), UTC)
    return stamp.strftime("%Y%m%d%H%M%S"), at + 4


_TAG_WORD = re.compile(rb"[A-Za-z0-9]{1,255}")  # RFC 8659 4.1.1


def _take_tag(reader: Reader) -> bytes:
    value = reader.take("a property tag").value
    if not _TAG_WORD.fullmatch(value):
        raise bad("a CAA tag has letters and digits only")
    return _string(value)


def _give_tag(data: bytes, at: int) -> tuple[str, int]:
    length = _slice(data, at, 1)[0]
    tag = _slice(data, at + 1, length)
    if not _TAG_WORD.fullmatch(tag):
        raise Malformed("a CAA tag has letters and digits only", rule="rdata")
    return tag.decode("ascii"), at + 1 + length


_U8, _U16, _U32 = _number(1), _number(2), _number(4)
_TIME = Field(_take_time, _U32.give)
_NAME = Field(_take_name, spelled_text)
_STRING = Field(lambda reader: _string(reader.take("a string").value), _give_string)
_STRINGS = Field(_take_strings, _give_strings)
_REST = Field(lambda reader: reader.take("a string").value, lambda data, at: (quote(data[at:]), len(data)))
_HEX = Field(_take_hex, lambda data, at: (data[at:].hex().upper(), len(data)))
_BASE64 = Field(_take_base64, lambda data, at: (base64.b64encode(data[at:]).decode(), len(data)))
_TYPE = Field(_take_type, lambda data, at: (codes.type_name(int.from_bytes(_slice(data, at, 2), "big")), at + 2))
_BITMAP = Field(_take_bitmap, _give_bitmap)
_SIGNED_TIME = Field(_take_signed_time, _give_signed_time)
_TAG = Field(_take_tag, _give_tag)
_PARAMS = Field(
    lambda reader: params_wire([(word.text, word.quoted) for word in reader.rest()]),
    lambda data, at: (params_text(data[at:]), len(data)),
)

FIELDS: dict[int, tuple[Field, ...]] = {
    codes.A: (Field(_take_ip(4), _give_ip(4)),),
    codes.AAAA: (Field(_take_ip(6), _give_ip(16)),),
    codes.NS: (_NAME,),
    codes.CNAME: (_NAME,),
    codes.DNAME: (_NAME,),
    codes.PTR: (_NAME,),
    codes.SOA: (_NAME, _NAME, _U32, _TIME, _TIME, _TIME, _TIME),
    codes.MX: (_U16, _NAME),
    codes.TXT: (_STRINGS,),
    codes.SPF: (_STRINGS,),
    codes.HINFO: (_STRING, _STRING),
    codes.SRV: (_U16, _U16, _U16, _NAME),
    codes.NAPTR: (_U16, _U16, _STRING, _STRING, _STRING, _NAME),
    codes.URI: (_U16, _U16, _REST),
    codes.CAA: (_U8, _TAG, _REST),
    codes.SSHFP: (_U8, _U8, _HEX),
    codes.TLSA: (_U8, _U8, _U8, _HEX),
    codes.OPENPGPKEY: (_BASE64,),
    codes.SVCB: (_U16, _NAME, _PARAMS),
    codes.HTTPS: (_U16, _NAME, _PARAMS),
    codes.DS: (_U16, _U8, _U8, _HEX),
    codes.CDS: (_U16, _U8, _U8, _HEX),
    codes.DNSKEY: (_U16, _U8, _U8, _BASE64),
    codes.CDNSKEY: (_U16, _U8, _U8, _BASE64),
    codes.RRSIG: (_TYPE, _U8, _U8, _U32, _SIGNED_TIME, _SIGNED_TIME, _U16, _NAME, _BASE64),
    codes.NSEC: (_NAME, _BITMAP),
    codes.ZONEMD: (_U32, _U8, _U8, _HEX),
}


def to_wire(rtype: int, data: str | Sequence[Token], origin: Name | None = ROOT) -> bytes:
    """Presentation form -> wire form without compression. Relative names are below ``origin`` (None: refused).

    ``UsageError`` with what is wrong. Letter case inside of names is kept.
    """
    reader = Reader(tokens(data) if isinstance(data, str) else data, origin)
    words = reader.rest()
    if words and words[0].text == "\\#" and not words[0].quoted:
        wire = _generic(words)
        check(rtype, wire)
    else:
        fields = FIELDS.get(rtype)
        if fields is None:
            raise bad(f"{codes.type_name(rtype)} has no presentation form here", "write it as \\# LENGTH HEX (RFC 3597)")
        reader = Reader(words, origin)
        wire = b"".join([field.take(reader) for field in fields])
        reader.done()
    if len(wire) > MAX_RDATA:
        raise bad("record data is longer than 65,535 octets")
    return wire


def _generic(words: Sequence[Token]) -> bytes:
    if len(words) < 2 or not re.fullmatch(r"[0-9]{1,5}", words[1].text):
        raise bad("\\# needs a length", "write \\# LENGTH HEX (RFC 3597)")
    joined = "".join(word.text for word in words[2:])
    try:
        wire = bytes.fromhex(joined)
    except ValueError:
        raise bad(f"{joined[:40]!r} is not hexadecimal") from None
    if len(wire) != int(words[1].text):
        raise bad(f"\\# says {words[1].text} octets, there are {len(wire)}")
    return wire


def _texts(rtype: int, wire: bytes) -> Iterator[str]:
    at = 0
    for field in FIELDS[rtype]:
        text, at = field.give(wire, at)
        if text:
            yield text
    if at != len(wire):
        raise Malformed("octets behind the record data", rule="rdata")


def check(rtype: int, wire: bytes) -> None:
    """``UsageError`` where ``wire`` is not well-formed data of that type; unknown types are all well-formed."""
    if rtype in FIELDS:
        try:
            list(_texts(rtype, wire))
        except Malformed as fault:
            raise bad(f"bad {codes.type_name(rtype)} data: {fault.what}") from None


def to_text(rtype: int, wire: bytes) -> str:
    """Wire form -> presentation form; RFC 3597's where the type has no row, or the octets are not of that type."""
    if rtype in FIELDS:
        try:
            return " ".join(_texts(rtype, wire))
        except Malformed:
            pass
    return f"\\# {len(wire)} {wire.hex().upper()}".rstrip()
