"""One question to the running node and what came back, shown as people or as programs want it.

It decides which home is asked and how long; the words of a command's answer are its own affair. Imports as little as it
can: an empty interpreter is the yardstick (GOALS, "Start").
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from overlay.cli.grammar import Call
from overlay.cli.home import asked
from overlay.cli.terminal import one_line
from overlay.driver.control_client import request
from overlay.errors import NotRunning, ReachError

LISTS: Final = (  # commands that are answered by one
    "peers", "clusters", "why", "expand", "service.list", "name.list", "grants", "admit.list", "doctor", "nodes", "release.list",
)  # fmt: skip
PATIENCE: Final = 15.0  # seconds for an answer: a cold name takes three round trips, each with repeats


def found(call: Call, command: str, args: dict[str, Any], timeout: float = PATIENCE) -> tuple[str, Any]:
    """The first home that answers, and its node's answer. Raises what ``control_client.request`` raises."""
    nobody: NotRunning | None = None
    for home in asked(call.home):
        try:
            return home, formed(command, request(home, command, args, timeout, say))
        except NotRunning as error:
            nobody = nobody or error
    assert nobody is not None
    raise nobody


def formed(command: str, answer: Any) -> Any:
    """An answer of the form that the command's has, a list of objects or an object: what answers may not be a node of ours."""
    rows = answer if command in LISTS else [answer]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ReachError("the node's answer makes no sense", "are both of the same revision?", rule="control-answer")
    return answer


def ask(call: Call, command: str, args: dict[str, Any], timeout: float = PATIENCE) -> Any:
    """The node's answer. Raises what ``control_client.request`` raises."""
    return found(call, command, args, timeout)[1]


def say(text: str) -> None:
    """Talk: one line on stderr. It may quote what others sent."""
    if sys.stderr is not None:
        print(one_line(text), file=sys.stderr, flush=True)


def put(text: str) -> None:
    """Data: a line, or several, on stdout."""
    print(text)


def put_json(value: object) -> None:
    """Data as JSON on stdout: indented for a terminal, one line otherwise."""
    put(json.dumps(value, indent=2 if sys.stdout is not None and sys.stdout.isatty() else None))
