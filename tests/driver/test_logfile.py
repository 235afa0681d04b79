"""The log: one line an event, bounded, and never the reason a node stops."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overlay import limits
from overlay.driver.logfile import LogFile, line
from overlay.machine import Log

AT = 1_795_302_151.1237


def test_the_form_of_a_line() -> None:
    log = Log("warning", "session-refused", {"peer": "alice.home.eu", "reason": "no passport", "n": 3, "key": b"\x01\xff"})
    assert line(AT, log) == '2026-11-21T23:02:31.123Z warning session-refused peer=alice.home.eu reason="no passport" n=3 key=01ff'


@given(st.text(), st.text())
@example("key", "\x7f")
def test_foreign_text_cannot_make_a_line_or_a_field(key: str, value: str) -> None:
    written = line(AT, Log("info", "event", {key: value}))
    assert written.isascii() and written.isprintable()
    if '"' not in written:
        assert written.count(" ") == 3 and written.count("=") == 1


def test_lines_are_appended_and_kept_from_the_world(tmp_path: Path) -> None:
    for word in ("one", "two"):
        log = LogFile(tmp_path / "log")
        assert log.write(Log("info", word), AT)
        log.close()
    assert [text.split()[2] for text in (tmp_path / "log").read_text().splitlines()] == ["one", "two"]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) & 0o007 == 0


def test_what_is_below_the_level_is_not_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", level="warning")
    assert not log.write(Log("info", "chatter"), AT) and log.write(Log("error", "trouble"), AT)
    log.close()
    assert (tmp_path / "log").read_text().count("\n") == 1


def test_the_log_and_its_predecessor_are_bounded(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", bound=1_000)
    for n in range(200):
        assert log.write(Log("info", "event", {"n": n}), AT + n)
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1"]
    assert all(path.stat().st_size <= 1_000 for path in tmp_path.iterdir())
    assert (tmp_path / "log").read_text().rstrip().endswith("n=199") and log.counters["log_rotated"] > 3


def test_a_very_long_line_is_cut(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    log.write(Log("info", "event", {"text": "x" * 100_000}), AT)
    log.close()
    assert (tmp_path / "log").stat().st_size == limits.LOG_LINE + 1 and log.counters["log_cut"] == 1


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogFile(tmp_path / "log")
    log.write(Log("info", "before"), AT)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        assert not log.write(Log("info", "lost"), AT)
    assert log.write(Log("info", "after"), AT)
    log.close()
    assert [text.split()[2] for text in (tmp_path / "log").read_text().splitlines()] == ["before", "after"]
    assert log.counters["log_lost"] == 1


def test_a_log_that_cannot_be_opened_is_counted(tmp_path: Path) -> None:
    assert not LogFile(tmp_path / "nowhere" / "log").write(Log("info", "lost"), AT)


def test_one_event_cannot_push_the_others_out_and_how_often_it_was_is_told_afterwards(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    told = [log.write(Log("info", "newcomer", {"number": number}), AT + number / 100) for number in range(1_000)]
    assert told == [True] * limits.LOG_EVENT + [False] * (1_000 - limits.LOG_EVENT)
    assert log.write(Log("info", "peer"), AT + 11)
    assert log.write(Log("info", "newcomer"), AT + 60)
    assert log.write(Log("info", "newcomer"), AT - 3_600)  # a clock that was put back
    log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == limits.LOG_EVENT + 4
    assert "info peer" in lines[limits.LOG_EVENT]
    assert lines[-3].endswith(f"warning left-out event=newcomer lines={1_000 - limits.LOG_EVENT}")
    assert log.counters["log_left_out"] == 1_000 - limits.LOG_EVENT
