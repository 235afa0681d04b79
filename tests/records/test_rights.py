"""Rights: what each way of joining gives (DESIGN 3.2, the table), what may be passed on, which names are reserved."""

from __future__ import annotations

import pytest

from overlay.errors import UsageError
from overlay.name import parse_path
from overlay.records.rights import FOUNDER, KNOWN, NAME_LIFE, TABLE, Joining, grantable, legal, parse_rights, reserved
from overlay.units import DAY
from tests.records.actors import AT, found, refused

DESIGN = {  # DESIGN 3.2, on the cluster's path
    Joining.FOUNDING: ("own grant sign speak attest", 365),
    Joining.FIRST: ("own grant sign speak attest", 365),
    Joining.INVITED: ("member carry speak", 30),
    Joining.INVITED_FIRST: ("member carry speak own grant sign attest", 365),
    Joining.LAN: ("member carry speak", 30),
    Joining.OPEN_TAKEN: ("", 30),
}


@pytest.mark.parametrize("how", list(Joining))
def test_how_one_joins_decides_what_one_gets(how: Joining) -> None:
    rights, days = DESIGN[how]
    assert (TABLE[how].rights, TABLE[how].life) == (frozenset(rights.split()), days * DAY)


def test_the_founder_gets_the_root_without_speaking_for_it() -> None:
    assert frozenset(["own", "grant", "sign", "operate", "attest"]) == FOUNDER
    assert NAME_LIFE == 30 * DAY


@pytest.mark.parametrize("how", [how for how in Joining if how is not Joining.FOUNDING])
def test_the_founder_may_give_everything_in_the_table(how: Joining) -> None:
    overlay = found()
    who = overlay.join("newcomer", "eu/home", how)
    for grant in who.grants:
        assert overlay.trust().judge(grant, AT, overlay.lookup).chain == (overlay.founder.grants[0],)


@pytest.mark.parametrize("how", [Joining.INVITED, Joining.LAN, Joining.OPEN_TAKEN])
def test_the_first_of_a_path_may_let_others_in(how: Joining) -> None:
    overlay = found()
    who = overlay.join("newcomer", "eu/home", how, by=overlay.first)
    for grant in who.grants:
        overlay.trust().judge(grant, AT, overlay.lookup)


def test_owning_implies_what_it_may_pass_on_and_nothing_else_does() -> None:
    assert grantable(frozenset({"own", "grant"})) == {"own", "grant", "member", "carry", "speak"}
    for right in KNOWN - {"own"}:
        assert grantable(frozenset({right})) == {right}


@pytest.mark.parametrize("right", [*sorted(KNOWN), "release:kernel", "release:a", "release:" + "x" * 63])
def test_known_rights_are_legal(right: str) -> None:
    assert legal(right) and parse_rights(right) == {right}


@pytest.mark.parametrize(
    "right",
    ["", "Own", "all", "release", "release:", "release:A", "release:a_b", "release:-a", "release:" + "x" * 64, "own\n", "release:a\n"],
)
def test_other_words_are_no_rights(right: str) -> None:
    assert not legal(right)


def test_rights_are_written_with_commas() -> None:
    assert parse_rights("member, carry") == {"member", "carry"}
    for text in ("", ",", "own,all"):
        with refused("right", UsageError):
            parse_rights(text)


def test_the_roots_own_labels_are_reserved_and_only_there() -> None:
    for name in ("clusters", "download/x", "id", "whoami", "ns1", "ns999", "_dom", "_overlay", "_node"):
        assert reserved(parse_path(name))
    for name in ("", "eu", "eu/clusters", "ns", "ns1000", "ns1x", "idx", "clusters-2"):
        assert not reserved(parse_path(name))
