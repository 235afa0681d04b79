"""A zone amended is the zone built anew: property over random overlays in which gateways come, move and go."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from overlay.directory.view import GatewayEntry, ZoneView
from overlay.name import ROOT, Path, parse_path
from tests.tld.views import data, gateway, host
from tld.delegation import Bootstrap, amend, build, difference
from tld.label import from_text

CLOUD = from_text("cloud")
BOOTSTRAP = Bootstrap(overlay_id=bytes(32), tld="cloud")
PATHS = ["hq", "eu/home", "us/office", "us/lab", "asia"]


def speaks(dice: Random, path: str, number: int) -> GatewayEntry:
    """A gateway at that path, at some address, perhaps serving the world."""
    return gateway(path, f"{path}/n{number}", number, f"203.0.113.{dice.randrange(1, 4)}", dns=dice.random() < 0.3)


def changed(dice: Random, view: ZoneView, serial: int) -> ZoneView:
    """The same overlay a moment later."""
    gateways = {(g.path, g.node_id): g for g in view.gateways}
    cuts = set(view.cuts)
    match dice.choice(["address", "address", "come", "come", "go", "cut", "cut", "data", "host", "uncut"]):
        case "address" if gateways:
            old = gateways[dice.choice(sorted(gateways, key=repr))]
            number = old.node_id[0]
            gateways[old.path, old.node_id] = speaks(dice, str(old.path), number)
        case "come":
            path = dice.choice(PATHS)
            new = speaks(dice, path, dice.randrange(1, 40))
            gateways[new.path, new.node_id] = new
        case "go" if gateways:
            del gateways[dice.choice(sorted(gateways, key=repr))]
        case "cut":
            cuts.add(parse_path(dice.choice(PATHS)))
        case "uncut" if cuts:
            cuts.discard(dice.choice(sorted(cuts)))
        case "data":
            view = replace(view, data=(data("motd", "TXT", dice.choice("abc")),))
        case "host":
            view = replace(view, hosts=(host("single/node", 77, "203.0.113.77"),))
    ordered = tuple(gateways[key] for key in sorted(gateways, key=lambda key: (key[0], key[1])))
    return replace(view, serial=serial, gateways=ordered, cuts=tuple(sorted(cuts)))


@pytest.mark.parametrize("seed", range(30))
def test_a_zone_amended_is_the_zone_built_anew(seed: int) -> None:
    dice = Random(seed)
    view = ZoneView(path=ROOT, serial=1, digest=b"")
    zone = build(view, suffix=CLOUD, bootstrap=BOOTSTRAP)
    amended = 0
    for serial in range(2, 60):
        later = changed(dice, view, serial)
        want = build(later, suffix=CLOUD, bootstrap=BOOTSTRAP)
        made = difference(view, later)
        got = amend(zone, made, suffix=CLOUD, bootstrap=BOOTSTRAP) if made is not None else None
        if got is not None:
            amended += 1
            assert got.nodes == want.nodes
            assert (got.serial, got.redirects, got.negative) == (want.serial, want.redirects, want.negative)
        view, zone = later, got or want
    assert amended > 10


def test_the_zone_of_a_cluster_with_cuts_below_it_is_amended_too() -> None:
    home = parse_path("eu/home")
    rack = gateway("eu/home/rack", "eu/home/rack/r1", 5, "203.0.113.5")
    own = gateway("eu/home", "eu/home/alice", 2, "203.0.113.2")
    view = ZoneView(path=home, serial=1, digest=b"", cuts=(Path(("eu", "home", "rack")),), gateways=(own, rack))
    moved = replace(view, serial=2, gateways=(own, gateway("eu/home/rack", "eu/home/rack/r1", 5, "203.0.113.6")))
    # `anybody` serves where a cut has nobody of its own: who it is has changed, so the zone is built anew
    assert difference(view, moved) is None
    many = tuple(gateway("eu/home", f"eu/home/n{number}", number, f"203.0.113.{number}") for number in range(10, 18))
    crowd = gateway("eu/home/rack", "eu/home/rack/r1", 99, "203.0.113.99")
    view = replace(view, gateways=(*many, crowd))
    moved = replace(view, serial=2, gateways=(*many, replace(crowd, cluster=replace(crowd.cluster, addresses=own.cluster.addresses))))
    made = difference(view, moved)
    assert made is not None and made.changed == [crowd.path]
    got = amend(build(view, suffix=CLOUD), made, suffix=CLOUD)
    assert got.nodes == build(moved, suffix=CLOUD).nodes
