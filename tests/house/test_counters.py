"""What is counted is bounded and told: keys are made of our own words, and each stands with its meaning in the table of metrics."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from overlay.cli.metrics import COUNTED, REASONED
from tests.house.source import PRODUCT, Source, report, sources
from tests.house.test_limits_counted import counted

# What may be filled into a key: rules of our own errors, names of error numbers, words that the file at hand chose itself.
OURS = {
    "why.rule", "fault.rule", "reply.code", "link.reason", "_word(error)", "codes.rcode_name(query.fault).lower()",
    "errno.errorcode.get(error.errno or 0, 'unknown').lower()", "errno.errorcode.get(fault.errno or 0, 'error').lower()",
}  # fmt: skip
# `reason` alone is a parameter: looked at by hand, it comes from literals of the same file; bounded by a table where it does not.
LOOKED_AT = {
    ("overlay.peers", "reason"), ("overlay.driver.tcp", "reason"), ("overlay.calling", "event.reason if event.reason in CALL_FAILED else 'refused'"),
}  # fmt: skip


def files() -> list[Source]:
    return [source for source in sources(*PRODUCT) if not source.module.startswith("overlay.lab")]


def filled_in(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript) and "counters" in ast.unparse(node.value) and isinstance(node.slice, ast.JoinedStr):
            yield from ((node.lineno, ast.unparse(part.value)) for part in node.slice.values if isinstance(part, ast.FormattedValue))


def test_no_counter_is_named_by_what_others_send() -> None:
    report(
        [
            f"{source.where}:{line}: a counter is named by {said}"
            for source in files() for line, said in filled_in(source)
            if said not in OURS and (source.module, said) not in LOOKED_AT
        ]
    )  # fmt: skip


def test_rules_of_errors_are_literal_or_made_of_our_words() -> None:
    """A rule names counters: where it is passed on it must come from an error of ours."""
    allowed = {"rule", "error.rule", "fault.rule", "why.rule", "reason", "reply.code", "f'json-{key}'", "f'txt-{key}'"}
    offences = []
    for source in files():
        if source.module in ("overlay.driver.control_client", "overlay.cli.plugged"):
            continue  # a client rebuilds what its node said, a person is told why a way failed: neither is counted
        for node in ast.walk(source.tree):
            if isinstance(node, ast.keyword) and node.arg == "rule" and not isinstance(node.value, ast.Constant):
                if ast.unparse(node.value) not in allowed:
                    offences.append(f"{source.where}: rule={ast.unparse(node.value)}")
    report(offences)


def keys() -> set[str]:
    return {pattern.replace("\\", "") for source in files() for pattern in counted(source)}


def test_every_counter_has_a_meaning_and_no_meaning_stands_for_nothing() -> None:
    words = {key.partition(":")[0] for key in keys()}
    report([f"{word!r} is counted: say in COUNTED of overlay/cli/metrics.py what it means" for word in sorted(words - set(COUNTED))])
    report([f"{word!r} has a meaning in overlay/cli/metrics.py and is never counted" for word in sorted(set(COUNTED) - words)])


def test_a_counter_has_a_reason_always_or_never() -> None:
    assert {key.partition(":")[0] for key in keys() if ":" in key} == set(REASONED)
    assert not {key for key in keys() if ":" not in key} & set(REASONED)


def test_words_make_names_of_metrics() -> None:
    report([word for word in COUNTED if not re.fullmatch(r"[a-z][a-z0-9_-]*", word)])
