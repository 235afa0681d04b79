"""The node's log, ``log`` in the home: one line an event, bounded in size, never the reason a node stops.

It decides the form of a line, how many lines a minute one event may have (strangers cause some of them, and must not
push out what a person looks for), and when the file is turned over (one predecessor is kept). It refuses to know what is
worth a line. A full or read-only disk costs lines, which are counted, and nothing else.

    2026-11-22T23:02:31.123Z warning session-refused peer=alice.home.eu reason="no passport"
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Final

from overlay import limits, machine

MINUTE: Final = 60.0  # seconds
LEVELS: Final = {"debug": 0, "info": 1, "warning": 2, "error": 3}
_PLAIN: Final = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII without blank, quote, "=" and backslash


def line(at: float, log: machine.Log) -> str:
    """One event as one line, without the line end. What could be mistaken for more than one word is quoted as JSON."""
    whole = int(at)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    words = [f"{stamp}.{int((at - whole) * 1000):03d}Z", _word(log.level), _word(log.event)]
    words += (f"{_word(key)}={_word(value)}" for key, value in log.fields.items())
    return " ".join(words)


def _word(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text).replace("\x7f", "\\u007f")  # JSON lets DEL stand


class LogFile:
    """An open log. ``level`` is the least that is written."""

    def __init__(self, path: Path, *, level: str = "info", bound: int = limits.LOG_FILE) -> None:
        self.path = path
        self.counters: Counter[str] = Counter()
        self._least = LEVELS[level]
        self._bound = bound
        self._descriptor = -1
        self._octets = 0
        self._minutes: dict[str, tuple[float, int]] = {}  # event -> (when its minute began, lines wanted in it)

    def write(self, log: machine.Log, at: float) -> bool:
        """Write one event, dated ``at`` (UTC seconds); False where it was lost (counted) or is below the level."""
        if LEVELS.get(log.level, 3) < self._least:
            return False
        began, wanted = self._minutes.get(log.event, (at, 0))
        if not 0 <= at - began < MINUTE:
            if wanted > limits.LOG_EVENT:
                self._put(machine.Log("warning", "left-out", {"event": log.event, "lines": wanted - limits.LOG_EVENT}), at)
            began, wanted = at, 0
        self._minutes[log.event] = (began, wanted + 1)
        if wanted >= limits.LOG_EVENT:
            self.counters["log_left_out"] += 1
            return False
        return self._put(log, at)

    def _put(self, log: machine.Log, at: float) -> bool:
        data = line(at, log).encode()
        if len(data) > limits.LOG_LINE:
            data = data[: limits.LOG_LINE - 3].decode("utf-8", "ignore").encode() + b"..."
            self.counters["log_cut"] += 1
        data += b"\n"
        try:
            if self._descriptor < 0:
                self._open()
            if self._octets + len(data) > self._bound:
                self._turn_over()
            written = os.write(self._descriptor, data)
        except OSError:
            self.counters["log_lost"] += 1
            self.close()  # opened anew for the next line: the disk may have been mended or the file replaced
            return False
        self._octets += written
        if written < len(data):
            self.counters["log_lost"] += 1
            return False
        return True

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # what the disk could not take is lost already
                os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._octets = os.fstat(self._descriptor).st_size

    def _turn_over(self) -> None:
        self.close()
        os.replace(self.path, self.path.with_name(self.path.name + ".1"))
        self.counters["log_rotated"] += 1
        self._open()
