"""Master files (RFC 1035 5): text -> zone, and zone -> text.

Decides what each line means: owners left out, ``$ORIGIN`` and ``$TTL`` (RFC 2308 4), parentheses, comments, TTL and class
in either order. The zone's origin is its SOA's owner. Refuses ``$INCLUDE`` (a zone is one text), classes other than IN,
and to know who serves the zone. Every fault is a ``ZoneError`` that names the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from overlay import limits
from overlay.errors import UsageError
from tld import codes, rdata
from tld.label import Name, from_text, to_text
from tld.rdata import Token
from tld.zone import RRset, Zone, ZoneError, build

_CLASSES = frozenset(("IN", "CH", "HS", "CS"))
_SPECIAL = re.compile(r'["\\();]')
_BLANK = " \t\r\f\v"
_STOPS = _BLANK + "();"


def _fault(line: int, fault: UsageError | str) -> ZoneError:
    what, todo = (fault, "") if isinstance(fault, str) else (fault.what, fault.todo)
    return ZoneError(f"line {line}: {what}", todo, rule="master")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry: what stands on a line, or on several within parentheses. ``blank``: it begins with white space."""

    line: int
    blank: bool
    words: list[Token]


def parse(text: str, origin: Name | None = None) -> Zone:
    """The zone in ``text``. ``origin`` completes relative names until the file says otherwise.

    ``ZoneError`` for everything that is wrong in it, with the line where one line is to blame.
    """
    if len(text) > limits.MASTER_FILE:
        raise ZoneError(f"the master file has over {limits.MASTER_FILE} characters", "split the zone", rule="master")
    return _Parser(origin).run(text)


class _Parser:
    """What carries over from line to line."""

    def __init__(self, origin: Name | None) -> None:
        self.origin = origin
        self.owner: Name | None = None
        self.default_ttl: int | None = None
        self.last_ttl: int | None = None
        self.soa: RRset | None = None
        self.records: list[RRset] = []

    def run(self, text: str) -> Zone:
        for entry in _entries(text):
            try:
                if entry.words[0].text.startswith("$") and not entry.blank and not entry.words[0].quoted:
                    self.directive(entry)
                else:
                    self.record(entry)
            except UsageError as fault:
                raise _fault(entry.line, fault) from None
        if self.soa is None:
            raise ZoneError("there is no SOA record, so nothing says which zone this is", "begin with one", rule="soa")
        return build(self.soa.name, self.records)

    def directive(self, entry: _Entry) -> None:
        word = entry.words[0].text.upper()
        arguments = entry.words[1:]
        if word == "$ORIGIN" and len(arguments) == 1:
            self.origin = from_text(arguments[0].text, self.origin)
        elif word == "$TTL" and len(arguments) == 1:
            self.default_ttl = rdata.ttl(arguments[0].text)
            if self.default_ttl is None:
                raise _fault(entry.line, f"{arguments[0].text[:40]!r} is not a TTL")
        else:
            raise _fault(entry.line, f"{entry.words[0].text[:40]} is not understood here, or has the wrong number of arguments")

    def record(self, entry: _Entry) -> None:
        words = entry.words
        position = 0
        if not entry.blank:
            self.owner = from_text(words[0].text, self.origin)
            position = 1
        if self.owner is None:
            raise _fault(entry.line, "the first record has no owner")
        ttl = None
        seen_class = False
        while position < len(words):
            word = words[position].text
            if not seen_class and word.upper() in _CLASSES:
                if word.upper() != "IN":
                    raise _fault(entry.line, f"class {word.upper()} is not served, only IN")
                seen_class = True
            elif ttl is None and (number := rdata.ttl(word)) is not None:
                ttl = number
            else:
                break
            position += 1
        if position >= len(words):
            raise _fault(entry.line, "the record has no type")
        rtype = codes.type_number(words[position].text)
        if rtype in (0, codes.OPT) or 128 <= rtype < 256:
            raise _fault(entry.line, f"{codes.type_name(rtype)} cannot stand in a zone")
        wire = rdata.to_wire(rtype, words[position + 1 :], self.origin)
        self.add(entry.line, rtype, ttl, wire)

    def add(self, line: int, rtype: int, ttl: int | None, wire: bytes) -> None:
        owner = self.owner
        assert owner is not None
        if ttl is None:
            ttl = self.default_ttl if self.default_ttl is not None else self.last_ttl
        if rtype == codes.SOA:
            if self.soa is not None and (self.soa.name != owner or self.soa.rdatas != (wire,)):
                raise _fault(line, "a second SOA record")
            if ttl is None:
                ttl = min(int.from_bytes(wire[-4:], "big"), 2**31 - 1)  # RFC 1035's reading of MINIMUM, for old files
            self.soa = RRset(owner, rtype, ttl, (wire,))
            if self.origin is None:
                self.origin = owner
            if self.default_ttl is None and self.last_ttl is None:
                self.last_ttl = ttl
        if ttl is None:
            raise _fault(line, "the record has no TTL and none was given before")
        self.last_ttl = ttl
        rrset = RRset(owner, rtype, ttl, (wire,))
        if self.soa is not None and self.soa.name != owner[len(owner) - len(self.soa.name) :]:
            raise _fault(line, f"{to_text(owner)} is outside of the zone {to_text(self.soa.name)}")
        self.records.append(rrset)


def _entries(text: str) -> Iterator[_Entry]:
    """The entries of a master file, comments and line ends dropped."""
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        start = number
        line = lines[number]
        number += 1
        if not _SPECIAL.search(line):
            words = [Token(word, word.encode(errors="replace")) for word in line.split()]
        else:
            words, depth = _words(line, 0, start + 1)
            while depth:
                if number >= len(lines):
                    raise _fault(start + 1, "a parenthesis is not closed")
                more, depth = _words(lines[number], depth, number + 1)
                words += more
                number += 1
        if words:
            yield _Entry(start + 1, line[0] in _BLANK, words)


def _words(line: str, depth: int, number: int) -> tuple[list[Token], int]:
    words: list[Token] = []
    position = 0
    while position < len(line):
        char = line[position]
        if char in _BLANK:
            position += 1
        elif char == ";":
            break
        elif char in "()":
            depth += 1 if char == "(" else -1
            if depth not in (0, 1):
                raise _fault(number, "parentheses do not match")
            position += 1
        else:
            try:
                token, position = rdata.read_token(line, position, _STOPS)
            except UsageError as fault:
                raise _fault(number, fault) from None
            words.append(token)
    return words, depth


def to_master(zone: Zone) -> str:
    """The zone as a master file, absolute names throughout, the SOA first; :func:`parse` gives the same zone back."""
    lines = []
    for rrset in zone.rrsets():
        owner, kind = to_text(rrset.name), codes.type_name(rrset.type)
        lines += [f"{owner} {rrset.ttl} IN {kind} {rdata.to_text(rrset.type, wire)}".rstrip() for wire in rrset.rdatas]
    return "\n".join(lines) + "\n"
