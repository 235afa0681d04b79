"""Real hosts for tests: network namespaces on one bridge, a real name server as "the public DNS", `dig` as judge.

A `Net` is a small internet, 203.0.113.0/24 and 2001:db8:113::/64 (documentation space, RFC 5737 and 3849): a namespace
with a bridge, and a namespace for each host with one interface on it. Every host's resolver is the name server's address.
Nothing leads out of it: no packet can reach the machine's own network. Names carry the maker's process id, so that runs
do not meet; what a killed run left behind is removed by the next one, and only that.

It knows nothing of the overlay but how its command is called. Everything here is bounded in time.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from tests.netns.publicdns import SERVER_V4, SERVER_V6, PublicDns

T = TypeVar("T")

PREFIX = "ovl"
MINE = re.compile(rf"^{PREFIX}(\d+)-")
V4 = ipaddress.ip_network("203.0.113.0/24")
V6 = ipaddress.ip_network("2001:db8:113::/64")
RESOLVERS = Path("/etc/netns")  # `ip netns exec NAME` lays RESOLVERS/NAME/* over /etc
COMMAND = 60.0  # seconds for one command, unless the test says otherwise
TREE = Path(__file__).resolve().parents[2]
ASK = Path(__file__).with_name("ask.py")


def _ip(*args: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *args], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def unable() -> str | None:
    """Why no hosts can be made here, or None."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "not root: making network namespaces needs it (sudo make test)"
    for program in ("ip", "dig", "unbound"):
        if shutil.which(program) is None:
            return f"{program} is not installed (as root, make test installs it)"
    probe = f"{PREFIX}{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "exec", probe, "true")
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as why:
        return f"this machine does not let network namespaces be made: {why}"
    finally:
        _ip("netns", "del", probe, check=False)
    return None


def wait_until(probe: Callable[[], T], timeout: float, what: str, every: float = 0.05) -> T:
    """Ask until the answer is true, and give it; fail with ``what`` and the last answer after ``timeout`` seconds.

    A probe may raise ``AssertionError`` to say "not yet".
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            answer = probe()
            if answer:
                return answer
            last = answer
        except AssertionError as why:
            last = why
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout:g} s: {what}; last: {last}")
        time.sleep(every)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    args: tuple[str, ...]
    status: int
    out: str
    err: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self) -> Any:
        return json.loads(self.out)

    def ok(self) -> Self:
        return self.exits(0)

    def exits(self, status: int) -> Self:
        told = f"exit {self.status} (expected {status}) after {self.seconds:.1f} s"
        assert self.status == status, f"{' '.join(self.args)}\n{told}\nstdout: {self.out}\nstderr: {self.err}"
        return self


@dataclass(frozen=True, slots=True)
class Answer:
    """What `dig` saw: status (``NOERROR``), flags, answer section as (owner, type, data), and all it printed."""

    status: str
    flags: frozenset[str]
    answers: tuple[tuple[str, str, str], ...]
    text: str

    @property
    def data(self) -> list[str]:
        """The data of all answers, sorted."""
        return sorted(data for _, _, data in self.answers)


def read_dig(text: str) -> Answer:
    status = re.search(r"status: (\w+)", text)
    flags = re.search(r"^;; flags: ([a-z ]*);", text, re.MULTILINE)
    answers = []
    section = ""
    for line in text.splitlines():
        section = line if line.startswith(";; ") and line.endswith(" SECTION:") else section
        parts = line.split(None, 4)
        if section == ";; ANSWER SECTION:" and len(parts) == 5 and not line.startswith(";"):
            answers.append((parts[0], parts[3], parts[4]))
    return Answer(status[1] if status else "NO-ANSWER", frozenset(flags[1].split() if flags else ()), tuple(answers), text)


@dataclass(slots=True)
class Host:
    """One host: a namespace with an interface, addresses, a resolver, and a home for a node."""

    net: Net = field(repr=False)
    name: str
    namespace: str
    v4: str | None
    v6: str | None
    home: Path

    def environment(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "HOME") if key in os.environ}
        return {**kept, "OVERLAY_HOME": str(self.home), "PYTHONPATH": str(TREE), "PYTHONUNBUFFERED": "1"}

    def inside(self, args: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *args]

    def run(self, *args: str, timeout: float = COMMAND, stdin: str = "") -> Done:
        """Run a command on this host and wait for it; a command that takes longer fails the test."""
        started = time.monotonic()
        try:
            done = subprocess.run(
                self.inside(args),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                env=self.environment(),
                cwd=self.net.folder,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            told = f"{self.name}: {' '.join(args)} had not ended after {timeout:g} s"
            pytest.fail(f"{told}\nstdout: {late.stdout!r}\nstderr: {late.stderr!r}")
        return Done(args, done.returncode, done.stdout, done.stderr, time.monotonic() - started)

    def popen(self, *args: str) -> subprocess.Popen[str]:
        """Start a command on this host; it is ended with the net."""
        child = subprocess.Popen(
            self.inside(args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(),
            cwd=self.net.folder,
        )
        self.net.children.append(child)
        return child

    def overlay(self, *args: str, timeout: float = COMMAND) -> Done:
        """Run ``overlay ARGS`` on this host, for the node whose home is this host's."""
        return self.run(sys.executable, "-m", "overlay", *args, timeout=timeout)

    def json(self, *args: str) -> Any:
        return self.overlay(*args, "--json").ok().json()

    def dig(self, name: str, kind: str = "A", *, at: str | None = None, port: int = 53, options: Iterable[str] = ()) -> Answer:
        """Ask, by default this host's stub."""
        where = (f"@{at or '127.0.0.1'}", "-p", str(port))
        return read_dig(self.run("dig", *where, name, kind, "+tries=2", "+time=2", "+nocookie", *options, timeout=15).out)

    def ask(self, query: bytes, at: str, port: int = 53) -> bytes:
        """The answer to that very datagram, octet for octet."""
        return bytes.fromhex(self.run(sys.executable, str(ASK), at, str(port), query.hex(), timeout=15).ok().out)

    def pids(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.namespace, check=False).split()]

    def switch_off(self) -> None:
        """Pull the plug: every process dies at once, the interface goes down."""
        self.kill()
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def kill(self) -> None:
        """Kill -9 every process of this host; it stays on the network."""
        for _ in range(40):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.05)
        pytest.fail(f"{self.name}: processes {self.pids()} outlive SIGKILL")


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Net:
    """A small internet with its public DNS; a context manager that takes everything away again.

    The name server stands at 203.0.113.53 and 2001:db8:113::53. Hosts are numbered from 11, or as the test says.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.children: list[subprocess.Popen[str]] = []
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
        self.folder.chmod(0o711)  # a node that drops root must still get to its home
        self._prefix = f"{PREFIX}{os.getpid()}-{os.urandom(2).hex()}-"
        self._middle = self._prefix + "net"
        self._numbers = {1, 53}
        self.dns: PublicDns

    def __enter__(self) -> Self:
        if reason := unable():
            shutil.rmtree(self.folder, ignore_errors=True)
            pytest.skip(reason)
        clear_after_crashes()
        try:
            self._bridge()
            self.dns = PublicDns(self.host("dns", number=53), self.folder / "dns")
            self.dns.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            for pid in host.pids():
                _signal(pid, signal.SIGKILL)
        for child in self.children:
            child.kill()
            child.communicate(timeout=10)
        for namespace in [*(host.namespace for host in self.hosts.values()), self._middle]:
            _remove(namespace)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _bridge(self) -> None:
        _ip("netns", "add", self._middle)
        _ip("-n", self._middle, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        _ip("-n", self._middle, "link", "set", "br0", "up")
        # Frames between hosts are not the router's business; by default a new namespace passes them through its filters.
        quiet = "for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do test -e $f && echo 0 >$f; done; true"
        _ip("netns", "exec", self._middle, "sh", "-c", quiet)

    def host(self, name: str, *, number: int | None = None, v4: bool = True, v6: bool = True) -> Host:
        """Make a host: 203.0.113.NUMBER and 2001:db8:113::NUMBER."""
        if number is None:
            number = next(free for free in range(11, 250) if free not in self._numbers)
        self._numbers.add(number)
        namespace = self._prefix + name
        four, six = f"{V4.network_address + number}", f"{V6.network_address + int(str(number), 16)}"
        host = Host(self, name, namespace, four if v4 else None, six if v6 else None, self.folder / name)
        resolvers = RESOLVERS / namespace
        resolvers.mkdir(parents=True)
        (resolvers / "resolv.conf").write_text(f"nameserver {SERVER_V4 if v4 else SERVER_V6}\noptions timeout:2 attempts:2\n")
        _ip("netns", "add", namespace)
        self.hosts[name] = host
        inward = f"h{number}"
        _ip("link", "add", inward, "netns", self._middle, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._middle, "link", "set", inward, "master", "br0", "up")
        settle = "for k in all default eth0; do echo 0 >/proc/sys/net/ipv6/conf/$k/accept_dad; done; true"
        _ip("netns", "exec", namespace, "sh", "-c", settle)
        _ip("-n", namespace, "link", "set", "lo", "up")
        self.plug_in(host)
        return host

    def plug_in(self, host: Host) -> None:
        """Its interface goes up (again) with its addresses and default routes."""
        _ip("-n", host.namespace, "link", "set", "eth0", "up")
        if host.v4:
            _ip("-n", host.namespace, "addr", "replace", f"{host.v4}/{V4.prefixlen}", "dev", "eth0")
            _ip("-n", host.namespace, "route", "replace", "default", "via", str(V4.network_address + 1))
        if host.v6:
            _ip("-n", host.namespace, "addr", "replace", f"{host.v6}/{V6.prefixlen}", "dev", "eth0", "nodad")
            _ip("-n", host.namespace, "-6", "route", "replace", "default", "via", str(V6.network_address + 1))


def _remove(namespace: str) -> None:
    _ip("netns", "del", namespace, check=False)
    shutil.rmtree(RESOLVERS / namespace, ignore_errors=True)


def clear_after_crashes() -> list[str]:
    """Remove namespaces (and their processes) of runs whose process is gone. Never those of others."""
    listed = {line.split()[0] for line in _ip("netns", "list", check=False).splitlines() if line.strip()}
    folders = {path.name for path in RESOLVERS.glob(f"{PREFIX}*")} if RESOLVERS.is_dir() else set()
    stale = []
    for namespace in sorted(listed | folders):
        maker = MINE.match(namespace)
        if maker is None or Path(f"/proc/{maker[1]}").exists():
            continue
        for pid in _ip("netns", "pids", namespace, check=False).split() if namespace in listed else ():
            _signal(int(pid), signal.SIGKILL)
        _remove(namespace)
        stale.append(namespace)
    return stale
