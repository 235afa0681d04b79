"""Every event that the code logs is in the table of ``overlay/logged.py``, with that level and those fields, and no other is."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from overlay.driver.logfile import LEVELS
from overlay.logged import EVENTS
from tests.house.source import PRODUCT, Source, report, sources


def logged(source: Source) -> Iterator[tuple[int, str, str, set[str]]]:
    """(line, level, event, fields) of each call of ``Log(level, event, {...})`` and ``..._log(level, event, field=...)``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("Log", "_log"):
            match node.args:
                case [ast.Constant(str(level)), ast.Constant(str(event)), ast.Dict(keys)]:
                    yield node.lineno, level, event, {key.value if isinstance(key, ast.Constant) else "?" for key in keys}
                case [ast.Constant(str(level)), ast.Constant(str(event))]:
                    yield node.lineno, level, event, {word.arg or "?" for word in node.keywords}
                case [ast.Name(), ast.Name(), ast.Name()]:
                    pass  # handed on: `Node._log` makes the value
                case _:
                    yield node.lineno, "?", "?", set()


def test_what_the_code_logs_is_as_the_table_has_it() -> None:
    offences = []
    for source in sources(*PRODUCT):
        for line, level, event, fields in logged(source):
            told = EVENTS.get(event)
            if told is None or (told.level, set(told.fields)) != (level, fields):
                offences.append(f"{source.where}:{line}: {level} {event} {sorted(fields)} is not in overlay/logged.py")
    report(offences)


def test_no_event_of_the_table_is_never_logged() -> None:
    assert {event for source in sources(*PRODUCT) for _, _, event, _ in logged(source)} == set(EVENTS)


def test_warnings_and_errors_say_what_to_do_and_the_rest_does_not() -> None:
    report([word for word, event in EVENTS.items() if bool(event.todo) != (LEVELS[event.level] >= LEVELS["warning"])])
