"""Zones: what is precomputed from the sets, and that the nearest zone held is found while zones come and go."""

from __future__ import annotations

import pytest

from tld import codes, rdata
from tld.label import from_text
from tld.master import parse
from tld.zone import RRset, ZoneError, Zones, build

SOA = RRset(from_text("cloud."), codes.SOA, 60, (rdata.to_wire(codes.SOA, "ns1.cloud. host.cloud. 7 1 2 3 30"),))


def rrset(name: str, kind: str, *texts: str, ttl: int = 60) -> RRset:
    rtype = codes.type_number(kind)
    return RRset(from_text(name), rtype, ttl, tuple(rdata.to_wire(rtype, text) for text in texts))


def test_names_between_the_apex_and_data_exist_without_data() -> None:
    zone = build(SOA.name, [SOA, rrset("a.b.c.cloud.", "TXT", "x")])
    assert zone.nodes[from_text("b.c.cloud.")] == {}
    assert zone.nodes[from_text("c.cloud.")] == {}
    assert from_text("cloud.") in zone.nodes
    assert from_text(".") not in zone.nodes


def test_cuts_are_names_with_ns_below_the_apex_and_dnames_are_redirects_anywhere() -> None:
    zone = build(SOA.name, [SOA, rrset("cloud.", "NS", "ns1.cloud."), rrset("eu.cloud.", "NS", "a."), rrset("d.cloud.", "DNAME", "b.")])
    assert zone.redirects == {from_text("eu.cloud."), from_text("d.cloud.")}


def test_the_soa_of_negative_answers_lives_no_longer_than_its_minimum() -> None:
    assert build(SOA.name, [SOA]).negative.ttl == 30
    assert build(SOA.name, [SOA]).soa.ttl == 60


@pytest.mark.parametrize(
    ("sets", "rule"),
    [
        ([], "soa"),
        ([rrset("cloud.", "A", "192.0.2.1")], "soa"),
        ([SOA, rrset("cloud.", "SOA", "a. b. 1 2 3 4 5")], "soa"),
        ([SOA, rrset("eu.cloud.", "SOA", "a. b. 1 2 3 4 5")], "soa"),
        ([SOA, rrset("example.", "A", "192.0.2.1")], "out-of-zone"),
        ([SOA, rrset("xcloud.", "A", "192.0.2.1")], "out-of-zone"),
        ([SOA, rrset("a.cloud.", "CNAME", "b."), rrset("a.cloud.", "TXT", "b")], "cname"),
        ([SOA, rrset("a.cloud.", "CNAME", "b.", "c.")], "cname"),
        ([SOA, rrset("a.cloud.", "DNAME", "b.", "c.")], "dname"),
        ([SOA, rrset("a.cloud.", "TXT", "x", ttl=-1)], "ttl"),
        ([SOA, rrset("a.cloud.", "TXT", "x", ttl=2**31)], "ttl"),
        ([SOA, rrset("a.cloud.", "TXT")], "empty-rrset"),
    ],
)
def test_sets_that_make_no_zone_are_refused_by_rule(sets: list[RRset], rule: str) -> None:
    with pytest.raises(ZoneError) as caught:
        build(SOA.name, sets)
    assert caught.value.rule == rule


def test_the_nearest_zone_above_a_name_is_found() -> None:
    texts = {origin: f"{origin} 60 IN SOA a. b. 1 2 3 4 5\n" for origin in ("cloud.", "home.eu.cloud.", "example.org.")}
    zones = Zones(parse(text) for text in texts.values())

    def origin(name: str) -> object:
        zone = zones.find(from_text(name))
        return zone and zone.origin

    assert origin("www.home.eu.cloud.") == from_text("home.eu.cloud.")
    assert origin("home.eu.cloud.") == from_text("home.eu.cloud.")
    assert origin("eu.cloud.") == from_text("cloud.")
    assert origin("xcloud.") is None
    assert origin(".") is None
    zones.drop(from_text("home.eu.cloud."))
    assert origin("www.home.eu.cloud.") == from_text("cloud.")
    assert len(zones) == 2


def test_every_change_of_the_zones_is_a_new_generation() -> None:
    zones = Zones()
    seen = [zones.generation]
    for change in (lambda: zones.put(build(SOA.name, [SOA])), lambda: zones.drop(SOA.name), zones.touch):
        change()
        seen.append(zones.generation)
    assert len(set(seen)) == 4
    zones.drop(SOA.name)
    assert zones.generation == seen[-1]
