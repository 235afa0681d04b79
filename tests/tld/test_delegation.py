"""From views to zones: what each statement becomes, what wins where they meet, and what never breaks a zone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.directory.view import ZoneView
from overlay.name import Path
from overlay.units import b64
from tests.tld.views import ALICE, HOME, HQ, carrier, data, gateway, home, host, node, root
from tld import codes, rdata
from tld.delegation import Bootstrap, build
from tld.engine import lookup
from tld.label import from_text
from tld.zone import Zone, Zones

TLD = from_text("cloud.")
ZONE = from_text("cloud.neonics.com.")
TYPES = st.sampled_from(
    ["A", "AAAA", "CNAME", "DNAME", "NS", "SOA", "TXT", "SRV", "MX", "DS", "CAA", "HTTPS", "X", "TYPE0", "OPT", "ANY", "TYPE65534"]
)
VALUES = ("192.0.2.1", "::1", "x.y.", "x", "10 5 80 a.b.", "10 mail.", ".", "", "\\# 1 00", '"', "\\300", "1 . alpn=h2", "@", "a" * 300)


def view(base: ZoneView) -> Zone:
    return build(base, suffix=TLD)


def said(zone: Zone, name: str, rtype: int) -> list[str]:
    node = zone.nodes.get(from_text(name))
    rrset = node.get(rtype) if node is not None else None
    return [] if rrset is None else [rdata.to_text(rtype, wire) for wire in rrset.rdatas]


def counted(base: ZoneView) -> tuple[Zone, Counter[str]]:
    counters: Counter[str] = Counter()
    return build(base, suffix=TLD, counters=counters), counters


def test_a_node_has_its_addresses_for_30_seconds() -> None:
    zone = view(home())
    assert said(zone, "bob.home.eu.cloud.", codes.A) == ["203.0.113.30"]
    assert said(zone, "bob.home.eu.cloud.", codes.AAAA) == ["2001:db8::30"]
    assert zone.nodes[from_text("bob.home.eu.cloud.")][codes.A].ttl == 30


def test_the_apex_has_a_soa_with_the_serial_of_the_view_and_negatives_of_30_seconds() -> None:
    zone = view(home(serial=4_000_000_000))
    assert said(zone, "home.eu.cloud.", codes.SOA) == ["ns.home.eu.cloud. hostmaster.ns1.cloud. 4000000000 14400 3600 604800 30"]
    assert zone.serial == 4_000_000_000 and zone.negative.ttl == 30


def test_the_root_is_served_by_its_gateways_as_ns1_and_on_with_glue() -> None:
    zone = view(root())
    assert said(zone, "cloud.", codes.NS) == ["ns1.cloud.", "ns2.cloud."]
    assert said(zone, "ns1.cloud.", codes.A) == ["203.0.113.10"] and said(zone, "ns1.cloud.", codes.AAAA) == ["2001:db8::10"]
    assert said(zone, "ns2.cloud.", codes.A) == ["203.0.113.20"]


def test_only_gateways_that_serve_the_world_are_name_servers_where_there_are_any() -> None:
    zone = view(root(gateways=(HQ, gateway("eu/home", "eu/home/alice", 2, "203.0.113.20", dns=False))))
    assert said(zone, "cloud.", codes.NS) == ["ns1.cloud."]
    assert said(zone, "home.eu.cloud.", codes.NS) == ["founder.hq.cloud."]
    deaf = view(root(gateways=(gateway("eu/home", "eu/home/alice", 2, "203.0.113.20", dns=False),)))
    assert said(deaf, "cloud.", codes.NS) == ["ns1.cloud."]
    assert said(deaf, "home.eu.cloud.", codes.NS) == ["ns.home.eu.cloud.", "alice.home.eu.cloud."]


def test_a_cut_is_a_referral_with_glue_to_the_gateways_of_that_cluster() -> None:
    answer = lookup(Zones([view(root())]), from_text("bob.home.eu.cloud."), codes.A)
    assert not answer.aa and answer.rcode == 0 and not answer.answer
    assert [rdata.to_text(codes.NS, wire) for wire in answer.authority[0].rdatas] == ["ns.home.eu.cloud.", "alice.home.eu.cloud."]
    assert answer.glue == 2 and {rrset.rdatas for rrset in answer.additional} == {(bytes((203, 0, 113, 20)),)}


def test_a_zones_only_name_server_has_a_second_name_unless_somebody_has_it() -> None:
    assert said(view(home()), "ns.home.eu.cloud.", codes.A) == ["203.0.113.20"]
    taken = view(home(hosts=(host("eu/home/ns", 9, "203.0.113.9"),)))
    assert said(taken, "ns.home.eu.cloud.", codes.A) == ["203.0.113.9"]
    assert said(taken, "home.eu.cloud.", codes.NS) == ["alice.home.eu.cloud."]
    two = view(replace(home(), gateways=(ALICE, gateway("eu/home", "eu/home/bob", 3, "203.0.113.30"))))
    assert said(two, "home.eu.cloud.", codes.NS) == ["bob.home.eu.cloud.", "alice.home.eu.cloud."]


def test_a_cut_without_any_gateway_is_still_no_denial() -> None:
    answer = lookup(Zones([view(root(gateways=()))]), from_text("bob.home.eu.cloud."), codes.A)
    assert answer.rcode == codes.NOERROR and answer.authority[0].type == codes.NS and not answer.aa


def test_a_service_has_addresses_ports_and_texts_of_all_its_healthy_carriers() -> None:
    zone = view(home(carries=(
        carrier("eu/home/www", "eu/home/alice", 2, "203.0.113.20"),
        carrier("eu/home/www", "eu/home/bob", 3, "203.0.113.30", "2001:db8::30", port=81, proto="udp"),
    )))  # fmt: skip
    assert said(zone, "www.home.eu.cloud.", codes.A) == ["203.0.113.20", "203.0.113.30"]
    assert said(zone, "www.home.eu.cloud.", codes.AAAA) == ["2001:db8::30"]
    assert said(zone, "www.home.eu.cloud.", codes.SRV) == ["10 10 81 bob.home.eu.cloud.", "10 10 8000 alice.home.eu.cloud."]
    assert sorted(said(zone, "www.home.eu.cloud.", codes.TXT)) == [
        '"node=alice.home.eu.cloud port=8000 proto=tcp"', '"node=bob.home.eu.cloud port=81 proto=udp"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reach", "healthy", "state"), [((), True, "unreachable"), (("203.0.113.30",), False, "unhealthy"), (("fe80::1",), True, "unreachable")]
)
def test_a_carrier_that_is_down_is_in_no_answer_and_a_service_without_any_is_nodata(
    reach: tuple[str, ...], healthy: bool, state: str
) -> None:
    down = carrier("eu/home/www", "eu/home/bob", 3, *reach, healthy=healthy)
    both = view(home(carries=(carrier("eu/home/www", "eu/home/alice", 2, "203.0.113.20"), down)))
    assert said(both, "www.home.eu.cloud.", codes.A) == ["203.0.113.20"]
    assert said(both, "www.home.eu.cloud.", codes.SRV) == ["10 10 8000 alice.home.eu.cloud."]
    zone, counters = counted(home(carries=(down,)))
    for rtype in (codes.A, codes.AAAA, codes.SRV):
        answer = lookup(Zones([zone]), from_text("www.home.eu.cloud."), rtype)
        assert answer.rcode == codes.NOERROR and answer.aa and not answer.answer and answer.authority[0].ttl == 30
    assert said(zone, "www.home.eu.cloud.", codes.TXT) == [f'"node=bob.home.eu.cloud port=8000 proto=tcp state={state}"']
    assert counters["skip:carrier-down"] == 1


def test_srv_leads_to_where_the_service_is_even_if_that_is_not_at_the_nodes_addresses() -> None:
    zone = view(home(carries=(carrier("eu/home/www", "eu/home/bob", 3, own=("192.0.2.80",)),)))
    answer = lookup(Zones([zone]), from_text("www.home.eu.cloud."), codes.SRV)
    assert [rrset.rdatas for rrset in answer.additional] == [(bytes((192, 0, 2, 80)),)]
    at_home = view(home(carries=(carrier("eu/home/www", "eu/home/bob", 3, own=("203.0.113.30",)),)))
    assert said(at_home, "www.home.eu.cloud.", codes.SRV) == ["10 10 8000 bob.home.eu.cloud."]


def test_plain_data_is_relative_to_the_root_so_that_it_serves_both_trees() -> None:
    plain = (
        data("eu/home/a", "CNAME", "bob.home.eu"),
        data("eu/home/b", "CNAME", "example.org."),
        data("eu/home/m", "MX", "10 bob.home.eu", ttl=600),
    )
    assert said(view(home(plain=plain)), "a.home.eu.cloud.", codes.CNAME) == ["bob.home.eu.cloud."]
    below = build(home(plain=plain), suffix=ZONE)
    assert said(below, "a.home.eu.cloud.neonics.com.", codes.CNAME) == ["bob.home.eu.cloud.neonics.com."]
    assert said(below, "b.home.eu.cloud.neonics.com.", codes.CNAME) == ["example.org."]
    assert below.nodes[from_text("m.home.eu.cloud.neonics.com.")][codes.MX].ttl == 600


def test_a_text_is_one_string_as_it_stands_cut_only_where_dns_must() -> None:
    zone = view(home(plain=(data("eu/home/motd", "TXT", 'hello  "world" \\ ü', "x" * 300),)))
    texts = zone.nodes[from_text("motd.home.eu.cloud.")][codes.TXT].rdatas
    whole = 'hello  "world" \\ ü'.encode()
    assert set(texts) == {bytes((len(whole),)) + whole, b"\xff" + b"x" * 255 + b"\x2d" + b"x" * 45}


def test_wildcards_are_carried_like_any_name() -> None:
    zone = view(home(plain=(data("eu/home/*", "A", "192.0.2.7"),)))
    assert lookup(Zones([zone]), from_text("any.thing.home.eu.cloud."), codes.A).answer[0].rdatas == (bytes((192, 0, 2, 7)),)


def test_data_set_by_a_person_replaces_what_is_generated_of_that_type_only() -> None:
    zone = view(home(plain=(data("eu/home/bob", "A", "192.0.2.9"),)))
    assert said(zone, "bob.home.eu.cloud.", codes.A) == ["192.0.2.9"]
    assert said(zone, "bob.home.eu.cloud.", codes.AAAA) == ["2001:db8::30"]


def test_other_data_wins_over_a_cname_in_whatever_order_they_come() -> None:
    rows = (data("eu/home/x", "CNAME", "bob.home.eu"), data("eu/home/x", "A", "192.0.2.9"), data("eu/home/bob", "CNAME", "example.org."))
    for plain in (rows, rows[::-1]):
        zone, counters = counted(home(plain=plain))
        assert said(zone, "x.home.eu.cloud.", codes.A) == ["192.0.2.9"] and not said(zone, "x.home.eu.cloud.", codes.CNAME)
        assert said(zone, "bob.home.eu.cloud.", codes.A) and not said(zone, "bob.home.eu.cloud.", codes.CNAME)
        assert counters["skip:cname-beside"] == 2


def test_of_several_cnames_one_counts_and_it_is_the_same_everywhere() -> None:
    one, counters = counted(home(plain=(data("eu/home/x", "CNAME", "b.", "a."),)))
    other = view(home(plain=(data("eu/home/x", "CNAME", "a.", "b."),)))
    assert said(one, "x.home.eu.cloud.", codes.CNAME) == said(other, "x.home.eu.cloud.", codes.CNAME) == ["a."]
    assert counters["skip:several"] == 1


@pytest.mark.parametrize("path", ["clusters", "download", "id", "whoami", "ns1", "x/clusters"])
def test_reserved_labels_of_the_root_cannot_be_overridden(path: str) -> None:
    zone, counters = counted(
        root(plain=(data(path, "A", "192.0.2.66"),), hosts=(host(path, 9, "192.0.2.66"),), carries=(carrier(path, path, 9, "192.0.2.66"),))
    )
    reserved = not path.startswith("x/")
    assert (counters["skip:reserved"] == 3) is reserved
    assert (said(zone, f"{'.'.join(reversed(path.split('/')))}.cloud.", codes.A) == ["192.0.2.66"]) is not reserved


@pytest.mark.parametrize(
    ("path", "rtype", "value"),
    [
        ("eu/home", "SOA", "a. b. 1 1 1 1 1"),
        ("eu/home", "NS", "evil."),
        ("eu/home/x", "SOA", "a. b. 1 1 1 1 1"),
        ("eu/home", "DS", "1 15 2 00"),
    ],
)
def test_soa_and_ns_of_the_zone_itself_are_generated(path: str, rtype: str, value: str) -> None:
    zone, counters = counted(home(plain=(data(path, rtype, value),)))
    assert counters["skip:apex"] == 1
    assert said(zone, "home.eu.cloud.", codes.NS) == ["ns.home.eu.cloud.", "alice.home.eu.cloud."]


@pytest.mark.parametrize("path", ["eu/home", "eu/home/bob", "eu/home/deep/er"])
def test_nothing_at_or_below_a_cut_is_taken_from_the_parent(path: str) -> None:
    zone, counters = counted(root(plain=(data(path, "A", "192.0.2.66"),)))
    assert counters["skip:elsewhere"] == 1
    assert all(b"\xc0\x00\x02\x42" not in rrset.rdatas for rrset in zone.rrsets())


def test_what_stands_outside_of_the_zone_is_left_out() -> None:
    _, counters = counted(home(plain=(data("us/x", "A", "192.0.2.66"),), hosts=(host("us/y", 9, "192.0.2.66"),)))
    assert counters["skip:elsewhere"] == 2


def test_one_bad_value_is_left_out_by_itself() -> None:
    zone, counters = counted(
        home(plain=(data("eu/home/x", "A", "192.0.2.1", "not an address", "192.0.2.2"), data("eu/home/y", "NOSUCH", "1")))
    )
    assert said(zone, "x.home.eu.cloud.", codes.A) == ["192.0.2.1", "192.0.2.2"]
    assert counters["skip:bad-value"] == 1 and counters["skip:bad-type"] == 1


def test_clusters_are_the_public_addresses_of_all_clusters() -> None:
    zone = view(root())
    assert said(zone, "clusters.cloud.", codes.A) == ["203.0.113.10", "203.0.113.20"]
    assert said(zone, "clusters.cloud.", codes.AAAA) == ["2001:db8::10"]


@pytest.mark.parametrize("name", ["download.cloud.", "id.cloud.", "whoami.cloud.", "clusters.cloud."])
def test_the_roots_own_names_exist_even_without_data(name: str) -> None:
    answer = lookup(Zones([view(root(gateways=()))]), from_text(name), codes.A)
    assert answer.rcode == codes.NOERROR and not answer.answer and answer.authority[0].type == codes.SOA


def test_a_delegated_bootstrap_zone_tells_newcomers_the_way_in() -> None:
    zone = build(root(), suffix=ZONE, bootstrap=Bootstrap(overlay_id=node(5), tld="cloud"))
    assert said(zone, "_overlay.cloud.neonics.com.", codes.TXT) == [f'"v=overlay1;id={b64(node(5))};tld=cloud"']
    assert f'"v=overlay1;at=203.0.113.10:7653,[2001:db8::10]:7653;key={b64(node(1))}"' in said(
        zone, "_node._overlay.cloud.neonics.com.", codes.TXT
    )


def test_the_same_view_makes_the_same_zone_on_every_node_whatever_the_order_of_its_parts() -> None:
    carries = (carrier("eu/home/www", "eu/home/alice", 2, "203.0.113.20"), carrier("eu/home/www", "eu/home/bob", 3, "203.0.113.30"))
    one = home(carries=carries)
    other = replace(one, hosts=one.hosts[::-1], carries=carries[::-1], gateways=one.gateways[::-1])
    assert list(view(one).rrsets()) == list(view(other).rrsets())
    tables = root(), root(gateways=(ALICE, HQ))
    assert list(view(tables[0]).rrsets()) == list(view(tables[1]).rrsets())


@settings(max_examples=150, deadline=400)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["eu/home", "eu/home/x", "eu/home/x/y", "eu/home/*", "eu/home/bob", "us"]),
            TYPES,
            st.lists(st.sampled_from(VALUES), max_size=3),
        ),
        max_size=8,
    )
)
def test_no_data_of_anybody_breaks_a_zone(rows: list[tuple[str, str, list[str]]]) -> None:
    zone = view(home(plain=tuple(data(path, rtype, *values) for path, rtype, values in rows)))
    assert said(zone, "home.eu.cloud.", codes.SOA) and zone.origin == from_text("home.eu.cloud.")
    for name in ("home.eu.cloud.", "x.home.eu.cloud.", "z.y.x.home.eu.cloud."):
        lookup(Zones([zone]), from_text(name), codes.A)


def test_a_name_too_long_for_this_tree_is_left_out() -> None:
    long = Path((*HOME.labels, *["a" * 50] * 3))
    counters: Counter[str] = Counter()
    build(home(plain=(data(str(long), "A", "192.0.2.1"),)), suffix=(b"b" * 60, b"c" * 40), counters=counters)
    assert counters["skip:too-long"] == 1
