"""Declared is what is imported: no dependency that nothing uses, nothing used that is not declared, locked or bounded."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable

from tests.house.source import PRODUCT, ROOT, Source, report, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Where a module does not have its project's name.
IMPORTED_AS = {"dnspython": "dns", "trio-util": "trio_util", "pytest-trio": "pytest_trio", "pytest-timeout": "pytest_timeout"}
PLUGINS = {"pytest_trio", "pytest_timeout"}  # used by pytest, imported by nobody
OURS = {*PRODUCT, "tests", "demo", "benchmarks", "tools"}


def foreign(files: Iterable[Source]) -> set[str]:
    tops = {target.split(".")[0] for source in files for _, target in source.imports()}
    return tops - OURS - set(sys.stdlib_module_names)


def names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[<>=!~ \[;]", requirement)[0].lower() for requirement in requirements}


def modules(requirements: Iterable[str]) -> set[str]:
    return {IMPORTED_AS.get(name, name) for name in names(requirements)}


def test_the_program_declares_what_it_imports_and_nothing_else() -> None:
    assert foreign(sources(*PRODUCT)) == modules(PROJECT["dependencies"])


def test_the_demo_needs_only_what_the_program_needs() -> None:
    assert foreign(sources("demo")) <= modules(PROJECT["dependencies"])


def test_tests_declare_what_they_import_and_nothing_else() -> None:
    program = modules(PROJECT["dependencies"])
    tests = modules(PROJECT["optional-dependencies"]["test"])
    assert foreign(sources("tests", "benchmarks")) <= program | tests
    assert tests - PLUGINS <= foreign(sources("tests", "benchmarks"))


def test_dependencies_of_the_program_are_bounded_on_both_sides() -> None:
    report([requirement for requirement in PROJECT["dependencies"] if ">=" not in requirement or "<" not in requirement])


def test_the_locks_hold_every_dependency_by_hash() -> None:
    for lock, groups in (("requirements.lock", []), ("requirements-dev.lock", ["test", "check"])):
        text = (ROOT / lock).read_text()
        pinned = set(re.findall(r"^([a-z0-9_.-]+)==", text, re.MULTILINE))
        wanted = names([*PROJECT["dependencies"], *(one for group in groups for one in PROJECT["optional-dependencies"][group])])
        assert wanted <= pinned, lock
        assert text.count("==") == len(re.findall(r"^\S+==\S+ \\\n +--hash=sha256:", text, re.MULTILINE)), lock
