"""``GET /metrics``: strict Prometheus text, every counter of the node in it, for this machine alone, and no words of strangers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.cli import metrics
from overlay.cli.metrics import COUNTED, FORM, OTHER, REASONED, Gauge, render
from overlay.driver.http import Request, Response
from overlay.wire.address import Address
from tests.property.quiet_node import quiet_node

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# The text format 0.0.4, strictly: https://prometheus.io/docs/instrumenting/exposition_formats/
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
HELP = re.compile(rf"# HELP ({NAME}) ((?:[^\\\n]|\\\\|\\n)+)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge)")
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def parsed(page: str) -> Series:
    """Every sample of a page; fails on anything that the format does not allow, or does not recommend."""
    assert page.endswith("\n")
    series: Series = {}
    kinds: dict[str, str] = {}
    lines = iter(page.removesuffix("\n").split("\n"))
    told, family = "", ""
    for line in lines:
        if (found := HELP.fullmatch(line)) is not None:
            told = found[1]
            continue
        if (found := TYPE.fullmatch(line)) is not None:
            assert found[1] == told and found[1] not in kinds, f"TYPE without its HELP, or twice: {line}"
            family = found[1]
            kinds[family] = found[2]
            continue
        found = SAMPLE.fullmatch(line)
        assert found is not None, f"no line of the format: {line!r}"
        assert found[1] == family, f"not with its family: {line}"
        assert (kinds[family] == "counter") is family.endswith("_total"), line
        labels = tuple((name, unescaped(value)) for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or ""))
        assert len(dict(labels)) == len(labels) and (family, labels) not in series, f"twice: {line}"
        series[family, labels] = float(found[3])
    return series


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)


def asked(host: str, path: str = "/metrics") -> Request:
    return Request("GET", path, (), (), Address(host, 40_000), Address("127.0.0.1", 80))


async def page_of(app: Any, host: str = "127.0.0.1") -> Response:
    response: Response = await app(asked(host))
    return response


def counters_below(thing: object, seen: set[int] | None = None) -> Iterator[Counter[str]]:
    """Every ``counters`` that can be reached from an object of the program, each once."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, str | bytes | int | float | type(None) | type):
        return
    seen.add(id(thing))
    if isinstance(thing, Counter):
        return
    if isinstance(thing, dict):
        inner: list[object] = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        inner = list(thing)
    elif type(thing).__module__.split(".")[0] in ("overlay", "tld", "bootstrap"):
        slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        names = [*getattr(thing, "__dict__", {}), *slots]
        values = {name: getattr(thing, name) for name in names if hasattr(thing, name)}
        for name, value in values.items():
            if name.strip("_") == "counters" and id(value) not in seen:
                seen.add(id(value))
                yield value
        inner = list(values.values())
    elif hasattr(thing, "__self__"):  # a bound method: what it belongs to
        inner = [thing.__self__]
    else:
        return
    for one in inner:
        yield from counters_below(one, seen)


async def test_every_counter_of_a_running_node_is_on_the_page(tmp_path: Path) -> None:
    async with quiet_node(tmp_path) as quiet:
        found = list(counters_below(quiet.plugged))
        assert len(found) > 12
        for number, counters in enumerate(found):
            counters["drop:seen-by-the-test"] += 2**number
        page = (await page_of(quiet.plugged._page)).body
        assert isinstance(page, bytes)
        series = parsed(page.decode())
        shown = sum(value for (name, labels), value in series.items() if ("reason", "seen-by-the-test") in labels)
        assert shown == sum(2**number for number in range(len(found)))


async def test_the_page_is_strict_and_tells_what_the_node_is(tmp_path: Path) -> None:
    async with quiet_node(tmp_path) as quiet:
        response = await page_of(quiet.plugged._page)
        assert (response.status, dict(response.headers)["content-type"]) == (200, FORM)
        assert isinstance(response.body, bytes)
        series = parsed(response.body.decode())
        assert series["overlay_peers", ()] == 0
        assert series["overlay_records", ()] == len(quiet.node.book)
        assert series["overlay_clusters", ()] == 1
        assert series["overlay_uptime_seconds", ()] >= 0
        assert series["process_resident_memory_bytes", ()] > 1_000_000
        assert {name for name, _ in series} >= {f"overlay_{word}_total" for word in COUNTED if word not in REASONED}


@pytest.mark.parametrize("host", ["192.0.2.7", "10.0.0.1", "2001:db8::1", "fe80::1%2", "169.254.1.1"])
async def test_others_than_this_machine_learn_nothing(tmp_path: Path, host: str) -> None:
    async with quiet_node(tmp_path) as quiet:
        response = await page_of(quiet.plugged._page, host)
    assert response.status == 403
    assert isinstance(response.body, bytes) and b"overlay_" not in response.body


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
async def test_every_loopback_address_is_this_machine(tmp_path: Path, host: str) -> None:
    async with quiet_node(tmp_path) as quiet:
        assert (await page_of(quiet.plugged._page, host)).status == 200


# -- the page as a function


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers(0, 2**70), max_size=5), max_size=4), st.text(), st.floats(0, 1e18))
def test_whatever_is_counted_the_page_keeps_to_the_format(parts: dict[str, dict[str, int]], word: str, value: float) -> None:
    series = parsed(render(parts, [Gauge("overlay_info", value, (("version", word),))]))
    assert ("overlay_info", (("version", word),)) in series


def test_reasons_that_are_not_ours_are_one_series() -> None:
    counters = {f"drop:no. {number}\n": 1 for number in range(500)} | {"drop:R07": 3, "drop:" + "x" * 49: 1}
    series = parsed(render({"book": counters}, []))
    drops = {dict(labels)["reason"]: value for (name, labels), value in series.items() if name == "overlay_drop_total"}
    assert drops == {OTHER: 501, "R07": 3}


def test_a_counter_without_a_reason_is_the_sum_over_all_parts_and_stands_there_from_the_start() -> None:
    assert parsed(render({}, []))["overlay_twins_total", ()] == 0
    assert parsed(render({"node": {"twins": 1}, "peers": {"twins": 2}}, []))["overlay_twins_total", ()] == 3


def test_names_of_metrics_are_as_they_were() -> None:
    """Dashboards and alerts stand on these names: taking one away needs a line in the changelog."""
    assert metrics.PATH == "/metrics"
    names = {name for name, _ in parsed(render({"x": {"drop:R01": 1, "tcp_closed:idle": 1, "call-failed:timeout": 1}}, []))}
    assert names >= {"overlay_drop_total", "overlay_tcp_closed_total", "overlay_call_failed_total", "overlay_dns_udp_total", "overlay_twins_total"}
