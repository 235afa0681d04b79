"""Soak: real nodes under churn, for as long as one likes (GOALS, "Reliability").

``python -m benchmarks.soak --minutes 60 --nodes 20`` founds an overlay of as many processes, each at a loopback address of its
own, and then goes round and round: some nodes are killed (-9), stopped, started again, set and remove names, take up and drop
services; after each round every running node must give the right answer for every name that somebody alive stands behind. A third of
the nodes is left running, and their memory is looked at each minute. At the end their logs are read: a line above warning
is a failure. Rounds come from a seed; what the machine's scheduling adds does not. Results go to
``benchmarks/results/soak.json``. Run it from a tree that nobody edits meanwhile: nodes that start again read it again.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.rcode

from benchmarks.described import machine as this_machine
from benchmarks.start import resident
from tests.process.machines import Foreground, Machine, Village

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks/results/soak.json"
PATIENCE = 45.0  # seconds until a change is known to all: more than a reconciliation (30 s), so that luck is not measured
STOPPING = 20.0  # seconds that a clean stop may take
PAUSE = 2.0  # seconds between rounds
SITES = 5  # clusters
DOWN = 4  # nodes that are down at once, at most
NAMES, SERVICES = 3, 2  # of each node
GROWTH = 0.02  # of the memory after warm-up
GONE: frozenset[str] = frozenset()

Question = tuple[str, str]  # full name, type


@dataclass(slots=True, eq=False)
class Member:
    """One node: where it lives, whether it runs, and what it said."""

    machine: Machine
    name: str
    steady: bool
    node: Foreground | None = None
    said: dict[Question, frozenset[str]] = field(default_factory=dict)
    carried: dict[Question, frozenset[str]] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        assert self.node is not None
        return self.node.process.pid


@dataclass(slots=True)
class Soaked:
    """What was seen."""

    rounds: int = 0
    answers: int = 0
    acts: Counter[str] = field(default_factory=Counter)
    known_after: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    logged: Counter[str] = field(default_factory=Counter)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # name -> (seconds, MiB)
    warm: float = 0.0  # seconds: from here on memory counts

    def fail(self, what: str) -> None:
        print(f"FAILED: {what}", flush=True)
        self.failures.append(what)

    def growth(self) -> dict[str, dict[str, float]]:
        """Of each node that was left running: MiB after warm-up, MiB at the end, and by what part it grew."""
        found = {}
        for name, samples in self.memory.items():
            counted = [mib for seconds, mib in samples if seconds >= self.warm]
            part = max(1, len(counted) // 6)
            first, last = statistics.median(counted[:part]), statistics.median(counted[-part:])
            found[name] = {"warm_mib": round(first, 2), "end_mib": round(last, 2), "grown": round(last / first - 1, 4)}
        return found

    def by_minute(self) -> list[float]:
        """MiB of all those nodes together, each time that they were weighed: whether it still grows at the end."""
        return [round(sum(samples[number][1] for samples in self.memory.values()), 1) for number in range(min(map(len, self.memory.values())))]


def ask(machine: Machine, questions: Iterable[Question], patience: float = 1.0) -> dict[Question, frozenset[str]]:
    """What a machine's stub answers to each, asked in one go: texts of the answers, none where there is no such name or type."""
    waiting: dict[int, Question] = {}
    found: dict[Question, frozenset[str]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((machine.address, 5300))
        for number, question in enumerate(questions, 1):
            query = dns.message.make_query(*question, id=number)
            waiting[number] = question
            try:
                sock.send(query.to_wire())
            except OSError:
                return found
        end = time.monotonic() + patience
        while waiting and select.select([sock], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                answer = dns.message.from_wire(sock.recv(4096))
            except OSError:  # nobody listens there
                return found
            question_asked = waiting.pop(answer.id, None)
            if question_asked is None:
                continue
            texts = frozenset(item.to_text() for rrset in answer.answer for item in rrset)
            fine = answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
            found[question_asked] = texts if fine else frozenset({dns.rcode.to_text(answer.rcode())})
    return found


class Soak:
    """The nodes, the dice, and what has been seen."""

    def __init__(self, village: Village, nodes: int, seed: int) -> None:
        self.dice = random.Random(seed)
        self.seen = Soaked()
        self.began = time.monotonic()
        founder = village.founded(name="n0", cluster="s0")
        self.members = [Member(founder, "n0.s0", steady=False)]
        self.members[0].node = founder.up()
        for number in range(1, nodes):
            machine, site = village.machine(), f"s{number % SITES}"
            member = Member(machine, f"n{number}.{site}", steady=number % 3 == 2)
            member.node = machine.join(self.dice.choice(self.members).machine, "--name", f"n{number}", "--cluster", site)
            self.members.append(member)

    @property
    def running(self) -> list[Member]:
        return [member for member in self.members if member.node is not None]

    def expected(self) -> dict[Question, frozenset[str]]:
        """What every running node must answer: names of running nodes and what they carry; names that were set, whoever set them."""
        wanted: dict[Question, frozenset[str]] = {}
        for member in self.members:
            wanted |= member.said
            if member.node is not None:
                wanted |= member.carried
                wanted[f"{member.name}.cloud", "A"] = frozenset({member.machine.address})
        return wanted

    def agree(self) -> None:
        """Wait until every running node answers everything rightly; note how long it took, and who did not."""
        wanted = self.expected()
        open_for = {member.name: set(wanted) for member in self.running}
        began = time.monotonic()
        while open_for and time.monotonic() - began < PATIENCE:
            for member in self.running:
                if member.name in open_for:
                    got = ask(member.machine, open_for[member.name])
                    self.seen.answers += len(got)
                    open_for[member.name] -= {question for question, texts in got.items() if texts == wanted[question]}
                    if not open_for[member.name]:
                        del open_for[member.name]
            if open_for:
                time.sleep(0.1)
        self.seen.known_after.append(time.monotonic() - began)
        for name, questions in open_for.items():
            member = next(one for one in self.members if one.name == name)
            now = ask(member.machine, sorted(questions))
            for question in sorted(questions):
                said = sorted(now[question]) if question in now else "nothing"
                self.seen.fail(f"round {self.seen.rounds}: {name} says {said} of {question}, not {sorted(wanted[question])}")

    # -- acts

    def kill(self, member: Member) -> None:
        assert member.node is not None
        member.node.kill()
        self._ended(member)

    def stop(self, member: Member) -> None:
        assert member.node is not None
        member.node.signal(self.dice.choice([signal.SIGTERM, signal.SIGINT]))
        status = member.node.end(STOPPING)
        if status:
            self.seen.fail(f"round {self.seen.rounds}: {member.name} stopped with exit status {status}")
        self._ended(member)

    def _ended(self, member: Member) -> None:
        assert member.node is not None and member.node.process.stdout is not None
        member.node.process.stdout.close()
        member.node = None

    def start(self, member: Member) -> None:
        member.node = member.machine.up()

    def set_name(self, member: Member) -> None:
        name, text = f"t{self.dice.randrange(NAMES)}.{member.name}", f"round {self.seen.rounds}"
        member.machine.done("name", "set", name, "TXT", text)
        member.said[f"{name}.cloud", "TXT"] = frozenset({f'"{text}"'})

    def remove_name(self, member: Member) -> None:
        standing = [question for question, texts in member.said.items() if texts]
        if standing:
            question = self.dice.choice(standing)
            member.machine.done("name", "remove", question[0], "TXT")
            member.said[question] = GONE

    def serve(self, member: Member) -> None:
        name = f"w{self.dice.randrange(SERVICES)}.{member.name}"
        member.machine.done("service", "add", name, "--port", str(self.dice.randrange(1_024, 60_000)))
        member.carried[f"{name}.cloud", "A"] = frozenset({member.machine.address})

    def drop_service(self, member: Member) -> None:
        standing = [question for question, texts in member.carried.items() if texts]
        if standing:
            question = self.dice.choice(standing)
            member.machine.done("service", "remove", question[0])
            member.carried[question] = GONE

    # -- rounds

    def round(self) -> None:
        """Some acts on different nodes, then everybody must know."""
        self.seen.rounds += 1
        down = [member for member in self.members if member.node is None]
        ended = [member for member in down if len(down) >= DOWN or self.dice.random() < 0.4]
        for member in ended:
            self._do("start", self.start, member)
        standing = [member for member in self.running if member not in ended]
        for member in self.dice.sample(standing, min(3, len(standing))):
            acts: list[tuple[str, Callable[[Member], None]]] = [
                ("name set", self.set_name), ("name set", self.set_name), ("name remove", self.remove_name),
                ("service add", self.serve), ("service remove", self.drop_service),
            ]
            if not member.steady and len(self.members) - len(self.running) < DOWN:
                acts += 2 * [("kill -9", self.kill), ("stop", self.stop)]
            self._do(*self.dice.choice(acts), member)
        self.agree()

    def _do(self, what: str, act: Callable[[Member], None], member: Member) -> None:
        self.seen.acts[what] += 1
        try:
            act(member)
        except AssertionError as why:  # a command that failed, a node that did not come up
            self.seen.fail(f"round {self.seen.rounds}: {what} on {member.name}: {why}")

    def weigh(self) -> None:
        for member in self.members:
            if member.steady and member.node is not None:
                self.seen.memory.setdefault(member.name, []).append((time.monotonic() - self.began, resident(member.pid)))

    def watch(self) -> None:
        """Whether every node that should run does."""
        for member in self.running:
            assert member.node is not None
            status = member.node.process.poll()
            if status is not None:
                self.seen.fail(f"round {self.seen.rounds}: {member.name} ended by itself with exit status {status}: {member.node.err[-2_000:]}")
                self._ended(member)

    def read_logs(self) -> None:
        """Everything that nodes logged, by level and event; what stands above warning is a failure, and so is a traceback."""
        for member in self.members:
            for path in (member.machine.home / "log.1", member.machine.home / "log"):
                for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
                    level, event = line.split()[1:3]
                    self.seen.logged[f"{level} {event}"] += 1
                    if level not in ("debug", "info", "warning"):
                        self.seen.fail(f"{member.name} logged: {line[:500]}")
            for started in member.machine.running:
                if any(word in started.err for word in ("Traceback", "a defect of this program", "Warning:")):
                    self.seen.fail(f"{member.name} said: {started.err[-2_000:]}")

    def run(self, minutes: float) -> None:
        end, weighed = self.began + minutes * 60, 0.0
        self.seen.warm = min(600.0, minutes * 60 / 4)
        self.agree()
        while time.monotonic() < end:
            self.round()
            self.watch()
            if time.monotonic() - weighed > min(60.0, minutes * 60 / 40):
                weighed = time.monotonic()
                self.weigh()
                print(f"{(weighed - self.began) / 60:5.1f} min, round {self.seen.rounds}, {len(self.seen.failures)} failures", flush=True)
            time.sleep(PAUSE)
        for member in self.running:
            self.stop(member)
        self.read_logs()


def report(soak: Soak, minutes: float) -> dict[str, object]:
    seen = soak.seen
    growth = seen.growth()
    for name, figures in growth.items():
        if figures["grown"] > GROWTH:
            seen.fail(f"{name} grew by {figures['grown']:.1%} after warm-up")
    after = sorted(seen.known_after)
    return {
        "machine": this_machine(), "minutes": minutes, "nodes": len(soak.members), "rounds": seen.rounds, "answers": seen.answers,
        "acts": dict(seen.acts), "known_to_all_s": {
            "median": round(statistics.median(after), 2), "p95": round(after[int(len(after) * 0.95)], 2), "most": round(after[-1], 2),
        },
        "memory": growth, "together_mib": seen.by_minute(), "logged": dict(seen.logged), "failures": seen.failures,
    }  # fmt: skip


def main() -> int:
    """Soak, print, write."""
    parser = argparse.ArgumentParser(description="nodes under churn")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--keep", action="store_true", help="leave the homes and their logs where they are")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    village = Village(folder)
    try:
        soak = Soak(village, options.nodes, options.seed)
        soak.run(options.minutes)
    finally:
        village.clean()
        if options.keep:
            print(f"homes: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    told = report(soak, options.minutes)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))
    return 1 if soak.seen.failures else 0


if __name__ == "__main__":
    sys.exit(main())
