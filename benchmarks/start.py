"""Start, memory, size: what a node costs before it does anything (GOALS, "Start, memory, size").

Run as ``python -m benchmarks.start``. One node on a loopback address, exclusive, its upstream a dead one: nothing leaves
the machine. Commands are timed as whole processes, in turn with an empty interpreter, so that the ratios hold where the
machine's speed drifts. Results go to ``benchmarks/results/start.json``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.described import machine

HOST = "127.0.74.1"
ROUNDS = 9
IDLE_SECONDS = 20
RESULTS = Path(__file__).parent / "results" / "start.json"
CONFIG = f"""
[listen]
overlay = ["{HOST}:7653"]
tls = "off"
http = ["{HOST}:8053"]
dns = "off"
stub = ["{HOST}:5300"]
[names]
policy = "exclusive"
upstream = ["127.0.74.99:53"]
"""
GOALS = {
    "status x empty": 4.0, "peers x empty": 4.0, "resolve x empty": 4.0, "ready after start, s": 0.4, "idle node, MiB": 45.0, "idle CPU, %": 0.3,
    "packages installed": 15.0,
}


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Wall seconds of one process, its output thrown away."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment, timeout=60)
    return time.perf_counter() - begun


def resident(pid: int) -> float:
    """MiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def started(overlay: list[str], environment: dict[str, str]) -> float:
    """Seconds from the start of a node's process to its line `up as`; the node is stopped again by its caller."""
    begun = time.perf_counter()
    up = [*overlay, "up", "--detach"]
    done = subprocess.run(up, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, timeout=60)
    assert done.stdout.startswith("up as"), done
    return time.perf_counter() - begun


def main() -> int:
    """Measure, print, write."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    samples: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        samples.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        (home / "overlay.toml").write_text(CONFIG)
        overlay = [sys.executable, "-m", "overlay", "--home", str(home)]
        init = [*overlay, "init", "cloud.example.net", "--address", HOST, "--name", "bench", "--cluster", "bench", "--admission", "open"]
        timed(init, environment)
        for _ in range(3):
            empty = timed([sys.executable, "-c", "pass"], environment)
            note("ready after start, s", started(overlay, environment) - empty)  # the client that waits is an interpreter of its own
            timed([*overlay, "down"], environment)
        started(overlay, environment)
        try:
            for _ in range(ROUNDS):
                empty = timed([sys.executable, "-c", "pass"], environment)
                note("empty interpreter, ms", empty * 1000)
                for command in (["status"], ["peers"], ["resolve", "bench.bench"]):
                    note(f"{command[0]} x empty", timed([*overlay, *command], environment) / empty)
            status = subprocess.run([*overlay, "status", "--json"], check=True, capture_output=True, text=True, env=environment, timeout=60)
            pid = int(json.loads(status.stdout)["pid"])
            before = cpu_seconds(pid)
            time.sleep(IDLE_SECONDS)
            note("idle CPU, %", (cpu_seconds(pid) - before) / IDLE_SECONDS * 100)
            note("idle node, MiB", resident(pid))
        finally:
            timed([*overlay, "down"], environment)
    lock = (Path(__file__).parents[1] / "requirements.lock").read_text()
    note("packages installed", float(sum("==" in line for line in lock.splitlines())) + 1)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    for name, value in medians.items():
        goal = GOALS.get(name)
        verdict = "" if goal is None else f"   goal at most {goal:g}: {'met' if value <= goal else 'missed'}"
        print(f"{name:26} {value:9.2f}   {min(samples[name]):.2f} to {max(samples[name]):.2f}{verdict}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), "medians": medians, "samples": samples, "goals": GOALS}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
