"""Every bound of ``overlay/limits.py`` is used, and reaching it is counted, or told to a person, somewhere in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from overlay.limits import TABLE
from tests.house.source import PRODUCT, Source, report, sources

# Bounds that are written down and not kept yet. Whoever keeps one takes it from here: the tests want exactly these.
NOT_KEPT: set[str] = set()


def files() -> list[Source]:
    return [source for source in sources(*PRODUCT) if source.module != "overlay.limits"]


def counted(source: Source) -> Iterator[str]:
    """What the file adds to its counters, as regular expressions: what an f-string fills in is any text."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript) and "counters" in ast.unparse(node.target.value):
            yield from patterns(node.target.slice)


def patterns(key: ast.expr) -> Iterator[str]:
    match key:
        case ast.Constant(str(text)):
            yield re.escape(text)
        case ast.IfExp():
            yield from patterns(key.body)
            yield from patterns(key.orelse)
        case ast.JoinedStr():
            yield "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)" for part in key.values)


def rules(source: Source) -> Iterator[str]:
    """The rules by which the file refuses: ``rule="..."`` of an error, and the first word of a refusal in ``trust.py``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield from (word.value.value for word in node.keywords if word.arg == "rule" and isinstance(word.value, ast.Constant))
            if isinstance(node.func, ast.Name) and node.func.id == "_no" and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def texts(source: Source) -> set[str]:
    return {node.value for node in ast.walk(source.tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


REFUSED = {rule for source in files() for rule in rules(source)}
COUNTED = [(source, pattern) for source in files() for pattern in counted(source)]


def shown(counter: str) -> bool:
    """Whether the code counts this: by its name, or by a pattern whose gap is the rule of a refusal or a word of that file."""
    if counter.startswith("told:"):
        return counter.removeprefix("told:") in REFUSED
    for source, pattern in COUNTED:
        found = re.fullmatch(pattern, counter)
        if found is not None and all(gap in REFUSED or gap in texts(source) for gap in found.groups()):
            return True
    return False


def test_every_bound_that_is_reached_can_be_seen() -> None:
    assert {limit.name for limit in TABLE.values() if not shown(limit.counter)} == NOT_KEPT


def test_every_bound_is_used_by_the_code() -> None:
    attributes = [node for source in files() for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "limits"}
    assert {name for name in TABLE if name.upper().replace("-", "_") not in used} == NOT_KEPT


def test_bounds_say_whose_they_are_and_where_the_number_comes_from() -> None:
    report([limit.name for limit in TABLE.values() if not (limit.unit and limit.per and limit.origin and limit.number > 0)])


def test_the_rule_itself_tells_counted_from_uncounted() -> None:
    assert shown("drop:R08") and shown("udp_drained_full") and shown("tcp_closed:idle")
    assert not shown("drop:nothing-of-the-kind") and not shown("told:nothing") and not shown("udp_drained")
