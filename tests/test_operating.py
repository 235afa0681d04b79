"""OPERATE: a call that only a holder of `operate` over this node's name may make (DESIGN 3.2; wire method 28)."""

from __future__ import annotations

from typing import Any

import pytest

from overlay.errors import Malformed
from overlay.lab.world import World
from overlay.operating import operate
from overlay.records import rights
from overlay.session.events import Called
from overlay.wire.messages import Method
from tests.lab.scenes import enter, node
from tests.records.actors import refused


def asked(world: World, here: Any, there: Any, body: Any) -> Any:
    """What ``there`` makes of that call by ``here``."""
    peer = node(there).peers.by_node(node(here).identity.node_id)
    assert peer is not None
    return operate(Called(peer.session, 1, Method.OPERATE, body), peer, node(there).book, node(there).name, world.at(there))


@pytest.fixture(scope="module")
def village() -> tuple[World, Any, Any]:
    world = World(5)
    founder = world.found("hq/founder")
    world.run(1)
    (alice,) = enter(world, "eu/home/alice")
    world.run(10)
    return world, founder, alice


def test_the_founder_operates_all_and_nobody_else_the_founder(village: tuple[World, Any, Any]) -> None:
    world, founder, alice = village
    assert asked(world, founder, alice, {1: "upgrade", 2: "app", 3: True}).rightful
    found = asked(world, alice, founder, {1: "upgrade"})
    assert (found.rightful, found.channel, found.urged, str(found.asker)) == (False, "", False, "eu/home/alice")


@pytest.mark.parametrize(
    ("body", "rule"),
    [({1: "format"}, "operate-act"), ({1: "upgrade", 2: "a/b"}, "channel"), ({1: "upgrade", 9: 1}, "critical-field"), ({2: "app"}, "field-type")],
)
def test_what_is_no_act_is_refused(village: tuple[World, Any, Any], body: Any, rule: str) -> None:
    world, founder, alice = village
    with refused(rule, Malformed):
        asked(world, founder, alice, body)


def test_operate_is_no_right_of_who_opens_a_cluster() -> None:
    """What `overlay grant` must give first: owning a cluster is not restarting machines in it."""
    assert "operate" not in rights.TABLE[rights.Joining.FIRST].rights
