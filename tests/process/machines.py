"""Machines as a person has them: an address, a home, and the program `overlay`, run as processes of their own.

It decides where the machines live (a loopback address each, nobody else's while the test lasts) and that nothing of them
is left when the test ends. It refuses to look inside: what it tells is exit statuses, output and answers to DNS.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dns.exception
import dns.message
import dns.query
import dns.rcode

# A program whose machine has another time: what the file says, in seconds, is added to the system's clock.
OTHER_TIME: Final = """\
import sys, time
right, file = time.time, sys.argv.pop(1)
time.time = lambda: right() + float(open(file).read())
from overlay.cli import main
sys.exit(main())
"""
ROOT: Final = Path(__file__).parent.parent.parent
ZONE: Final = "cloud.example.net"
COMMAND: Final = 40.0  # seconds that one command may take on a busy machine
SOON: Final = 20.0  # seconds in which what is to happen has happened
CLAIM, NOBODY = 7599, "127.0.78.254:9"  # a port that says "this address is mine"; an upstream that never answers

CONFIG: Final = """\
[listen]
overlay = ["{address}:7653"]
tls = "off"
http = ["{address}:8053"]
dns = "off"
stub = ["{address}:5300"]
[names]
policy = "exclusive"
upstream = ["{nobody}"]
[lan]
discovery = false
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a person sees of a command, and how long it took."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def complaint(self) -> list[str]:
        """The two lines that an error is: what happened, what to do."""
        return self.err.splitlines()[-2:]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Foreground:
    """A command that goes on: a node, or a server of names."""

    def __init__(self, machine: Machine, words: tuple[str, ...], process: subprocess.Popen[bytes], errors: Path) -> None:
        self.machine, self.words, self.process, self.errors = machine, words, process, errors
        self.out = ""

    @property
    def err(self) -> str:
        return self.errors.read_text()

    def line(self, timeout: float = SOON) -> str:
        """Its next line on stdout. Fails where none comes."""
        assert self.process.stdout is not None
        end = time.monotonic() + timeout
        while "\n" not in self.out:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            assert data, f"overlay {' '.join(self.words)} said nothing more ({self.process.poll()}): {self.err}"
            self.out += data.decode()
        line, _, self.out = self.out.partition("\n")
        return line

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def kill(self) -> None:
        """SIGKILL, as a power cut."""
        self.process.kill()
        self.process.wait(SOON)

    def end(self, timeout: float = SOON) -> int:
        """Wait for it; its exit status."""
        return self.process.wait(timeout)


@dataclass(slots=True)
class Machine:
    """One machine."""

    address: str
    home: Path
    outputs: list[str] = field(default_factory=list)
    clock: Path | None = None  # the file that says how wrong the machine's clock is
    running: list[Foreground] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)  # what the person set before the command

    @property
    def listener(self) -> str:
        return f"{self.address}:7653"

    def configure(self, text: str = CONFIG) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "overlay.toml").write_text(text.format(address=self.address, nobody=NOBODY))

    def set_clock(self, off: float) -> None:
        """Set the machine's clock so many seconds ahead, for what runs and for what is started from now on (without --detach)."""
        self.clock = self.home.with_suffix(".clock")
        written = self.clock.with_suffix(".new")
        written.write_text(str(off))
        written.replace(self.clock)

    def _command(self, words: tuple[str, ...]) -> list[str]:
        program = ["-m", "overlay"] if self.clock is None else ["-c", OTHER_TIME, str(self.clock)]
        return [sys.executable, "-P", *program, "--home", str(self.home), *words]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OVERLAY_", "PYTHON"))}
        return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDEVMODE": "", "PYTHONUNBUFFERED": "", **self.environment}

    def overlay(self, *words: str, stdin: str | None = None, timeout: float = COMMAND) -> Outcome:
        """Run a command to its end."""
        began = time.monotonic()
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            self._command(words), capture_output=True, text=True, timeout=timeout, env=self._environment(), cwd="/", check=False, **given
        )
        self.outputs.append(done.stderr)
        return Outcome(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def done(self, *words: str) -> Outcome:
        """The same, of a command that must succeed."""
        outcome = self.overlay(*words)
        assert outcome.status == 0, (words, outcome.err)
        return outcome

    def start(self, *words: str, terminal: int | None = None) -> Foreground:
        """Start a command that goes on, such as `up` or `join`; with ``terminal`` its talk goes there."""
        errors = self.home.with_name(f"{self.home.name[:40]}.{len(self.running)}.err")
        with errors.open("wb") as file:
            process = subprocess.Popen(
                self._command(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file if terminal is None else terminal,
                env=self._environment(), cwd="/",
            )
        started = Foreground(self, words, process, errors)
        self.running.append(started)
        return started

    def up(self) -> Foreground:
        """Start an enrolled node; returns when it runs."""
        node = self.start("up")
        assert node.line().startswith("up as "), node.err
        return node

    def join(self, where: Machine, *words: str) -> Foreground:
        """Join at that machine; returns when usable."""
        node = self.start("join", where.listener, *words)
        assert node.line().startswith("joined as "), node.err
        return node

    def ask(self, name: str, kind: str = "A", port: int = 5300) -> list[str]:
        """What this machine's stub answers over UDP; the rcode's word where there are no answers, "silent" where nobody is."""
        try:
            answer = dns.query.udp(dns.message.make_query(name, kind), self.address, port=port, timeout=2)
        except (dns.exception.Timeout, OSError):
            return ["silent"]
        found = sorted(item.to_text() for rrset in answer.answer for item in rrset)
        return found or [dns.rcode.to_text(answer.rcode())]

    def pid(self) -> int:
        """Of the node that runs on the home; 0 where none does."""
        status = self.overlay("status", "--json")
        return int(status.json["pid"]) if status.status == 0 else 0

    def clean(self) -> None:
        """End whatever runs here, by its own id."""
        for started in self.running:
            if started.process.poll() is None:
                started.process.kill()
            started.process.wait(SOON)
            assert started.process.stdout is not None
            started.process.stdout.close()
            self.outputs.append(started.err)
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.home / "run" / "lock").read_text())
            if str(self.home) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.outputs.append((self.home / "log").read_text(errors="replace"))


class Village:
    """Makes machines, each at an address of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machines: list[Machine] = []
        self._claims: list[socket.socket] = []

    def machine(self, name: str = "", *, configured: bool = True) -> Machine:
        machine = Machine(self._address(), self.folder / (name or f"home{len(self.machines)}"))
        if configured:
            machine.configure()
        self.machines.append(machine)
        return machine

    def founded(self, *, admission: str = "open", name: str = "founder", cluster: str = "hq") -> Machine:
        """A machine that has founded an overlay."""
        machine = self.machine()
        machine.done("init", ZONE, "--admission", admission, "--name", name, "--cluster", cluster, "--address", machine.address)
        return machine

    def _address(self) -> str:
        """An address that nobody else tests with: the claim is a socket, so it ends with us whatever happens."""
        for number in range(1, 250):
            claim = socket.socket()
            try:
                claim.bind((f"127.0.78.{number}", CLAIM))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind((f"127.0.78.{number}", 7653))  # left over from a run that was killed
            except OSError as error:
                claim.close()
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            self._claims.append(claim)
            return f"127.0.78.{number}"
        raise AssertionError("no address is left in 127.0.78.0/24")

    def clean(self) -> None:
        for machine in self.machines:
            machine.clean()
        for claim in self._claims:
            claim.close()

    def outputs(self) -> Iterator[str]:
        for machine in self.machines:
            yield from machine.outputs


def until(probe: Callable[[], object], what: str, timeout: float = SOON) -> float:
    """Wait for what other processes do; how many seconds it took."""
    began = time.monotonic()
    while not probe():
        assert time.monotonic() - began < timeout, f"not within {timeout:g} s: {what}"
        time.sleep(0.03)
    return time.monotonic() - began


def gone(pid: int) -> bool:
    """Whether no process has that id any more (one that waits to be buried is gone)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
