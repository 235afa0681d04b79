"""The tree as the house tests read it: files and their syntax trees, never imported. Shared by every test of this folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("overlay", "tld", "bootstrap")


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: where it is, its dotted name, its text and its syntax tree."""

    path: Path
    module: str
    text: str
    tree: ast.Module

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, module) of every import, at whatever depth; ``from a import b`` is ``a.b`` where that is a module here."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    base = ".".join([*self.module.split(".")[: -node.level], *([base] if base else [])])
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}" if _is_module(f"{base}.{alias.name}") else base


def sources(*folders: str) -> tuple[Source, ...]:
    """Every Python file below the folders. A file that does not parse as Python 3.11 is itself a failure of the house."""
    return tuple(source for folder in folders for source in _read(folder))


@cache
def _read(folder: str) -> tuple[Source, ...]:
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Source(path, module, text, ast.parse(text, filename=str(path), feature_version=(3, 11))))
    return tuple(found)


@cache
def _is_module(dotted: str) -> bool:
    inner = ROOT.joinpath(*dotted.split("."))
    return inner.is_dir() or inner.with_suffix(".py").is_file()


def outside(source: Source) -> bool:
    """Whether the file is of the outer rooms, which may touch the world: drivers, the lab, the command line."""
    parts = source.module.split(".")
    return "driver" in parts or parts[:2] in (["overlay", "cli"], ["overlay", "lab"], ["overlay", "__main__"])


def report(offences: list[str]) -> None:
    """Fail with all offences at once, one a line."""
    assert not offences, "\n" + "\n".join(offences)
