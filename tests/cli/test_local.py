"""Commands that need no node: version, config, zone serve. And what a client may load at its start."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from overlay import __version__
from overlay.cli.config_file import load
from overlay.config import Config, plain
from tests.cli.fakes import running
from tests.cli.shell import ROOT, Run


def test_the_version_names_program_python_and_protocol(run: Run) -> None:
    assert run("version").out == run("--version").out == f"overlay {__version__} (python {platform.python_version()}, protocol 1)\n"
    assert json.loads(run("version", "--json").out) == {"version": __version__, "python": platform.python_version(), "protocol": 1}


def test_a_good_configuration_is_talk_only(run: Run, tmp_path: Path) -> None:
    assert run("--home", str(tmp_path), "config", "check").status == 0
    (tmp_path / "overlay.toml").write_text("[lan]\n")
    seen = run("--home", str(tmp_path), "config", "check")
    assert (seen.status, seen.out, seen.complaint) == (0, "", [f"{tmp_path}/overlay.toml is valid"])
    assert json.loads(run("--home", str(tmp_path), "config", "check", "--json").out)["valid"] is True


def test_each_mistake_of_a_configuration_is_a_line_of_data(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "overlay.toml"
    path.write_text("[lan]\nadmitt = true\n\ndiscovery = 3\n")
    seen = run("--home", str(tmp_path), "config", "check")
    assert (seen.status, len(seen.complaint)) == (1, 2)
    assert [line.split(" ")[0] for line in seen.out.splitlines()] == [f"{path}:2:", f"{path}:4:"]
    machine = run("--home", str(tmp_path), "config", "check", "--json")
    assert (machine.status, [problem["line"] for problem in json.loads(machine.out)["problems"]]) == (1, [2, 4])


def test_the_settings_are_shown_as_toml_that_reads_back(run: Run, tmp_path: Path) -> None:
    assert run("--home", str(tmp_path), "config", "show").out == ""
    (tmp_path / "overlay.toml").write_text('[names]\npolicy = "exclusive"\n[lan]\ndiscovery = true\n')
    assert run("--home", str(tmp_path), "config", "show").out == '[names]\npolicy = "exclusive"\n'
    config = load(tmp_path)
    effective = run("--home", str(tmp_path), "config", "show", "--effective").out
    (tmp_path / "overlay.toml").write_text(effective)
    assert load(tmp_path) == config != Config()
    assert json.loads(run("--home", str(tmp_path), "config", "show", "--effective", "--json").out) == plain(config)


@pytest.mark.parametrize(
    ("words", "status"), [(["/absent", "--listen", "127.0.0.1:5399"], 1), (["-", "--listen", "localhost:53"], 2), (["-"], 2)]
)
def test_a_zone_that_cannot_be_served_is_told(run: Run, words: list[str], status: int) -> None:
    seen = run("zone", "serve", *words)
    assert (seen.status, seen.out, len(seen.complaint)) == (status, "", 2)


# Start (GOALS, "Start, memory, size"): at most four empty interpreters

HEAVY = {
    "trio",
    "dns",
    "cryptography",
    "msgpack",
    "h11",
    "click",
    "rich",
    "asyncio",
    "inspect",
    "dataclasses",
    "pathlib",
    "traceback",
    "urllib",
    "ssl",
}
LOADED = "import sys; from overlay.cli import main; status = main(sys.argv[1:]); print(); print(*sorted(sys.modules)); sys.exit(status)"


@pytest.mark.parametrize(
    "words", ["status", "peers", "clusters", "resolve a.b", "expand a.b", "ping a.b", "name list", "name set a.b TXT x", "down"]
)
def test_a_command_that_only_talks_to_the_node_loads_nothing_heavy(tmp_path: Path, words: str) -> None:
    answers = {
        "status": {},
        "peers": [],
        "clusters": [],
        "resolve": {},
        "expand": [],
        "ping": {"received": 1},
        "name.list": [],
        "name.set": {},
    }
    with running(tmp_path, answers) as node:
        node.answers["down"] = lambda args: node.stop()
        command = [sys.executable, "-S", "-c", LOADED, "--home", str(tmp_path), *words.split(" ")]
        said = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said.stderr
    loaded = set(said.stdout.splitlines()[-1].split(" "))
    assert "overlay.cli.entry" in loaded
    assert {name for name in loaded if name.split(".")[0] in HEAVY} == set()
    assert {name for name in loaded if name.split(".")[0] in ("tld", "bootstrap")} == set()
    rooms = {"overlay.cli", "overlay.driver", "overlay.errors"}
    assert {name for name in loaded if name.startswith("overlay.") and ".".join(name.split(".")[:2]) not in rooms} == set()
