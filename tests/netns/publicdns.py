"""The public DNS of the tests: a real unbound that holds a root, `example.org`, some of `.cloud`, and bootstrap zones.

It answers as a resolver (so hosts may use it as theirs) from zones of its own, and never asks anybody. Bootstrap zones are
given as the master-file lines that ``overlay init`` prints. It does not rotate or age its answers: the same query gets the
same octets, so a test can tell whether they were passed on unchanged.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.netns.hosts import Host

SERVER_V4 = "203.0.113.53"
SERVER_V6 = "2001:db8:113::53"
SOA = "SOA ns.root-test. hostmaster.root-test. 1 3600 600 86400 30"
EXAMPLE_V4, EXAMPLE_V6, EXAMPLE_TXT = "192.0.2.80", "2001:db8:80::80", "bytes from the world outside"

WORLD = {
    ".": ["org. 3600 IN NS ns.root-test.", "com. 3600 IN NS ns.root-test.", "cloud. 3600 IN NS ns.root-test."],
    "example.org": [
        f"example.org. 300 IN A {EXAMPLE_V4}",
        f"example.org. 300 IN AAAA {EXAMPLE_V6}",
        f'example.org. 300 IN TXT "{EXAMPLE_TXT}" "in two strings"',
        "www.example.org. 300 IN CNAME example.org.",
        *(f'big.example.org. 300 IN TXT "{n:03} {"x" * 200}"' for n in range(20)),
    ],
    # `.cloud` is also a public TLD: this name of it belongs to the other world.
    "cloud": ["public.cloud. 300 IN A 192.0.2.81", "www.public.cloud. 300 IN A 192.0.2.82"],
    "com": ["neonics.com. 300 IN A 192.0.2.83"],
}


def kept_block(printed: str) -> list[str]:
    """Of what ``overlay init`` prints, the records of the block "keep your DNS host"."""
    lines: list[str] = []
    inside = False
    for line in printed.splitlines():
        if line.lstrip().startswith(";"):
            lower = line.lower()
            inside = "keep your dns host" in lower or (inside and "delegate" not in lower)
        elif inside and line.strip():
            lines.append(line)
    return lines


class PublicDns:
    """The name server on its host. ``serve`` replaces a zone, after which it is started anew (0.1 s)."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self.zones: dict[str, list[str]] = {origin: list(lines) for origin, lines in WORLD.items()}
        self._process: subprocess.Popen[str] | None = None

    def serve(self, origin: str, lines: Iterable[str]) -> None:
        """Hold ``origin`` with these master-file lines (without SOA and NS) in place of what it held before."""
        self.zones[origin.rstrip(".") or "."] = list(lines)
        self.start()

    def withdraw(self, origin: str) -> None:
        """Hold that zone no more: its names do not exist."""
        self.zones.pop(origin.rstrip("."), None)
        self.start()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=10)
            self._process = None

    def start(self) -> None:
        self.stop()
        self.folder.mkdir(exist_ok=True)
        blocks = []
        for number, (origin, lines) in enumerate(sorted(self.zones.items())):
            dotted = origin if origin == "." else origin + "."
            file = self.folder / f"zone{number}"
            file.write_text("\n".join([f"{dotted} 300 IN {SOA}", f"{dotted} 300 IN NS ns.root-test.", *lines]) + "\n")
            how = "for-downstream: yes\n  for-upstream: yes\n  fallback-enabled: no"
            blocks.append(f'auth-zone:\n  name: "{dotted}"\n  zonefile: "{file}"\n  {how}\n')
        config = self.folder / "unbound.conf"
        config.write_text(
            f"""server:
  interface: {SERVER_V4}
  interface: {SERVER_V6}
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  username: ""
  chroot: ""
  directory: "{self.folder}"
  pidfile: ""
  use-syslog: no
  logfile: "{self.folder}/log"
  verbosity: 1
  module-config: "iterator"
  num-threads: 1
  rrset-roundrobin: no
  minimal-responses: yes
  qname-minimisation: no
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  edns-buffer-size: 1232
  max-udp-size: 1232
remote-control:
  control-enable: no
{"".join(blocks)}"""
        )
        self._process = self.host.popen("unbound", "-d", "-p", "-c", str(config))
        deadline = time.monotonic() + 10
        while self.host.dig("example.org", at=SERVER_V4, options=("+time=1", "+tries=1")).data != [EXAMPLE_V4]:
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = self.folder / "log"
                raise RuntimeError(f"unbound does not answer: {log.read_text() if log.exists() else self._process.communicate(timeout=5)}")
            time.sleep(0.05)
