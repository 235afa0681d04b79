"""Machines decide, drivers move bytes: outside drivers, lab and command line nothing touches the world (DESIGN 4).

The world: sockets, files, clock, dice, tasks, the terminal.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house.source import PRODUCT, Source, outside, report, sources

WORLD = {
    "asyncio", "concurrent", "fcntl", "h11", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random", "sched", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "trio", "trio_util", "urllib.request", "uuid",
}  # fmt: skip
BUILTINS = {"open", "input", "print", "exec", "eval", "__import__"}
CLOCKS = {"now", "utcnow", "today", "urandom", "generate"}  # methods of datetime, os and key types that read a clock or roll dice


def touches(source: Source) -> Iterator[str]:
    for line, target in source.imports():
        if target in WORLD or target.split(".")[0] in WORLD:
            yield f"{source.where}:{line}: a machine imports {target}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncWith | ast.AsyncFor | ast.Await):
            yield f"{source.where}:{node.lineno}: a machine waits (async)"
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in BUILTINS:
                yield f"{source.where}:{node.lineno}: a machine calls {called.id}()"
            elif isinstance(called, ast.Attribute) and called.attr in CLOCKS and isinstance(called.value, ast.Name) and not node.args:
                if called.value.id in ("datetime", "date", "os") or called.value.id.endswith("PrivateKey"):
                    yield f"{source.where}:{node.lineno}: a machine calls {called.value.id}.{called.attr}()"


def test_machines_touch_nothing_of_the_world() -> None:
    report([offence for source in sources(*PRODUCT) if not outside(source) for offence in touches(source)])


@pytest.mark.parametrize(
    "text",
    [
        "import trio",
        "from os import path",
        "import urllib.request",
        "async def run(): ...",
        "open('x')",
        "x = datetime.now()",
        "k = X25519PrivateKey.generate()",
    ],
)
def test_the_rule_itself_sees_each_kind_of_touch(text: str) -> None:
    some = sources("overlay")[0]
    assert list(touches(Source(some.path, "overlay.sample", text, ast.parse(text))))
