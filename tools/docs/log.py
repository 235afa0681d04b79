"""``docs/log.md``: the events of the node's log, from ``overlay/logged.py``, and the form of a line."""

from __future__ import annotations

from overlay import limits
from overlay.driver.logfile import line
from overlay.logged import EVENTS
from overlay.machine import Log
from tools.docs.markdown import code, head, number, table

INTRODUCTION = """
`overlay log` shows it, `overlay log -f` goes on as it grows; it lies in the home as `log`, with one predecessor, `log.1`, of
{octets} octets each at most. One line an event: time (UTC), level, event, then the fields.

"""

FORM = """
A value that holds more than printable ASCII, or a blank, a quote or `=`, is written as a JSON string: what others send makes
neither a line nor a field, and no escape sequence reaches the terminal. Octets are written in hexadecimal. A line has at most
{line} octets; a longer one ends in `...`.
"""


def page() -> str:
    """The whole page."""
    example = Log("warning", "unsaid", {"kind": "carry", "name": "www.home.eu", "reason": "R12"})
    parts = [
        head("Log", "`overlay/logged.py`"), INTRODUCTION.format(octets=number(limits.LOG_FILE)), code(line(1_795_302_151.25, example)),
        FORM.format(line=number(limits.LOG_LINE)),
    ]  # fmt: skip
    for level, title in (("info", "Information"), ("warning", "Warnings"), ("error", "Errors")):
        rows = [
            (f"`{word}`", event.meaning, "; ".join(f"`{field}`: {said}" for field, said in event.fields.items()), event.todo)
            for word, event in EVENTS.items() if event.level == level
        ]  # fmt: skip
        columns = ("event", "says", "fields", "what to do")
        parts += [f"\n## {title}\n\n", table(columns[: 3 if level == "info" else 4], [row[: 3 if level == "info" else 4] for row in rows])]
    return "".join(parts)
