"""``docs/rights.md``: rights, what each way of joining gives, and the numbered rules of trust with the tests that hold them."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from overlay.founding import FOUNDER_LIFE
from overlay.records import rights, trust
from overlay.records.kinds import KINDS
from tools.docs.markdown import duration, head, table

TESTS = Path(__file__).resolve().parents[2] / "tests" / "records"

INTRODUCTION = """
A grant gives a key rights over a name-path; a record names the grant that entitles it (`via`), that grant names the one that
entitles its issuer, and so on up to the root keys. Nothing else is authority. One place judges: `overlay/records/trust.py`.

## Rights

"""


def page() -> str:
    """The whole page."""
    needed: dict[str, list[str]] = {}
    for name, kind in KINDS.items():
        for right in kind.needs:
            needed.setdefault(right, []).append(f"`{name}`")
    rows = [(f"`{right}`", meaning, ", ".join(needed.get(right, []))) for right, meaning in rights.MEANING.items()]
    rows.append(("`release:CHANNEL`", "say whose keys count in that channel", ", ".join(needed.get(rights.RELEASE, []))))
    joining = [(how.value, _rights(got.rights) or "its own name only", duration(got.life)) for how, got in rights.TABLE.items()]
    joining.insert(0, ("founding: on the root", _rights(rights.FOUNDER), duration(FOUNDER_LIFE)))
    return "".join([
        head("Rights and trust", "`overlay/records/rights.py`", "`overlay/records/trust.py`", "`tests/records`"), INTRODUCTION,
        table(("right", "lets its holder", "entitles to records"), rows),
        f"\nWho holds `grant` passes on what it holds, and with `own` also {_rights(rights.grantable(frozenset({rights.OWN})) - {rights.OWN})}.\n",
        f"Reserved labels of the root: {', '.join(f'`{label}`' for label in sorted(rights.RESERVED))}, `ns1` and on.\n",
        "\n## What joining gives\n\nOn the own name `own` in every case; on the cluster's path:\n\n",
        table(("joined", "rights", "for"), joining),
        "\n## Rules\n\nThe number is in every refusal, in counters (`drop:R07`) and in the names of the tests.\n\n",
        table(("rule", "says", "held by"), _rules()),
    ])  # fmt: skip


def _rights(held: frozenset[str]) -> str:
    return ", ".join(f"`{right}`" for right in rights.MEANING if right in held)


def _rules() -> list[tuple[str, str, str]]:
    listed = re.findall(r"^\| (R\d\d) \| (.*) \|$", inspect.cleandoc(trust.__doc__ or ""), re.MULTILINE)
    tests: dict[str, list[str]] = {}
    for file in sorted(TESTS.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (cited := re.match(r"test_(r\d\d)_(.*)", node.name)):
                tests.setdefault(cited[1].upper(), []).append(cited[2].replace("_", " "))
    return [(rule, says, "; ".join(tests.get(rule, ["(no test)"]))) for rule, says in listed]
