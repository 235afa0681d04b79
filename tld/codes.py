"""The numbers of DNS that the rest of ``tld`` speaks of: types, classes, rcodes, opcodes, flags, options.

Plain integers, since they are keys of hot dictionaries. Decides nothing. Source: the IANA registry "Domain Name System
(DNS) Parameters"; RFC 1035 4.1.1 (header), RFC 6891 (EDNS), RFC 8914 (extended errors), RFC 3597 (``TYPE123``).
"""

from __future__ import annotations

import re
from typing import Final

from overlay.errors import UsageError

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
HINFO: Final = 13
MX: Final = 15
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
NAPTR: Final = 35
DNAME: Final = 39
OPT: Final = 41
DS: Final = 43
SSHFP: Final = 44
RRSIG: Final = 46
NSEC: Final = 47
DNSKEY: Final = 48
TLSA: Final = 52
CDS: Final = 59
CDNSKEY: Final = 60
OPENPGPKEY: Final = 61
ZONEMD: Final = 63
SVCB: Final = 64
HTTPS: Final = 65
SPF: Final = 99
URI: Final = 256
IXFR: Final = 251
AXFR: Final = 252
TSIG: Final = 250
ANY: Final = 255
CAA: Final = 257

TYPE_NAMES: Final[dict[int, str]] = {
    number: name
    for name, number in list(globals().items())
    if name.isupper() and type(number) is int and name not in ("OPT", "TSIG", "IXFR", "AXFR", "ANY")
}
TYPE_NUMBERS: Final[dict[str, int]] = {name: number for number, name in TYPE_NAMES.items()} | {"ANY": ANY, "AXFR": AXFR, "IXFR": IXFR}

IN: Final = 1
CH: Final = 3

QUERY: Final = 0  # the one opcode that is answered
NOTIFY: Final = 4
UPDATE: Final = 5

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
YXDOMAIN: Final = 6
YXRRSET: Final = 7
NXRRSET: Final = 8
NOTAUTH: Final = 9
NOTZONE: Final = 10
BADVERS: Final = 16  # its low four bits stand in the header, the rest in OPT
BADCOOKIE: Final = 23
RCODE_NAMES: Final[dict[int, str]] = {
    NOERROR: "NOERROR", FORMERR: "FORMERR", SERVFAIL: "SERVFAIL", NXDOMAIN: "NXDOMAIN", NOTIMP: "NOTIMP",
    REFUSED: "REFUSED", YXDOMAIN: "YXDOMAIN", YXRRSET: "YXRRSET",
    NXRRSET: "NXRRSET", NOTAUTH: "NOTAUTH", NOTZONE: "NOTZONE", BADVERS: "BADVERS", BADCOOKIE: "BADCOOKIE",
}  # fmt: skip

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010

OPTION_NSID: Final = 3
OPTION_COOKIE: Final = 10
OPTION_EDE: Final = 15

EDE_STALE: Final = 3
EDE_FORGED: Final = 4
EDE_BOGUS: Final = 6
EDE_EXPIRED: Final = 7
EDE_NOT_READY: Final = 14
EDE_BLOCKED: Final = 15
EDE_PROHIBITED: Final = 18
EDE_NOT_AUTHORITATIVE: Final = 20
EDE_NOT_SUPPORTED: Final = 21
EDE_NO_REACHABLE_AUTHORITY: Final = 22
EDE_NETWORK_ERROR: Final = 23


def type_name(number: int) -> str:
    """``1`` -> ``"A"``; ``TYPE666`` for what has no mnemonic here (RFC 3597)."""
    return TYPE_NAMES.get(number) or next((name for name, code in TYPE_NUMBERS.items() if code == number), f"TYPE{number}")


def type_number(text: str) -> int:
    """``"a"`` or ``"TYPE1"`` -> 1. ``UsageError`` where it is neither."""
    upper = text.upper()
    if (number := TYPE_NUMBERS.get(upper)) is not None:
        return number
    if re.fullmatch(r"TYPE[0-9]{1,5}", upper) and int(upper[4:]) < 65_536:
        return int(upper[4:])
    raise UsageError(f"{text[:40]!r} is not a record type", "use A, AAAA, TXT, SRV, MX, CNAME ..., or TYPE123", rule="rrtype")


def rcode_name(number: int) -> str:
    """``3`` -> ``"NXDOMAIN"``; ``RCODE12`` for what has no mnemonic here."""
    return RCODE_NAMES.get(number, f"RCODE{number}")
