"""``docs/limits.md``: every bound of ``overlay/limits.py``, in the sections of that file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from overlay import limits
from tools.docs.markdown import head, number, table

INTRODUCTION = """
Every bound of the program: whose budget it is, where the number comes from, and what shows that it was reached. A counter
with `drop:` in front counts what was dropped; `told:RULE` is an error that a person gets at once. The code takes its numbers
from this table, and a test looks for each counter in the code (`tests/house/test_limits_counted.py`). "guess" means that
nobody has measured it yet.
"""


def sections() -> Iterator[tuple[str, list[limits.Limit]]]:
    """The headings of the source with the limits below each."""
    title, found = "", list[limits.Limit]()
    for heading, name in re.findall(r'^# (.+)|= _limit\(\s*"([^"]+)"', inspect.getsource(limits), re.MULTILINE):
        if name:
            found.append(limits.TABLE[name])
        else:
            if found:
                yield title, found
            title, found = re.sub(r" \(.*\)$", "", heading), []
    yield title, found


def page() -> str:
    """The whole page."""
    parts = [head("Limits", "`overlay/limits.py`"), INTRODUCTION]
    for title, found in sections():
        rows = [(f"`{one.name}`", f"{number(one.number)} {one.unit}", one.per, f"`{one.counter}`", one.origin) for one in found]
        parts += [f"\n## {title}\n\n", table(("limit", "at most", "per", "shown by", "origin"), rows)]
    return "".join(parts)
