"""The probes that registries and ISC's genreport send (RFC 8906), by dig at the server as it runs: each as expected.

Left out are those over TLS and HTTPS, which are not spoken.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tld.test_serve_file import free_port

ROOT = Path(__file__).resolve().parents[2]
ZONE = """cloud. 60 IN SOA ns1.cloud. host.cloud. 1 14400 3600 604800 30
cloud. 60 NS ns1
cloud. 60 A 192.0.2.9
cloud. 60 DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=
ns1 60 A 192.0.2.1
big 60 TXT """ + " ".join(["x" * 200] * 4) + "\n"

pytestmark = pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed: tools/debian.sh has it")

SOA = r"(?m)^cloud\.\s+60\s+IN\s+SOA\s+ns1"
OK, AA = r"status: NOERROR", r"flags: qr aa"
# What is asked, and what must be found in the reply; what begins with "!" must not.
PROBES: dict[str, tuple[str, ...]] = {
    "+noedns +noad cloud SOA": (OK, AA, SOA, "!OPT PSEUDOSECTION"),
    "+aaflag cloud SOA": (OK, AA, SOA),
    "+adflag cloud SOA": (OK, AA, SOA),
    "+cdflag cloud SOA": (OK, AA, SOA),
    "+raflag cloud SOA": (OK, AA, SOA, r"!flags:[^;]* ra"),
    "+tcflag cloud SOA": (OK, AA, SOA, r"!flags:[^;]* tc"),
    "+zflag cloud SOA": (OK, AA, SOA, "!MBZ"),
    "+rec cloud SOA": (OK, AA, SOA, r"flags:[^;]* rd"),
    "+noedns +noad +header-only +opcode=15": ("status: NOTIMP", "opcode: RESERVED15"),
    "cloud TYPE666": (OK, AA, "ANSWER: 0", SOA.replace("60", "30")),
    "+tcp cloud SOA": (OK, AA, SOA),
    "+ednsopt=100 cloud SOA": (OK, AA, SOA, "!OPT=100"),
    "+edns=1 +noednsneg cloud SOA": ("status: BADVERS", "EDNS: version: 0", r"!SOA\s+ns1"),
    "+edns=1 +noednsneg +ednsopt=100 cloud SOA": ("status: BADVERS", "EDNS: version: 0", r"!SOA\s+ns1", "!OPT=100"),
    "+ednsflags=0x80 cloud SOA": (OK, AA, SOA, "!MBZ"),
    "+dnssec +bufsize=512 +ignore big.cloud TXT": (OK, r"flags:[^;]* tc", "EDNS: version: 0"),
    "+dnssec cloud SOA": (OK, AA, SOA, r"flags: do"),
    "+dnssec +cd cloud SOA": (OK, AA, SOA, r"flags: do"),
    "+nsid +subnet=0.0.0.0/0 +expire +cookie=0102030405060708 cloud SOA": (OK, AA, SOA, r"COOKIE: 0102030405060708[0-9a-f]{32}"),
    "cloud ANY": (OK, AA, r"\sIN\s"),
    "+qr +noall +question cLoUd A": ("cLoUd", "!cloud"),
    "cloud CH TXT": ("status: REFUSED", "ANSWER: 0"),
    "version.bind CH TXT": ("status: REFUSED", "ANSWER: 0"),
    "+noall +answer +comments cloud AXFR": ("Transfer failed",),
    "+noedns +noad cloud TYPE249": ("status: NOTIMP",),
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    path = tmp_path_factory.mktemp("probes") / "z"
    path.write_text(ZONE)
    number = free_port()
    command = [sys.executable, "-m", "overlay", "zone", "serve", str(path), "--listen", f"127.0.0.1:{number}"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "serving cloud.\n"
            yield number
        finally:
            process.terminate()


def dig(port: int, words: str) -> str:
    command = ["dig", "@127.0.0.1", "-p", str(port), "+norec", "+tries=1", "+time=5", *words.split()]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


@pytest.mark.parametrize("words", PROBES)
def test_a_probe_is_answered_as_the_rfcs_have_it(port: int, words: str) -> None:
    out = dig(port, words)
    for wanted in PROBES[words]:
        if wanted.startswith("!"):
            assert not re.search(wanted[1:], out), out
        else:
            assert re.search(wanted, out), out


def test_a_cookie_that_is_shown_again_is_good_and_one_of_wrong_length_is_a_fault(port: int) -> None:
    first = re.search(r"COOKIE: ([0-9a-f]{48})", dig(port, "+cookie=0102030405060708 cloud SOA"))
    assert first is not None
    assert re.search(rf"COOKIE: {first[1]} \(good\)", dig(port, f"+cookie={first[1]} cloud SOA"))
    assert "status: FORMERR" in dig(port, "+nocookie +ednsopt=10:010203 cloud SOA")


def test_zone_serve_has_no_rate_limit(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", port))
        for number in range(200):
            client.send(number.to_bytes(2, "big") + b"\0\0\0\1\0\0\0\0\0\0\5cloud\0\0\6\0\1")
            assert client.recv(600)[2] == 0x84
