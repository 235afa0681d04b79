"""The plug: what its two backends say, that two nodes say the same, that the worlds stay apart, that no negative sticks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overlay.errors import Absent
from overlay.name import ROOT
from overlay.units import b32
from tests.tld.views import AT, HOME, HQ, carrier, data, home, host, node, root
from tld import codes, rdata
from tld.explain import expand, explain, full_name
from tld.label import from_text, to_wire
from tld.names import Chase, Fetch, Names, Pass, along
from tld.query import ask
from tld.reply import Reply, read
from tld.zone import RRset

HERE = ("127.0.0.1", 5353)
WWW = (carrier("eu/home/www", "eu/home/alice", 2, "203.0.113.20"), carrier("eu/home/www", "eu/home/bob", 3, healthy=False))


def names(policy: str = "exclusive", *, fresh: bool = True) -> Names:
    plug = Names(tld="cloud", zone="cloud.neonics.com", policy=policy, overlay_id=node(5))
    plug.update(root())
    plug.update(home(carries=WWW))
    if fresh:
        plug.evidence(at=AT + 60, peers=2)
    return plug


def query(name: str, rtype: int = codes.A, *, edns: int = 1232, ident: int = 7) -> bytes:
    return ask(ident, to_wire(from_text(name)), rtype, edns=edns, flags=codes.RD)


def stub(plug: Names, name: str, rtype: int = codes.A) -> Reply:
    """What the stub says from memory; asked three times, so that both levels of its cache are asked too."""
    replies = {plug.stub(query(name, rtype), HERE, True) for _ in range(3)}
    assert len(replies) == 1
    reply = replies.pop()
    assert isinstance(reply, bytes) and reply[3] & 0x80, "RA is set"
    return read(reply)


def world(plug: Names, name: str, rtype: int = codes.A, source: tuple[str, int] = HERE) -> tuple[Reply, bool]:
    """What the authoritative side says, and AA."""
    reply = plug.authoritative.answer(query(name, rtype), source, True)
    assert reply is not None
    return read(reply), bool(reply[2] & 4)


def texts(reply: Reply) -> list[str]:
    return [rdata.to_text(rrset.type, wire) for rrset in reply.answer for wire in rrset.rdatas]


def test_the_stub_answers_for_nodes_services_and_data_of_zones_held() -> None:
    plug = names()
    assert texts(stub(plug, "bob.home.eu.cloud.")) == ["203.0.113.30"]
    assert texts(stub(plug, "www.home.eu.cloud.", codes.SRV)) == ["10 10 8000 alice.home.eu.cloud."]
    assert stub(plug, "nobody.home.eu.cloud.").rcode == codes.NXDOMAIN


def test_the_world_gets_both_trees_with_authority_and_nothing_else() -> None:
    plug = names()
    for name in ("bob.home.eu.cloud.", "bob.home.eu.cloud.neonics.com."):
        reply, aa = world(plug, name)
        assert aa and texts(reply) == ["203.0.113.30"]
    refused, aa = world(plug, "example.org.")
    assert refused.rcode == codes.REFUSED and not aa and refused.ede is not None and refused.ede[0] == codes.EDE_NOT_AUTHORITATIVE


def test_the_authoritative_side_refers_to_a_zone_it_does_not_hold_and_the_stub_has_it_fetched() -> None:
    plug = names()
    plug.drop(HOME)
    reply, aa = world(plug, "bob.home.eu.cloud.")
    assert reply.rcode == codes.NOERROR and not aa and not reply.answer
    fetch = plug.stub(query("bob.home.eu.cloud."), HERE, True)
    assert isinstance(fetch, Fetch) and fetch.path == HOME
    plug.update(home())
    again = plug.again(query("bob.home.eu.cloud."), fetch.query, HERE, True)
    assert isinstance(again, bytes) and texts(read(again)) == ["203.0.113.30"]


def test_a_zone_that_cannot_be_fetched_is_servfail_with_the_reason_and_no_denial() -> None:
    plug = names()
    plug.drop(HOME)
    fetch = plug.stub(query("bob.home.eu.cloud."), HERE, True)
    assert isinstance(fetch, Fetch)
    said = read(plug.unfetched(fetch.query, fetch.path))
    assert (
        said.rcode == codes.SERVFAIL
        and said.ede is not None
        and said.ede[0] == codes.EDE_NO_REACHABLE_AUTHORITY
        and "eu/home" in said.ede[1]
    )


def test_two_nodes_with_the_same_views_say_the_same_to_the_octet() -> None:
    one, other = names(), Names(tld="cloud", zone="cloud.neonics.com", policy="exclusive", overlay_id=node(5))
    other.update(home())
    other.update(replace(home(carries=WWW[::-1]), hosts=home().hosts[::-1]))
    other.update(root(gateways=root().gateways[::-1]))
    for name in ("cloud.", "www.home.eu.cloud.", "home.eu.cloud.", "clusters.cloud.", "no.cloud.", f"{b32(node(3))}.id.cloud."):
        for rtype in (codes.A, codes.AAAA, codes.TXT, codes.SRV, codes.NS, codes.SOA, codes.ANY):
            asked = query(name, rtype)
            assert one.stub(asked, HERE, True) == other.stub(asked, HERE, True)
            assert one.authoritative.answer(asked, HERE, True) == other.authoritative.answer(asked, HERE, True)


def test_negatives_last_30_seconds_at_most_and_none_outlives_the_name_that_appears() -> None:
    plug = names()
    for name, rtype in (
        ("new.home.eu.cloud.", codes.A),
        ("bob.home.eu.cloud.", codes.MX),
        ("no.such.cloud.", codes.A),
        ("download.cloud.", codes.A),
    ):
        reply = plug.stub(query(name, rtype), HERE, True)
        assert isinstance(reply, bytes)
        soa = reply.rindex(b"\x00\x06\x00\x01")
        assert int.from_bytes(reply[soa + 4 : soa + 8], "big") <= 30
    assert stub(plug, "new.home.eu.cloud.").rcode == codes.NXDOMAIN
    plug.update(home(hosts=(host("eu/home/new", 4, "203.0.113.40"),), serial=10))
    assert texts(stub(plug, "new.home.eu.cloud.")) == ["203.0.113.40"]


def test_a_zone_vouched_for_anew_is_not_built_again() -> None:
    plug = names()
    before = plug.zones.generation
    plug.update(root(head=AT + 600))
    assert plug.zones.generation == before


@pytest.mark.parametrize("name", ["example.org.", "cloud.neonics.com.", "bob.home.eu.cloud.neonics.com.", "org."])
def test_what_is_not_below_the_tld_is_passed_on(name: str) -> None:
    for policy in ("exclusive", "overlay-first", "public-first"):
        found = names(policy).stub(query(name), HERE, True)
        assert isinstance(found, Pass) and not found.else_local


def test_overlay_first_passes_on_with_proof_refuses_without_and_the_proof_is_weighed_anew() -> None:
    plug = names("overlay-first", fresh=False)
    said = stub(plug, "www.google.cloud.")
    assert said.rcode == codes.SERVFAIL and said.ede is not None and said.ede[0] == codes.EDE_NOT_READY
    plug.evidence(at=AT + 3_600, peers=1)
    assert isinstance(plug.stub(query("www.google.cloud."), HERE, True), Pass)
    plug.evidence(at=AT + 3_601, peers=1)
    assert stub(plug, "www.google.cloud.").rcode == codes.SERVFAIL
    plug.evidence(at=AT + 86_400, peers=0)
    assert isinstance(plug.stub(query("www.google.cloud."), HERE, True), Pass)
    assert stub(plug, "no.such.name.eu.cloud.").rcode == codes.NXDOMAIN, "a second-level name is wholly of one world"


def test_a_second_level_name_changes_worlds_as_soon_as_the_overlay_holds_it() -> None:
    plug = names("overlay-first")
    assert isinstance(plug.stub(query("www.shop.cloud."), HERE, True), Pass)
    plug.update(root(plain=(data("shop/www", "A", "192.0.2.5"),), serial=8))
    assert texts(stub(plug, "www.shop.cloud.")) == ["192.0.2.5"]
    assert stub(plug, "mail.shop.cloud.").rcode == codes.NXDOMAIN


def test_who_has_not_joined_answers_nothing_of_the_tld() -> None:
    plug = Names(tld="cloud", zone="cloud.neonics.com", policy="exclusive")
    said = stub(plug, "bob.home.eu.cloud.")
    assert said.rcode == codes.SERVFAIL and said.ede is not None and "not joined" in said.ede[1]
    assert world(plug, "bob.home.eu.cloud.")[0].rcode == codes.REFUSED


def test_whoami_is_the_asker_to_the_world_and_this_node_through_the_stub() -> None:
    plug = names()
    plug.set_public_address("203.0.113.20", "2001:db8::20")
    assert texts(world(plug, "whoami.cloud.", source=("198.51.100.9", 999))[0]) == ["198.51.100.9"]
    assert texts(world(plug, "whoami.cloud.", source=("198.51.100.10", 999))[0]) == ["198.51.100.10"]
    assert texts(world(plug, "whoami.cloud.neonics.com.", codes.AAAA, ("2001:db8::9", 999))[0]) == ["2001:db8::9"]
    assert texts(world(plug, "whoami.cloud.", codes.AAAA)[0]) == []
    assert texts(stub(plug, "whoami.cloud.")) == ["203.0.113.20"] and texts(stub(plug, "whoami.cloud.", codes.AAAA)) == ["2001:db8::20"]
    plug.set_public_address()
    assert stub(plug, "whoami.cloud.").rcode == codes.NOERROR and texts(stub(plug, "whoami.cloud.")) == []


def test_a_node_has_a_self_certifying_name_in_whichever_zone_it_stands() -> None:
    plug = names()
    assert texts(stub(plug, f"{b32(node(3))}.id.cloud.")) == ["203.0.113.30"]
    assert texts(stub(plug, f"{b32(node(3)).upper()}.id.cloud.", codes.TXT)) == ['"name=bob.home.eu.cloud"']
    assert stub(plug, f"x.{b32(node(3))}.id.cloud.").rcode == codes.NXDOMAIN
    assert stub(plug, f"{b32(node(77))}.id.cloud.").rcode == codes.NXDOMAIN
    assert stub(plug, "junk.id.cloud.").rcode == codes.NXDOMAIN
    assert stub(plug, "id.cloud.").rcode == codes.NOERROR


def test_an_unknown_node_id_is_denied_only_where_all_zones_are_held() -> None:
    plug = names()
    plug.drop(HOME)
    assert stub(plug, f"{b32(node(77))}.id.cloud.").rcode == codes.SERVFAIL
    assert texts(stub(plug, f"{b32(node(2))}.id.cloud.")) == ["203.0.113.20"], "gateways are known from the table"


def test_a_service_that_is_down_is_nodata_with_a_reason() -> None:
    plug = names()
    plug.update(home(carries=WWW[1:], serial=10))
    said = stub(plug, "www.home.eu.cloud.")
    assert said.rcode == codes.NOERROR and not said.answer and said.ede is not None and "healthy" in said.ede[1]


def aliases(policy: str = "overlay-first") -> Names:
    plug = names(policy)
    plug.update(home(serial=10, plain=(
        data("eu/home/blog", "CNAME", "example.org."), data("eu/home/up", "CNAME", "www.google.cloud."),
        data("eu/home/b", "CNAME", "bob.home.eu"),
        data("eu/home/me", "CNAME", f"{b32(node(3))}.id"), data("eu/home/far", "NS", "ns.example.org."),
        data("eu/home/zone", "CNAME", "www.cloud.neonics.com."),
    )))  # fmt: skip
    return plug


def test_an_alias_within_the_overlay_is_followed_from_memory() -> None:
    assert texts(stub(aliases(), "b.home.eu.cloud.")) == ["bob.home.eu.cloud.", "203.0.113.30"]
    assert texts(stub(aliases(), "me.home.eu.cloud."))[1:] == ["203.0.113.30"]


@pytest.mark.parametrize(("name", "end"), [("blog", "example.org."), ("up", "www.google.cloud."), ("zone", "www.cloud.neonics.com.")])
def test_an_alias_of_a_public_name_is_chased_upstream_and_the_whole_chain_answered(name: str, end: str) -> None:
    plug = aliases()
    asked = query(f"{name}.home.eu.cloud.")
    chase = plug.stub(asked, HERE, True)
    assert isinstance(chase, Chase) and chase.question[12:] == ask(0, to_wire(from_text(end)), codes.A, edns=1232)[12:]
    question = to_wire(from_text(end)) + b"\0\1\0\1"
    reply = (
        b"\0\0\x81\x80\0\1\0\2\0\0\0\0"
        + question
        + b"\xc0\x0c\0\5\0\1\0\0\0\x05\0\4\1x\xc0\x0c"
        + b"\1x\xc0\x0c\0\1\0\1\0\0\0\x05\0\4\xc0\0\2\x63"
    )
    whole = plug.chased(chase, reply, True)
    assert whole[:2] == asked[:2]
    assert texts(read(whole)) == [end, f"x.{end}", "192.0.2.99"]
    failed = read(plug.chased(chase, None, True))
    assert failed.rcode == codes.SERVFAIL
    assert read(plug.chased(chase, reply[:-3], True)).rcode == codes.SERVFAIL


def test_exclusive_never_takes_an_alias_below_the_tld_out_of_it() -> None:
    assert stub(aliases("exclusive"), "up.home.eu.cloud.").rcode == codes.NXDOMAIN


def test_a_delegation_to_foreign_name_servers_is_said_not_denied() -> None:
    said = stub(aliases(), "x.far.home.eu.cloud.")
    assert said.rcode == codes.SERVFAIL and said.ede is not None and "delegated" in said.ede[1]


def test_public_first_asks_each_time_and_falls_back_to_what_the_overlay_has() -> None:
    plug = names("public-first")
    for _ in range(3):
        asked = plug.stub(query("bob.home.eu.cloud."), HERE, True)
        assert isinstance(asked, Pass) and asked.else_local
        instead = plug.instead(query("bob.home.eu.cloud."), asked.query, HERE, True)
        assert isinstance(instead, bytes) and texts(read(instead)) == ["203.0.113.30"]
    missing = plug.stub(query("no.cloud."), HERE, True)
    assert isinstance(missing, Pass) and plug.instead(query("no.cloud."), missing.query, HERE, True) is None


def test_suffix_only_serves_the_bootstrap_zone_from_memory() -> None:
    plug = names("suffix-only")
    assert texts(stub(plug, "bob.home.eu.cloud.neonics.com.")) == ["203.0.113.30"]
    assert isinstance(plug.stub(query("bob.home.eu.cloud."), HERE, True), Pass)


@pytest.mark.parametrize("octets", [b"", b"\0" * 11, query("x.cloud.")[:2] + b"\x81" + query("x.cloud.")[3:]])
def test_what_is_no_query_gets_no_reply_and_is_counted(octets: bytes) -> None:
    plug = names()
    assert plug.stub(octets, HERE, True) is None
    assert sum(count for reason, count in plug.resolving.counters.items() if reason.startswith("drop:dns-")) == 1


def test_dropping_the_root_ends_all_proof() -> None:
    plug = names("overlay-first")
    plug.drop(ROOT)
    plug.evidence(at=AT, peers=0)
    assert stub(plug, "www.google.cloud.").rcode == codes.SERVFAIL
    assert world(plug, "hq.cloud.")[0].rcode == codes.REFUSED


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("www.home.eu", "www.home.eu.cloud."),
        ("eu/home/www", "www.home.eu.cloud."),
        ("WWW.home.eu.cloud", "www.home.eu.cloud."),
        ("www.home.eu.cloud.neonics.com", "www.home.eu.cloud."),
        ("example.org.", "example.org."),
        ("example.org", "example.org.cloud."),
        ("www.home.eu.cloud.neonics.com.", "www.home.eu.cloud.neonics.com."),
    ],
)
def test_names_are_taken_as_people_write_them(typed: str, meant: str) -> None:
    assert full_name(typed, names()) == from_text(meant)


def test_explain_says_which_world_which_records_which_zones_and_why() -> None:
    plug = names("overlay-first")
    told = explain(plug, from_text("www.home.eu.cloud."), codes.A)
    assert (told["name"], told["type"], told["rcode"], told["world"]) == ("www.home.eu.cloud", "A", "NOERROR", "overlay")
    assert told["answers"] == ["203.0.113.20"] and [row["kind"] for row in told["records"]] == ["carry", "carry"]
    assert [(row["zone"], row["held"]) for row in told["chain"]] == [("", True), ("eu/home", True)]
    public = explain(plug, from_text("example.org."), codes.A)
    assert (public["world"], public["rcode"]) == ("public", None) and public["reason"]
    plug.drop(HOME)
    waiting = explain(plug, from_text("www.home.eu.cloud."), codes.A)
    assert waiting["rcode"] is None and "eu/home" in waiting["reason"] and waiting["chain"][1]["held"] is False
    assert explain(plug, from_text("nobody.hq.cloud."), codes.A)["rcode"] == "NXDOMAIN"


def test_expand_lists_the_carriers_healthy_ones_first_or_the_node_itself() -> None:
    plug = names()
    carriers = expand(plug, "www.home.eu")
    assert [(row["name"], row["healthy"], row["port"]) for row in carriers] == [
        ("alice.home.eu.cloud", True, 8000),
        ("bob.home.eu.cloud", False, 8000),
    ]
    assert carriers[0]["cluster"] == "eu/home" and carriers[0]["addresses"] == ["203.0.113.20"] and carriers[0]["load"] == 0.25
    assert set(carriers[0]) == {"name", "node_id", "cluster", "addresses", "port", "healthy", "load", "distance_ms"}
    assert [row["name"] for row in expand(plug, "founder.hq")] == ["founder.hq.cloud"]
    with pytest.raises(Absent):
        expand(plug, "nobody.hq")


def test_the_name_servers_of_a_cut_follow_the_table() -> None:
    plug = names()
    plug.drop(HOME)
    plug.update(root(gateways=(HQ,), serial=8))
    reply = plug.authoritative.answer(query("bob.home.eu.cloud."), HERE, True)
    assert reply is not None and b"\x07founder\x02hq" in reply


def test_of_an_upstreams_answer_only_the_chain_that_was_asked_for_is_taken_over() -> None:
    """The end of an alias is another's: whoever answers for it says nothing about other names."""
    end, cdn, evil = from_text("www.example.org"), from_text("cdn.example.net"), from_text("alice.home.eu.cloud")
    address = (bytes((192, 0, 2, 66)),)
    alias = RRset(end, codes.CNAME, 60, (to_wire(cdn),))
    data = RRset(from_text("CDN.example.NET"), codes.A, 60, address)
    beside = (RRset(evil, codes.A, 60, address), RRset(from_text("other.example.org"), codes.A, 60, address), RRset(cdn, codes.TXT, 60, (b"\x01x",)))
    assert along(end, codes.A, (*beside, data, alias)) == (alias, data)
    assert along(end, codes.CNAME, (alias, data)) == (alias,)
    loop = RRset(cdn, codes.CNAME, 60, (to_wire(end),))
    assert along(end, codes.A, (alias, loop)) == (alias, loop)
