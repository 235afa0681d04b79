"""Zones that stay signed: keys made, shared, lost and changed; signers that come and go; versions that never go back (DESIGN 3.8)."""

from __future__ import annotations

from pathlib import Path as FilePath

import pytest

from overlay import acts
from overlay.lab.host import Host
from overlay.lab.world import World
from overlay.name import ROOT, parse_path
from overlay.records import rights
from overlay.records.zones import EntryKey
from overlay.units import DAY
from tests.lab.scenes import node, say
from tests.lab.signing import Signed
from tld import codes

HOME = parse_path("eu/home")
NAMES = ("founder.hq.cloud.", "alice.home.eu.cloud.", "home.eu.cloud.")


async def clusters(tmp: FilePath, *more: str) -> tuple[Signed, Host, list[Host]]:
    """A founder, and nodes that joined openly: the first of a path may sign there."""
    signed = Signed(World(5), tmp)
    founder = signed.found("hq/founder")
    await signed.run(1)
    joined = [signed.world.join(name) for name in ("eu/home/alice", *more)]
    assert await signed.until(lambda: all(map(signed.world.joined, joined)), 30) is not None
    assert await signed.until(lambda: all(signed.said(host, name)[0] == 0 for host in (founder, *joined) for name in NAMES), 30) is not None
    assert await signed.until(lambda: all(signed.vouched(host, "alice.home.eu.cloud.") for host in (founder, *joined)), 30) is not None
    return signed, founder, joined


def grant(signed: Signed, giver: Host, path: str, to: Host, *what: str) -> None:
    given = acts.Given(path=parse_path(path), subject=to.identity.node_id, rights=frozenset(what), life=30 * DAY)
    signed.world.do(giver, lambda node, at: acts.grant(node, given, at) and None)


def sealed_for(signed: Signed, host: Host) -> list[int]:
    """For how many holders each entry key of eu/home is sealed."""
    return [len(EntryKey.read(r).sealed) for r in node(host).book.zone_keys.get(HOME, {}).values() if r.kind == "ksk"]


async def test_zones_of_several_clusters_are_vouched_for_on_every_node(tmp_path: FilePath) -> None:
    signed, founder, (alice, bob) = await clusters(tmp_path, "us/office/bob")
    for host in (founder, alice, bob):
        assert signed.vouched(host, "founder.hq.cloud.", "alice.home.eu.cloud.", "bob.office.us.cloud.")
        assert signed.said(host, "nobody.home.eu.cloud.")[:2] == (3, True)
        assert signed.said(host, "nobody.cloud.")[:2] == (3, True)
        assert signed.said(host, "eu.cloud.")[:2] == (0, True)


async def test_a_change_is_signed_everywhere_within_seconds(tmp_path: FilePath) -> None:
    signed, founder, (alice, bob) = await clusters(tmp_path, "us/office/bob")
    say(signed.world, alice, "eu/home/alice/motd", "hello")
    everyone, name = (founder, alice, bob), "motd.alice.home.eu.cloud."
    took = await signed.until(lambda: all(b"\x05hello" in signed.said(host, name, codes.TXT)[2] for host in everyone), 10)
    assert took is not None and took <= 3
    assert all(signed.said(host, "motd.alice.home.eu.cloud.", codes.TXT)[1] for host in (founder, alice, bob))


async def test_another_signer_shares_the_key_and_takes_over_when_the_first_is_gone(tmp_path: FilePath) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    carol = signed.world.join("eu/home/carol")
    assert await signed.until(lambda: signed.world.joined(carol), 30) is not None
    keys = signed.key_set(founder, HOME)
    assert len(keys) == 2
    grant(signed, alice, "eu/home", carol, rights.SIGN, rights.MEMBER)
    assert await signed.until(lambda: len(signed.key_set(founder, HOME)) == 3, 60) is not None
    assert await signed.until(lambda: sealed_for(signed, founder) == [2], 60) is not None
    signed.world.crash(alice)
    await signed.run(310)  # carol's key stands in the set for as long as resolvers keep the set before
    say(signed.world, carol, "eu/home/carol/motd", "still here")
    assert await signed.until(lambda: b"still here" in signed.said(founder, "motd.carol.home.eu.cloud.", codes.TXT)[2], 60) is not None
    assert signed.said(founder, "motd.carol.home.eu.cloud.", codes.TXT)[1], "by carol's key, in a set that alice's entry key signed"
    await signed.days(20)  # past half of the life of the signed key set
    assert signed.vouched(founder, "carol.home.eu.cloud."), "carol opened the entry key that alice had sealed for her"


async def test_signatures_are_made_anew_before_they_end_and_serials_only_grow(tmp_path: FilePath) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    last = dict.fromkeys((ROOT, HOME), 0)
    for _ in range(12):
        await signed.days(4)
        assert signed.vouched(founder, "founder.hq.cloud.") and signed.vouched(alice, "alice.home.eu.cloud.")
        for path in last:
            serial = signed.desk(founder).names.secure.serial(path)
            assert serial is not None and serial >= last[path]
            last[path] = serial
        until = signed.desk(founder).names.secure.until(ROOT)
        assert until is not None and until > signed.world.at(founder) + 2 * DAY


async def test_a_signer_that_starts_again_goes_on_where_it_was(tmp_path: FilePath) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    await signed.run(10)
    before = {path: signed.desk(founder).names.secure.serial(path) for path in (ROOT, HOME)}
    for host in (founder, alice):
        signed.restart(host)
    assert await signed.until(lambda: signed.vouched(founder, *NAMES[:2]) and signed.vouched(alice, *NAMES[:2]), 30) is not None
    for path, serial in before.items():
        now = signed.desk(founder).names.secure.serial(path)
        assert now is not None and serial is not None and now >= serial


async def test_the_root_outlives_its_only_signer_by_the_life_of_its_signatures_and_no_more(tmp_path: FilePath) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    await signed.run(5)
    signed.world.crash(founder)
    await signed.days(5)
    assert signed.vouched(alice, "alice.home.eu.cloud.")
    await signed.days(12)
    rcode, secure, _ = signed.said(alice, "alice.home.eu.cloud.")
    assert not secure
    assert rcode == 2, "what is signed below an expired root is not told as proved"


async def test_where_nobody_holds_sign_there_is_no_zone_and_the_one_above_signs(tmp_path: FilePath) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    await signed.run(5)
    zone = signed.desk(alice).names.secure.zones.get(signed.desk(alice).desk.book.origins(parse_path("eu"))[0])
    assert zone is None
    assert signed.said(alice, "eu.cloud.", codes.TXT)[:2] == (0, True)


@pytest.mark.parametrize("kind", ["zsk", "signed"])
async def test_a_member_without_sign_makes_nothing_that_counts(tmp_path: FilePath, kind: str) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    carol = signed.world.join("eu/home/carol")
    assert await signed.until(lambda: signed.world.joined(carol), 30) is not None
    await signed.run(5)
    assert not signed.desk(carol).desk.book.may_sign(HOME)
    said = node(founder).book.zone_keys.get(HOME, {}).values()
    assert {r.signer for r in said if r.kind == kind} == {alice.identity.node_id}


async def test_a_key_signing_key_is_changed_without_a_moment_of_doubt(tmp_path: FilePath) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    await signed.run(10)
    old = signed.key_set(founder, HOME)
    signed.desk(alice).desk.ring.make(HOME)
    new: set[bytes] = set()
    for _ in range(320):
        await signed.run(5, step=1)
        assert signed.vouched(founder, "alice.home.eu.cloud."), "whatever stands where"
        assert signed.vouched(alice, "alice.home.eu.cloud.")
        now = signed.key_set(founder, HOME)
        if now - old and len(now) == 2:
            new = now
            break
    assert new, "the old key is retired"
    assert len(new & old) == 1, "the node's own key stays"
    ds = signed.desk(founder).names.secure.zones.get(signed.desk(founder).desk.book.origins(ROOT)[0])
    assert ds is not None
    origin = signed.desk(founder).desk.book.origins(HOME)[0]
    assert await signed.until(lambda: _pointed(signed, founder, origin) == 1, 30) is not None


def _pointed(signed: Signed, host: Host, origin: tuple[bytes, ...]) -> int:
    root = signed.desk(host).names.secure.zones.get(origin[-1:])
    return len(root.nodes[origin][codes.DS].rdatas) if root is not None and codes.DS in root.nodes[origin] else 0


async def test_where_all_who_held_the_key_are_gone_the_next_signer_makes_another(tmp_path: FilePath) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    carol = signed.world.join("eu/home/carol")
    assert await signed.until(lambda: signed.world.joined(carol), 30) is not None
    before = signed.key_set(founder, HOME)
    signed.world.crash(alice)
    grant(signed, founder, "eu/home", carol, rights.SIGN, rights.MEMBER, rights.SPEAK)
    grant(signed, founder, "eu/home/carol", carol, rights.OWN)  # alice let her in, and what alice gave ends with her rights
    await signed.run(30)
    assert signed.vouched(founder, "alice.home.eu.cloud."), "what alice signed stands"
    for record in [g for g in node(founder).book.grants_on(HOME) if g.item == alice.identity.node_id]:
        signed.world.do(founder, lambda node, at, record=record: acts.revoke(node, record.digest, at) and None)  # type: ignore[misc]
    assert await signed.until(lambda: signed.vouched(founder, "carol.home.eu.cloud.") and not before & signed.key_set(founder, HOME), 120) is not None
    assert await signed.until(lambda: signed.vouched(carol, "carol.home.eu.cloud."), 30) is not None


async def test_a_zone_in_between_takes_the_delegation_over_and_gives_it_back(tmp_path: FilePath) -> None:
    signed, founder, (alice, bob) = await clusters(tmp_path, "us/office/bob")
    grant(signed, founder, "eu", bob, rights.SIGN, rights.SPEAK)
    assert await signed.until(lambda: len(signed.key_set(alice, parse_path("eu"))) == 2, 60) is not None
    everyone, name = (founder, alice, bob), "alice.home.eu.cloud."
    assert await signed.until(lambda: all(signed.vouched(host, name) for host in everyone), 60) is not None
    origin = signed.desk(founder).desk.book.origins(parse_path("eu"))[0]
    between = signed.desk(founder).names.secure.zones.get(origin)
    assert between is not None and codes.DS in between.nodes[(b"home", *origin)], "three steps: the root, eu, eu/home"
    for record in node(founder).book.grants_on(parse_path("eu")):
        signed.world.do(founder, lambda node, at, record=record: acts.revoke(node, record.digest, at) and None)  # type: ignore[misc]
    assert await signed.until(lambda: signed.desk(alice).names.secure.zones.get(origin) is None, 60) is not None
    assert await signed.until(lambda: all(signed.vouched(host, name) for host in everyone), 60) is not None


async def test_a_change_is_in_every_nodes_signed_answers_within_five_seconds(tmp_path: FilePath) -> None:
    clusters_of = [f"c{number // 3}/n{number}" for number in range(15)]
    signed = Signed(World(7), tmp_path)
    founder = signed.found("hq/founder")
    await signed.run(1)
    joined = [signed.world.join(name) for name in clusters_of]
    assert await signed.until(lambda: all(map(signed.world.joined, joined)), 60) is not None
    everyone, name = (founder, *joined), "motd.n0.c0.cloud."
    assert await signed.until(lambda: all(signed.said(host, "n0.c0.cloud.")[1] for host in everyone), 60) is not None
    say(signed.world, joined[0], "c0/n0/motd", "hello")
    took = await signed.until(lambda: all(b"\x05hello" in signed.said(host, name, codes.TXT)[2] for host in everyone), 10)
    assert took is not None and took <= 5
    say(signed.world, joined[0], "c0/n0/motd", "again")
    took = await signed.until(lambda: all(b"\x05again" in signed.said(host, name, codes.TXT)[2] for host in everyone), 10)
    assert took is not None and took <= 5


async def test_who_does_not_hold_a_zone_fetches_it_signed_and_whole(tmp_path: FilePath) -> None:
    signed = Signed(World(8, small=2), tmp_path)
    founder = signed.found("hq/founder")
    await signed.run(1)
    joined = [signed.world.join(f"c{number}/n{number}") for number in range(6)]
    assert await signed.until(lambda: all(map(signed.world.joined, joined)), 60) is not None
    everyone, name = (founder, *joined), "n0.c0.cloud."
    await signed.run(15)
    held = [host for host in everyone if parse_path("c0") in signed.desk(host).names.views]
    assert len(held) < len(everyone)
    assert await signed.until(lambda: all(signed.vouched(host, name) for host in everyone), 30) is not None
    say(signed.world, joined[0], "c0/n0/motd", "hello")
    everywhere = lambda: all(b"\x05hello" in signed.said(host, "motd.n0.c0.cloud.", codes.TXT)[2] for host in everyone)  # noqa: E731
    took = await signed.until(everywhere, 10)
    assert took is not None and took <= 5
