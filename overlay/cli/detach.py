"""``--detach``: the node goes on in a process of its own, the command returns when it is usable (CONTRACT, ``join``).

It decides what the child inherits (one pipe, nothing else), how the two speak over it and when the parent gives up. It
refuses to know what the child does. The child is this same command line without ``--detach``, in a new session, with
stdin and stdout on /dev/null, stderr at the end of the home's log.

    child -> parent, a line of JSON each, over the descriptor that OVERLAY_READY_FD names:
        {"progress": text} ...  then  {"ready": text}  or  {"error": {"what", "todo", "exit", "rule"}}
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import overlay
from overlay.cli.terminal import one_line
from overlay.driver.control_client import rebuilt
from overlay.errors import ConfigError, OverlayError, ReachError

READY_FD: Final = "OVERLAY_READY_FD"
SELF: Final = ("-P", "-m", "overlay")  # -P: no module of the caller's directory may stand in for ours
_GRACE: Final = 3.0  # seconds from SIGTERM to SIGKILL
_LINE: Final = 65_536  # octets of a line at most


def detach(words: Sequence[str], log: Path, timeout: float, program: Sequence[str] = SELF) -> int:
    """Run ``words`` as a command line in a process that outlives this one; return 0 when it says that it is ready.

    Progress goes to stderr, the ready line to stdout. Raises the child's own error, ``ReachError`` after ``timeout``
    seconds (the child is ended), ``OverlayError`` where it ends without a word.
    """
    reading, writing = os.pipe()
    try:
        child = _start([sys.executable, *program, *words], writing, log)
    except OSError as error:
        os.close(reading)
        raise ConfigError(f"cannot start another process: {error.strerror}", "see `ulimit -u` and the memory left", rule="detach") from None
    finally:
        os.close(writing)
    ready = False
    try:
        for message in _messages(reading, time.monotonic() + timeout, timeout):
            if "progress" in message:
                print(one_line(str(message["progress"])), file=sys.stderr, flush=True)
            elif "ready" in message:
                ready = True
                child.returncode = 0  # it lives on and is not ours to wait for: subprocess need not warn of it
                print(one_line(str(message["ready"])), flush=True)
                return 0
            elif "error" in message:
                raise rebuilt(message["error"])
        raise OverlayError(_last_words(_ended(child)), f"see {log}", rule="detach-ended")
    finally:
        os.close(reading)
        if not ready:
            _end(child)


def _start(command: Sequence[str], writing: int, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, READY_FD: str(writing)}
    source = str(Path(overlay.__file__).resolve().parent.parent)
    if Path(source).name not in ("site-packages", "dist-packages"):  # run from a source tree: -P would not find it
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))
    with contextlib.ExitStack() as stack:
        errors: Any = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            errors = stack.enter_context(os.fdopen(descriptor, "ab"))
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=environment, pass_fds=(writing,),
            start_new_session=True, cwd="/",
        )  # fmt: skip


def _messages(reading: int, deadline: float, timeout: float) -> Iterator[dict[str, Any]]:
    """What the child says, until it closes its end."""
    buffer = b""
    last = ""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise ReachError(
                f"not ready within {timeout:g} s" + (f"; the last step: {last}" if last else ""),
                "try again with a longer --timeout, or see `overlay log`",
                rule="detach-timeout",
            )
        data = os.read(reading, _LINE)
        if not data:
            return
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    last = str(message.get("progress", last))
                    yield message


def _ended(child: subprocess.Popen[bytes]) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(_GRACE)
    return None


def _last_words(status: int | None) -> str:
    if status is None:
        return "the node went silent before it was ready"
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return f"the node ended before it was ready ({how})"


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and all that it started: it leads a session and a process group of its own."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE)


class Terminal:
    """Reports of a command in the foreground: talk on stderr, the ready line on stdout."""

    @property
    def interactive(self) -> bool:
        """Whether a person reads the talk."""
        return sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def progress(self, text: str) -> None:
        """One line of talk."""
        print(one_line(text), file=sys.stderr, flush=True)

    def ready(self, text: str) -> None:
        """The line that scripts wait for."""
        print(one_line(text), flush=True)


class Parent:
    """Reports of a detached command, to the parent that waits. After the ready line nothing of it is held any more."""

    interactive = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Parent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OverlayError):
            told = {"what": error.what, "todo": error.todo, "exit": error.exit_status, "rule": error.rule}
            self._send({"error": told})
        self._close()

    def progress(self, text: str) -> None:
        """One line of talk."""
        self._send({"progress": text})

    def ready(self, text: str) -> None:
        """Lets the parent return."""
        self._send({"ready": text})
        self._close()

    def _send(self, message: dict[str, Any]) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):  # the parent is gone: the node goes on
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def report() -> Terminal | Parent:
    """Where this process is to report: to its parent, where that left a pipe for it, else to the terminal."""
    named = os.environ.pop(READY_FD, "")
    if named.isascii() and named.isdigit():
        descriptor = int(named)
        with contextlib.suppress(OSError, OverflowError):
            if descriptor > 2 and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.set_inheritable(descriptor, False)
                return Parent(descriptor)
    return Terminal()
