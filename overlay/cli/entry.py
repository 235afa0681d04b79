"""From the words of a command line to an exit status (CONTRACT, "the manners").

It decides how a failure is told: two lines on stderr, what happened and what to do, and a traceback only with
``--debug``. It refuses to know the commands: ``table.py`` names the function of each, imported when it is called.

    0 done    1 failed    2 misuse    3 no node is running    4 trust refused    5 timed out or unreachable    130 Ctrl-C
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from types import TracebackType

from overlay.cli.grammar import DEBUG, Help, read
from overlay.cli.table import COMMANDS
from overlay.cli.terminal import one_line
from overlay.errors import OverlayError

INTERRUPTED = 130  # 128 + SIGINT, as shells say it
FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name; by default the process's) and return its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    debug = DEBUG.name in words
    sys.excepthook = _defect
    _fill_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    try:
        status = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except OverlayError as error:
        tell(error, debug)
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return FAILED
    except OSError as error:
        _say(f"{error.filename or 'output'}: {error.strerror or error}", "check that file, disk or device", debug)
        _abandon_stdout()
        return FAILED


def _fill_descriptors() -> None:
    """Whoever started us may have closed stdin, stdout or stderr: no socket or file of ours may take their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free, so this one


def _run(words: Sequence[str]) -> int:
    call = read(words, COMMANDS)
    if isinstance(call, Help):
        importlib.import_module("overlay.cli.manual").show(call.words)
        return 0
    module, _, function = call.command.run.partition(":")
    status: int | None = getattr(importlib.import_module(module), function)(call)
    return status or 0


def tell(error: OverlayError, debug: bool) -> None:
    """The two lines, on stderr."""
    _say(error.what, error.todo or "run it again with --debug to see where it comes from", debug)


def _say(what: str, todo: str, debug: bool) -> None:
    if sys.stderr is None:
        return
    if debug:
        sys.__excepthook__(*sys.exc_info())  # not `traceback`: its import alone costs half an empty interpreter
    with contextlib.suppress(OSError):  # nobody listens
        sys.stderr.write(f"overlay: {one_line(what)}\n{one_line(todo)}\n")
        sys.stderr.flush()


def _abandon_stdout() -> None:
    """Whatever is still buffered has nowhere to go; the interpreter must not complain of it at its end."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):  # not a file: nothing to complain of
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody foresaw, as two lines. The interpreter's exit status is 1 then."""
    if DEBUG.name in sys.argv:
        sys.__excepthook__(kind, error, trace)
    what = str(error) or "no more is known"
    _say(f"a defect of this program: {kind.__name__}: {what}", "run it again with --debug and report what it prints", False)
