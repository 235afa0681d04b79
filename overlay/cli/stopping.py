"""``overlay down`` and ``overlay leave``: ask the node to stop, and return when it has.

It decides when "stopped" is true: nobody answers on the control socket and the process is gone, so that the next
``overlay up`` finds ports and store free. A node that has taken its home but does not answer yet is waited for.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from typing import Final

from overlay.cli.client import PATIENCE, found, say
from overlay.cli.grammar import Call
from overlay.cli.home import own
from overlay.driver.control_client import request
from overlay.errors import NotRunning, OverlayError, ReachError, UsageError

STOPPING: Final = 20.0  # seconds: peers are told, the store is closed
LOCK: Final = os.path.join("run", "lock")  # below the home; driver/store.py takes it
_LOOK: Final = 0.05  # seconds between looks


def down(call: Call) -> None:
    """``overlay down``."""
    home, pid = _found(call)
    try:
        answer = request(home, "down", {}, PATIENCE, say)
        pid = pid or _pid(answer)
    except ReachError as error:
        if error.rule != "control-closed":
            raise
        # It was gone before its answer was written: that is what was asked for. Whether it is, we see below.
    _until_gone(home, pid)
    say("stopped")


def leave(call: Call) -> None:
    """``overlay leave``: asks on a terminal, wants --yes elsewhere."""
    if not call.values["yes"]:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError("`overlay leave` forgets the overlay, and nobody is there to be asked", "add --yes", rule="no-terminal")
        sys.stderr.write("Withdraw this node's records and forget the overlay? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise OverlayError("nothing was changed", "answer y, or add --yes", rule="declined")
    home, pid = _found(call)
    request(home, "leave", {}, 2 * PATIENCE, say)
    _until_gone(home, pid)
    say("left the overlay")


def _found(call: Call) -> tuple[str, int | None]:
    """The home whose node is meant, and that node's process: what follows must not drift to another home's node."""
    end = time.monotonic() + STOPPING
    while True:
        try:
            home, status = found(call, "status", {})
        except NotRunning as error:
            if error.rule == "not-joined":
                return own(call.home), None  # it runs, and is not in yet
            if not taken(own(call.home)) or time.monotonic() > end:
                raise
            time.sleep(_LOOK)
        else:
            return home, _pid(status)


def taken(home: str) -> bool:
    """Whether a node holds the home's lock: one that starts, or that has nearly stopped."""
    try:
        with open(os.path.join(home, LOCK), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # no lock, no node
    return False


def _pid(answer: object) -> int | None:
    pid = answer.get("pid") if isinstance(answer, dict) else None
    return pid if isinstance(pid, int) and pid > 1 else None


def _until_gone(home: str, pid: int | None) -> None:
    end = time.monotonic() + STOPPING
    while _answers(home) or (pid is not None and alive(pid)):
        if time.monotonic() > end:
            todo = "see `overlay log`" + (f", or kill process {pid}" if pid else "")
            raise ReachError(f"the node did not stop within {STOPPING:g} s", todo, rule="stop-timeout")
        time.sleep(_LOOK)


def _answers(home: str) -> bool:
    try:
        request(home, "status", {}, 1.0)
    except NotRunning:
        return False
    except OverlayError:
        pass  # somebody is there, whatever it said
    return True


def alive(pid: int) -> bool:
    """Whether that process still runs. One that nobody has buried yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, and there
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return not os.path.exists("/proc/self")  # without /proc the signal's word counts
