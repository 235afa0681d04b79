"""What must not stand in the tree: places and hosts of somebody's machine, errors swallowed whole, rooms without a name, sleeping tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.source import PRODUCT, ROOT, outside, report, sources

TEXT = {".py", ".md", ".toml", ".sh", ".lock", ".txt", ".cfg", ".ini", ".json", ""}
FOLDERS = (*PRODUCT, "tests", "demo", "benchmarks", "docs", "tools", ".ci")
VAGUE = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}
# Spelt in parts, so that this file does not offend itself.
MACHINES = ("/" + "work/", "/" + "tmp/v/", "py" + "pi.org", "python" + "hosted.org", "--" + "find-links ", "--" + "index-url ")
# Facts from elsewhere may name the place they come from.
QUOTED = {"tests/vectors"}


def texts() -> Iterator[Path]:
    here = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted([*here, *below]):
        inside = path.relative_to(ROOT)
        if path.suffix in TEXT and "__pycache__" not in inside.parts and not any(str(inside).startswith(folder) for folder in QUOTED):
            yield path


def test_nothing_names_a_place_of_the_machine_it_was_written_on() -> None:
    offences = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            offences += [f"{path.relative_to(ROOT)}:{number}: {word}" for word in MACHINES if word in line]
    report(offences)


def test_no_error_is_swallowed_whole() -> None:
    offences = []
    for source in sources(*PRODUCT, "demo", "benchmarks", "tools"):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler):
                caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                names = {"everything" if one is None else ast.unparse(one) for one in caught}
                passed_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None  # cleaning up on the way out
                if names & {"everything", "Exception", "BaseException"} and not passed_on:
                    offences.append(f"{source.where}:{node.lineno}: catches {', '.join(sorted(names))}")
    report(offences)


def test_nothing_is_raised_in_a_handler_of_groups() -> None:
    """Early releases of Python 3.11 (Debian 12 has 3.11.2) wrap an error raised inside ``except*`` in a group; later ones do not."""
    offences = []
    for source in sources(*PRODUCT, "demo", "benchmarks", "tools"):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.TryStar):
                inside = [one for handler in node.handlers for one in ast.walk(handler) if isinstance(one, ast.Raise)]
                offences += [f"{source.where}:{one.lineno}: raises inside except*" for one in inside]
    report(offences)


def test_rooms_have_names() -> None:
    report([source.where for source in sources(*PRODUCT, "tests", "demo", "benchmarks", "tools") if VAGUE & set(source.module.split("."))])


def test_imports_stand_at_the_top() -> None:
    """Except on the command line, where what is not asked for must not cost time at start."""
    offences = []
    for source in sources(*PRODUCT):
        if source.module.startswith("overlay.cli"):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = [line for line in ast.walk(node) if isinstance(line, ast.Import | ast.ImportFrom)]
                offences += [f"{source.where}:{line.lineno}: an import inside {node.name}" for line in inner]
    report(offences)


def test_only_tests_that_wait_for_real_processes_sleep() -> None:
    asleep = re.compile(r"\btime\.sleep\(")
    real = {"netns", "process"}  # their deadlines are bounded, and they ask rather than hope
    report([source.where for source in sources("tests") if not real & set(source.module.split(".")) and asleep.search(source.text)])


def test_tests_touch_no_address_that_could_be_somebody_elses() -> None:
    """Sockets of tests bind and connect on loopback; where a test needs more it builds its own network (tests/netns)."""
    outward = re.compile(r"(connect|sendto|create_connection)\(.*\(\"(?!127\.|::1|localhost|0\.0\.0\.0)\d+\.\d+\.\d+\.\d+\"")
    report([source.where for source in sources("tests") if "netns" not in source.module.split(".") and outward.search(source.text)])


def test_product_and_tests_have_room_for_each_other() -> None:
    """Every room of the product with rules to keep has tests of its own, in the folder of its name."""
    rooms = {"tld", "bootstrap"} | {path.name for path in (ROOT / "overlay").iterdir() if (path / "__init__.py").is_file()}
    report([f"tests/{room} has no test" for room in sorted(rooms) if not list((ROOT / "tests" / room).glob("test_*.py"))])


def test_the_rule_for_the_world_outside_is_the_same_everywhere() -> None:
    assert {source.module for source in sources("overlay") if outside(source)} > {"overlay.driver", "overlay.lab"}
