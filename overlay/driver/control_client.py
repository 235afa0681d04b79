"""The client's half of the control socket: one question to the running node, one answer (CONTRACT, "the manners").

It decides how a command finds the socket of a home, also where the path is longer than a socket address holds, and
which error a command ends with. It refuses to know what the commands mean. The standard library only: a command that
merely talks to the node must not pay for importing Trio, nor pathlib, half an empty interpreter (GOALS, "Start").

    request  {"command": str, "args": {...}}\n
    answer   {"progress": str}\n ...  then  {"result": value}\n  or  {"error": {"what", "todo", "exit", "rule"}}\n
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from overlay.errors import ConfigError, NotRunning, OverlayError, ReachError, TrustError, UsageError

SOCKET: Final = "run/control.sock"  # below the home
ADDRESS_OCTETS: Final = 107  # sun_path of unix(7) less its final zero
ANSWER_OCTETS: Final = 64 * 1024 * 1024  # a guess: 100,000 peers as JSON

_FAMILIES: Final[dict[int, type[OverlayError]]] = {2: UsageError, 3: NotRunning, 4: TrustError, 5: ReachError}


@contextmanager
def short_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """The path as it fits into a socket address: itself, or through a descriptor of its directory.

    Raises ``ConfigError`` where the path is too long and the system has no ``/proc/self/fd``; ``OSError`` where the
    directory cannot be opened.
    """
    if len(os.fsencode(path)) <= ADDRESS_OCTETS:
        yield os.fspath(path)
        return
    if not os.path.isdir("/proc/self/fd"):
        raise ConfigError(f"{path} is too long for a socket", f"choose a home of at most {ADDRESS_OCTETS - 17} octets", rule="control-path")
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)


def request(
    home: str | os.PathLike[str], command: str, args: Mapping[str, Any], timeout: float, on_progress: Callable[[str], None] | None = None
) -> Any:
    """Ask the node that runs on ``home`` and return the value of its answer.

    ``timeout`` bounds the whole exchange, in seconds. Raises ``NotRunning`` (nobody listens), ``ConfigError`` (not
    permitted), ``ReachError`` (no answer in time) or the family that the node's own error belongs to.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            with short_path(os.path.join(home, SOCKET)) as path:
                sock.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NotRunning(f"no node is running on {home}", "start it with `overlay up`", rule="not-running") from None
        except PermissionError:
            raise ConfigError(
                f"the node on {home} does not let you in", "ask as its owner or root; group `overlay` may read", rule="control-refused"
            ) from None
        except TimeoutError:
            raise _silent(timeout) from None
        except OSError as error:
            raise NotRunning(f"the node on {home} cannot be asked: {error.strerror}", "start it with `overlay up`", rule="control") from None
        try:
            sock.sendall(json.dumps({"command": command, "args": dict(args)}).encode() + b"\n")
        except TimeoutError:
            raise _silent(timeout) from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # it refused us: the reason stands in what it wrote
        for line in _lines(sock, deadline, timeout):
            answer = answer_of(line)
            if "progress" in answer:
                if on_progress is not None:
                    on_progress(str(answer["progress"]))
            elif "result" in answer:
                return answer["result"]
            else:
                raise rebuilt(answer.get("error"))
    raise ReachError("the node ended the conversation without an answer", "see `overlay log`", rule="control-closed")


def rebuilt(error: object) -> OverlayError:
    """An error line of the node -> the error it was, by its exit status."""
    if not isinstance(error, dict):
        return ReachError("the node's answer makes no sense", "are both of the same revision?", rule="control-answer")
    status = error.get("exit")
    family = _FAMILIES.get(status, OverlayError) if isinstance(status, int) else OverlayError
    return family(str(error.get("what", "the node refused")), str(error.get("todo", "")), rule=str(error.get("rule", "")))


def answer_of(line: bytes) -> dict[str, Any]:
    """One line of the node; empty where it makes no sense."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    return answer if isinstance(answer, dict) else {}


def _lines(sock: socket.socket, deadline: float, timeout: float) -> Iterator[bytes]:
    buffer = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _silent(timeout)
        sock.settimeout(left)
        try:
            data = sock.recv(262_144)
        except TimeoutError:
            raise _silent(timeout) from None
        except ConnectionResetError:
            return
        if not data:
            return
        seen = len(buffer)
        buffer += data
        while (end := buffer.find(b"\n", seen)) >= 0:
            yield bytes(buffer[:end])
            del buffer[: end + 1]
            seen = 0
        if len(buffer) > ANSWER_OCTETS:
            raise ReachError("the node's answer is too long", "ask for less", rule="control-answer")


def _silent(timeout: float) -> ReachError:
    return ReachError(f"the node did not answer within {timeout:g} s", "try again, or see `overlay log`", rule="control-timeout")
