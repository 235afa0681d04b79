"""Streams beside TCP on a shaped link with loss: does one fill it, and does it share it.

``python -m benchmarks.streams --turns 3`` (as root) makes a link of 20 Mbit/s and 20 ms with a queue of one product of
both (``shaped.py``), and for each rate of loss measures, in turns: one flow alone (a stream, TCP with CUBIC, TCP with
Reno), and one stream beside one flow of each TCP. Medians go to ``benchmarks/results/streams.json``: octets of payload a
second, shares, Jain's index, and the CPU of both ends for each MB of a stream.

Flows are counted where they arrive, in tenths of a second; the first two seconds are left out, as both are still
starting. TCP carries 1,448 octets a packet, a stream about 1,130.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.described import machine
from benchmarks.shaped import RATE, RECEIVER, Link, link
from overlay.driver.udp import Batch, Udp
from overlay.machine import Send
from overlay.session import events
from overlay.session.machine import Sessions
from overlay.wire.address import Address

RESULTS = Path(__file__).resolve().parent / "results/streams.json"
TREE = Path(__file__).resolve().parents[1]
KIND = 7
START = 2.0  # seconds that are left out
LOSSES = (0.0, 0.1, 1.0)  # percent
PORT = 7_653
TCPS = ("cubic", "reno")
Bins = dict[str, Counter[int]]  # flow -> tenth of a second -> octets


class End:
    """A node's sessions on a socket of their own, under Trio."""

    def __init__(self, seed: int, port: int) -> None:
        key = X25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        dice = random.Random(time.monotonic_ns())
        self.sessions = Sessions(
            exchange=key, overlay_id=b"o" * 32, passport_digest=b"p" * 32, boot_nonce=dice.randbytes(8), entropy=dice.randbytes,
        )
        self.sessions.streams.kinds.add(KIND)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", port))
        self.udp = Udp([sock], Counter())
        self.session = 0
        self.cpu_at_first = 0.0  # what the start of the process cost
        self.opened, self.writable = trio.Event(), trio.Event()
        self.bins: Counter[int] = Counter()
        self._sooner = trio.Event()
        self._asleep_until = 0.0

    async def run(self) -> None:
        """Carry datagrams and time, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.udp.run, self._batch)
            while True:
                now = time.monotonic()
                due = self.sessions.wake_at()
                if due is not None and due <= now:
                    self.sessions.wake(now, now + 1.8e9)
                    self.settle(now)
                    continue
                self._asleep_until = now + 1.0 if due is None else due
                self._sooner = trio.Event()
                with trio.move_on_after(self._asleep_until - now):
                    await self._sooner.wait()

    def _batch(self, batch: Batch) -> None:
        now = time.monotonic()
        for data, way in batch:
            self.sessions.receive(data, way, now, now + 1.8e9)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Send, count what came, take it at once."""
        while outputs := self.sessions.take():
            for output in outputs:
                if type(output) is Send:
                    self.udp.send(output.way, output.data)
                elif type(output) is events.StreamData:
                    self.bins[int(now * 10)] += len(output.data)
                    self.sessions.streams.consumed(output.session, output.stream, len(output.data), now)
                elif type(output) is events.Opened:
                    self.session, self.cpu_at_first = output.session, time.process_time()
                    self.opened.set()
                    self.sessions.admit(output.session)
                elif type(output) is events.StreamWritable:
                    self.writable.set()
        due = self.sessions.wake_at()
        if due is not None and due < self._asleep_until:
            self._sooner.set()


# -- the processes at both ends


async def sink() -> None:
    """Take what comes, by TCP and as a stream; on the end of standard input say when how much came, and the CPU used."""
    end, bins = End(2, PORT), Counter[int]()
    tcp = (await trio.open_tcp_listeners(PORT, host="0.0.0.0"))[0]

    async def take(stream: trio.SocketStream) -> None:
        async with stream:
            async for data in stream:
                bins[int(time.monotonic() * 10)] += len(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        nursery.start_soon(partial(trio.serve_listeners, take, [tcp]))
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()
    print(json.dumps({"stream": end.bins, "tcp": bins, "cpu": time.process_time() - end.cpu_at_first}))


async def pour(seconds: float) -> None:
    """One stream, as much as is taken."""
    end = End(1, 0)
    now = time.monotonic()
    peer = X25519PrivateKey.from_private_bytes(bytes([2]) * 32).public_key().public_bytes_raw()
    end.sessions.dial(peer, [Address(RECEIVER, PORT)], now, now + 1.8e9, tcp=False)
    end.settle(now)
    streams = end.sessions.streams
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        await end.opened.wait()
        stream = streams.open(end.session, KIND, None, time.monotonic())
        with trio.move_on_after(seconds):
            while True:
                taken = streams.write(end.session, stream, bytes(65_536), now := time.monotonic())
                end.settle(now)
                if taken < 65_536:
                    await end.writable.wait()
                    end.writable = trio.Event()
        nursery.cancel_scope.cancel()
    found = end.sessions._numbers[end.session].flow
    assert found is not None
    print(json.dumps({"cpu": time.process_time() - end.cpu_at_first, "lost": found.recovery.lost_packets}))


def pour_tcp(seconds: float, kind: str) -> None:
    """One TCP flow."""
    with socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, kind.encode())
        sock.settimeout(seconds)
        sock.connect((RECEIVER, PORT))
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sock.send(bytes(16_384))
    print("{}")


# -- turns


def turn(shaped: Link, flows: tuple[str, ...], seconds: float) -> dict[str, float]:
    """Let these flows run together: octets a second of each, and what a stream cost."""
    # Ahead of other work on the machine: TCP has the kernel's processor time, and what is measured is not the scheduler.
    module = ("nice", "-n", "-10", sys.executable, "-m", "benchmarks.streams", "--role")
    with ExitStack() as children:

        def begin(*command: str) -> subprocess.Popen[str]:
            child = children.enter_context(subprocess.Popen(command, cwd=TREE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            children.callback(child.kill)
            return child

        taker = begin(*shaped.receiver, *module, "sink")
        assert taker.stdout is not None and taker.stdout.readline() == "ready\n"
        pourers = [begin(*shaped.sender, *module, flow, "--seconds", str(seconds)) for flow in flows]
        told = [json.loads(pourer.communicate(timeout=seconds + 30)[0]) for pourer in pourers]
        said = json.loads(taker.communicate(timeout=20)[0])
    bins: dict[str, dict[int, int]] = {name: {int(at): octets for at, octets in said[name].items()} for name in ("stream", "tcp") if said[name]}
    first = max(min(each) for each in bins.values()) + int(START * 10)
    last = min(max(each) for each in bins.values())
    result: dict[str, float] = {}
    for name, each in bins.items():
        result[name] = sum(octets for at, octets in each.items() if first <= at < last) / (last - first) * 10
    if flows == ("stream",):
        total = sum(bins["stream"].values()) / 1e6
        result |= {"sender ms/MB": told[0]["cpu"] / total * 1e3, "receiver ms/MB": said["cpu"] / total * 1e3, "lost": told[0]["lost"]}
    return result


def jain(a: float, b: float) -> float:
    """Jain's index of two shares: 1 is even, 0.5 is all for one."""
    return (a + b) ** 2 / (2 * (a * a + b * b))


def measure(turns: int, seconds: float, losses: tuple[float, ...]) -> dict[str, dict[str, float]]:
    """All of it: loss -> figure -> median."""
    figures: dict[str, dict[str, list[float]]] = {}
    with link() as shaped:
        for number in range(turns):
            for loss in losses:
                shaped.loses(loss)
                here = figures.setdefault(f"{loss:g} %", {})

                def note(name: str, value: float, here: dict[str, list[float]] = here) -> None:
                    here.setdefault(name, []).append(value)

                alone = {flow: turn(shaped, (flow,), seconds) for flow in ("stream", *TCPS)}
                stream = alone["stream"]
                note("stream alone, share of the link", stream["stream"] * 8 / RATE / 1e6)
                for tcp in TCPS:
                    note(f"{tcp} alone, share of the link", alone[tcp]["tcp"] * 8 / RATE / 1e6)
                    note(f"stream alone x {tcp} alone", stream["stream"] / alone[tcp]["tcp"])
                    both = turn(shaped, ("stream", tcp), 2 * seconds)
                    note(f"share beside {tcp}", both["stream"] / (both["stream"] + both["tcp"]))
                    note(f"both beside {tcp}, share of the link", (both["stream"] + both["tcp"]) * 8 / RATE / 1e6)
                    note(f"Jain's index beside {tcp}", jain(both["stream"], both["tcp"]))
                for cost in ("sender ms/MB", "receiver ms/MB", "lost"):
                    note(cost, stream[cost])
                print(f"turn {number + 1} of {turns}, {loss:g} % lost: {json.dumps({k: round(v[-1], 3) for k, v in here.items()})}", file=sys.stderr)
    return {
        loss: {name: round(statistics.median(values), 3) for name, values in each.items()} for loss, each in figures.items()
    }


def main() -> int:
    """Run the turns and report."""
    parser = argparse.ArgumentParser(description="streams beside TCP on a shaped link")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--loss", type=float, action="append", help="percent; may be repeated")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--role", choices=("sink", "stream", *TCPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "sink":
        trio.run(sink)
    elif options.role == "stream":
        trio.run(pour, options.seconds)
    elif options.role:
        pour_tcp(options.seconds, options.role)
    else:
        report: dict[str, Any] = {"machine": machine(), "turns": options.turns, "seconds": options.seconds, "rate Mbit/s": RATE}
        report["loss"] = measure(options.turns, options.seconds, tuple(options.loss or LOSSES))
        options.output.write_text(json.dumps(report, indent=2) + "\n")
        print(json.dumps(report["loss"], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
