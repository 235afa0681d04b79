"""Just enough XML to read what a router says of itself, out of octets that may be hostile.

The threat: documents that grow when they are read (entities), that fetch (external entities, DTDs, includes), that nest
or go on without end. The construction: a scanner that knows tags and text alone. A declaration (``<!DOCTYPE``, ``<!ENTITY``,
``<![CDATA[``) ends the reading; of entities there are the five of XML and characters by number; depth, elements and octets
have bounds. What comes out is flat: each element without children, with its path and text. Names lose their prefixes: two
namespaces that share a name do not meet in these documents.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from overlay import limits
from overlay.errors import Malformed

DEPTH: Final = 24  # UPnP's device descriptions nest 12 deep
_ATTRIBUTE: Final = r"\s+[\w.:-]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*')"
_TOKEN: Final = re.compile(rf"<\?[^>]*\?>|<!--.*?-->|<(/?)([A-Za-z_][\w.:-]{{0,80}})((?:{_ATTRIBUTE})*)\s*(/?)>", re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->|<\?[^>]*\?>", re.DOTALL)
_ENTITY: Final = re.compile(r"&(#[0-9]{1,7}|#x[0-9a-fA-F]{1,6}|[a-z]{2,4});")
_NAMED: Final = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}


class Leaf(NamedTuple):
    """An element without children: names from the root down to its own, the number of its parent element, its text."""

    path: tuple[str, ...]
    parent: int  # elements are numbered as they open, from 1
    text: str

    @property
    def name(self) -> str:
        return self.path[-1]


class _Open(NamedTuple):
    name: str
    number: int
    first: int  # where its text begins


def leaves(data: bytes) -> list[Leaf]:
    """The elements without children, in order; or ``Malformed``."""
    if len(data) > limits.PORTMAP_BODY:
        raise Malformed("a document that is too long", rule="markup-too-long")
    text = data.decode("utf-8", "replace").removeprefix("\ufeff").rstrip("\x00 \r\n\t")
    found: list[Leaf] = []
    way: list[_Open] = []
    number, at, leaf = 0, 0, False
    while at < len(text):
        start = text.find("<", at)
        token = _TOKEN.match(text, start) if start >= 0 else None
        if token is None or not way and text[at:start].strip():
            raise Malformed("not the markup of a document without declarations", rule="markup")
        at = token.end()
        closing, name, _, empty = token.groups()
        if name is None:
            continue  # an instruction or a comment
        name = name.rpartition(":")[2]
        if not closing:
            number += 1
            if number > limits.PORTMAP_ELEMENTS or len(way) >= DEPTH or number > 1 and not way:
                raise Malformed("more elements, deeper, or more documents than one device has", rule="markup-too-long")
            way.append(_Open(name, number, at))
            leaf = True
        if closing or empty:
            if not way or way[-1].name != name:
                raise Malformed("an end without its beginning", rule="markup")
            if leaf:
                inside = "" if empty else text[way[-1].first : start]
                found.append(Leaf(tuple(one.name for one in way), way[-2].number if len(way) > 1 else 0, _plain(inside)))
            way.pop()
            leaf = False
    if way or not number:
        raise Malformed("it ends early", rule="markup")
    return found


def escaped(text: str) -> str:
    """Text as it stands between two tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str) -> str:
    if "<" in text:
        text = _COMMENT.sub("", text)
    if "&" not in text:
        return text.strip()
    if text.count("&") != len(_ENTITY.findall(text)):
        raise Malformed("an entity that XML does not have by itself", rule="markup")
    return _ENTITY.sub(_character, text).strip()


def _character(found: re.Match[str]) -> str:
    name = found[1]
    if name[0] != "#":
        if name not in _NAMED:
            raise Malformed("an entity that XML does not have by itself", rule="markup")
        return _NAMED[name]
    number = int(name[2:], 16) if name[1] == "x" else int(name[1:])
    if number < 32 or number > 0x10FFFF or 0xD800 <= number < 0xE000:
        raise Malformed("a character that XML does not have", rule="markup")
    return chr(number)
