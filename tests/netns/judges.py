"""Validating resolvers of other houses as judges: unbound and BIND, each told one trust anchor and one node to ask first."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.netns.hosts import Answer, Host, wait_until

READY = 10.0  # seconds for a resolver to answer

UNBOUND = """
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  directory: "{folder}"
  use-syslog: no
  do-ip6: no
  module-config: "validator iterator"
  trust-anchor-file: "{folder}/anchor"
  harden-referral-path: no
  ede: yes
  cache-max-negative-ttl: 0
  cache-max-ttl: 1
  root-hints: ""
stub-zone:
  name: "{zone}"
  stub-addr: {at}
remote-control:
  control-enable: no
"""
NAMED = """
options {{
  directory "{folder}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none; session-keyfile none;
  recursion yes; dnssec-validation yes; empty-zones-enable no; notify no; query-source address *;
}};
controls {{ }};
trust-anchors {{ {anchors} }};
zone "{zone}" {{ type static-stub; server-addresses {{ {at}; }}; }};
"""


def unable() -> str | None:
    """Why they cannot judge here, or None."""
    for program, package in (("unbound", "unbound"), ("named", "bind9"), ("delv", "bind9-dnsutils"), ("drill", "ldnsutils")):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            return f"{program} is not installed ({package}; as root, make test installs it)"
    return None


@dataclass(slots=True)
class Judges:
    """On one host; ``anchors`` are DS lines of the zone that they trust."""

    host: Host
    zone: str
    anchors: list[str]
    _port: int = 5300
    _asked: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if reason := unable():
            pytest.skip(reason)

    def _folder(self) -> Path:
        self._port += 1
        folder = self.host.net.folder / f"judge-{self._port}"
        folder.mkdir()
        (folder / "anchor").write_text("\n".join(self.anchors) + "\n")
        return folder

    def unbound(self, at: str) -> int:
        """The port of an unbound that asks that node first."""
        return self._running("unbound", at)

    def named(self, at: str) -> int:
        """The same of BIND."""
        return self._running("named", at)

    def _running(self, program: str, at: str) -> int:
        if (program, at) in self._asked:
            return self._asked[program, at]
        folder = self._folder()
        port = self._asked[program, at] = self._port
        if program == "unbound":
            (folder / "conf").write_text(UNBOUND.format(port=port, folder=folder, zone=self.zone, at=at))
            self.host.popen("unbound", "-d", "-c", str(folder / "conf"))
        else:
            (folder / "conf").write_text(NAMED.format(port=port, folder=folder, zone=self.zone, at=at, anchors=self._static()))
            self.host.popen("named", "-f", "-n", "1", "-c", str(folder / "conf"))
        answers = lambda: self.host.dig(self.zone, "SOA", port=port, options=("+dnssec",)).status == "NOERROR"  # noqa: E731
        wait_until(answers, READY, f"{program} answers")
        return port

    def _static(self) -> str:
        """The anchors as BIND writes them."""
        rows = (line.split() for line in self.anchors)
        return " ".join(f'"{owner}" static-ds {" ".join(data[:3])} "{"".join(data[3:])}";' for owner, _, _, _, *data in rows)

    def verdict(self, program: str, at: str, name: str, kind: str) -> tuple[str, bool, Answer]:
        """(status, whether it was validated, the whole answer), as that resolver has it from that node."""
        answer = self.host.dig(name, kind, port=self._running(program, at), options=("+dnssec", "+bufsize=1232"))
        return answer.status, "ad" in answer.flags, answer

    def delv(self, at: str, name: str, kind: str) -> str:
        """What delv says of what it got from that node, in one line."""
        keys = self.host.net.folder / "delv.keys"
        keys.write_text(f"trust-anchors {{ {self._static()} }};\n")
        done = self.host.run("delv", f"@{at}", "-a", str(keys), f"+root={self.zone}", "+nomtrace", name, kind, timeout=20)
        return next((line for line in (done.out + done.err).splitlines() if "validated" in line or "failed" in line or "unsigned" in line), done.out)

    def drill(self, at: str, name: str, kind: str) -> bool:
        """Whether drill's chase from that name leads to the anchor."""
        file = self.host.net.folder / "drill.ds"
        file.write_text("\n".join(self.anchors) + "\n")
        return "Chase successful" in self.host.run("drill", "-k", str(file), "-S", f"@{at}", name, kind, timeout=20).out
