"""Ways in and entrances: what every source of bootstrap boils down to, and where a person said to look.

It decides how a way in looks, in which order its addresses are tried (RFC 8305, 4: families alternate, IPv6 first), and
what the word behind ``overlay join`` means. It refuses to know where a way came from. Nothing here is proof of anything:
a node is believed only when its passport leads to the overlay's id (CONTRACT, DNS; research F22).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from overlay import limits
from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY
from overlay.name import parse_zone
from overlay.wire.address import Address, parse_address, routable

OVERLAY_PORT = 7653  # CONTRACT, HTTP: 7653/udp+tcp
HTTP_PORT = 80
HTTP_FALLBACK = 8053  # CONTRACT, configuration: where HTTP goes when 80 is taken


@dataclass(frozen=True, slots=True)
class WayIn:
    """A node to knock at: 1 to 8 addresses of its overlay listener, and its exchange key (32 octets, X25519)."""

    addresses: tuple[Address, ...]
    key: bytes

    def __post_init__(self) -> None:
        if len(self.key) != KEY or not 1 <= len(self.addresses) <= limits.WAY_ADDRESSES:
            raise Malformed("a way in is 1 to 8 addresses and a key of 32 octets", rule="way-in")

    def __str__(self) -> str:
        return ", ".join(map(str, self.addresses))


@dataclass(frozen=True, slots=True)
class Entrance:
    """What one source said: the overlay it leads to (None: it did not say), its TLD, the ways in, and who said so."""

    overlay_id: bytes | None
    tld: str | None
    ways: tuple[WayIn, ...]
    source: str

    def __post_init__(self) -> None:
        if self.overlay_id is not None and len(self.overlay_id) != DIGEST:
            raise Malformed("an overlay id has 32 octets", rule="overlay-id")


@dataclass(frozen=True, slots=True)
class Domain:
    """Look in the DNS below this zone."""

    zone: str

    def __str__(self) -> str:
        return self.zone


@dataclass(frozen=True, slots=True)
class Listener:
    """Ask a node's listener at this IP address; ``port`` None: at the ports where one usually stands."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        return self.host if self.port is None else str(Address(self.host, self.port))

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where to ask, the likeliest first. A port that the person named is not second-guessed: another may be another overlay's."""
        ports = (OVERLAY_PORT, HTTP_PORT, HTTP_FALLBACK) if self.port is None else (self.port,)
        return tuple(Address(self.host, port) for port in ports)


@dataclass(frozen=True, slots=True)
class Lan:
    """Listen for neighbours."""

    def __str__(self) -> str:
        return "lan"


Place = Domain | Listener | Lan


def parse_where(text: str) -> Place:
    """WHERE of ``overlay join``: ``lan``, an address with or without port, or a domain. Else a ``UsageError``."""
    text = text.strip()
    if text.lower() == "lan":
        return Lan()
    host, numeric = text, text.startswith("[") or text.count(":") > 1
    if not numeric:
        host = text.partition(":")[0]
        numeric = host.replace(".", "").isdigit()
    if numeric:
        address = parse_address(text, OVERLAY_PORT)
        if not reachable(address.host):
            raise UsageError(f"nobody listens at {address.host}", "write the address of a node, or a domain", rule="where")
        said = text.rpartition("]")[2] if text.startswith("[") else text if text.count(":") == 1 else ""
        return Listener(address.host, address.port if ":" in said else None)
    if ":" in text or "/" in text:
        raise UsageError(
            f"{text[:80]!r} is neither a domain nor an address", "write a domain such as cloud.example.org, or IP:port", rule="where",
        )
    return Domain(parse_zone(text))


def reachable(host: str) -> bool:
    """Whether a stranger's text may send us to this address: no multicast, link-local, unspecified, or IPv4 in IPv6 clothes."""
    if not routable(host):
        return False
    ip = ipaddress.ip_address(host)
    return not (isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None)


def alternate(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Each address once, IPv6 and IPv4 in turn, IPv6 first; within a family in the order given (RFC 8305, 4)."""
    once = tuple(dict.fromkeys(addresses))
    six, four = ([a for a in once if a.family == family] for family in (6, 4))
    return tuple(address for pair in zip_longest(six, four) for address in pair if address is not None)
