"""Real kills: a node is killed at a random moment, again and again; nothing that it acknowledged may be lost (GOALS, "Reliability").

``python -m benchmarks.kills --rounds 1000`` takes about twenty minutes; ``tests/process/test_starts.py`` runs thirty
rounds of the same. In each round a node is started and SIGKILL comes either while it starts or while writers change
names. The next start must succeed, and must show of each name what was last acknowledged, or the one change that was
under way when the kill came. One loopback address, nothing leaves the machine. Results: ``benchmarks/results/kills.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.described import machine
from overlay.driver.control_client import request
from overlay.errors import NotRunning, OverlayError, ReachError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/kills.json"
HOST, CLUSTER, ZONE = "127.0.75.1", "hq", "cloud.example.net"
WRITERS, NAMES = 2, 4  # at once; names of each
STARTING = 0.4  # of the kills come while the node starts
START, WRITE = 0.7, 0.4  # seconds in which such a kill comes after the start of the process; after it answered
PATIENCE = 30.0  # seconds for a start, and for an answer
CONFIG = """
[listen]
overlay = ["{host}:7653"]
tls = "off"
http = "off"
dns = "off"
stub = "off"
[names]
policy = "exclusive"
upstream = ["{host}:9"]
[lan]
discovery = false
"""


class Lost(AssertionError):
    """A node did not start again, or did not keep its word."""


@dataclass(slots=True)
class Ledger:
    """What was acknowledged of each name (None: that it was removed), and the change whose answer did not come."""

    said: dict[str, str | None] = field(default_factory=dict)
    doubt: dict[str, str | None] = field(default_factory=dict)

    def check(self, held: dict[str, str]) -> None:
        """Compare with what a node shows, and settle what was in doubt."""
        for name in {*held, *self.said, *self.doubt}:
            shown, wanted = held.get(name), self.said.get(name)
            if shown != wanted and not (name in self.doubt and shown == self.doubt[name]):
                raise Lost(f"{name} is {shown}, acknowledged was {wanted}, in doubt {self.doubt.get(name, 'nothing')}")
            self.said[name] = shown
        self.doubt.clear()


@dataclass(slots=True)
class Kills:
    """One node that is killed over and over. ``command`` runs the program, ``home`` is a founded one that listens at a free address."""

    home: Path
    command: Sequence[str]
    environment: dict[str, str]
    dice: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds from the start of a process to its first answer
    _number: int = 0

    def round(self) -> None:
        """Start, check, write, kill. Raises :class:`Lost`."""
        moment = self.dice.uniform(0, START) if self.dice.random() < STARTING else None
        began = time.monotonic()
        errors = self.home / "stderr"
        with errors.open("wb") as file:
            node = subprocess.Popen(
                [*self.command, "--home", str(self.home), "up"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file,
                env=self.environment, cwd="/",
            )  # fmt: skip
        writers: list[threading.Thread] = []
        try:
            while moment is None or time.monotonic() < began + moment:
                if node.poll() is not None or time.monotonic() - began > PATIENCE:
                    raise Lost(f"the node did not start ({node.poll()}): {errors.read_text()}")
                if not writers and self._answers():
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.check()
                    writers = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]
                    for writer in writers:
                        writer.start()
                    if moment is None:
                        time.sleep(self.dice.uniform(0, WRITE))
                        break
                time.sleep(0.005)
        finally:
            node.kill()
            node.wait(PATIENCE)
            for writer in writers:
                writer.join(PATIENCE)
        self.counts["kills"] += 1
        self.counts["kills while starting"] += not writers

    def check(self) -> None:
        """Compare what the running node shows with what was acknowledged."""
        rows = request(self.home, "name.list", {}, PATIENCE)
        self.ledger.check({row["name"]: row["values"][0] for row in rows})
        self.counts["checks"] += 1

    def _answers(self) -> bool:
        try:
            return bool(request(self.home, "status", {}, PATIENCE))
        except (NotRunning, ReachError):  # not yet; or it was not ready to say
            return False

    def _write(self, writer: int) -> None:
        """Change names of its own until the node is gone."""
        while True:
            self._number += 1
            number = self._number
            name = f"n{number % NAMES}w{writer}.{CLUSTER}.cloud"
            removing = number % 7 == 0 and self.ledger.said.get(name) is not None
            value = None if removing else f"{number}-{writer}"
            try:
                if removing:
                    request(self.home, "name.remove", {"name": name}, PATIENCE)
                else:
                    request(self.home, "name.set", {"name": name, "type": "TXT", "values": [value]}, PATIENCE)
            except (NotRunning, ReachError):
                self.ledger.doubt[name] = value
                return
            self.ledger.said[name] = value
            self.counts["acknowledged"] += 1


def founded(home: Path, host: str, command: Sequence[str], environment: dict[str, str]) -> None:
    """Found an overlay on that home, its node to listen at ``host``."""
    home.mkdir(parents=True)
    (home / "overlay.toml").write_text(CONFIG.format(host=host))
    words = ["init", ZONE, "--name", "founder", "--cluster", CLUSTER, "--address", host]
    subprocess.run(
        [*command, "--home", str(home), *words], check=True, capture_output=True, stdin=subprocess.DEVNULL, env=environment, cwd="/",
        timeout=PATIENCE,
    )  # fmt: skip


def main() -> int:
    """Kill, print, write."""
    parser = argparse.ArgumentParser(description="real kills at random moments")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    environment = {**{key: value for key, value in os.environ.items() if not key.startswith("OVERLAY_")}, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-m", "overlay"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        home = Path(name) / "home"
        founded(home, HOST, command, environment)
        kills = Kills(home, command, environment, random.Random(options.seed))
        lost = ""
        try:
            for number in range(1, options.rounds + 1):
                kills.round()
                if number % 100 == 0:
                    print(f"{number} kills, {kills.counts['acknowledged']} changes acknowledged", file=sys.stderr, flush=True)
        except (Lost, OverlayError) as why:
            lost = str(why)
    minutes = round((time.monotonic() - began) / 60, 1)
    figures = {**kills.counts, "lost": lost or "nothing", "slowest start, s": round(kills.slowest, 2), "minutes": minutes}
    for what, figure in figures.items():
        print(f"{what:24} {figure}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine(), "seed": options.seed, "figures": figures}, indent=2) + "\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
