"""What each key of ``overlay.toml`` may hold, and what it means: one table (CONTRACT, "Configuration").

It decides what is a legal value, and says of any other what is wrong with it; the reader (``config.py``) and the
reference (``docs/configuration.md``) share it. It refuses to know files, lines and what a setting does.
"""

from __future__ import annotations

import base64
import difflib
import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from overlay.errors import UsageError
from overlay.wire.address import parse_address

OFF: Final = ("off",)
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.@-]{1,15}")  # IFNAMSIZ of Linux less its final zero


# Each rule returns the value as the tree holds it, or raises ValueError with the rest of a sentence.


def _listener(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        # The address is judged with a port that always passes; port 0 lets the system choose, which only tests want.
        parse_address(text[: len(text) - len(port)] + "1", 0)
        if not (port.isascii() and port.isdigit() and int(port) < 65_536) or host.startswith("[") is not (ip.version == 6):
            raise ValueError
    except (ValueError, UsageError):
        raise ValueError(f"{text[:80]!r} is not an address to listen on: write IP:PORT, IPv6 as [IP]:PORT") from None
    return f"[{ip}]:{int(port)}" if ip.version == 6 else f"{ip}:{int(port)}"


def _texts(value: object, each: Callable[[str], str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'wants a list of strings, such as ["..."], not {_shown(value)}')
    found = tuple(each(item) for item in value)
    twice = [item for item in found if found.count(item) > 1]
    if twice:
        raise ValueError(f"names {twice[0]} twice")
    return found


def _listeners(value: object) -> tuple[str, ...]:
    if value in ("off", ["off"]):
        return OFF
    if isinstance(value, list) and "off" in value:
        raise ValueError('is either a list of addresses or "off"')
    if not isinstance(value, list) or not value:
        raise ValueError(f'wants a list such as ["127.0.0.1:53"], or "off", not {_shown(value)}')
    return _texts(value, _listener)


def _advertised(value: object) -> tuple[str, ...]:
    def one(text: str) -> str:
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            if _INTERFACE.fullmatch(text) and not re.fullmatch(r"[0-9.]+", text):
                return text
        raise ValueError(f"{text[:80]!r} is neither an interface nor an IP address")

    return _texts(value, one)


def _upstreams(value: object) -> tuple[str, ...]:
    def one(text: str) -> str:
        try:
            return str(parse_address(text, 53))
        except UsageError:
            raise ValueError(f"{text[:80]!r} is not the address of a resolver: write IP or IP:PORT") from None

    return _texts(value, one)


def _key_name(text: str) -> str:
    if not _DOMAIN.fullmatch(text) or len(text) > 253:
        raise ValueError(f"{text[:80]!r} is not the name of a key: write it as a domain name, such as secondary1")
    return text.lower().removesuffix(".")


def _keys(value: object) -> tuple[str, ...]:
    def one(text: str) -> str:
        name, _, secret = text.removeprefix("hmac-sha256:").partition(":")
        try:
            octets = base64.b64decode(secret, validate=True)
        except ValueError:
            octets = b""
        if len(octets) < 16:
            raise ValueError(f"{name[:80]!r} has no secret of at least 16 octets in base64: write NAME:SECRET, as tsig-keygen or keymgr -t make them")
        return f"{_key_name(name)}:{secret}"

    found = _texts(value, one)
    names = [text.partition(":")[0] for text in found]
    if len(set(names)) < len(names):
        raise ValueError("has two keys of one name")
    return found


def _key_names(value: object) -> tuple[str, ...]:
    return _texts(value, _key_name)


def _notified(value: object) -> tuple[str, ...]:
    def one(text: str) -> str:
        words = text.split()
        if len(words) != 3 or not _DOMAIN.fullmatch(words[0]):
            raise ValueError(f"{text[:80]!r} is not ZONE ADDRESS KEY, such as home.eu.cloud 192.0.2.53 secondary1")
        try:
            address = parse_address(words[1], 53)
        except UsageError:
            raise ValueError(f"{words[1][:80]!r} is not the address of a secondary: write IP or IP:PORT") from None
        return f"{words[0].lower().removesuffix('.')} {address} {_key_name(words[2])}"

    return _texts(value, one)


def _updated(value: object) -> tuple[str, ...]:
    def one(text: str) -> str:
        words = text.split()
        if len(words) != 2 or not _DOMAIN.fullmatch(words[0]):
            raise ValueError(f"{text[:80]!r} is not NAME KEY, such as home.eu.cloud acme")
        return f"{words[0].lower().removesuffix('.')} {_key_name(words[1])}"

    return _texts(value, one)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is true or false, not {_shown(value)}")
    return value


def _virtual(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'wants a string such as "192.168.1.250/24", not {_shown(value)}')
    if not value:
        return ""
    try:
        found = ipaddress.ip_interface(value)
        if "/" not in value or found.ip in (found.network.network_address, found.network.broadcast_address) or not _host(found.ip):
            raise ValueError
    except ValueError:
        raise ValueError(f'{value[:80]!r} is not the address of a host with its prefix: write "192.168.1.250/24"') from None
    if found.version == 6:
        raise ValueError(f"{value[:80]!r} is IPv6: a virtual address is IPv4 so far")
    return str(found)


def _host(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not (ip.is_multicast or ip.is_loopback or ip.is_unspecified)


def _choice(*words: str) -> Callable[[object], str]:
    def rule(value: object) -> str:
        if value not in words or not isinstance(value, str):
            near = difflib.get_close_matches(value, words, 1) if isinstance(value, str) else []
            told = ", ".join(f'"{word}"' for word in words[:-1]) + f' or "{words[-1]}"'
            raise ValueError(f"is {told}, not {_shown(value)}" + (f'; did you mean "{near[0]}"?' if near else ""))
        return value

    return rule


def _shown(value: object) -> str:
    for kind, name in ((bool, "the truth value"), (int, "the number"), (float, "the number"), (str, "the string")):
        if isinstance(value, kind):
            return f"{name} {toml(value)[:80]}"
    return "a list" if isinstance(value, list) else "a section" if isinstance(value, dict) else "a date"


def toml(value: object) -> str:
    """One value of the table as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        # TOML's basic strings: quote, backslash and control characters escaped; the rest stands as it is.
        return '"' + re.sub(r'["\\\x00-\x1f\x7f]', lambda found: f"\\u{ord(found[0]):04x}", value) + '"'
    return str(value)


class Setting(NamedTuple):
    """One key: its rule and, for the reference, what it means, what it takes, and whether the program acts on it yet."""

    rule: Callable[[object], Any]
    meaning: str
    takes: str
    acts: bool = True


_LISTENERS: Final = 'list of `IP:PORT`, IPv6 as `[IP]:PORT`, or `"off"`; port 0: the system chooses'
_POLICIES: Final = ("overlay-first", "exclusive", "public-first", "suffix-only")


def _words(*words: str) -> str:
    return ", ".join(f'`"{word}"`' for word in words)


SETTINGS: Final[dict[str, dict[str, Setting]]] = {
    "listen": {
        "overlay": Setting(_listeners, "overlay sessions, UDP and TCP; taken: exit 1, naming the holder", _LISTENERS),
        "tls": Setting(_listeners, "overlay sessions inside TLS 1.3; taken or not permitted: skipped with a warning", _LISTENERS),
        "http": Setting(_listeners, "mirror and releases; taken or not permitted: 8053, then the next free port", _LISTENERS),
        "dns": Setting(_listeners, "authoritative DNS for the world; taken or not permitted: off", _LISTENERS),
        "stub": Setting(_listeners, "resolver for this machine; taken or not permitted: 5300, then the next free port", _LISTENERS),
        "whois": Setting(_listeners, 'WHOIS (RFC 3912), such as `["0.0.0.0:43"]`; taken or not permitted: off', _LISTENERS),
        "advertise": Setting(
            _advertised, "interfaces or addresses to tell others beside those found (bridges and VPNs are left out)",
            "list of interface names and IP addresses",
        ),
    },
    "names": {
        "policy": Setting(_choice(*_POLICIES), "which world wins where a name is in both", _words(*_POLICIES)),
        "upstream": Setting(_upstreams, "resolvers for public names; empty: the system's own", "list of `IP` or `IP:PORT`"),
    },
    "dns": {
        "keys": Setting(
            _keys, "TSIG keys (RFC 8945) that secondaries share with this node: secrets, so keep this file to yourself (0600)",
            "list of `NAME:SECRET`, HMAC-SHA256, the secret in base64 as `tsig-keygen` and `keymgr -t` make it",
        ),
        "transfer": Setting(_key_names, "keys whose holders may transfer zones (AXFR), over TCP; nobody else may", "list of names of keys"),
        "notify": Setting(
            _notified, "secondaries that are told when a zone changes (NOTIFY), signed with that key", "list of `ZONE ADDRESS KEY`",
        ),
        "update": Setting(
            _updated, "what the holder of a key may change by dynamic update (RFC 2136): a name and all below, as by `overlay name set`",
            "list of `NAME KEY`",
        ),
    },
    "lan": {
        "discovery": Setting(_truth, "look for neighbours by beacons, and send them", "`true` or `false`"),
        "admit": Setting(_truth, "invite overlays: presence on the LAN is enough to be let in", "`true` or `false`"),
        "virtual_ip": Setting(
            _virtual, 'such as "192.168.1.250/24": the gateway carries it, announced by gratuitous ARP', "`IP/prefix` of IPv4, or empty",
        ),
    },
    "reach": {
        "guess": Setting(_truth, "guess ports at NATs that map each far end to another: 1,024 probes in ten minutes for a peer", "`true` or `false`"),
        "relay": Setting(_truth, "carry datagrams for members that have no other way, 8 Mbit/s for each", "`true` or `false`"),
    },
    "release": {
        "kernel": Setting(
            _choice("yes", "no", "ask"), "may releases of the kernel channel replace this program", _words("yes", "no", "ask"), acts=False,
        ),
    },
    "operate": {
        "reboot": Setting(_choice("program", "machine"), "what a reboot from afar restarts", _words("program", "machine"), acts=False),
    },
}  # fmt: skip
