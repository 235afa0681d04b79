"""The engine's rules one by one; the public cases judge their combinations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tld import codes, rdata
from tld.engine import MAX_CHAIN, Answer, lookup
from tld.label import from_text, to_text
from tld.master import parse
from tld.zone import RRset, Zones

ROOT = """
$ORIGIN cloud.
@       60 SOA   ns1 host 1 14400 3600 604800 30
@       60 NS    ns1
ns1     60 A     192.0.2.1
www     30 A     192.0.2.10
www     30 AAAA  2001:db8::10
a.b.c   30 TXT   deep
alias   30 CNAME www
two     30 CNAME alias
out     30 CNAME www.example.org.
far     30 CNAME www.home.eu
gone    30 CNAME nothing
loop    30 CNAME pool
pool    30 CNAME loop
self    30 CNAME self
*.wild  30 TXT   any
*.wild  30 A     192.0.2.77
x.wild  30 TXT   exact
*.star  30 CNAME www
tree    30 DNAME www
tree    30 TXT   at
under.tree 30 TXT occluded
in      30 DNAME below.in
home.eu 60 NS    gw.home.eu
home.eu 60 NS    ns1
home.eu 60 NS    ns.example.org.
home.eu 60 DS    1 15 2 00
gw.home.eu 60 A  192.0.2.50
gw.home.eu 60 AAAA 2001:db8::50
old.home.eu 30 TXT occluded
into    30 CNAME web.us
us      60 NS    ns.us
ns.us   60 A     192.0.2.60
srv     30 SRV   0 0 80 www
srv     30 SRV   0 0 81 x.wild
mx      30 MX    10 alias
mx      30 MX    20 y.wild
"""
HOME = """
$ORIGIN home.eu.cloud.
@   60 SOA gw host 1 14400 3600 604800 30
@   60 NS  gw
gw  60 A   192.0.2.50
www 30 A   192.0.2.51
back 30 CNAME www.cloud.
"""
ONE = Zones([parse(ROOT)])
BOTH = Zones([parse(ROOT), parse(HOME)])


def ask(name: str, kind: str = "A", zones: Zones = ONE) -> Answer:
    return lookup(zones, from_text(name), codes.type_number(kind))


def lines(rrsets: tuple[RRset, ...]) -> list[str]:
    return [f"{to_text(x.name)} {codes.type_name(x.type)} {rdata.to_text(x.type, wire)}" for x in rrsets for wire in x.rdatas]


def is_negative(answer: Answer, rcode: int) -> bool:
    return (answer.rcode, answer.aa, len(answer.authority)) == (rcode, True, 1) and (answer.authority[0].type, answer.authority[0].ttl) == (
        codes.SOA,
        30,
    )


def test_an_exact_match_is_answered_with_authority() -> None:
    answer = ask("www.cloud.")
    assert (answer.rcode, answer.aa, lines(answer.answer)) == (codes.NOERROR, True, ["www.cloud. A 192.0.2.10"])
    assert answer.authority == ()


def test_nodata_is_not_nxdomain() -> None:
    assert is_negative(ask("www.cloud.", "TXT"), codes.NOERROR)
    assert is_negative(ask("none.cloud."), codes.NXDOMAIN)


def test_an_empty_non_terminal_exists() -> None:
    for name in ("b.c.cloud.", "c.cloud.", "wild.cloud.", "eu.cloud."):
        assert is_negative(ask(name), codes.NOERROR)
    assert is_negative(ask("z.c.cloud."), codes.NXDOMAIN)


def test_names_outside_of_all_zones_are_refused() -> None:
    answer = ask("example.org.")
    assert (answer.rcode, answer.aa, answer.ede and answer.ede[0]) == (codes.REFUSED, False, codes.EDE_NOT_AUTHORITATIVE)
    assert ask(".").rcode == codes.REFUSED


def test_a_wildcard_stands_for_names_that_do_not_exist_and_only_for_those() -> None:
    assert lines(ask("q.wild.cloud.", "TXT").answer) == ['q.wild.cloud. TXT "any"']
    assert lines(ask("r.q.wild.cloud.", "TXT").answer) == ['r.q.wild.cloud. TXT "any"']
    assert lines(ask("x.wild.cloud.", "TXT").answer) == ['x.wild.cloud. TXT "exact"']
    assert is_negative(ask("x.wild.cloud."), codes.NOERROR)
    assert is_negative(ask("y.x.wild.cloud.", "TXT"), codes.NXDOMAIN)
    assert is_negative(ask("q.wild.cloud.", "MX"), codes.NOERROR)
    assert lines(ask("*.wild.cloud.", "TXT").answer) == ['*.wild.cloud. TXT "any"']


def test_a_wildcard_may_be_an_alias() -> None:
    assert lines(ask("q.star.cloud.").answer) == ["q.star.cloud. CNAME www.cloud.", "www.cloud. A 192.0.2.10"]


def test_aliases_are_followed_as_far_as_we_hold_the_names() -> None:
    assert lines(ask("two.cloud.").answer) == ["two.cloud. CNAME alias.cloud.", "alias.cloud. CNAME www.cloud.", "www.cloud. A 192.0.2.10"]
    out = ask("out.cloud.")
    assert (out.rcode, out.aa, lines(out.answer), out.authority) == (codes.NOERROR, True, ["out.cloud. CNAME www.example.org."], ())


def test_an_alias_to_nothing_says_so_with_the_alias() -> None:
    answer = ask("gone.cloud.")
    assert is_negative(answer, codes.NXDOMAIN)
    assert lines(answer.answer) == ["gone.cloud. CNAME nothing.cloud."]
    assert is_negative(ask("alias.cloud.", "TXT"), codes.NOERROR)


def test_an_alias_asked_for_by_its_type_is_not_followed() -> None:
    assert lines(ask("two.cloud.", "CNAME").answer) == ["two.cloud. CNAME alias.cloud."]


def test_loops_end() -> None:
    assert lines(ask("loop.cloud.").answer) == ["loop.cloud. CNAME pool.cloud.", "pool.cloud. CNAME loop.cloud."]
    assert lines(ask("self.cloud.").answer) == ["self.cloud. CNAME self.cloud."]


def test_long_chains_end() -> None:
    text = "z. 60 SOA a. b. 1 2 3 4 5\n" + "".join(f"n{i}.z. 60 CNAME n{i + 1}.z.\n" for i in range(40))
    answer = ask("n0.z.", zones=Zones([parse(text)]))
    assert (answer.rcode, len(answer.answer)) == (codes.NOERROR, MAX_CHAIN)


def test_an_alias_into_another_zone_held_is_followed_there() -> None:
    assert lines(ask("far.cloud.", zones=BOTH).answer)[-1] == "www.home.eu.cloud. A 192.0.2.51"
    assert lines(ask("back.home.eu.cloud.", zones=BOTH).answer)[-1] == "www.cloud. A 192.0.2.10"


def test_below_a_cut_the_answer_is_a_referral_with_the_glue_it_needs_first() -> None:
    for name, kind in (("www.home.eu.cloud.", "A"), ("home.eu.cloud.", "NS"), ("old.home.eu.cloud.", "TXT"), ("x.home.eu.cloud.", "DS")):
        answer = ask(name, kind)
        assert (answer.rcode, answer.aa, answer.answer) == (codes.NOERROR, False, ())
        assert [rrset.type for rrset in answer.authority] == [codes.NS]
        assert lines(answer.additional) == [
            "gw.home.eu.cloud. A 192.0.2.50",
            "gw.home.eu.cloud. AAAA 2001:db8::50",
            "ns1.cloud. A 192.0.2.1",
        ]
        assert answer.glue == 2


def test_an_alias_across_a_cut_keeps_its_authority_and_adds_the_referral() -> None:
    answer = ask("into.cloud.")
    assert (answer.aa, lines(answer.answer), lines(answer.authority)) == (
        True,
        ["into.cloud. CNAME web.us.cloud."],
        ["us.cloud. NS ns.us.cloud."],
    )
    assert lines(answer.additional) == ["ns.us.cloud. A 192.0.2.60"]


def test_ds_is_answered_on_the_parents_side() -> None:
    for zones in (ONE, BOTH):
        answer = ask("home.eu.cloud.", "DS", zones)
        assert (answer.aa, lines(answer.answer)) == (True, ["home.eu.cloud. DS 1 15 2 00"])
    assert is_negative(ask("us.cloud.", "DS"), codes.NOERROR)
    child_alone = ask("home.eu.cloud.", "DS", Zones([parse(HOME)]))
    assert is_negative(child_alone, codes.NOERROR)


def test_a_child_zone_held_is_answered_from_instead_of_referred_to() -> None:
    answer = ask("www.home.eu.cloud.", zones=BOTH)
    assert (answer.aa, lines(answer.answer)) == (True, ["www.home.eu.cloud. A 192.0.2.51"])


def test_a_dname_redirects_what_is_below_it_and_not_itself() -> None:
    answer = ask("x.tree.cloud.", "TXT")
    assert lines(answer.answer) == ["tree.cloud. DNAME www.cloud.", "x.tree.cloud. CNAME x.www.cloud."]
    assert is_negative(answer, codes.NXDOMAIN)
    assert lines(ask("tree.cloud.", "TXT").answer) == ['tree.cloud. TXT "at"']
    assert lines(ask("under.tree.cloud.", "TXT").answer)[1] == "under.tree.cloud. CNAME under.www.cloud."


def test_a_dname_into_itself_is_followed_once() -> None:
    assert len(ask("x.in.cloud.").answer) == 2


def test_a_dname_that_makes_a_name_too_long_is_yxdomain() -> None:
    zones = Zones([parse("z. 60 SOA a. b. 1 2 3 4 5\nd.z. 60 DNAME " + ".".join(["t" * 60] * 4) + ".\n")])
    answer = ask("x" * 20 + ".d.z.", zones=zones)
    assert (answer.rcode, answer.aa, [rrset.type for rrset in answer.answer]) == (codes.YXDOMAIN, True, [codes.DNAME])


def test_any_gets_one_set() -> None:
    assert len(ask("www.cloud.", "ANY").answer) == 1
    assert lines(ask("alias.cloud.", "ANY").answer) == ["alias.cloud. CNAME www.cloud."]
    assert is_negative(ask("c.cloud.", "ANY"), codes.NOERROR)


def test_transfers_are_refused() -> None:
    assert [ask("cloud.", kind).rcode for kind in ("AXFR", "IXFR")] == [codes.REFUSED, codes.REFUSED]


def test_what_the_client_asks_next_is_added() -> None:
    assert lines(ask("srv.cloud.", "SRV").additional) == ["www.cloud. A 192.0.2.10", "www.cloud. AAAA 2001:db8::10"]
    assert lines(ask("mx.cloud.", "MX").additional) == ["y.wild.cloud. A 192.0.2.77"]
    assert lines(ask("cloud.", "NS").additional) == ["ns1.cloud. A 192.0.2.1"]


names = st.lists(st.sampled_from(["www", "tree", "in", "home", "eu", "wild", "*", "a", "b", "c", "star", "loop", "us"]), max_size=5)


@settings(max_examples=300, deadline=500)
@given(names, st.sampled_from(["A", "TXT", "DS", "NS", "CNAME", "DNAME", "ANY", "SOA"]))
def test_every_name_below_gets_an_answer_a_referral_or_a_timed_denial(labels: list[str], kind: str) -> None:
    for zones in (ONE, BOTH):
        answer = ask(".".join([*labels, "cloud."]), kind, zones)
        assert answer.rcode in (codes.NOERROR, codes.NXDOMAIN)
        assert answer.answer or answer.authority
        assert answer.rcode == codes.NOERROR or is_negative(answer, codes.NXDOMAIN)


@pytest.mark.parametrize("name", ["www.cloud.", "none.cloud.", "q.wild.cloud.", "a.home.eu.cloud."])
def test_the_same_question_has_the_same_answer(name: str) -> None:
    assert ask(name) == ask(name)
