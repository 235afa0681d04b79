"""A link of known rate, delay, queue and loss between two namespaces: what streams are measured on.

``netem`` is not in every kernel (nor in this project's CI), so the wire is a process: it holds a TUN device in either
namespace and passes packets on, each direction with its own loss, a queue that drops what is too much, a rate and a
delay. Sender and receiver see a network and not a full queue of their own. Time is this process's: packets leave within
a millisecond of their due date, more on a busy machine.

Nothing leads out. It needs root; namespaces that a killed run left behind are removed by the next one.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import re
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "ovs"
SENDER, RECEIVER = "198.18.0.1", "198.18.0.2"  # RFC 2544's network for measurements
RATE = 20  # Mbit/s
DELAY = 20  # ms, there and back
TREE = Path(__file__).resolve().parents[1]
_TUNSETIFF, _TUN, _NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


@dataclass(slots=True)
class Direction:
    """One way of the wire. ``rate`` in octets a second, ``queue`` in octets, ``delay`` in seconds, ``loss`` of 1."""

    source: int
    target: int
    rate: float
    queue: float
    delay: float
    loss: float
    free_at: float = 0.0
    flying: deque[tuple[float, bytes]] = field(default_factory=deque)
    dropped: int = 0

    def take(self, now: float, dice: random.Random) -> None:
        """Read what waits and say when it arrives."""
        for _ in range(64):
            try:
                packet = os.read(self.source, 2_048)
            except BlockingIOError:
                return
            if dice.random() < self.loss or (self.free_at - now) * self.rate + len(packet) > self.queue:
                self.dropped += 1
                continue
            self.free_at = max(self.free_at, now) + len(packet) / self.rate
            self.flying.append((self.free_at + self.delay, packet))

    def give(self, now: float) -> None:
        """Write what has arrived."""
        while self.flying and self.flying[0][0] <= now:
            with suppress(OSError):  # the other end is not up yet
                os.write(self.target, self.flying.popleft()[1])


def wire(ends: tuple[str, str], rate: int, delay: int, loss: float) -> None:
    """Be the wire, until killed. A line on standard input sets the loss (percent)."""
    tuns = [_tun(end) for end in ends]
    print("ready", flush=True)
    octets = rate * 1e6 / 8
    forth = Direction(tuns[0], tuns[1], octets, octets * delay / 1e3, delay / 2e3, loss / 100)
    back = Direction(tuns[1], tuns[0], 1e9, 1e9, delay / 2e3, 0.0)
    dice = random.Random(1)
    while True:
        due = min((each.flying[0][0] for each in (forth, back) if each.flying), default=time.monotonic() + 1)
        ready, _, _ = select.select([*tuns, sys.stdin], [], [], max(0.0, due - time.monotonic()))
        now = time.monotonic()
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            forth.loss = float(line) / 100
        for each in (forth, back):
            if each.source in ready:
                each.take(now, dice)
            each.give(now)


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _TUN | _NO_PI))
    return descriptor


# -- from outside


@dataclass(frozen=True, slots=True)
class Link:
    """How to run a command at either end."""

    sender: tuple[str, ...]
    receiver: tuple[str, ...]
    process: subprocess.Popen[str]

    def loses(self, percent: float) -> None:
        """From now on so much is lost by chance on the way to the receiver."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{percent}\n")
        self.process.stdin.flush()


def unable() -> str | None:
    """Why no link can be made here, or None."""
    try:
        with link():
            return None
    except (OSError, subprocess.SubprocessError) as why:
        return f"no shaped link can be made here: {why} {getattr(why, 'stderr', '')}"


@contextmanager
def link(rate: int = RATE, delay: int = DELAY, loss: float = 0.0) -> Iterator[Link]:
    """The link, until it is left: ``rate`` in Mbit/s, a queue of one product of rate and ``delay`` (ms, of a round trip)."""
    _sweep()
    ends = [f"{PREFIX}{os.getpid()}-{end}" for end in "ab"]
    made = ["nice", "-n", "-10", sys.executable, "-m", "benchmarks.shaped", *ends, "--rate", str(rate), "--delay", str(delay), "--loss", str(loss)]
    process = subprocess.Popen(made, cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise OSError("no TUN devices")
        for name, own in zip(ends, (SENDER, RECEIVER), strict=True):
            _do(
                f"ip netns add {name}", f"ip link set {name} netns {name}", f"ip -n {name} link set lo up",
                f"ip -n {name} addr add {own}/24 dev {name}", f"ip -n {name} link set {name} up",
            )  # fmt: skip
        yield Link(("ip", "netns", "exec", ends[0]), ("ip", "netns", "exec", ends[1]), process)
    finally:
        process.kill()
        with process:
            pass  # waits, and closes the pipes
        for name in ends:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20, check=False)


def _do(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), capture_output=True, text=True, timeout=20, check=True)


def _sweep() -> None:
    """Remove the namespaces of runs that are over."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, timeout=20, check=True).stdout
    for name in re.findall(rf"^({PREFIX}\d+-[ab])\b", listed, re.MULTILINE):
        if not os.path.exists(f"/proc/{name[len(PREFIX) : -2]}"):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20, check=False)


def main() -> int:
    """Be the wire between two devices."""
    parser = argparse.ArgumentParser(description="a wire between two TUN devices")
    parser.add_argument("ends", nargs=2)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--delay", type=int, default=DELAY)
    parser.add_argument("--loss", type=float, default=0.0)
    options = parser.parse_args()
    wire(tuple(options.ends), options.rate, options.delay, options.loss)
    return 0


if __name__ == "__main__":
    sys.exit(main())
