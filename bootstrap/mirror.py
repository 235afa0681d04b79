"""What a node tells strangers over HTTP, and what a newcomer reads there: the IP mirror and the way in (CONTRACT, HTTP).

It decides the answers to ``/?IP``, ``/.well-known/overlay`` and ``/status``, and which JSON of a stranger counts as an
entrance. It refuses to know HTTP: a path, a query and the caller's address go in; status, headers and body come out.
What strangers learn is the public view only (DESIGN 3.13, research F25).
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from bootstrap.entrance import HTTP_FALLBACK, HTTP_PORT, OVERLAY_PORT, Entrance, WayIn, alternate, reachable
from overlay import limits
from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY
from overlay.name import parse_zone
from overlay.units import b64, unb64
from overlay.wire.address import Address, parse_address

WELL_KNOWN = "/.well-known/overlay"
STATUS = "/status"
MAX_DEPTH = 8  # of brackets in a stranger's JSON
_NONCE = re.compile(r"[A-Za-z0-9._~-]{1,64}")  # what a header may carry back
_MAX_FIELDS = 8  # of a query
_NO_BRACKETS = bytes(octet for octet in range(256) if octet not in b"[]{}")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: HTTP status, headers (without length and date), body."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What this node may tell anybody. ``addresses`` are its proved overlay addresses, ``record`` its host or cluster
    record as signed, ``ways_tcp`` where TCP sessions are taken, ``udp_seen_s`` the seconds since a datagram came from
    the caller's address (None: none came).
    """

    overlay_id: bytes
    zone: str
    tld: str
    name: str
    node_id: bytes
    key: bytes
    addresses: tuple[Address, ...]
    record: bytes
    revision: int
    cluster: str
    ways_tcp: tuple[Address, ...] = ()
    udp_seen_s: float | None = None


def respond(path: str, query: str, caller: str, facts: Facts) -> Page | None:
    """The answer to ``GET path?query`` from the IP address ``caller``, or None where the path is somebody else's."""
    if path == "/":
        return _mirror(query, caller)
    if path == WELL_KNOWN:
        return _json(way_in(facts), "max-age=60")
    if path == STATUS:
        return _json(
            {
                "up": True, "revision": facts.revision, "cluster": facts.cluster, "tcp": [str(a) for a in facts.ways_tcp],
                "udp_seen_s": None if facts.udp_seen_s is None else round(facts.udp_seen_s, 3),
            },
            "no-store",
        )
    return None


def bare_ip(host: str) -> str:
    """An address as people and programs compare it: no scope, and IPv4 without its IPv6 clothes (::ffff:192.0.2.1)."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def way_in(facts: Facts) -> dict[str, object]:
    """The JSON value at ``/.well-known/overlay``."""
    return {
        "overlay_id": b64(facts.overlay_id), "zone": facts.zone, "tld": facts.tld, "name": facts.name, "node_id": b64(facts.node_id),
        "key": b64(facts.key), "addresses": [str(address) for address in facts.addresses], "record": b64(facts.record),
    }


def read_way_in(body: bytes, asked: Address) -> Entrance:
    """What a stranger answered at ``/.well-known/overlay`` -> an entrance, or ``Malformed``.

    The address that was asked comes first among the way's addresses, since it is known to answer: as it stands, or,
    where it is a port for HTTP, with the port that the node itself names.
    """
    fields = _object(body)
    said = []
    for text in _list(fields, "addresses"):
        address = _address(text)
        if reachable(address.host):
            said.append(address)
    port = (said[0].port if said else OVERLAY_PORT) if asked.port in (HTTP_PORT, HTTP_FALLBACK) else asked.port
    addresses = (Address(asked.host, port), *alternate(said))
    way = WayIn(tuple(dict.fromkeys(addresses))[: limits.WAY_ADDRESSES], _octets(fields, "key", KEY))
    try:
        tld = parse_zone(_text(fields, "tld"))
    except UsageError:
        raise Malformed("well-known: tld is not a domain name", rule="json-tld") from None
    return Entrance(_octets(fields, "overlay_id", DIGEST), tld, (way,), str(asked))


def _mirror(query: str, caller: str) -> Page | None:
    try:
        asked = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        return Page(400, (("Content-Type", "text/plain; charset=utf-8"),), b"too many fields in the query\n")
    if "IP" not in asked:
        return None
    headers: Headers = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))
    nonce = asked.get("nonce")
    if nonce is not None:
        if not _NONCE.fullmatch(nonce):
            return Page(400, headers, b"a nonce is 1 to 64 of A-Z a-z 0-9 . _ ~ -\n")
        headers += (("X-Nonce", nonce),)
    return Page(200, headers, f"{bare_ip(caller)}\n".encode())


def _json(value: Mapping[str, object], cache: str) -> Page:
    return Page(200, (("Content-Type", "application/json"), ("Cache-Control", cache)), json.dumps(value).encode() + b"\n")


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > limits.FETCH_BODY:
        raise Malformed("well-known: too long", rule="fetch-too-long")
    if not _shallow(body):
        raise Malformed("well-known: nested too deeply", rule="json-nested")
    try:
        value = json.loads(body.decode())
    except ValueError:  # not UTF-8, not JSON, a number of thousands of digits
        raise Malformed("well-known: not JSON", rule="json") from None
    if type(value) is not dict:
        raise Malformed("well-known: an object is wanted", rule="json")
    return value


def _shallow(body: bytes) -> bool:
    """Whether brackets, wherever they stand, nest no deeper than any honest answer: the parser recurses."""
    depth = 0
    for octet in body.translate(None, _NO_BRACKETS):
        if octet in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return False
        elif octet in b"]}":
            depth -= 1
    return True


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if type(value) is not str or len(value) > limits.WAY_TEXT:
        raise Malformed(f"well-known: {key} must be text", rule=f"json-{key}")
    return value


def _list(fields: dict[str, Any], key: str) -> list[Any]:
    value = fields.get(key, [])
    if type(value) is not list or len(value) > limits.WAYS_IN:
        raise Malformed(f"well-known: {key} must be a short list", rule=f"json-{key}")
    return value


def _address(text: object) -> Address:
    if type(text) is not str or len(text) > 64:
        raise Malformed("well-known: an address is text", rule="json-addresses")
    try:
        return parse_address(text, 0)
    except UsageError:
        raise Malformed("well-known: an address is IP:port", rule="json-addresses") from None


def _octets(fields: dict[str, Any], key: str, length: int) -> bytes:
    try:
        return unb64(_text(fields, key), length)
    except UsageError:
        raise Malformed(f"well-known: {key} is not {length} octets in base64url", rule=f"json-{key}") from None
