"""Which world a name belongs to: every row of the four policies, and the rule that absence must be proved."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.name import Path
from tld import codes
from tld.label import Name, from_text
from tld.stub import NO_PROOF, NOT_JOINED, POLICIES, Evidence, Local, Public, Refuse, Wait, World, decide

TLD = (b"cloud",)
ZONE = (b"cloud", b"neonics", b"com")
JOINED = World(
    policy="overlay-first",
    tld=TLD,
    zone=ZONE,
    held=frozenset({(), (b"eu", b"home")}),
    cuts=frozenset({(b"eu", b"home"), (b"eu", b"attic")}),
    second_level=frozenset({b"eu", b"hq"}),
    proves=True,
)
STRANGER = World(policy="overlay-first", tld=TLD, zone=ZONE)


def name(text: str) -> Name:
    return from_text(text)


def world(policy: str, base: World = JOINED, **changes: object) -> World:
    return replace(base, policy=policy, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("base", [JOINED, STRANGER])
@pytest.mark.parametrize("outside", ["example.org", "cloud.example.org", "xcloud", "."])
def test_names_outside_of_the_tld_are_public_under_every_policy_joined_or_not(policy: str, base: World, outside: str) -> None:
    assert decide(name(outside), codes.A, world(policy, base)) == Public()


@pytest.mark.parametrize("policy", ["overlay-first", "exclusive", "public-first"])
@pytest.mark.parametrize("below", ["cloud.neonics.com", "www.home.eu.cloud.neonics.com"])
def test_names_at_and_below_the_bootstrap_zone_go_upstream(policy: str, below: str) -> None:
    assert decide(name(below), codes.A, world(policy)) == Public()


@pytest.mark.parametrize("policy", ["overlay-first", "exclusive"])
@pytest.mark.parametrize(
    "held", ["cloud", "eu.cloud", "web.home.eu.cloud", "no.such.name.hq.cloud", "whoami.cloud", "ns1.cloud", "x.id.cloud"]
)
def test_a_second_level_name_of_the_overlay_is_answered_here_and_so_is_all_below_it(policy: str, held: str) -> None:
    for proves in (True, False):
        assert isinstance(decide(name(held), codes.A, world(policy, proves=proves)), Local)


def test_exclusive_answers_for_the_whole_tld_and_never_asks_upstream() -> None:
    for proves in (True, False):
        assert decide(name("www.google.cloud"), codes.A, world("exclusive", proves=proves)) == Local(TLD, (b"google", b"www"))


def test_overlay_first_passes_a_second_level_name_on_only_with_proof_of_absence() -> None:
    assert decide(name("www.google.cloud"), codes.A, world("overlay-first")) == Public()
    assert decide(name("www.google.cloud"), codes.A, world("overlay-first", proves=False)) == NO_PROOF
    assert NO_PROOF.rcode == codes.SERVFAIL and NO_PROOF.ede == codes.EDE_NOT_READY


@pytest.mark.parametrize("policy", ["overlay-first", "exclusive"])
def test_who_has_not_joined_says_so_and_passes_nothing_of_the_tld_on(policy: str) -> None:
    for below in ("cloud", "eu.cloud", "google.cloud", "whoami.cloud"):
        said = decide(name(below), codes.A, world(policy, STRANGER, proves=True))
        assert said == NOT_JOINED
    assert "overlay up" in NOT_JOINED.text and "overlay dns uninstall" in NOT_JOINED.text


def test_a_wildcard_at_the_root_makes_every_second_level_name_the_overlays() -> None:
    assert isinstance(decide(name("google.cloud"), codes.A, world("overlay-first", second_level=frozenset({b"*"}))), Local)


def test_public_first_asks_upstream_first_and_suffix_only_leaves_the_tld_alone() -> None:
    assert decide(name("web.eu.cloud"), codes.A, world("public-first")) == Public(else_local=True)
    assert decide(name("web.eu.cloud"), codes.A, world("suffix-only")) == Public()
    assert decide(name("web.eu.cloud.neonics.com"), codes.A, world("suffix-only")) == Local(ZONE, (b"eu", b"web"))


def test_a_zone_that_the_table_knows_and_this_node_does_not_hold_is_fetched_first() -> None:
    assert decide(name("box.attic.eu.cloud"), codes.A, JOINED) == Wait(Path(("eu", "attic")))
    assert decide(name("attic.eu.cloud"), codes.SOA, JOINED) == Wait(Path(("eu", "attic")))
    assert isinstance(decide(name("web.home.eu.cloud"), codes.A, JOINED), Local)


def test_ds_of_a_cut_is_the_parents_and_needs_no_fetch() -> None:
    assert isinstance(decide(name("attic.eu.cloud"), codes.DS, JOINED), Local)
    assert isinstance(decide(name("x.attic.eu.cloud"), codes.DS, JOINED), Wait)


HOUR, DAY = 3600, 86_400


@pytest.mark.parametrize(
    ("age", "peers", "proves"),
    [
        (0, 3, True),
        (HOUR, 3, True),
        (HOUR + 1, 3, False),
        (HOUR + 1, 0, True),
        (DAY, 0, True),
        (DAY + 1, 0, False),
        (-300, 3, True),
        (-301, 3, False),
        (-301, 0, False),
    ],
)
def test_proof_is_a_head_of_an_hour_or_a_copy_of_a_day_without_any_peer(age: int, peers: int, proves: bool) -> None:
    assert Evidence(at=1e9, head_issued=int(1e9) - age, peers=peers).proves is proves


def test_without_a_head_nothing_is_proved() -> None:
    assert not Evidence(at=1e9, head_issued=None, peers=0).proves


_labels = st.lists(st.binary(min_size=1, max_size=8).map(bytes.lower), max_size=4).map(tuple)


@settings(max_examples=100, deadline=200)
@given(_labels, st.sampled_from(["overlay-first", "exclusive"]), st.booleans(), st.booleans())
def test_two_names_below_one_second_level_label_are_never_of_two_worlds(prefix: Name, policy: str, proves: bool, joined: bool) -> None:
    there = world(policy, JOINED if joined else STRANGER, proves=proves)
    for second in (b"eu", b"google", b"id"):
        public = {isinstance(decide((*labels, second, *TLD), codes.A, there), Public) for labels in ((), prefix)}
        assert len(public) == 1
    assert not isinstance(decide((*prefix, b"eu", *TLD), codes.A, there), Public)


def test_a_refusal_always_says_why() -> None:
    for policy in POLICIES:
        said = decide(name("x.cloud"), codes.A, world(policy, STRANGER))
        assert not isinstance(said, Refuse) or said.text
