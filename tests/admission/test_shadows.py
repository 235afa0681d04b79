"""Claims over public names: asked once, refused, forced, and given where nobody can be asked (CONTRACT, --shadow)."""

from __future__ import annotations

from overlay.admission.registrar import Registrar
from overlay.admission.request import ASKING, GRANTED, REFUSED, Reply, Request
from overlay.admission.shadows import REMEMBERED, SILENT, Public, Shadows
from overlay.lab.world import World
from overlay.name import parse_path
from overlay.raised import AskPublic
from overlay.statements import Statements
from tests.directory.books import book_of, directory_of
from tests.lab.scenes import node
from tests.records.actors import AT, Overlay, actor, found

ALICE, BOB = actor("alice"), actor("bob")


def desk(overlay: Overlay, *, asks: bool = True) -> Registrar:
    """The founder's desk."""
    book = book_of(overlay)
    statements = Statements(identity=overlay.founder.identity, overlay_id=overlay.overlay_id, book=book)
    return Registrar(directory_of(book, overlay.founder), statements, shadows=Shadows(asks))


def ask(registrar: Registrar, name: str = "eu/home/alice", *, shadow: bool = False, at: float = AT) -> Reply:
    path = parse_path(name)
    return registrar.ask(Request(label=path.leaf, cluster=path.parent, node_id=ALICE.node_id, exact=True, shadow=shadow), at)[0]


def test_a_new_second_level_name_waits_for_the_public_dns() -> None:
    registrar = desk(found())
    assert (ask(registrar).code, ask(registrar).what) == (ASKING, "eu")
    registrar.shadows.told("eu", False, AT)
    assert ask(registrar).code == GRANTED


def test_a_public_name_is_not_claimed_unless_that_is_what_the_person_wants() -> None:
    registrar = desk(found())
    registrar.shadows.told("eu", True, AT)
    refused = ask(registrar)
    assert refused.code == REFUSED and "eu.cloud" in refused.what and "--shadow" in refused.todo
    granted = ask(registrar, shadow=True)
    assert granted.code == GRANTED
    assert all(grant.body.get(64) is True for grant in granted.records if grant.item == ALICE.node_id), "and the grant says so"


def test_a_name_that_the_overlay_has_is_not_asked_for_again() -> None:
    overlay = found()
    assert overlay.first  # eu/home
    registrar = desk(overlay)
    assert registrar.public("eu", AT) is Public.FREE
    assert registrar.public("hq", AT) is Public.FREE
    assert registrar.public("us", AT) is Public.ASKING


def test_where_the_public_dns_is_silent_the_name_is_given_and_it_is_left_alone_for_a_while() -> None:
    registrar = desk(found())
    registrar.shadows.told("eu", None, AT)
    assert ask(registrar).code == GRANTED
    assert registrar.shadows.counters["claimed_unasked"] == 1
    assert registrar.public("us", AT + SILENT) is Public.ASKING


def test_an_answer_holds_for_an_hour_and_an_exclusive_overlay_asks_nobody() -> None:
    shadows = Shadows(True)
    shadows.told("eu", True, AT)
    assert shadows.state("eu", AT + REMEMBERED - 1) is Public.TAKEN
    assert shadows.state("eu", AT + REMEMBERED) is Public.ASKING
    assert desk(found(), asks=False).public("eu", AT) is Public.FREE


def test_a_newcomers_question_waits_in_the_node_and_is_answered_when_the_public_dns_has_spoken() -> None:
    world = World(21)
    founder = world.found("hq/founder")
    registrar = node(founder).registrar
    assert registrar is not None
    registrar.shadows.asks = True
    alice = world.join("eu/home/alice")
    assert world.run_until(lambda: AskPublic("eu") in founder.events, 5, 0.01) is not None
    assert not world.joined(alice)
    world.do(founder, lambda one, at: one.public("eu", False, world.now, at))
    took = world.run_until(lambda: world.joined(alice), 5, 0.01)
    assert took is not None and took < 2
