"""`make demo`: five nodes on this machine found an overlay, join, carry, resolve, lose the founder, and resolve again.

Each node has a loopback address of its own (127.0.77.1 to .5) and a home in a temporary directory; nothing is sent
anywhere else. Everything is done with the command `overlay`, as a person would do it, and shown as it is typed; names are
asked of the nodes' stubs over UDP, as any program would. It ends by itself, with status 0 only if all was as it says.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bootstrap import dnsmessage
from overlay.errors import Malformed

ZONE = "cloud.example.org"
OVERLAY_PORT, STUB_PORT, WEB_PORT = 7653, 5300, 8000
COMMAND = 45.0  # seconds that one command may take
SPREAD = 15.0  # seconds in which a change must be everywhere
PAGE = "hello from web1\n"

CONFIG = """\
[listen]
overlay = ["{address}:7653"]
tls = "off"
http = "off"
dns = "off"
stub = ["{address}:5300"]
advertise = ["{address}"]
[names]
policy = "exclusive"             # the TLD is the overlay's alone
upstream = ["127.0.77.1:9"]      # nobody: nothing is asked outside this machine
[lan]
discovery = false
"""


class Failed(Exception):
    """The demonstration did not show what it says."""


@dataclass(frozen=True, slots=True)
class Node:
    """One of the five: its label, its cluster as a path, its address, its home."""

    label: str
    cluster: str
    address: str
    home: Path

    @property
    def name(self) -> str:
        return ".".join([self.label, *reversed(self.cluster.split("/")), "cloud"])

    def overlay(self, *args: str) -> str:
        """Run ``overlay ARGS`` for this node, shown as typed; its standard output."""
        print(f"  {self.label:>5} $ overlay {' '.join(quoted(arg) for arg in args)}", flush=True)
        done = self.quietly(*args)
        if done.returncode:
            raise Failed(f"exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def quietly(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "overlay", "--home", str(self.home), *args]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND, stdin=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired:
            raise Failed(f"no answer within {COMMAND:g} s") from None

    def ask(self, name: str, kind: str) -> list[str]:
        """What this node's stub answers to a DNS query over UDP: texts in quotes, addresses as they are."""
        asked, ident = dnsmessage.question(name, kind), os.urandom(2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3)
            try:
                sock.connect((self.address, STUB_PORT))
                sock.send(dnsmessage.query(ident, asked, edns=True))
                answer = dnsmessage.read(sock.recv(4096), ident, asked)
            except (OSError, Malformed) as why:
                return [f"({type(why).__name__})"]
        return sorted(value if isinstance(value, str) else f'"{value.decode()}"' for value in answer.values)

    def pid(self) -> int | None:
        done = self.quietly("status", "--json")
        return int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else None


def quoted(arg: str) -> str:
    if len(arg) > 40 and " " not in arg:
        return arg[:12] + "..."
    return f'"{arg}"' if " " in arg else arg


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


def expect(what: str, probe: Callable[[], bool]) -> float:
    """Wait until it is so; how many seconds that took."""
    began = time.monotonic()
    while not probe():
        if time.monotonic() - began > SPREAD:
            raise Failed(f"not within {SPREAD:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def everywhere(nodes: list[Node], name: str, kind: str, wanted: list[str]) -> None:
    """Every stub gives that answer; shown."""
    seconds = expect(f"{name} {kind} is {wanted} on every node", lambda: all(node.ask(name, kind) == wanted for node in nodes))
    print(f"      {name} {kind} -> {', '.join(wanted)}   (all {len(nodes)} nodes, after {seconds:.2f} s)", flush=True)


@contextlib.contextmanager
def web_server(address: str, folder: Path) -> Iterator[None]:
    """A web site as any other: python's own server, on one loopback address."""
    (folder / "index.html").write_text(PAGE)
    command = [sys.executable, "-m", "http.server", str(WEB_PORT), "--bind", address, "--directory", str(folder)]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.terminate()
        child.wait(timeout=10)


def show(nodes: list[Node]) -> None:
    """The story itself."""
    hub, nas, desk, web1, web2 = nodes
    say(f"1. {hub.label} founds an overlay. It prints the DNS records that one would publish; here nobody needs them.")
    records = hub.overlay("init", ZONE, "--cluster", hub.cluster, "--name", hub.label, "--address", hub.address)
    print("      " + next(line for line in records.splitlines() if line.startswith("_overlay.")))
    hub.overlay("up", "--detach")

    say("2. Four machines join, each with an invite: a token says where to knock, and proves that it was given.")
    for node in (nas, desk, web1, web2):
        token = hub.overlay("invite", node.cluster).strip()
        print("      " + node.overlay("join", "--invite", token, "--name", node.label, "--detach").strip(), flush=True)

    say("3. Every node answers for every node: ordinary DNS, asked of each node's own stub.")
    for node in nodes:
        everywhere(nodes, node.name, "A", [node.address])

    say("4. web1 carries a web site under a name, nas says something under another.")
    web1.overlay("service", "add", "www.rack1.us", "--port", str(WEB_PORT))
    nas.overlay("name", "set", "motd.home.eu", "TXT", "hello")
    everywhere(nodes, "motd.home.eu.cloud", "TXT", ['"hello"'])
    everywhere(nodes, "www.rack1.us.cloud", "A", [web1.address])
    carrier = json.loads(desk.overlay("expand", "www.rack1.us", "--json"))[0]
    place = f"{carrier['addresses'][0]}:{carrier['port']}"
    with urllib.request.urlopen(f"http://{place}/", timeout=5) as page:
        if page.read().decode() != PAGE:
            raise Failed("the page is not the one that web1 serves")
    print(f"      desk fetched http://{place}/ from {carrier['name']}: {PAGE.strip()!r}")
    desk.overlay("ping", nas.name, "-c", "1")
    print("      " + "\n      ".join(desk.overlay("name", "tree").splitlines()))

    say("5. The founder is killed (SIGKILL). The others go on resolving, and agreeing.")
    pid = hub.pid()
    if pid is None:
        raise Failed("the founder does not run")
    os.kill(pid, signal.SIGKILL)
    left = nodes[1:]
    everywhere(left, nas.name, "A", [nas.address])
    everywhere(left, "www.rack1.us.cloud", "A", [web1.address])
    nas.overlay("name", "set", "motd.home.eu", "TXT", "hello, without the founder")
    everywhere(left, "motd.home.eu.cloud", "TXT", ['"hello, without the founder"'])
    answer = json.loads(web2.overlay("resolve", "www.rack1.us", "--json"))
    print(f"      {answer['name']}: {answer['rcode']}, world {answer['world']}; {answer['reason']}")


def stop(nodes: list[Node]) -> None:
    """Every node that runs ends: asked first, killed by its own id otherwise."""
    for node in nodes:
        try:
            pid = node.pid()
            if pid is not None and node.quietly("down").returncode:
                os.kill(pid, signal.SIGKILL)
        except (Failed, ProcessLookupError) as why:
            print(f"{node.label}: {why}", file=sys.stderr)


def main() -> int:
    if not sys.platform.startswith("linux"):
        print("The demo needs the whole of 127.0.0.0/8, as Linux has it.\nRun it on Linux.", file=sys.stderr)
        return 1
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="overlay-demo-"))
    places = [("hub", "hub"), ("nas", "eu/home"), ("desk", "eu/office"), ("web1", "us/rack1"), ("web2", "us/rack2")]
    nodes = [Node(label, cluster, f"127.0.77.{n}", folder / label) for n, (label, cluster) in enumerate(places, 1)]
    print(f"Five nodes on this machine, at {nodes[0].address} to .5; homes in {folder}; nothing leaves the machine.")
    try:
        for node in nodes:
            node.home.mkdir()
            (node.home / "overlay.toml").write_text(CONFIG.format(address=node.address))
        (folder / "site").mkdir()
        with web_server(nodes[3].address, folder / "site"):
            show(nodes)
    except Failed as why:
        print(f"\nThe demonstration failed: {why}", file=sys.stderr)
        for log in sorted(folder.glob("*/log")):
            print(f"\n{log}, its end:\n" + "\n".join(log.read_text().splitlines()[-8:]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        stop(nodes)
        shutil.rmtree(folder, ignore_errors=True)
    say(f"Done in {time.monotonic() - began:.0f} s. All nodes are stopped, all files removed. Next: README.md, docs/tour.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
