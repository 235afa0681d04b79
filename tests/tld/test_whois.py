"""WHOIS: what strangers may learn of a name, in lines that no record and no query can break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from overlay.name import parse_path
from overlay.units import b64
from tests.tld import views
from tests.tld.views import AT
from tld.whois import LINES, Right, Speaker, answer

HELD = [Right(path=parse_path("eu/home/alice"), rights=["own"], since=AT, until=AT + 86_400)]
ALICES = views.host("eu/home/alice", 2, "203.0.113.20", "fe80::1", "192.168.1.20", "fd00::20", "2001:db8::20")
HOME_VIEW = replace(views.home(carries=(views.carrier("eu/home/www", "eu/home/alice", 2, "203.0.113.20"),)), hosts=(ALICES,))


def speaker(*, name: str = "eu/home/alice", held: Sequence[Right] = HELD) -> Speaker:
    seen = {view.path: view for view in (views.root(), HOME_VIEW)}
    return Speaker(name=parse_path(name), zone="cloud.example.org", tld="cloud", views=seen, held=lambda node_id: held)


def lines(query: str | bytes, **given: object) -> list[str]:
    octets = answer(query if isinstance(query, bytes) else query.encode(), speaker(**given))  # type: ignore[arg-type]
    assert octets.endswith(b"\r\n") and octets.isascii()
    found = octets.decode().split("\r\n")
    assert all(line.isprintable() for line in found)
    return found


def fields(query: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines(query):
        name, colon, value = line.partition(":")
        if colon and not line.startswith("%"):
            found.setdefault(name, []).append(value.strip())
    return found


def test_a_node_speaks_its_own_name_first_and_of_itself_where_nothing_is_asked() -> None:
    for query in ("", "eu/home/alice", "nothing.there"):
        assert lines(query)[0].startswith("% alice.home.eu.cloud speaks, a node of the overlay cloud.example.org.")
    assert fields("") == fields("alice.home.eu")


@pytest.mark.parametrize("written", ["alice.home.eu", "eu/home/alice", "alice.home.eu.cloud.", "ALICE.home.eu.cloud.example.org", b64(views.node(2))])
def test_a_node_is_told_by_any_of_its_names_with_what_it_carries_and_what_it_may(written: str) -> None:
    assert fields(written) == {
        "node": ["alice.home.eu.cloud"], "id": [b64(views.node(2))], "cluster": ["eu/home"], "address": ["203.0.113.20", "2001:db8::20"],
        "carries": ["www.home.eu.cloud tcp 8000"],
        "may": ["on eu/home/alice from 2026-11-18 11:06 UTC until 2026-11-19 11:06 UTC: speak about names at and below the path"],
        "vouched for": ["2026-11-18 11:06 UTC"],
    }  # fmt: skip


def test_a_service_names_its_carriers_and_a_cluster_its_gateways() -> None:
    assert fields("www.home.eu")["carrier"] == ["alice.home.eu.cloud 203.0.113.20 tcp 8000 healthy"]
    assert fields("hq")["gateway"] == ["founder.hq.cloud"] and set(fields("hq")["address"]) == {"203.0.113.10", "2001:db8::10"}


def test_a_name_of_a_zone_that_is_not_held_leads_to_who_may_know_it() -> None:
    seen = {parse_path(""): views.root()}
    away = Speaker(name=parse_path("hq/founder"), zone="cloud.example.org", tld="cloud", views=seen, held=lambda node_id: ())
    told = answer(b"www.home.eu", away).decode()
    assert "stands in the zone eu/home, which is not held here" in told and "gateway:      alice.home.eu.cloud" in told


@pytest.mark.parametrize("query", [b"no.such.name", b"\xff\xfe", b"a\x1b[31mb", b"-T dn alice", b"x" * 512, b"..", b"%s%n"])
def test_what_is_not_known_is_said_in_one_line_whatever_was_asked(query: bytes) -> None:
    assert [line for line in lines(query) if line.startswith("% No match")] != [] and fields(query.decode("latin-1")) == {}


def test_what_others_wrote_cannot_put_lines_or_control_sequences_into_an_answer() -> None:
    sly = Right(path=parse_path("eu"), rights=["release:a\r\nnode: evil\x1b[2J"], since=-(10**18), until=10**18)
    told = lines("eu/home/alice", held=[sly])
    assert [line for line in told if line.startswith("node:")] == ["node:         alice.home.eu.cloud"]
    assert any("from - until -: publish releases of a??node: evil?[2J" in line for line in told)


def test_an_answer_is_bounded_and_says_how_much_more_there_is() -> None:
    told = lines("eu/home/alice", held=HELD * (LINES + 7))
    assert sum(line.startswith("may:") for line in told) == LINES and "% and 7 more" in told
