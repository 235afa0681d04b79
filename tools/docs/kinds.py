"""The fields of each kind of record, read from the source of ``overlay/records/kinds.py``: number, name, bounds, as its reader has them.

A body is written by ``body()``, a table number -> attribute, and read by ``read()``, whose calls state type and bounds. Both are
taken from the syntax tree, so a field that is not read, or is read otherwise, shows here.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from overlay.records import kinds
from tools.docs.markdown import number

Field = tuple[int, str, str]  # number, attribute, what may stand there


def fields_of(body: type) -> list[Field]:
    """The fields of a body's class, in the order of their numbers."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(body)))
    methods = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    made = {node.targets[0].id: node.value for node in methods["body"].body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
    written = {
        _value(key): _attribute(value, made) for node in ast.walk(methods["body"]) if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True) if key is not None
    }  # fmt: skip
    read: dict[int, str] = {}
    for node in ast.walk(methods["read"]):
        if isinstance(node, ast.Call) and (bounds := _bounds(node)):
            read[bounds[0]] = bounds[1]
    if set(written) != set(read):
        raise ValueError(f"{body.__name__}: writes {sorted(written)} and reads {sorted(read)}")
    return [(key, written[key], read[key]) for key in sorted(written)]


def _bounds(call: ast.Call) -> tuple[int, str] | None:
    """(number, what the reader takes there), where the call reads a field."""
    if isinstance(call.func, ast.Name) and call.func.id == "_addresses":
        return _value(call.args[1]), f"up to {kinds.MAX_ADDRESSES} addresses of 6 or 18 octets (IP, port)"
    if isinstance(call.func, ast.Name) and call.func.id == "_relays":
        return _value(call.args[1]), f"up to {kinds.MAX_RELAYS} times 8 octets, ascending"
    if not (isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id == "fields"):
        return None
    optional = any(word.arg == "default" for word in call.keywords)
    key, *rest = call.args
    match call.func.attr, rest:
        case "integer", [low, high]:
            told = f"integer, {ast.unparse(low) if isinstance(low, ast.Attribute) else _bound(low)} to {_bound(high)}"
        case "binary", [low, high]:
            told = f"{_bound(high)} octets"
        case "text", [high]:
            told = f"text of up to {_bound(high)} characters"
        case "items", [high]:
            told = f"list of up to {_bound(high)}"
        case "flag", []:
            told = "true or false; absent: false"
        case _:
            return None
    return _value(key), told + (", or absent" if optional else "")


def _value(node: ast.expr) -> Any:
    return eval(compile(ast.Expression(node), kinds.__name__, "eval"), vars(kinds))


def _bound(node: ast.expr) -> str:
    """A bound as a number, or, where it depends on the record, as it is written."""
    try:
        return number(_value(node))
    except NameError:
        return f"`{ast.unparse(node)}`"


def _attribute(node: ast.expr, made: Mapping[str, ast.expr]) -> str:
    """The attribute that a value is made of; ``made`` are the variables on the way."""
    parts = [node.body, node.test] if isinstance(node, ast.IfExp) else [node]
    for found in (found for part in parts for found in ast.walk(part)):
        if isinstance(found, ast.Attribute) and isinstance(found.value, ast.Name) and found.value.id == "self":
            return found.attr
        if isinstance(found, ast.Name) and found.id in made:
            return _attribute(made[found.id], made)
    raise ValueError(f"{ast.unparse(node)} is made of no attribute")
