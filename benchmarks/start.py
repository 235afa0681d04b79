"""Start, memory, size: what a node costs before it does anything (GOALS, "Start, memory, size").

``python -m benchmarks.start`` installs the program from the lock into a fresh environment, as a person would, and
measures that; where nothing can be installed (no network) it says so and measures this tree. Nodes stand on loopback
addresses of their own, exclusive, their upstream a dead one: nothing leaves the machine. Commands are timed as whole
processes, in turn with an empty interpreter, so that the ratios hold where the machine's speed drifts. Results go to
``benchmarks/results/start.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import crowd
from benchmarks.described import machine
from overlay.driver.control_client import request
from overlay.errors import OverlayError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/start.json"
NODE, GUEST, CROWDED = "127.0.74.1", "127.0.74.2", "127.0.74.3"
COMMANDS = (["version"], ["status"], ["peers"], ["resolve", "bench.bench"])
PATIENCE = 90  # seconds that one process may take
CONFIG = """
[listen]
overlay = ["{host}:7653"]
tls = "off"
http = ["{host}:8053"]
dns = "off"
stub = ["{host}:5300"]
advertise = ["{host}"]
[names]
policy = "exclusive"
upstream = ["127.0.74.99:53"]
[lan]
discovery = false
"""
GOALS = {
    **{f"{words[0]} x empty": 4.0 for words in COMMANDS},
    "ready, s": 0.4, "idle node, MiB": 45.0, "with a peer, MiB": 45.0, "10,000 clusters known, MiB": 60.0, "idle CPU, %": 0.3,
    "packages installed": 15.0, "installed, MB": 40.0,
}  # fmt: skip


@dataclass(slots=True)
class Figures:
    """What was measured, by name, and what could not be."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def note(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    def report(self) -> dict[str, object]:
        figures = {
            name: {"median": round(statistics.median(values), 3), "low": round(min(values), 3), "high": round(max(values), 3)}
            for name, values in self.samples.items()
        }
        goals = {name: f"<= {goal:g}" for name, goal in GOALS.items()}
        return {"machine": machine(), "figures": figures, "goals": goals, "skipped": self.skipped}


@dataclass(frozen=True, slots=True)
class Program:
    """The program as it is installed: its interpreter, its command, what its processes find in the environment."""

    python: str
    command: tuple[str, ...]
    environment: dict[str, str]

    def timed(self, words: list[str]) -> float:
        """Wall seconds of one process, its output thrown away. Waits in the kernel: with a timeout, Python would poll."""
        signal.alarm(PATIENCE)
        begun = time.perf_counter()
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment
        )
        status = process.wait()
        spent = time.perf_counter() - begun
        signal.alarm(0)
        if status:
            raise SystemExit(f"{' '.join(words)} failed with exit status {status}")
        return spent

    def empty(self) -> float:
        """Seconds of an interpreter that does nothing."""
        return self.timed([self.python, "-c", "pass"])

    def run(self, home: Path, *words: str) -> float:
        """Seconds of one command on that home."""
        return self.timed([*self.command, "--home", str(home), *words])

    @contextmanager
    def node(self, home: Path, *words: str) -> Iterator[int]:
        """A node that runs meanwhile: its process number. ``words`` start it and return."""
        self.run(home, *words)
        try:
            yield int((home / "run/lock").read_text())
        finally:
            self.run(home, "down")


def installed(folder: Path, figures: Figures) -> Program:
    """The program in an environment of its own below ``folder``, its size noted."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    source, target = folder / "source", folder / "environment"
    source.mkdir()
    for name in ("overlay", "tld", "bootstrap", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copy(ROOT / name, source)
    done = subprocess.run(
        ["sh", "tools/environment.sh", str(target), "requirements.lock", "copy"], cwd=source, env={**environment, "PYTHON": sys.executable},
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=2 * PATIENCE,
    )  # fmt: skip
    if done.returncode:
        figures.skipped.append("the size of an installation: nothing could be installed; this tree was measured")
        return Program(sys.executable, (sys.executable, "-m", "overlay"), environment)
    packages = next(target.glob("lib/python*/site-packages"))
    brought = [entry for entry in packages.iterdir() if not entry.name.startswith("pip")]  # pip was there before
    figures.note("packages installed", sum(entry.name.endswith(".dist-info") for entry in brought))
    files = (file for entry in brought for file in ([entry] if entry.is_file() else entry.rglob("*")) if file.is_file())
    figures.note("installed, MB", sum(file.stat().st_size for file in files) / 1e6)
    return Program(str(target / "bin/python"), (str(target / "bin/overlay"),), environment)


def home_at(folder: Path, host: str) -> Path:
    """A home whose node will listen at ``host``."""
    home = folder / f"home-{host}"
    home.mkdir()
    (home / "overlay.toml").write_text(CONFIG.format(host=host))
    return home


def starts(program: Program, home: Path, figures: Figures) -> None:
    """One start of each sort: seconds until the ready line, until the node answers, until `up --detach` returns."""
    for name in ("ready, s", "answers on its socket, s"):
        begun = time.perf_counter()
        node = subprocess.Popen(
            [*program.command, "--home", str(home), "up"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=program.environment, text=True
        )
        try:
            assert node.stdout is not None
            if name.startswith("ready"):
                assert node.stdout.readline().startswith("up as")
            while not name.startswith("ready") and not answers(home):
                assert node.poll() is None
                time.sleep(0.002)
            figures.note(name, time.perf_counter() - begun)
        finally:
            node.terminate()
            node.communicate(timeout=PATIENCE)
    figures.note("up --detach, s", program.run(home, "up", "--detach"))
    program.run(home, "down")


def answers(home: Path) -> bool:
    """Whether a node runs on that home and says how it is."""
    try:
        return bool(request(str(home), "status", {}, PATIENCE))
    except OverlayError:
        return False


def resident(pid: int) -> float:
    """MiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def busy(pid: int, seconds: float) -> float:
    """Per cent of a core that a process uses while nothing is asked of it."""

    def used() -> float:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9

    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds * 100


def alone_and_in_company(program: Program, folder: Path, figures: Figures, rounds: int, seconds: float) -> None:
    """A node by itself, what clients of it cost, then one that has joined it."""
    home, guest = home_at(folder, NODE), home_at(folder, GUEST)
    program.run(home, "init", "cloud.example.net", "--address", NODE, "--name", "bench", "--cluster", "bench", "--admission", "open")
    for _ in range(max(3, rounds // 3)):
        starts(program, home, figures)
    with program.node(home, "up", "--detach") as pid:
        for _ in range(rounds):
            empty = program.empty()
            figures.note("empty interpreter, ms", empty * 1000)
            for words in COMMANDS:
                figures.note(f"{words[0]} x empty", program.run(home, *words) / empty)
        figures.note("idle CPU, %", busy(pid, seconds))
        figures.note("idle node, MiB", resident(pid))
        with program.node(guest, "join", f"{NODE}:7653", "--name", "guest", "--cluster", "bench", "--detach") as other:
            figures.note("idle CPU with a peer, %", busy(pid, seconds / 2))
            for one in (pid, other):
                figures.note("with a peer, MiB", resident(one))


def crowded(program: Program, folder: Path, figures: Figures, clusters: int, seconds: float) -> None:
    """A node that knows of as many clusters as GOALS has."""
    home = home_at(folder, CROWDED)
    crowd.founded(home, CROWDED, clusters)
    begun = time.perf_counter()
    with program.node(home, "up", "--detach") as pid:
        figures.note(f"{clusters:,} clusters known, up --detach, s", time.perf_counter() - begun)
        figures.note(f"{clusters:,} clusters known, idle CPU, %", busy(pid, seconds / 3))
        figures.note(f"{clusters:,} clusters known, MiB", resident(pid))


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="start, memory, size")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a node is watched while idle")
    parser.add_argument("--clusters", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="start-") as name:
        program = installed(Path(name), figures)
        alone_and_in_company(program, Path(name), figures, options.rounds, options.seconds)
        crowded(program, Path(name), figures, options.clusters, options.seconds)
    for name, values in figures.samples.items():
        value, goal = statistics.median(values), GOALS.get(name)
        verdict = "" if goal is None else f"   goal at most {goal:g}: {'met' if value <= goal else 'missed'}"
        print(f"{name:42} {value:9.2f}   {min(values):.2f} to {max(values):.2f}{verdict}")
    for line in figures.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(figures.report(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
