"""What a shell offers: commands, options and their values, the nodes there are; files where a file is wanted and nowhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overlay.cli.completion import NODES, NOTHING, kind_of
from overlay.cli.grammar import EVERYWHERE
from overlay.cli.table import COMMANDS
from tests.cli.fakes import running
from tests.cli.shell import ROOT, Run

TYPE = 'COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _overlay; printf "%s\\n" "${{COMPREPLY[@]}}"'
BASH = 'eval "$(cat)"; ' + TYPE
# As zsh's own bashcompinit calls the functions of bash.
ZSH = 'eval "$(cat)"; overlay_typed() {{ emulate -L sh; setopt kshglob noshglob braceexpand ksharrays; ' + TYPE + "}}; overlay_typed"

NODE_NAMES = ["alice.home.eu.cloud", "founder.hq.cloud"]
# What is typed, the last word half; what is offered.
TYPED = [
    ("overlay sta", ["status"]),
    ("overlay --home /x na", ["name"]),
    ("overlay --deb", ["--debug"]),
    ("overlay name ", ["list", "remove", "set", "tree"]),
    ("overlay name se", ["set"]),
    ("overlay peers --j", ["--json"]),
    ("overlay service add --po", ["--port"]),
    ("overlay join --det", ["--detach"]),
    ("overlay --debug join --det", ["--detach"]),
    ("overlay init a.b --admission ", ["invite", "open"]),
    ("overlay service add www --proto u", ["udp"]),
    ("overlay service add www --port ", []),
    ("overlay completion ", ["bash", "fish", "zsh"]),
    ("overlay name set web AA", ["AAAA"]),
    ("overlay name set --ttl 5 web AA", ["AAAA"]),
    ("overlay status ", []),
    ("overlay nonsense x", []),
    ("overlay ping f", ["founder.hq.cloud"]),
    ("overlay grant / --to ", NODE_NAMES),
    ("overlay zone serve fil", ["file-one", "file-two"]),
    ("overlay root export f", ["folder"]),
    ("overlay --home f", ["folder"]),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with files in it, and on its path a program `overlay` that knows which home it is about."""
    for name in ("file-one", "file-two"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    program = tmp_path / "bin" / "overlay"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m overlay "$@"\n')
    program.chmod(0o755)
    return tmp_path


def offered(shell: list[str], script: str, place: Path) -> list[str]:
    """The lines that a shell prints, having read the script."""
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OVERLAY_HOME": str(place / "home"), "HOME": str(place)}
    said = subprocess.run(shell, input=script, capture_output=True, text=True, timeout=60, cwd=place, env=environment)
    assert said.stderr == "", said.stderr
    return sorted(said.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_bash_and_zsh_offer_what_may_stand_there(run: Run, place: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here: apt install {shell}")
    script, form = run("completion", shell).out, {"bash": BASH, "zsh": ZSH}[shell]
    with running(place / "home", {"nodes": [{"name": name} for name in NODE_NAMES]}):
        for typed, expected in TYPED:
            words = " ".join(f"'{word}'" for word in typed.split(" "))
            if expected and (place / expected[0]).exists() and shell == "zsh":
                continue  # its compgen gives files to the line editor alone
            lines = offered([shell, "-c", form.format(words=words)], script, place)
            half = typed.rpartition(" ")[2]  # bash leaves out the others itself, zsh's line editor does it later
            assert [word for word in lines if word.startswith(half)] == expected, typed
            assert shell == "zsh" or lines == expected, typed


def test_fish_offers_what_may_stand_there(run: Run, place: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here: apt install fish")
    (place / "script").write_text(run("completion", "fish").out)
    with running(place / "home", {"nodes": [{"name": name} for name in NODE_NAMES]}):
        for typed, expected in TYPED:
            if typed in ("overlay --home /x na", "overlay nonsense x", "overlay name set web AA", "overlay name set --ttl 5 web AA"):
                continue  # fish itself knows no places of arguments, nor that a word before is a value
            lines = offered(["fish", "--no-config", "-c", f"source script; complete -C {typed!r} | cut -f1"], "", place)
            assert [word.rstrip("/") for word in lines] == expected, typed


def test_nobody_waits_for_a_node_that_does_not_run(run: Run, place: Path) -> None:
    seen = run("--home", str(place), "completion", "nodes")
    assert (seen.status, seen.out, len(seen.complaint)) == (3, "", 2)
    words = "'overlay' 'ping' ''"
    assert offered(["bash", "-c", BASH.format(words=words)], run("completion", "bash").out, place) == []


def test_a_nodes_name_cannot_become_a_command_of_the_shell(run: Run, place: Path) -> None:
    """Names are checked by every node; a socket that lies still gets nothing carried out."""
    names = ["$(touch owned)", "`touch owned`", "a;touch owned", "x\n$(touch owned)", "\x1b[2J"]
    with running(place / "home", {"nodes": [{"name": name} for name in names]}):
        offered(["bash", "-c", BASH.format(words="'overlay' 'ping' ''")], run("completion", "bash").out, place)
    assert not (place / "owned").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_and_option_is_in_the_script_of_every_shell(run: Run, shell: str) -> None:
    script = run("completion", shell).out
    for command in COMMANDS:
        assert all(word in script for word in command.words)
        assert all(option.name.removeprefix("--") in script for option in (*command.options, *EVERYWHERE))


def test_what_may_stand_in_a_place_is_read_from_the_table() -> None:
    kinds = {(command.name, place.name): kind_of(place) for command in COMMANDS for place in (*command.arguments, *command.options)}
    assert kinds["ping", "NODE"] == kinds["grant", "--to"] == NODES
    assert kinds["init", "--admission"] == "invite|open"
    assert kinds["invite", "--expires"] == kinds["grant", "--rights"] == kinds["init", "--root-keys"] == NOTHING
