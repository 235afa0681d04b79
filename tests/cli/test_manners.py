"""Exit statuses, two-line errors, homes, JSON on stdout and talk on stderr (CONTRACT, "the manners")."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from overlay.cli import home
from overlay.cli.entry import one_line
from overlay.cli.grammar import EVERYWHERE
from overlay.cli.layout import coloured
from overlay.cli.table import COMMANDS, GROUPS
from overlay.errors import Absent, NotRunning, OverlayError, ReachError, TrustError, UsageError
from tests.cli.fakes import SILENCE, running
from tests.cli.shell import Run, process

CLIENTS = [
    ["status"], ["peers"], ["clusters"], ["ping", "alice"], ["resolve", "web.home.eu"], ["expand", "web.home.eu"], ["invite"], ["down"],
    ["leave", "--yes"], ["service", "add", "web.home.eu", "--port", "80"], ["service", "list"], ["service", "remove", "web.home.eu"],
    ["name", "set", "a.b", "TXT", "x"], ["name", "remove", "a.b"], ["name", "list"], ["name", "tree"],
]  # fmt: skip


@pytest.mark.parametrize("words", CLIENTS, ids=" ".join)
def test_without_a_node_every_client_exits_3_with_two_lines(run: Run, tmp_path: Path, words: list[str]) -> None:
    seen = run("--home", str(tmp_path), *words)
    assert (seen.status, seen.out) == (3, "")
    assert seen.complaint == [f"overlay: no node is running on {tmp_path}", "start it with `overlay up`"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverlayError("w", "t"), 1),
        (Absent("w", "t"), 1),
        (UsageError("w", "t"), 2),
        (NotRunning("w", "t"), 3),
        (TrustError("w", "t"), 4),
        (ReachError("w", "t"), 5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, OverlayError) else "",
)
def test_a_refusal_of_the_node_keeps_its_exit_status(run: Run, tmp_path: Path, error: OverlayError, status: int) -> None:
    with running(tmp_path, {"peers": error}):
        seen = run("--home", str(tmp_path), "peers", "--json")
    assert (seen.status, seen.out, seen.complaint) == (status, "", ["overlay: w", "t"])


def test_a_node_that_says_nothing_is_out_of_reach(run: Run, tmp_path: Path) -> None:
    with running(tmp_path, {"peers": SILENCE}):
        seen = run("--home", str(tmp_path), "peers")
    assert (seen.status, len(seen.complaint)) == (5, 2)


def test_an_error_without_advice_still_has_two_lines(run: Run, tmp_path: Path) -> None:
    with running(tmp_path, {"peers": OverlayError("it broke")}):
        seen = run("--home", str(tmp_path), "peers")
    assert seen.complaint == ["overlay: it broke", "run it again with --debug to see where it comes from"]


def test_what_others_sent_cannot_steer_the_terminal_or_add_lines(run: Run, tmp_path: Path) -> None:
    with running(tmp_path, {"peers": TrustError("evil\nsecond\x1b[2J", "do\r\nthis")}):
        seen = run("--home", str(tmp_path), "peers")
    assert len(seen.complaint) == 2
    assert "\x1b" not in seen.err
    assert one_line(" a\t b\u202e\n") == "a b\ufffd"


def test_progress_and_data_of_a_node_that_lies_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\r\n\x9b2J\u202e"
    answers = {"resolve": {"name": evil, "type": "A", "rcode": evil, "world": evil, "answers": [evil], "reason": evil}}
    with running(tmp_path, answers) as node:
        node.progress = [evil + "one", "two\nthree"]
        seen = run("--home", str(tmp_path), "resolve", "a.b")
    assert seen.status == 0
    assert len(seen.complaint) == 3
    assert all(line.isprintable() for line in (*seen.complaint, *seen.out.splitlines()))


def test_misuse_exits_2_with_two_lines(run: Run) -> None:
    seen = run("staus")
    assert (seen.status, seen.out) == (2, "")
    assert seen.complaint == ["overlay: there is no command 'staus'", "did you mean `overlay status`?"]


def test_debug_adds_the_traceback_and_nothing_else_does(run: Run, tmp_path: Path) -> None:
    seen = run("--home", str(tmp_path), "--debug", "status")
    assert "Traceback" in seen.err
    assert seen.complaint[-2:] == [f"overlay: no node is running on {tmp_path}", "start it with `overlay up`"]
    assert "Traceback" not in run("--home", str(tmp_path), "status").err


def test_progress_is_talk(run: Run, tmp_path: Path) -> None:
    with running(tmp_path, {"peers": []}) as node:
        node.progress = ["looking around"]
        seen = run("--home", str(tmp_path), "peers", "--json")
    assert (seen.status, json.loads(seen.out), seen.err) == (0, [], "looking around\n")


def test_every_command_has_help_that_names_its_options_and_arguments(run: Run) -> None:
    for command in COMMANDS:
        seen = run(*command.words, "--help")
        assert (seen.status, seen.err) == (0, "")
        assert f"overlay {command.name}" in seen.out
        for option in (*command.options, *EVERYWHERE):
            assert option.name in seen.out
            assert option.meaning in seen.out
        for place in command.arguments:
            assert place.meaning in seen.out


def test_alone_it_prints_all_commands_by_groups(run: Run) -> None:
    seen = run()
    assert (seen.status, seen.err) == (0, "")
    assert [seen.out.index(f"\n{group}\n") for group in GROUPS] == sorted(seen.out.index(f"\n{group}\n") for group in GROUPS)
    assert all(command.name in seen.out and command.summary in seen.out for command in COMMANDS)
    assert run("name", "--help").out.count("\n  name ") == 4


def test_every_reading_command_prints_json(run: Run) -> None:
    for words in (
        "status",
        "peers",
        "clusters",
        "ping",
        "resolve",
        "expand",
        "service list",
        "name list",
        "name tree",
        "config show",
        "version",
    ):
        command = next(command for command in COMMANDS if command.name == words)
        assert "--json" in [option.name for option in command.options], words


# Homes


def test_a_named_home_wins_over_the_environment_and_that_over_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    own = str(tmp_path / "user" / ".local" / "state" / "overlay")
    assert home.own(None) == own
    assert home.asked(None) == [own, home.SYSTEM]
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert home.own(None) == own
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert home.own(None) == str(tmp_path / "state" / "overlay")
    monkeypatch.setenv("OVERLAY_HOME", str(tmp_path / "env"))
    assert home.asked(None) == [str(tmp_path / "env")]
    assert home.asked(str(tmp_path / "named")) == [str(tmp_path / "named")]


def test_root_has_the_system_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert home.asked(None) == [home.SYSTEM]


def test_a_relative_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert home.own("here") == str(tmp_path / "here")


def test_a_user_without_a_home_directory_is_told_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os.path, "expanduser", lambda text: text)
    seen = run("status")
    assert (seen.status, seen.complaint) == (1, ["overlay: this user has no home directory", "name one with --home or OVERLAY_HOME"])


def test_a_users_client_finds_the_system_node_where_none_of_his_own_runs(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with running(Path(home.SYSTEM), {"peers": [{"name": "the system's"}]}):
        assert json.loads(run("peers", "--json").out) == [{"name": "the system's"}]
        assert run("--home", str(tmp_path / "mine"), "peers").status == 3
        with running(Path(home.own(None)), {"peers": [{"name": "my own"}]}):
            assert json.loads(run("peers", "--json").out) == [{"name": "my own"}]


def test_where_neither_runs_the_users_own_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert home.own(None) in run("status").complaint[0]


# Processes


def test_a_reader_that_goes_away_is_no_reason_to_complain() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with process("completion", "fish", stdout=writing) as child:
        os.close(writing)
        assert child.communicate(timeout=30)[1] == ""
    assert child.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told_in_two_lines() -> None:
    with open("/dev/full", "w") as full, process("completion", "fish", stdout=full) as child:
        told = child.communicate(timeout=30)[1].splitlines()
    assert (child.returncode, len(told)) == (1, 2)
    assert "No space left" in told[0]


def test_an_interrupt_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("first\n")
    with process("--home", str(tmp_path), "log", "-f") as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "first\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        assert child.stderr.read() == ""


def test_a_defect_is_told_in_two_lines_too(capsys: pytest.CaptureFixture[str], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("version")
    monkeypatch.setattr(sys, "argv", ["overlay", "status"])
    sys.excepthook(ZeroDivisionError, ZeroDivisionError("division by zero"), None)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "overlay: a defect of this program: ZeroDivisionError: division by zero", "run it again with --debug and report what it prints",
    ]  # fmt: skip


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coloured("x", "1") == "x"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert coloured("x", "1") == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured("x", "1") == "x"
