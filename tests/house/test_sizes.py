"""Nothing grows past what a reader can hold (STYLE 10, 11): files, functions, classes, parameters."""

from __future__ import annotations

import ast

from tests.house.source import PRODUCT, report, sources

FILE = 500  # lines; a file is best between 100 and 350
FUNCTION = 80  # lines from `def` to its last
METHODS = 15  # public methods and properties of one class

FunctionDef = ast.FunctionDef | ast.AsyncFunctionDef


def test_files_functions_and_classes_stay_small() -> None:
    offences = []
    for source in sources(*PRODUCT, "demo", "benchmarks", "tools"):
        lines = source.text.count("\n")
        if lines > FILE:
            offences.append(f"{source.where}: {lines} lines (at most {FILE})")
        for node in ast.walk(source.tree):
            if isinstance(node, FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION:
                    offences.append(f"{source.where}:{node.lineno}: {node.name} has {length} lines (at most {FUNCTION})")
            elif isinstance(node, ast.ClassDef):
                public = {item.name for item in node.body if isinstance(item, FunctionDef) and not item.name.startswith("_")}
                if len(public) > METHODS:
                    offences.append(f"{source.where}:{node.lineno}: {node.name} has {len(public)} public methods (at most {METHODS})")
    report(offences)


def test_every_file_opens_with_a_paragraph() -> None:
    written = [source for source in sources(*PRODUCT, "demo", "benchmarks", "tools") if source.text.strip()]
    report([source.where for source in written if not ast.get_docstring(source.tree)])
