"""The bootstrap zone: the TXT records that lead a newcomer in, read and written (CONTRACT, DNS).

It decides which texts below ``_overlay.ZONE`` and ``_node._overlay.ZONE`` count, and spells the records that ``init``
prints. It refuses to ask anybody, and to believe: anyone may have written these texts, and only the overlay's id in
them matters, since a node is believed when its passport leads to it (research F22).

    _overlay.ZONE        v=overlay1;id=OVERLAY_ID;tld=TLD
    _node._overlay.ZONE  v=overlay1;at=IP:PORT,IP:PORT;key=EXCHANGE_KEY

A text is ``key=value`` fields between semicolons, ``v=overlay1`` first; blanks around fields and a last semicolon are
forgiven (people edit zones by hand, RFC 6376 3.2 does the same), unknown keys are ignored, everything else is a drop
with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bootstrap.entrance import WayIn, alternate, reachable
from overlay import limits
from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY
from overlay.name import parse_zone
from overlay.units import b64, unb64
from overlay.wire.address import Address, parse_address

VERSION = "overlay1"
OVERLAY_LABEL = "_overlay"
NODE_LABEL = "_node._overlay"
TTL = 300  # seconds: a way in that moved is found within 5 minutes
MAX_OVERLAYS = 8  # overlay texts that one zone may hold; more than one is already a question for the person
_STRING = 255  # octets of one character-string (RFC 1035, 3.3.14)


@dataclass(frozen=True, slots=True)
class OverlayText:
    """``_overlay.ZONE``: which overlay the zone belongs to."""

    overlay_id: bytes
    tld: str

    def __str__(self) -> str:
        return f"v={VERSION};id={b64(self.overlay_id)};tld={self.tld}"


def way_text(way: WayIn) -> str:
    """The text of one way in, as it stands at ``_node._overlay.ZONE``."""
    return f"v={VERSION};at={','.join(map(str, way.addresses))};key={b64(way.key)}"


def read_overlays(texts: Iterable[bytes], counters: Counter[str]) -> tuple[OverlayText, ...]:
    """The overlays that a zone names, each once; ``texts`` are TXT records, their strings joined."""
    found: dict[OverlayText, None] = {}
    for text in texts:
        try:
            fields = _fields(text)
            overlay = OverlayText(_octets(fields, "id", DIGEST), _tld(fields))
        except Malformed as why:
            counters[f"drop:{why.rule}"] += 1
            continue
        if len(found) >= MAX_OVERLAYS:
            counters["drop:overlays-too-many"] += 1
            continue
        found[overlay] = None
    return tuple(found)


def read_ways(texts: Iterable[bytes], counters: Counter[str]) -> tuple[WayIn, ...]:
    """The ways in that a zone names, at most ``limits.WAYS_IN``, each once; ``texts`` are TXT records, their strings joined."""
    found: dict[WayIn, None] = {}
    for text in texts:
        try:
            fields = _fields(text)
            way = WayIn(_addresses(fields, counters), _octets(fields, "key", KEY))
        except Malformed as why:
            counters[f"drop:{why.rule}"] += 1
            continue
        if len(found) >= limits.WAYS_IN:
            counters["drop:ways-too-many"] += 1
            continue
        found[way] = None
    return tuple(found)


def zone_lines(zone: str, tld: str, overlay_id: bytes, ways: Sequence[WayIn], addresses: Sequence[str], ds: Sequence[str] = ()) -> str:
    """What to publish: master-file lines in two blocks, of which a person takes one.

    ``ways`` are the nodes to knock at, ``addresses`` the bare IP addresses that the zone's own name shall have, ``ds`` whole
    lines of DS records.
    """
    text = [
        "; keep your DNS host: publish these records there",
        _line(f"{OVERLAY_LABEL}.{zone}", "TXT", _quoted(str(OverlayText(overlay_id, tld)))),
        *(_line(f"{NODE_LABEL}.{zone}", "TXT", _quoted(way_text(way))) for way in ways),
        *(_address_line(zone, address) for address in dict.fromkeys(addresses)),
        f"; delegate {zone} to the nodes: publish these in the zone above it instead",
    ]
    hosts = [tuple(dict.fromkeys(address.host for address in way.addresses)) for way in ways] or ([tuple(addresses)] if addresses else [])
    for number, _ in enumerate(hosts, 1):
        text.append(_line(zone, "NS", f"ns{number}.{zone}."))
    for number, glue in enumerate(hosts, 1):
        text.extend(_address_line(f"ns{number}.{zone}", address) for address in glue)
    return "\n".join([*text, *ds]) + "\n"


def _fields(text: bytes) -> dict[str, str]:
    if len(text) > limits.WAY_TEXT:
        raise Malformed("the text is too long", rule="txt-too-long")
    if any(not 0x20 <= octet < 0x7F for octet in text):
        raise Malformed("the text is not plain ASCII", rule="txt-not-ascii")
    pieces = [piece.strip() for piece in text.decode("ascii").split(";")]
    if not pieces[-1]:
        pieces.pop()
    if not pieces or pieces[0] != f"v={VERSION}":
        raise Malformed("not a text of this version", rule="txt-version")
    fields: dict[str, str] = {}
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if not equals or not key or key in fields:
            raise Malformed("fields are key=value, each once", rule="txt-field")
        fields[key] = value
    return fields


def _octets(fields: dict[str, str], key: str, length: int) -> bytes:
    try:
        return unb64(fields.get(key, ""), length)
    except UsageError:
        raise Malformed(f"{key} is not {length} octets in base64url", rule=f"txt-{key}") from None


def _tld(fields: dict[str, str]) -> str:
    try:
        return parse_zone(fields.get("tld", ""))
    except UsageError:
        raise Malformed("tld is not a domain name", rule="txt-tld") from None


def _addresses(fields: dict[str, str], counters: Counter[str]) -> tuple[Address, ...]:
    found = []
    for text in fields.get("at", "").split(","):
        try:
            address = parse_address(text, 0)  # port 0: the port must be written
        except UsageError:
            raise Malformed("at is not IP:port, IP:port", rule="txt-at") from None
        if reachable(address.host):
            found.append(address)
        else:
            counters["drop:at-unreachable"] += 1
    ordered = alternate(found)
    if len(ordered) > limits.WAY_ADDRESSES:
        counters["drop:at-too-many"] += len(ordered) - limits.WAY_ADDRESSES
    if not ordered:
        raise Malformed("at holds no address to knock at", rule="txt-at")
    return ordered[: limits.WAY_ADDRESSES]


def _line(name: str, rtype: str, rdata: str) -> str:
    return f"{name}. {TTL} IN {rtype} {rdata}"


def _address_line(name: str, host: str) -> str:
    return _line(name, "AAAA" if ":" in host else "A", host)


def _quoted(text: str) -> str:
    """One TXT record's data: strings of at most 255 octets. Our texts hold no quote, backslash or control."""
    return " ".join(f'"{text[start : start + _STRING]}"' for start in range(0, len(text), _STRING))
