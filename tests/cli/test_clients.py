"""What commands ask the running node, and how its answers are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from overlay.cli import stopping
from overlay.cli.layout import shown, span, table, tree
from overlay.errors import ReachError
from tests.cli.fakes import SILENCE, running
from tests.cli.shell import Run

STATUS = {
    "zone": "cloud.example.org",
    "tld": "cloud",
    "overlay_id": "abc",
    "name": "alice.home.eu.cloud",
    "node_id": "-id",
    "cluster": "eu/home",
    "gateway": True,
    "standby": False,
    "gateway_name": "alice.home.eu.cloud",
    "public_address": None,
    "owns_public_address": False,
    "nat": "unknown",
    "revision": 7,
    "incarnation": 2,
    "pid": None,
    "peers": 3,
    "clusters": 2,
    "records": 40,
    "uptime_s": 7_384.2,
    "load": 0.25,
    "listen": {"overlay": ["127.0.0.1:7653"], "tls": [], "http": [], "dns": [], "stub": ["127.0.0.1:5300"]},
    "grants": [{"path": "", "rights": ["own", "sign"], "expires": 1}],
}
PEER = {
    "name": "bob.cloud",
    "node_id": "x",
    "cluster": "b",
    "path": "lan",
    "address": "10.0.0.2:7653",
    "rtt_ms": None,
    "revision": 0,
    "since_s": 61,
}
CLUSTER = {
    "cluster": "eu/home",
    "public_addresses": ["192.0.2.1", "192.0.2.2"],
    "gateways": [],
    "nodes": 4,
    "revision": 0,
    "stable": True,
    "development": [],
    "load": 0.5,
    "seen_s": 3,
}
CARRIER = {
    "name": "a.cloud",
    "node_id": "x",
    "cluster": "a",
    "addresses": ["192.0.2.1"],
    "port": 80,
    "healthy": False,
    "load": 0.1,
    "distance_ms": 1.5,
}
SERVICE = {"name": "w.cloud", "port": 80, "proto": "tcp", "address": [], "health": "tcp", "weight": 10, "node": "a.cloud", "healthy": True}
DATA = {"name": "m.cloud", "type": "TXT", "ttl": 30, "values": ["a b"], "signer": "a.cloud", "expires": 9}
TREE = {
    "label": "cloud",
    "name": "cloud",
    "kinds": ["zone"],
    "children": [
        {
            "label": "eu",
            "name": "eu.cloud",
            "kinds": [],
            "children": [{"label": "home", "name": "home.eu.cloud", "kinds": ["zone"], "children": []}],
        },
        {"label": "www", "name": "www.cloud", "kinds": ["A", "service"], "children": []},
    ],
}
RESOLVED = {
    "name": "motd.home.eu.cloud",
    "type": "TXT",
    "rcode": "NOERROR",
    "world": "overlay",
    "answers": ['"hello"'],
    "records": [],
    "chain": [],
    "reason": "from memory",
}
PINGED = {"name": "bob.cloud", "path": "direct", "sent": 3, "received": 2, "rtt_ms": [1.0, 3.0]}
TOKEN = {"token": "-tok_en", "expires": 9, "uses": 1, "path": "eu/home"}

# words, control command, its arguments, the node's answer, what a person must find on stdout
CASES: list[tuple[list[str], str, dict[str, Any], Any, list[str]]] = [
    (["status"], "status", {}, STATUS, ["alice.home.eu.cloud", "2h 3m", "gateway", "listens: dns      off", "rights on (root)  own, sign"]),
    (
        ["peers"],
        "peers",
        {},
        [PEER],
        ["NAME       CLUSTER  PATH  ADDRESS        RTT MS  REVISION  SINCE", "10.0.0.2:7653  -       0         1m 1s"],
    ),
    (["clusters"], "clusters", {}, [CLUSTER], ["192.0.2.1, 192.0.2.2", "yes", "3s"]),
    (["ping", "-bob"], "ping", {"node": "-bob", "count": 3}, PINGED, ["bob.cloud  direct  1  1.000 ms"]),
    (["ping", "bob", "-c", "7"], "ping", {"node": "bob", "count": 7}, PINGED, ["3.000 ms"]),
    (["resolve", "motd", "txt"], "resolve", {"name": "motd", "type": "TXT"}, RESOLVED, ['"hello"\n']),
    (["resolve", "motd"], "resolve", {"name": "motd", "type": "A"}, RESOLVED, ['"hello"\n']),
    (["expand", "www"], "expand", {"name": "www"}, [CARRIER], ["192.0.2.1", "no", "1.5"]),
    (["service", "list"], "service.list", {}, [SERVICE], ["w.cloud", "tcp"]),
    (["name", "list"], "name.list", {}, [DATA], ["a b"]),
    (["name", "list", "eu/home"], "name.list", {"path": "eu/home"}, [DATA], ["m.cloud"]),
    (["name", "tree"], "name.tree", {}, TREE, ["cloud  (zone)\n├── eu\n│   └── home  (zone)\n└── www  (A, service)\n"]),
    (["invite"], "invite", {"uses": 1, "expires_s": 86_400}, TOKEN, ["-tok_en\n"]),
    (
        ["invite", "eu/home", "--uses", "5", "--expires", "90s", "--shadow"],
        "invite",
        {"path": "eu/home", "uses": 5, "expires_s": 90, "shadow": True},
        TOKEN,
        ["-tok_en\n"],
    ),
    (
        ["service", "add", "www.home.eu", "--port", "80"],
        "service.add",
        {"name": "www.home.eu", "port": 80, "proto": "tcp", "health": "none", "weight": 10, "shadow": False},
        {"name": "www"},
        [],
    ),
    (
        [
            "service",
            "add",
            "w",
            "--port=53",
            "--proto",
            "udp",
            "--address",
            "192.0.2.1",
            "--health",
            "cmd:true",
            "--weight",
            "0",
            "--shadow",
        ],
        "service.add",
        {"name": "w", "port": 53, "proto": "udp", "address": "192.0.2.1", "health": "cmd:true", "weight": 0, "shadow": True},
        {"name": "w"},
        [],
    ),
    (["service", "remove", "w"], "service.remove", {"name": "w"}, {"name": "w"}, []),
    (
        ["name", "set", "m", "txt", "hello  there", "", "--ttl", "5m"],
        "name.set",
        {"name": "m", "type": "TXT", "values": ["hello  there", ""], "ttl": 300, "shadow": False},
        {"name": "m"},
        [],
    ),
    (
        ["name", "set", "m", "A", "192.0.2.1"],
        "name.set",
        {"name": "m", "type": "A", "values": ["192.0.2.1"], "shadow": False},
        {"name": "m"},
        [],
    ),
    (["name", "remove", "m"], "name.remove", {"name": "m"}, {"name": "m"}, []),
    (["name", "remove", "m", "txt"], "name.remove", {"name": "m", "type": "TXT"}, {"name": "m"}, []),
]


@pytest.mark.parametrize(("words", "command", "args", "answer", "told"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_a_command_asks_as_agreed_and_shows_the_answer(
    run: Run, tmp_path: Path, words: list[str], command: str, args: dict[str, Any], answer: Any, told: list[str]
) -> None:
    with running(tmp_path, {command: answer}) as node:
        people, programs = run("--home", str(tmp_path), *words), run("--home", str(tmp_path), *words, "--json")
    assert node.asked == [(command, args)] * 2
    assert people.status == programs.status == 0
    assert json.loads(programs.out) == answer
    assert programs.err == ""
    for text in told:
        assert text in people.out
    if not told:
        assert (people.out, len(people.complaint)) == ("", 1)


@pytest.mark.parametrize("words", [["peers"], ["clusters"], ["expand", "x"], ["service", "list"], ["name", "list"]], ids=" ".join)
def test_an_empty_list_is_no_data_and_a_word_of_talk(run: Run, tmp_path: Path, words: list[str]) -> None:
    with running(tmp_path, {command: [] for command in ("peers", "clusters", "expand", "service.list", "name.list")}):
        seen = run("--home", str(tmp_path), *words)
    assert (seen.status, seen.out, len(seen.complaint)) == (0, "", 1)


def test_a_ping_without_an_echo_exits_5_and_keeps_its_data(run: Run, tmp_path: Path) -> None:
    lost = {"name": "bob.cloud", "path": "direct", "sent": 3, "received": 0, "rtt_ms": []}
    with running(tmp_path, {"ping": lost}):
        seen = run("--home", str(tmp_path), "ping", "bob", "--json")
    assert (seen.status, json.loads(seen.out), len(seen.complaint)) == (5, lost, 2)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["service", "add", "w"], "wants --port"),
        (["service", "add", "w", "--port", "1", "--health", "https://x"], "is no health check"),
        (["service", "add", "w", "--port", "1", "--proto", "udp", "--health", "tcp"], "cannot be checked"),
        (["name", "set", "m", "TXT"], "wants VALUE"),
        (["name", "set", "m"], "wants TYPE"),
        (["zone", "serve", "-"], "wants --listen"),
        (["leave"], "nobody is there to be asked"),
    ],
)  # fmt: skip
def test_what_the_node_need_not_be_asked_is_misuse_at_once(run: Run, tmp_path: Path, words: list[str], what: str) -> None:
    with running(tmp_path, {}) as node:
        seen = run("--home", str(tmp_path), *words)
    assert (seen.status, len(seen.complaint), node.asked) == (2, 2, [])
    assert what in seen.err


# Stopping


@pytest.mark.parametrize("answer", [{}, SILENCE], ids=["that answers", "that is gone first"])
def test_down_returns_when_nobody_answers_any_more(run: Run, tmp_path: Path, answer: object) -> None:
    with running(tmp_path, {"status": STATUS}) as node:

        def stop(args: dict[str, Any]) -> object:
            node.stop()
            return answer

        node.answers["down"] = stop
        seen = run("--home", str(tmp_path), "down")
    assert (seen.status, seen.out, seen.complaint) == (0, "", ["stopped"])
    assert [command for command, _ in node.asked] == ["status", "down"]


def test_down_waits_for_the_process_and_says_when_it_will_not_end(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "STOPPING", 0.0)
    with running(tmp_path, {"status": {**STATUS, "pid": os.getpid()}}) as node:
        node.answers["down"] = lambda args: node.stop()
        seen = run("--home", str(tmp_path), "down")
    assert (seen.status, len(seen.complaint)) == (5, 2)
    assert f"kill process {os.getpid()}" in seen.err


def test_leave_with_yes_asks_nobody_and_waits_for_the_end(run: Run, tmp_path: Path) -> None:
    with running(tmp_path, {"status": STATUS}) as node:
        node.answers["leave"] = lambda args: node.stop()
        seen = run("--home", str(tmp_path), "leave", "--yes")
    assert (seen.status, seen.complaint) == (0, ["left the overlay"])


def test_leave_on_a_terminal_takes_no_for_an_answer(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdin, "readline", lambda: "\n", raising=False)
    with running(tmp_path, {}) as node:
        seen = run("--home", str(tmp_path), "leave")
    assert (seen.status, node.asked) == (1, [])
    assert "[y/N]" in seen.err


def test_a_dead_process_that_nobody_buried_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not stopping.alive(child.pid)
    assert not stopping.alive(child.pid)
    assert stopping.alive(os.getpid())


def test_a_refusal_to_stop_is_told(run: Run, tmp_path: Path) -> None:
    with running(tmp_path, {"status": STATUS, "down": ReachError("too busy", "try again")}):
        seen = run("--home", str(tmp_path), "down")
    assert (seen.status, seen.complaint) == (5, ["overlay: too busy", "try again"])


# Layout


def test_cells_say_what_is_not_known_and_never_steer_the_terminal() -> None:
    assert [shown(value) for value in (None, [], "", True, False, 0, 1.50, ["a", "b"], "x\x1b[2J\n")] == [
        "-", "-", "-", "yes", "no", "0", "1.5", "a, b", "x?[2J?",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "told"), [(None, "-"), (0.4, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (7_384, "2h 3m"), (90_000, "1d 1h")]
)
def test_spans_have_two_units_at_most(seconds: float | None, told: str) -> None:
    assert span(seconds) == told


def test_columns_stand_under_each_other() -> None:
    assert table([["a", 1], ["long name", None]], ["name", "n"]) == "NAME       N\na          1\nlong name  -"


def test_a_tree_of_one_is_its_root() -> None:
    assert tree({"label": "cloud", "kinds": [], "children": []}) == "cloud"
