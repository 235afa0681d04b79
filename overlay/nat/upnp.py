"""UPnP's Internet Gateway Device: SSDP to find it, its description, and SOAP to ask it (IGD 1 and 2).

It decides which octets are an answer, and which addresses in them a client may go to: those of the router itself and no
other (a LOCATION or a controlURL elsewhere would make us knock for a stranger). It refuses to know what was asked. Names of
actions, arguments and errors are those of WANIPConnection:1, 2.4 and WANIPConnection:2, 2.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from overlay.errors import Malformed
from overlay.nat.markup import escaped, leaves
from overlay.wire.address import Address

PORT: Final = 1900
GROUP: Final = Address("239.255.255.250", PORT)
DEVICE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"  # one of version 2 answers to it too (UDA 1.3.2)
SERVICES: Final = (  # that map ports, the best first
    "urn:schemas-upnp-org:service:WANIPConnection:2", "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)  # fmt: skip
PROTOCOLS: Final = {"tcp": "TCP", "udp": "UDP"}

INVALID_ARGS: Final = 402
NO_SUCH_ENTRY: Final = 714
CONFLICT: Final = 718
SAME_PORTS: Final = 724  # external and internal port must be equal
ONLY_PERMANENT: Final = 725

_ANSWER: Final = 4_096  # octets of an SSDP answer: they take 300 to 600
_HEADERS: Final = 64
_TEXT: Final = 256  # characters of an argument of SOAP, of an address in a description
_CONNECTIONS: Final = 4  # services looked at: a router has one or two ways out
_STATUS: Final = re.compile(r"HTTP/1\.[01] 200(?: |$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Service:
    """A service that maps ports: its type and where it is asked."""

    kind: str
    url: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What an action gave: arguments by name, or an error (0: none) with its number."""

    arguments: dict[str, str]
    error: int = 0

    def number(self, name: str) -> int:
        """An argument that must be a number below 2^32."""
        text = self.arguments.get(name, "")
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**32):
            raise Malformed(f"{name} is not a number", rule="upnp-argument")
        return int(text)


def search(to: Address) -> bytes:
    """The question for a gateway, to it alone or to the group (UDA 1.3.2, 1.3.3). A router may take a second to answer."""
    lines = ["M-SEARCH * HTTP/1.1", f"HOST: {to}", 'MAN: "ssdp:discover"', *(["MX: 1"] if to == GROUP else []), f"ST: {DEVICE}", "", ""]
    return "\r\n".join(lines).encode()


def read_found(data: bytes, router: str) -> str:
    """The address of the description, out of an answer to ``search``; or ``Malformed``."""
    if len(data) > _ANSWER:
        raise Malformed("an answer that is too long", rule="ssdp-form")
    lines = data.decode("latin-1").replace("\r\n", "\n").split("\n")
    if not _STATUS.match(lines[0]) or len(lines) > _HEADERS:
        raise Malformed("not an answer of SSDP", rule="ssdp-form")
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == "location":
            return _of_router(value.strip(), router)
    raise Malformed("an answer of SSDP without a place", rule="ssdp-form")


def read_description(body: bytes, url: str, router: str) -> list[Service]:
    """The services that map ports, the best first, none where there is none; or ``Malformed``. ``url``: where it was."""
    parts: dict[int, dict[str, str]] = {}
    origin = url
    for leaf in leaves(body):
        if leaf.name == "URLBase" and len(leaf.path) == 2 and leaf.text:
            origin = _of_router(leaf.text, router)
        elif leaf.name in ("serviceType", "controlURL") and leaf.path[-2:-1] == ("service",):
            parts.setdefault(leaf.parent, {})[leaf.name] = leaf.text
    found = [one for one in parts.values() if one.get("serviceType") in SERVICES and one.get("controlURL")]
    found.sort(key=lambda one: SERVICES.index(one["serviceType"]))
    return [Service(one["serviceType"], _of_router(_joined(origin, one["controlURL"]), router)) for one in found[:_CONNECTIONS]]


def action(service: Service, name: str, arguments: Sequence[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """Headers and body of the request for an action (UDA 3.1.1)."""
    inside = "".join(f"<{key}>{escaped(value)}</{key}>" for key, value in arguments)
    body = (
        '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{name} xmlns:u="{service.kind}">{inside}</u:{name}></s:Body></s:Envelope>\r\n'
    ).encode()
    return (("Content-Type", 'text/xml; charset="utf-8"'), ("SOAPAction", f'"{service.kind}#{name}"')), body


def read_reply(status: int, body: bytes, name: str) -> Reply:
    """What action ``name`` gave, or ``Malformed``. Errors come as a SOAP fault (UDA 3.2.2), status 500 by the book."""
    arguments: dict[str, str] = {}
    answered = False
    for leaf in leaves(body):
        if "Fault" in leaf.path and leaf.name == "errorCode":
            return Reply({}, Reply({"errorCode": leaf.text}).number("errorCode") or status)
        if len(leaf.text) > _TEXT:
            raise Malformed("an argument that is too long", rule="upnp-argument")
        answered = answered or f"{name}Response" in leaf.path
        arguments[leaf.name] = leaf.text
    if status != 200 or not answered:
        raise Malformed("an answer to something else", rule="upnp-answer")
    return Reply(arguments)


def _joined(origin: str, reference: str) -> str:
    try:
        return urljoin(origin, reference)
    except ValueError:
        raise Malformed("not the address of a service", rule="upnp-elsewhere") from None


def _of_router(url: str, router: str) -> str:
    """The URL as it is asked, if it leads to the router itself, by number, over HTTP; else ``Malformed``."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    plain = len(url) <= _TEXT and url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    if parts.scheme != "http" or host != router or port == 0 or not plain:
        raise Malformed("an address that is not the router's own", rule="upnp-elsewhere")
    return f"http://{host}:{port or 80}{path if path.startswith('/') else '/' + path}"
