"""Names: 1,000 names x A over loopback, beside dnsmasq and nsd, all in the same interleaved rounds.

``python -m benchmarks.names --rounds 3`` prints a table of medians and of ratios taken within each round, and writes
``benchmarks/results/names.json`` with the machine described. Load comes from dnsperf; servers stand on the first
core, dnsperf on the second. Absolute figures are the machine's; the ratios are what GOALS ("Names") asks for. "CPU" is
user and system time of the server's processes for each answer; work that the kernel does elsewhere is not in it.

Modes: *same* repeats its queries (an answer for each is remembered whole); *case* spells each query differently, so
every one is parsed (cookies and odd case in the field); *tcp* pipelines on four connections; *calm* asks at 20,000 a
second and reads latencies.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.described import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/names.json"
ORIGIN = "bench.cloud"
NAMES = [f"host{number}.{ORIGIN}" for number in range(1_000)]
ADDRESSES = [f"10.1.{number // 256}.{number % 256}" for number in range(1_000)]
MODES = ("same", "case", "tcp", "calm")
OURS = ("ours", "ours-plain")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of dnsperf against one server."""

    qps: float
    cpu_us: float  # server CPU for each answer
    lost: float  # share of queries
    p99_ms: float | None = None


def main() -> int:
    """Run the rounds and report. 1 where a needed program is missing."""
    parser = argparse.ArgumentParser(description="DNS answers beside dnsmasq and nsd")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    dnsperf = shutil.which("dnsperf")
    if dnsperf is None:
        print("dnsperf is not installed (Debian: apt-get install dnsperf)", file=sys.stderr)
        return 1
    peers = [name for name in ("dnsmasq", "nsd") if shutil.which(name) or Path(f"/usr/sbin/{name}").exists()]
    for name in {"dnsmasq", "nsd"} - set(peers):
        print(f"{name} is not installed and left out", file=sys.stderr)
    modes = options.modes.split(",")
    samples: dict[str, dict[str, list[Sample]]] = {mode: {} for mode in modes}
    with tempfile.TemporaryDirectory(prefix="names-") as directory, servers(Path(directory), [*OURS, *peers]) as running:
        files = {mode: queries(Path(directory), mode) for mode in modes}
        for number in range(options.rounds):
            for mode in modes:
                order = list(running)
                random.Random(number).shuffle(order)
                for name in order:
                    if mode == "tcp" and name == "ours-plain":
                        continue  # the same code as "ours"
                    sample = measure(dnsperf, running[name], files[mode], mode, options.seconds)
                    samples[mode].setdefault(name, []).append(sample)
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    report = summary(samples, options.rounds, options.seconds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))
    return 0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its session (all its processes) and port."""

    session: int
    port: int

    def cpu(self) -> float:
        """Seconds of user and system time of all its processes so far."""
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == self.session:
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def servers(directory: Path, names: list[str]) -> Iterator[dict[str, Server]]:
    """All servers, started and answering; ended afterwards."""
    running: dict[str, Server] = {}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name in names:
            port = free_port()
            command = COMMANDS[name](directory, port)
            log = (directory / f"{name}.log").open("wb")
            process = subprocess.Popen(
                [*pin(0), *command], cwd=ROOT, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            processes.append(process)
            running[name] = Server(process.pid, port)
            wait_until_it_answers(name, port, directory)
        yield running
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(name: str, port: int, directory: Path) -> None:
    """Ask until an answer comes, for 10 s at most."""
    query = b"\0\1\0\0\0\1\0\0\0\0\0\0" + b"".join(bytes((len(x),)) + x.encode() for x in NAMES[0].split(".")) + b"\0\0\1\0\1"
    deadline = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        while time.monotonic() < deadline:
            client.sendto(query, ("127.0.0.1", port))
            try:
                if client.recv(512)[7] == 1:
                    return
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.05)
    raise SystemExit(f"{name} does not answer: {(directory / f'{name}.log').read_text()[-500:]}")


def ours(directory: Path, port: int) -> list[str]:
    """``overlay zone serve``."""
    path = directory / "bench.zone"
    path.write_text(master())
    program = f"import sys; from tld.driver.serve_file import main; sys.exit(main({str(path)!r}, '127.0.0.1:{port}'))"
    return [sys.executable, "-c", program]


def ours_plain(directory: Path, port: int) -> list[str]:
    """The same without recvmmsg: the loop that every machine has."""
    python, flag, program = ours(directory, port)
    return [python, flag, f"from tld.driver import batch; batch.AVAILABLE = False; {program}"]


def dnsmasq(directory: Path, port: int) -> list[str]:
    """dnsmasq with an ``address=`` line a name and nothing else."""
    path = directory / "dnsmasq.conf"
    path.write_text("".join(f"address=/{name}/{address}\n" for name, address in zip(NAMES, ADDRESSES, strict=True)))
    return [
        shutil.which("dnsmasq") or "/usr/sbin/dnsmasq", "-k", f"--conf-file={path}", f"--port={port}", "--listen-address=127.0.0.1",
        "--bind-interfaces", "--no-resolv", "--no-hosts", "--user=", "--group=", f"--pid-file={directory}/dnsmasq.pid",
    ]  # fmt: skip


def nsd(directory: Path, port: int) -> list[str]:
    """nsd with one server process and no rate limit."""
    (directory / "nsd.zone").write_text(master())
    path = directory / "nsd.conf"
    path.write_text(
        f"""server:
  server-count: 1
  ip-address: 127.0.0.1
  port: {port}
  username: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  zonelistfile: "{directory}/zone.list"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "{ORIGIN}"
  zonefile: "nsd.zone"
"""
    )
    return [shutil.which("nsd") or "/usr/sbin/nsd", "-d", "-c", str(path)]


COMMANDS = {"ours": ours, "ours-plain": ours_plain, "dnsmasq": dnsmasq, "nsd": nsd}


def master() -> str:
    """The zone as a master file."""
    records = "".join(f"{name}. 300 IN A {address}\n" for name, address in zip(NAMES, ADDRESSES, strict=True))
    apex = "@ 300 IN SOA ns host 1 3600 600 86400 30\n@ 300 IN NS ns\nns 300 IN A 127.0.0.1\n"
    return f"$ORIGIN {ORIGIN}.\n{apex}{records}"


def queries(directory: Path, mode: str) -> Path:
    """dnsperf's input: all names once, or 100,000 spellings of them."""
    dice = random.Random(1)
    lines = NAMES
    if mode == "case":
        lines = ["".join(dice.choice((char, char.upper())) for char in dice.choice(NAMES)) for _ in range(100_000)]
    path = directory / f"{mode}.txt"
    path.write_text("".join(f"{name} A\n" for name in lines))
    return path


def pin(core: int) -> list[str]:
    """The prefix that keeps a command on that core, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] if len(cores) > 1 and shutil.which("taskset") else []


def measure(dnsperf: str, server: Server, file: Path, mode: str, seconds: float) -> Sample:
    """One run."""
    command = [*pin(1), dnsperf, "-s", "127.0.0.1", "-p", str(server.port), "-d", str(file), "-l", str(seconds), "-t", "2"]
    command += {"tcp": ["-m", "tcp", "-c", "4", "-q", "100"], "calm": ["-c", "8", "-q", "100", "-Q", "20000", "-v"]}.get(
        mode, ["-c", "8", "-q", "100"]
    )
    before = server.cpu()
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 3 + 30, check=True)
    spent = server.cpu() - before
    completed = number(r"Queries completed:\s+(\d+)", done.stdout)
    sent = number(r"Queries sent:\s+(\d+)", done.stdout)
    latencies = sorted(float(found) for found in re.findall(r"^> NOERROR \S+ A ([0-9.]+)", done.stdout, re.MULTILINE))
    return Sample(
        qps=number(r"Queries per second:\s+([0-9.]+)", done.stdout),
        cpu_us=spent / completed * 1e6 if completed else 0.0,
        lost=1 - completed / sent if sent else 1.0,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1000 if latencies else None,
    )


def number(pattern: str, text: str) -> float:
    """The number that ``pattern`` finds in dnsperf's report."""
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"dnsperf's report has no {pattern!r}: {text[-500:]}")
    return float(found[1])


def summary(samples: dict[str, dict[str, list[Sample]]], rounds: int, seconds: float) -> dict[str, object]:
    """Medians, and medians of the ratios within each round."""
    modes: dict[str, object] = {}
    for mode, by_server in samples.items():
        rows: dict[str, object] = {}
        for name, runs in by_server.items():
            row: dict[str, object] = {
                "qps": round(statistics.median(run.qps for run in runs)),
                "qps_range": [round(min(run.qps for run in runs)), round(max(run.qps for run in runs))],
                "cpu_us": round(statistics.median(run.cpu_us for run in runs), 2),
                "lost": round(max(run.lost for run in runs), 5),
            }
            p99 = [run.p99_ms for run in runs if run.p99_ms is not None]
            if p99:
                row["p99_ms"] = round(statistics.median(p99), 3)
            if "dnsmasq" in by_server:
                row["x_dnsmasq_qps"] = ratio([run.qps for run in runs], [run.qps for run in by_server["dnsmasq"]])
            if "nsd" in by_server:
                row["x_nsd_cpu"] = ratio([run.cpu_us for run in runs], [run.cpu_us for run in by_server["nsd"]])
            rows[name] = row
        modes[mode] = rows
    return {"machine": machine(), "rounds": rounds, "seconds": seconds, "modes": modes}


def ratio(ours: list[float], theirs: list[float]) -> float | None:
    """The median of the ratios of each round; None where a run was too short to measure."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b]
    return round(statistics.median(ratios), 2) if ratios else None


def table(report: dict[str, object]) -> str:
    """The report for people."""
    heads = ("qps", "x dnsmasq", "cpu us", "x nsd", "p99 ms", "lost")
    lines = [f"machine: {report['machine']}", f"{'mode':6} {'server':12} " + " ".join(f"{head:>9}" for head in heads)]
    modes = report["modes"]
    assert isinstance(modes, dict)
    for mode, rows in modes.items():
        for name, row in rows.items():
            cells = [row["qps"], row.get("x_dnsmasq_qps"), row["cpu_us"], row.get("x_nsd_cpu"), row.get("p99_ms"), row["lost"]]
            lines.append(f"{mode:6} {name:12} " + " ".join(f"{'-' if cell is None else cell:>9}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
