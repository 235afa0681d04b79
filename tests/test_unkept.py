"""While a disk takes nothing a node lives on, and gives nothing that it could give twice (DESIGN 3.13)."""

from __future__ import annotations

from overlay.admission.request import GRANTED, LATER
from overlay.unkept import kept, unkept
from tests.admission.test_registrar import ALICE, BOB, ask, desk
from tests.lab.scenes import node
from tests.records.actors import found
from tests.test_node import pair


def test_a_registrar_that_cannot_count_gives_nothing_new_and_repeats_what_it_gave() -> None:
    overlay = found()
    registrar = desk(overlay, overlay.founder)
    assert ask(registrar, ALICE, "eu/home/alice")[0].code == GRANTED
    registrar.keeps = False
    held = len(registrar.directory.book)
    assert ask(registrar, BOB, "us/lab/bob")[0].code == LATER
    assert len(registrar.directory.book) == held
    assert ask(registrar, ALICE, "eu/home/alice")[0].code == GRANTED
    registrar.keeps = True
    assert ask(registrar, BOB, "us/lab/bob")[0].code == GRANTED


def test_who_was_about_to_hear_of_what_is_not_kept_is_turned_out_and_comes_back() -> None:
    world, founder, alice = pair()
    session, way = next((peer.session, peer.way) for peer in node(founder).peers.admitted())
    world.do(founder, lambda one, at: unkept(one, [way], world.now))
    assert session not in node(founder).peers.peers
    world.run(10)
    assert len(node(founder).peers.admitted()) == len(node(alice).peers.admitted()) == 1


def test_a_newcomer_waits_until_the_disk_takes_things_again() -> None:
    world, founder, _ = pair()
    world.do(founder, lambda one, at: unkept(one, [], world.now))
    bob = world.join("us/lab/bob")
    assert world.run_until(lambda: world.joined(bob), 2) is None
    world.do(founder, lambda one, at: kept(one))
    assert world.run_until(lambda: world.joined(bob), 10) is not None
