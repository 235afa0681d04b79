"""``--detach``: a node that outlives its command and holds nothing of the caller's (CONTRACT, ``join``)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from overlay.cli import detach as detaching
from overlay.cli.detach import READY_FD, Parent, Terminal, detach, report
from overlay.errors import ConfigError, OverlayError, ReachError, TrustError

HEAD = "import json, os, signal, sys\nfrom overlay.cli.detach import report\nfrom overlay.errors import TrustError\n"
PATIENCE = 30.0  # seconds: nothing here takes one


def child(script: str) -> tuple[str, ...]:
    return ("-P", "-c", HEAD + script)


LIVES = """
with report() as told:
    told.progress("step one")
    told.progress("step two")
    told.ready("joined as alice in 0.1 s")
    held = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            held[int(name)] = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            pass  # the listing itself
    said = {"pid": os.getpid(), "sid": os.getsid(0), "held": held, "cwd": os.getcwd(), "words": sys.argv[1:]}
    said["fd"] = os.environ.get("OVERLAY_READY_FD")
    print("for the log", file=sys.stderr, flush=True)
    with open(sys.argv[1], "w") as fifo:
        json.dump(said, fifo)
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_it_returns_when_ready_and_the_node_holds_nothing_of_the_callers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fifo, log = tmp_path / "fifo", tmp_path / "log"
    os.mkfifo(fifo)
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        assert detach([str(fifo), "-x", "--y"], log, PATIENCE, child(LIVES)) == 0
        said = json.loads(fifo.read_text())
    finally:
        os.close(reading)
        os.close(writing)
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("joined as alice in 0.1 s\n", "step one\nstep two\n")
    assert said["sid"] == said["pid"] != os.getpid()
    assert said["held"] == {"0": "/dev/null", "1": "/dev/null", "2": str(log)}
    assert (said["cwd"], said["words"], said["fd"]) == ("/", [str(fifo), "-x", "--y"], None)
    os.kill(said["pid"], signal.SIGTERM)
    assert os.waitpid(said["pid"], 0)[1] == signal.SIGTERM
    assert log.read_text() == "for the log\n"


def test_its_error_is_the_commands_error(tmp_path: Path) -> None:
    script = 'with report() as told:\n    told.progress("asking")\n    raise TrustError("that name is taken", "take alice-2", rule="taken")'
    with pytest.raises(TrustError) as caught:
        detach([], tmp_path / "log", PATIENCE, child(script))
    assert (caught.value.lines(), caught.value.rule, caught.value.exit_status) == (["that name is taken", "take alice-2"], "taken", 4)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("sys.exit(7)", "exit status 7"),
        ("raise ZeroDivisionError", "exit status 1"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("os.write(int(os.environ['OVERLAY_READY_FD']), b'no json\\n[1]\\n{\"unknown\": 1}\\n')", "exit status 0"),
    ],
)
def test_a_node_that_ends_without_a_word_is_a_failure_that_names_the_log(tmp_path: Path, script: str, told: str) -> None:
    with pytest.raises(OverlayError, match=told) as caught:
        detach([], tmp_path / "log", PATIENCE, child(script))
    assert caught.value.exit_status == 1
    assert str(tmp_path / "log") in caught.value.todo


def pid_in(text: str) -> int:
    found = re.search(r"pid (\d+)", text)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("stubborn", [False, True], ids=["that obeys", "that ignores SIGTERM"])
def test_a_node_that_is_not_ready_in_time_is_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    monkeypatch.setattr(detaching, "_GRACE", 0.2 if stubborn else PATIENCE)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    script = ignore + 'with report() as told:\n    told.progress(f"pid {os.getpid()}")\n    signal.pause()'
    with pytest.raises(ReachError) as caught:
        detach([], tmp_path / "log", 3.0, child(script))
    pid = pid_in(capfd.readouterr().err)
    assert caught.value.exit_status == 5
    assert f"the last step: pid {pid}" in caught.value.what
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_node_that_closes_its_end_and_hangs_is_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detaching, "_GRACE", 0.2)
    script = 'with report() as told:\n    told.progress(f"pid {os.getpid()}")\nsignal.pause()'
    with pytest.raises(OverlayError, match="went silent"):
        detach([], tmp_path / "log", PATIENCE, child(script))
    with pytest.raises(ProcessLookupError):
        os.kill(pid_in(capfd.readouterr().err), 0)


def test_a_log_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    script = 'with report() as told:\n    told.ready("up")'
    assert detach([], tmp_path / "absent" / "log", PATIENCE, child(script)) == 0
    os.wait()


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="cannot start another process"):
        detach([], tmp_path / "log", PATIENCE)


# The child's side


@pytest.mark.parametrize("named", ["", "x", "-1", "2", "99999", "9" * 40, "²"])
def test_a_descriptor_that_is_no_parents_pipe_is_left_alone(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv(READY_FD, named)
    assert isinstance(report(), Terminal)
    assert READY_FD not in os.environ


def test_a_file_in_place_of_the_pipe_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setenv(READY_FD, str(file.fileno()))
        with report() as told:
            told.progress("x")
    assert (tmp_path / "file").read_text() == ""


def test_a_parent_that_went_away_does_not_stop_the_node() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Parent(writing) as told:
        told.progress("x")
        told.ready("y")
        told.progress("z")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)


def test_what_is_said_after_ready_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setenv(READY_FD, str(writing))
    with report() as told:
        told.ready("up")
        told.progress("later")
    assert os.read(reading, 1_000) == b'{"ready": "up"}\n'
    assert os.read(reading, 1_000) == b""
    os.close(reading)


@pytest.mark.parametrize("word", ["progress", "ready"])
def test_what_is_reported_never_steers_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str], word: str) -> None:
    evil = "knocking at \x1b[2J\x1b]0;owned\x07\nsecond line"
    with report() as told:
        getattr(told, word)(evil)
    here = capfd.readouterr()
    with pytest.raises(OverlayError) if word == "progress" else contextlib.nullcontext():
        detach([], tmp_path / "log", PATIENCE, child(f"with report() as told:\n    told.{word}({evil!r})"))
        os.wait()
    detached = capfd.readouterr()
    for seen in (here.out + here.err, detached.out + detached.err):
        assert seen.count("\n") == 1 and seen.rstrip("\n").isprintable()


def test_in_the_foreground_talk_goes_to_stderr_and_the_ready_line_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with report() as told:
        told.progress("step")
        told.ready("up as alice")
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("up as alice\n", "step\n")
