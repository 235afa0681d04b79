"""Sessions: what a handshake, a sealed exchange and a received packet cost, beside what they are made of.

``python -m benchmarks.session --rounds 5`` prints a table of medians and of ratios taken within each round, and writes
``benchmarks/results/session.json`` with the machine described. Absolute figures are the machine's; the ratios are what
GOALS ("Session") asks for.

*handshake*: CPU of both ends, from the dial to the session open at both, against the bare primitives that the pattern
has: X25519 keys made and exchanged, messages sealed and opened, BLAKE2s (and, for comparison with figures of others,
without BLAKE2s). *echo*: 300 octets there and back between two processes over
loopback with 32 outstanding: a blocking socket of the standard library, sealed messages, and calls (tickets, repeats,
answers kept), both through the drained driver under Trio. *received*: packets that one second of CPU takes from the
socket, opens and decodes. Clients stand on the second core, servers on the first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2s
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.described import machine
from overlay.driver.udp import Batch, Udp
from overlay.machine import Send
from overlay.session import events, packet
from overlay.session.machine import Sessions
from overlay.wire.address import Address, Way
from overlay.wire.messages import Method

RESULTS = Path(__file__).resolve().parent / "results/session.json"
WINDOW = 32
BODY = {
    1: b"k" * 32, 2: "web.home.eu.cloud", 3: 1_800_000_000, 4: [b"a" * 18, b"b" * 18], 5: {1: 5, 2: b"d" * 32}, 6: b"s" * 64, 7: b"x" * 88,
}
KINDS = ("stdlib", "messages", "calls")


def sessions(seed: int) -> Sessions:
    """One end; ``seed`` chooses its key."""
    dice = random.Random(seed)
    key = X25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Sessions(exchange=key, overlay_id=b"o" * 32, passport_digest=b"p" * 32, boot_nonce=bytes(8), entropy=dice.randbytes)


def public(seed: int) -> bytes:
    """The exchange key of an end."""
    return X25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()


# -- handshakes, in one process


PEER = public(2)
STATICS = tuple(X25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (1, 2))
PUBLICS = (public(1), PEER)
ZEROS = bytes(2_048)


def handshake(a: Sessions, b: Sessions) -> None:
    """One, from the dial to the session open at both ends."""
    here, there = Way("udp", Address("127.0.0.1", 1)), Way("udp", Address("127.0.0.1", 2))
    a.dial(PEER, [there.remote], 0.0, 1.8e9)
    opened = 0
    while opened < 2:
        for end, other, way in ((a, b, here), (b, a, there)):
            for output in end.take():
                if isinstance(output, Send):
                    other.receive(output.data, way, 0.0, 1.8e9)
                elif isinstance(output, events.Opened):
                    opened += 1


def exchanges() -> None:
    """2 ephemeral keys, 8 exchanges with 4 foreign keys, 5 messages sealed and opened."""
    for mine, other in ((0, 1), (1, 0)):
        ephemeral = X25519PrivateKey.from_private_bytes(os.urandom(32))
        ephemeral.public_key().public_bytes_raw()
        theirs = [X25519PublicKey.from_public_bytes(PUBLICS[other]) for _ in range(2)]
        for private in (STATICS[mine], ephemeral):
            for foreign in theirs:
                private.exchange(foreign)
    for size in (32, packet.PAYLOAD_1, 120, 12, 12):
        cipher = ChaCha20Poly1305(bytes(32))
        cipher.decrypt(bytes(12), cipher.encrypt(bytes(12), bytes(size), bytes(32)), bytes(32))


def hashes() -> None:
    """5 HKDFs an end (an HMAC is two hashes over a block and what follows), 7 mixed messages an end, mac1 made and checked."""
    for size in (96, 128) * 30 + (72, 64, 64, 80, packet.PAYLOAD_1 + 50, 64, 170) * 2:
        blake2s(ZEROS[:size]).digest()
    for size in (packet.PAYLOAD_1 + 103, 180) * 2:
        blake2s(ZEROS[:size], key=ZEROS[:32], digest_size=16).digest()


def compared(count: int) -> list[float]:
    """Medians, in microseconds of CPU, of a handshake, its exchanges and ciphers, and its hashes, taken in turns."""
    taken: list[list[float]] = [[], [], []]
    for a, b in [(sessions(1), sessions(2)) for _ in range(count)]:
        acts: tuple[Callable[[], None], ...] = (partial(handshake, a, b), exchanges, hashes)
        for act, times in zip(acts, taken, strict=True):
            begin = time.process_time()
            act()
            times.append(time.process_time() - begin)
    return [statistics.median(times) * 1e6 for times in taken]


# -- exchanges, between two processes


def serve_stdlib() -> None:
    """The bare echo: a blocking socket, no format, no cipher."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        print(sock.getsockname()[1], flush=True)
        while True:
            data, source = sock.recvfrom(2_048)
            sock.sendto(data, source)


async def serve_ours() -> None:
    """An end that answers messages and calls with what came, and says what receiving cost when asked by a message of kind 2."""
    end = sessions(2)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    udp = Udp([sock], Counter())
    taken, begun = 0, 0.0

    def on_batch(batch: Batch) -> None:
        nonlocal taken, begun
        now = time.monotonic()
        for data, way in batch:
            end.receive(data, way, now, now + 1.8e9)
        while outputs := end.take():
            for output in outputs:
                if type(output) is Send:
                    udp.send(output.way, output.data)
                elif type(output) is events.Called:
                    end.reply(output.session, output.ticket, output.body, now)
                elif type(output) is events.Message:
                    if output.kind == 1:
                        end.message(output.session, 1, output.body, now)
                    elif output.kind == 3:
                        taken += 1
                    else:
                        used = int((time.process_time() - begun) * 1e6)
                        end.message(output.session, 2, [taken, used], now)
                        taken, begun = 0, time.process_time()
                elif type(output) is events.Opened:
                    end.admit(output.session)

    await udp.run(on_batch)


def ask_stdlib(port: int, seconds: float) -> float:
    """Round trips a second."""
    body = bytes(300)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(1.0)
        for _ in range(WINDOW):
            sock.send(body)
        count, begin = 0, time.monotonic()
        while (now := time.monotonic()) - begin < seconds:
            for _ in range(WINDOW):
                sock.recv(2_048)
                sock.send(body)
            count += WINDOW
        return count / (now - begin)


class Client:
    """Our end of the exchange with ``serve_ours``."""

    def __init__(self, port: int, seed: int) -> None:
        self.end = sessions(seed)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.udp = Udp([self.sock], Counter())
        self.session = 0
        self.count = 0
        self.report: list[int] = []
        self.calls = False
        self.running = False
        self.end.dial(public(2), [Address("127.0.0.1", port)], time.monotonic(), time.time(), tcp=False)

    def ask(self, now: float) -> None:
        """One more, while it runs."""
        if self.running and self.calls:
            self.end.call(self.session, Method.PING, BODY, now)
        elif self.running:
            self.end.message(self.session, 1, BODY, now)

    def on_batch(self, batch: Batch) -> None:
        """Answers came."""
        now = time.monotonic()
        for data, way in batch:
            self.end.receive(data, way, now, now + 1.8e9)
        self.settle(now)

    def settle(self, now: float) -> None:
        """Send, count, ask on."""
        while outputs := self.end.take():
            for output in outputs:
                if type(output) is Send:
                    self.udp.send(output.way, output.data)
                elif type(output) is events.Answered or (type(output) is events.Message and output.kind == 1):
                    self.count += 1
                    self.ask(now)
                elif type(output) is events.Message:
                    self.report = output.body
                elif type(output) is events.Opened:
                    self.session = output.session
                    self.end.admit(self.session)

    async def until(self, done: Callable[[], object], seconds: float = 5.0) -> None:
        """Wait for something to come true, or raise."""
        with trio.fail_after(seconds):
            while not done():
                self.end.wake(time.monotonic(), time.time())
                self.settle(time.monotonic())
                await trio.sleep(0.01)

    async def exchange(self, seconds: float, calls: bool) -> float:
        """Round trips a second."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.udp.run, self.on_batch)
            self.settle(time.monotonic())
            await self.until(lambda: self.session)
            await trio.sleep(0.05)
            self.calls, self.running, self.count = calls, True, 0
            begin = now = time.monotonic()
            for _ in range(WINDOW):
                self.ask(now)
            self.settle(now)
            while now - begin < seconds:
                await trio.sleep(0.1)
                now = time.monotonic()
                self.end.wake(now, time.time())  # calls are repeated where one was lost
            rate = self.count / (now - begin)
            self.running = False
            nursery.cancel_scope.cancel()
        self.sock.close()
        return rate

    async def flood(self, count: int) -> float:
        """Packets that a second of the server's CPU takes."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.udp.run, self.on_batch)
            self.settle(time.monotonic())
            await self.until(lambda: self.session)
            for last in (False, True):
                self.report = []
                await trio.sleep(0.05)
                self.end.message(self.session, 2, 0, time.monotonic())
                self.settle(time.monotonic())
                await self.until(lambda: self.report)
                for _ in range(0 if last else count // 100):
                    for _ in range(100):
                        self.end.message(self.session, 3, BODY, time.monotonic())
                    self.settle(time.monotonic())
                    await trio.sleep(0.002)
            nursery.cancel_scope.cancel()
        self.sock.close()
        return self.report[0] / (self.report[1] / 1e6)


@contextmanager
def server(kind: str) -> Iterator[tuple[int, int]]:
    """A server process on the first core: its port and process number."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.session", "--serve", kind], cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        pin(0, process.pid)
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(5)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def pin(core: int, pid: int = 0) -> None:
    """Keep a process on a core, where there are two."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1 or core:
        os.sched_setaffinity(pid, {core})


def main() -> int:
    """Run the rounds and report."""
    parser = argparse.ArgumentParser(description="sessions beside what they are made of")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--serve", choices=("stdlib", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_stdlib() if options.serve == "stdlib" else trio.run(serve_ours)
        return 0
    several = len(os.sched_getaffinity(0)) > 1
    report: dict[str, object] = {"machine": machine(), "rounds": options.rounds, "seconds": options.seconds}
    rounds: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rounds.setdefault(name, []).append(value)

    with server("stdlib") as bare, server("ours") as ours:
        ports = {"stdlib": bare[0], "messages": ours[0], "calls": ours[0]}
        pids = {"stdlib": bare[1], "messages": ours[1], "calls": ours[1]}
        if several:
            pin(1)
        for number in range(options.rounds):
            made, exchanged, hashed = compared(200)
            note("handshake us", made)
            note("handshake's primitives us", exchanged + hashed)
            note("handshake x primitives", made / (exchanged + hashed))
            note("handshake x primitives less hashes", made / exchanged)
            rates, costs = {}, {}
            for kind in random.Random(number).sample(KINDS, len(KINDS)):
                used = time.process_time() + cpu_of(pids[kind])
                if kind == "stdlib":
                    rates[kind] = ask_stdlib(ports[kind], options.seconds)
                else:
                    client = Client(ports[kind], 10 + number * 3 + KINDS.index(kind))
                    rates[kind] = trio.run(client.exchange, options.seconds, kind == "calls")
                costs[kind] = (time.process_time() + cpu_of(pids[kind]) - used) / (rates[kind] * options.seconds) * 1e6
                note(f"{kind} round trips/s", rates[kind])
                note(f"{kind} CPU us, both ends", costs[kind])
            for kind in KINDS[1:]:
                note(f"{kind} x stdlib", rates[kind] / rates["stdlib"])
                note(f"{kind} x stdlib, by CPU", costs["stdlib"] / costs[kind])
            note("received packets per CPU second", trio.run(Client(ports["messages"], 100 + number).flood, 20_000))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    report["figures"] = {
        name: {"median": round(statistics.median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}
        for name, values in rounds.items()
    }
    report["goals"] = {"handshake x primitives": "<= 1.5", "messages x stdlib": ">= 0.35", "received packets per CPU second": ">= 50000"}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    for name, values in rounds.items():
        print(f"{name:34} {statistics.median(values):12.2f}   {min(values):.2f} to {max(values):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
