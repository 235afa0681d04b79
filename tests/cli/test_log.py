"""``overlay log``: all of it, its last lines, or what comes; each line once through every turning over, and none steers a terminal."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overlay.cli import log_reading
from overlay.cli.log_reading import RECENT, Growing
from overlay.cli.terminal import one_line, visible
from overlay.driver.logfile import LogFile
from overlay.machine import Log
from tests.cli.shell import Run, process

AT = 1_795_302_151.0


def test_the_log_is_shown_whole_with_its_predecessor_or_its_last_lines(run: Run, tmp_path: Path) -> None:
    assert run("--home", str(tmp_path), "log").status == 1
    (tmp_path / "log").write_bytes(b"a\nb\n\xff\n")
    assert run("--home", str(tmp_path), "log").out == "a\nb\n\ufffd\n"
    assert run("--home", str(tmp_path), "log", "-n", "2").out == "b\n\ufffd\n"
    assert run("--home", str(tmp_path), "log", "-n0").out == ""
    (tmp_path / "log.1").write_bytes(b"x\ny\n")
    assert run("--home", str(tmp_path), "log").out == "x\ny\na\nb\n\ufffd\n"
    assert run("--home", str(tmp_path), "log", "-n", "4").out == "y\na\nb\n\ufffd\n"
    (tmp_path / "log").write_bytes(b"a\nhalf a line")
    assert run("--home", str(tmp_path), "log", "-n", "1").out == "half a line\n"


def test_what_a_crash_left_in_the_log_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes("Traceback\n  \x1b]0;owned\x07 \x9b2J \u202eright\tto left\r\n\xe4 \x7f\n".encode())
    seen = run("--home", str(tmp_path), "log").out
    assert seen == "Traceback\n  \\x1b]0;owned\\x07 \\x9b2J \\u202eright\\tto left\\r\n\xe4 \\x7f\n"


@given(st.text())
def test_whatever_is_shown_can_be_seen(text: str) -> None:
    assert visible(text).isprintable() and one_line(text).isprintable()
    assert visible("a b  c") == "a b  c"


@given(bounds=st.integers(120, 400), batches=st.lists(st.integers(0, 12), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_line_is_read_once_through_every_turning_over(
    tmp_path_factory: pytest.TempPathFactory, bounds: int, batches: list[int]
) -> None:
    """As long as no two turnings come between two looks, which at 10 MiB each is far away."""
    path = tmp_path_factory.mktemp("log") / "log"
    path.touch()
    log, read, number = LogFile(path, bound=bounds), [], 0
    with Growing(path) as growing:
        for batch in batches:
            turned = log.counters["log_rotated"]
            while batch and log.counters["log_rotated"] == turned:
                assert log.write(Log("info", "event", {"n": number}), AT)
                number, batch = number + 1, batch - 1
            read += growing.lines()
    log.close()
    assert [line.rpartition(b"=")[2] for line in read] == [str(n).encode() for n in range(number)]


def test_half_a_line_is_waited_for_and_a_file_cut_short_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    with Growing(path) as growing:
        assert (growing.lines(), growing.rest) == ([b"one"], b"tw")
        with path.open("ab") as file:
            file.write(b"o\n")
        assert (growing.lines(), growing.rest) == ([b"two"], b"")
        path.write_bytes(b"new\n")
        assert growing.lines() == [b"new"]
        path.unlink()
        assert growing.lines() == []
        path.write_bytes(b"again\n")
        assert growing.lines() == [b"again"]


def test_following_begins_with_the_last_lines_and_goes_on_until_it_is_stopped(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    looks = iter(["later\n", "", "last\n"])

    def sleep(seconds: float) -> None:
        added = next(looks, None)
        if added is None:
            raise KeyboardInterrupt
        with path.open("a") as file:
            file.write(added)

    monkeypatch.setattr(log_reading.time, "sleep", sleep)
    seen = run("--home", str(tmp_path), "log", "-f")
    assert (seen.status, seen.err) == (130, "")
    assert seen.out.split("\n") == [*(f"line {number}" for number in range(100 - RECENT, 100)), "later", "last", ""]


def test_a_directory_in_its_place_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    seen = run("--home", str(tmp_path), "log")
    assert (seen.status, len(seen.complaint)) == (1, 2)


def test_a_real_log_is_followed_by_a_real_process(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", bound=300)
    assert log.write(Log("info", "started", {"incarnation": 1}), AT)
    with process("--home", str(tmp_path), "log", "-f") as child:
        assert child.stdout is not None
        assert child.stdout.readline().endswith("started incarnation=1\n")
        for number in range(12):  # turned over on the way
            assert log.write(Log("info", "peer", {"name": "eve\x1b[2J", "n": number}), AT)
            assert child.stdout.readline().endswith(f'peer name="eve\\u001b[2J" n={number}\n')
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
    log.close()
    assert log.counters["log_rotated"] > 0
