"""What doctor and status find wrong with a node: each fact deserves its word at its time, and what is to be done works as it is told."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from overlay import acts, findings
from overlay.acts import Given
from overlay.cli.grammar import Call, read
from overlay.cli.mapping import Mapping
from overlay.cli.table import COMMANDS
from overlay.errors import TrustError
from overlay.findings import FAILED, OK, SKIPPED, WARNING, Finding
from overlay.lab.world import Host, World
from overlay.name import ROOT, parse_name, parse_path
from overlay.nat.outputs import Mapped, Unmapped
from overlay.records import rights
from overlay.reports import NOBODY, Reports
from overlay.units import DAY, HOUR, b64
from tests.lab.scenes import enter, invite, node
from tests.records.actors import AT, found, refused


def reports(host: Host) -> Reports:
    return Reports(node(host), zone="cloud.example.net", tld="cloud")


def outcomes(found: list[Finding]) -> list[str]:
    return [finding.outcome for finding in found]


@pytest.fixture(scope="module")
def village() -> tuple[World, Host, Host, Host]:
    """The founder, bob beside it in its cluster, alice elsewhere."""
    world = World(1)
    founder = world.found("hq/founder")
    world.run(1)
    bob = world.join("hq/bob", seed=invite(world, founder, "hq"))
    assert world.run_until(lambda: world.joined(bob), 20) is not None
    (alice,) = enter(world, "eu/home/alice")
    world.run(5)
    return world, founder, bob, alice


# -- the root


def typed(line: str) -> Given:
    """What the command line makes of a line that was told, as the node gets it."""
    call = read(shlex.split(line)[1:], COMMANDS)
    assert isinstance(call, Call) and call.command.name == "grant"
    path = parse_name(call.values["path"], zone="cloud.example.net", tld="cloud")
    return Given(
        path=path, subject=b"", rights=rights.parse_rights(call.values["rights"]), life=int(call.values["expires"]), final=True,
    )  # fmt: skip


def test_two_root_versions_of_one_number_are_told_on_both_sides() -> None:
    overlay = found()
    versions = [overlay.next_root(keys=overlay.keys, threshold=1, signers=overlay.keys, admission=said) for said in ("open", "invite")]
    for held, other in (versions, reversed(versions)):
        trust = overlay.trust()
        trust.adopt_root(held)
        with refused("R17", TrustError):
            trust.judge(other, AT, overlay.lookup)
        (finding,) = findings.root_versions(trust)
        assert finding.outcome == FAILED and "root versions 2" in finding.what and "overlay leave" in finding.todo
        assert finding.what.index(b64(held.digest)[:16]) < finding.what.index(b64(other.digest)[:16])
    assert findings.root_versions(overlay.trust()) == []


def test_a_root_that_hangs_on_one_machine_is_told_with_the_line_that_mends_it() -> None:
    world = World(2)
    founder = world.found("hq/founder")
    world.run(1)
    alone = findings.root(reports(founder), world.at(founder))
    assert (alone.outcome, "overlay grant" in alone.todo) == (WARNING, False)  # nobody else is there yet
    bob = world.join("hq/bob", seed=invite(world, founder, "hq"))
    assert world.run_until(lambda: world.joined(bob), 20) is not None
    assert "overlay grant" not in findings.root(reports(founder), world.at(founder)).todo  # in the same cluster: lost together
    (alice,) = enter(world, "eu/home/alice")
    world.run(5)
    told = findings.root(reports(founder), world.at(founder))
    assert told.what.startswith("only founder.hq.cloud holds grant and sign on the root")
    line = "overlay grant / --to alice.home.eu.cloud --rights own,grant,sign,operate,attest --expires 300d"
    assert (told.outcome, told.todo) == (WARNING, line)
    elsewhere = findings.root(reports(alice), world.at(alice))
    assert (elsewhere.outcome, elsewhere.todo) == (WARNING, f"on founder.hq.cloud run: {line}")
    given = typed(told.todo)
    subject = reports(founder).find_node("alice.home.eu.cloud").node_id
    world.do(founder, lambda node, at: acts.grant(node, replace(given, subject=subject), at) and None)
    world.run(5)
    for host in (founder, alice, bob):
        assert findings.root(reports(host), world.at(host)).outcome == OK
    assert given.path == ROOT
    world.crash(alice)  # its records hold for two hours
    world.crash(bob)  # two members that probe each other each second make hours long
    world.run(2.1 * HOUR)
    assert findings.root(reports(founder), world.at(founder)).outcome == WARNING


# -- rights


def test_rights_are_told_of_before_they_end_by_who_must_renew_them(village: tuple[World, Host, Host, Host]) -> None:
    world, founder, bob, _ = village
    at = world.at(founder)
    assert outcomes(findings.own_rights(reports(founder), at)) == [OK]
    assert outcomes(findings.own_rights(reports(bob), at)) == [OK]
    # The root keys must say the founder's right again: from two thirds of its year on.
    assert outcomes(findings.own_rights(reports(founder), at + 240 * DAY)) == [OK]
    (told,) = (f for f in findings.own_rights(reports(founder), at + 250 * DAY) if "root keys" in f.what)
    assert (told.outcome, told.todo.split(",")[0]) == (WARNING, "overlay root sign --key FILE")
    # A member's is renewed by its neighbours from two thirds on, so only at seven eighths something is wrong.
    assert outcomes(findings.own_rights(reports(bob), at + 25 * DAY)) == [OK]
    late = findings.own_rights(reports(bob), at + 27 * DAY)
    assert late and set(outcomes(late)) == {WARNING}
    assert all("ends in 3 days and was not renewed" in f.what for f in late)
    ended = findings.own_rights(reports(bob), at + 31 * DAY)
    assert set(outcomes(ended)) == {FAILED} and len(ended) == len(late)
    assert any(f.what.startswith("member,carry,speak on hq has lapsed") or "on hq has lapsed" in f.what for f in ended)
    assert outcomes(findings.own_rights(reports(bob), at + 61 * DAY)) == [FAILED]


def test_a_right_that_was_given_by_date_is_told_of_from_two_thirds_on(village: tuple[World, Host, Host, Host]) -> None:
    world, founder, _, alice = village
    at = world.at(founder)
    given = Given(path=parse_path("lab"), subject=alice.identity.node_id, rights=frozenset({"member", "carry"}), life=9 * DAY, final=True)
    world.do(founder, lambda node, at: acts.grant(node, given, at) and None)
    world.run(5)
    assert outcomes(findings.own_rights(reports(alice), at + 5 * DAY)) == [OK]
    (told,) = findings.own_rights(reports(alice), at + 7 * DAY)
    assert (told.outcome, "on the day that was chosen" in told.what) == (WARNING, True)
    assert "overlay grant lab --to " in told.todo and told.todo.endswith(" --rights carry,member")


def test_a_right_that_is_said_better_on_the_same_path_needs_no_word(village: tuple[World, Host, Host, Host]) -> None:
    world, founder, bob, _ = village
    at = world.at(founder)
    before = len(findings.own_rights(reports(bob), at + 27 * DAY))
    owner = Given(path=parse_path("hq"), subject=bob.identity.node_id, rights=frozenset({"own", "grant"}), life=200 * DAY)
    world.do(founder, lambda node, at: acts.grant(node, owner, at) and None)
    world.run(5)
    assert len(findings.own_rights(reports(bob), at + 27 * DAY)) == before - 1


# -- peers, clocks, twins


def test_a_cluster_that_nobody_speaks_for_is_a_fault_after_ten_seconds(village: tuple[World, Host, Host, Host]) -> None:
    _, founder, bob, alice = village
    assert findings.gateway(reports(founder), 0).what.startswith("this node speaks for this cluster, ")
    assert findings.gateway(reports(bob), 0).what.startswith("founder.hq.cloud speaks for this cluster, ")
    assert findings.gateway(reports(alice), 0).outcome == OK
    unled = Reports(node(bob), zone="cloud.example.net", tld="cloud", standing=lambda: NOBODY)
    assert [findings.gateway(unled, seconds).outcome for seconds in (0, 9.9, 10)] == [SKIPPED, SKIPPED, FAILED]
    assert findings.gateway(unled, 12).what == "nobody has spoken for this cluster for 12 s"


def test_each_port_is_told_as_mapped_until_when_or_why_not(village: tuple[World, Host, Host, Host]) -> None:
    _, founder, _, _ = village
    mapping = Mapping(node(founder), now=lambda: 100.0, write=lambda line: None)
    port = node(founder).setup.port
    mapping._told(Mapped("udp", port, "192.0.2.1", 4711, 700.0, "pcp"))
    mapping._told(Unmapped("tcp", port, "refused"))
    assert [finding.what for finding in mapping.findings()] == [
        f"the router passes 192.0.2.1:4711/udp on to port {port} (pcp), for 600 s more", f"port {port}/tcp is not mapped: refused",
    ]  # fmt: skip
    assert not any(finding.alarming for finding in mapping.findings())
    presence, hosts = node(founder).presence, frozenset({"127.0.0.1"})
    assert presence is not None
    presence.interfaces, hosts = hosts, presence.interfaces
    assert outcomes(mapping.findings()) == [SKIPPED]
    presence.interfaces = hosts


def test_being_alone_is_a_fault_only_where_others_are_known(village: tuple[World, Host, Host, Host]) -> None:
    world, founder, _, _ = village
    assert findings.peers(reports(founder), 0).outcome == OK
    single = World(3)
    lone = single.found("hq/founder")
    single.run(1)
    assert [findings.peers(reports(lone), uptime).outcome for uptime in (1, 60)] == [SKIPPED, WARNING]
    lost = World(4)
    hermit = lost.found("hq/founder")
    lost.run(1)
    (gone,) = enter(lost, "eu/home/alice")
    lost.run(2)
    lost.crash(gone)
    lost.run(120)
    told = findings.peers(reports(hermit), 120)
    assert (told.outcome, told.what) == (FAILED, "none of 1 other node is connected")


@pytest.mark.parametrize(
    ("offsets", "outcome", "words"),
    [
        ([], SKIPPED, "no peer"),
        ([0.4], OK, "1 peer"),
        ([-59.0, 59.0], OK, "2 peers"),
        ([100.0], WARNING, "100 s behind"),
        ([-100.0], WARNING, "100 s ahead"),
        ([-301.0, -300.5], FAILED, "others refuse what it says"),
        ([400.0], WARNING, "400 s behind"),
        ([-9_000.0, -9_000.0, 0.0], WARNING, "the node goes by theirs"),
        ([-9_000.0, 0.0, 0.1], OK, "3 peers"),  # one liar does not count
    ],
)
def test_a_clock_is_judged_by_the_median_of_the_peers(offsets: list[float], outcome: str, words: str) -> None:
    told = findings.clock(offsets)
    assert (told.outcome, words in told.what) == (outcome, True), told


def test_the_clock_of_a_node_is_compared_with_what_its_peers_say() -> None:
    world = World(5)
    founder = world.found("hq/founder")
    world.run(1)
    host = world.host("eu/home/alice", offset=-100.0)
    alice = world.join("eu/home/alice", host=host)
    assert world.run_until(lambda: world.joined(alice), 20) is not None
    world.run(2)
    at = world.at(alice)
    (told,) = (f for f in findings.of_node(reports(alice), at=at, system=at, uptime=60) if f.check == "clock")
    assert (told.outcome, told.what.startswith("the clock of this machine is 100 s behind")) == (WARNING, True), told
    assert next(f for f in findings.of_node(reports(founder), at=at, system=at, uptime=60) if f.check == "clock").outcome == WARNING


def test_a_second_holder_of_the_identity_is_a_fault(village: tuple[World, Host, Host, Host]) -> None:
    _, _, _, alice = village
    assert findings.twins(node(alice)).outcome == OK
    node(alice).peers.counters["twins"] += 1
    assert findings.twins(node(alice)).outcome == FAILED


# -- listeners


@pytest.mark.parametrize(
    ("wanted", "bound", "told"),
    [
        ({"http": ["0.0.0.0:80"]}, {"http": ["10.0.0.1:80", "127.0.0.1:80"]}, [(OK, "http 2")]),
        ({"http": ["0.0.0.0:80"]}, {"http": ["10.0.0.1:8053"]}, [(WARNING, "it listens on 8053 instead")]),
        ({"dns": ["0.0.0.0:53"], "stub": ["127.0.0.1:53"]}, {"stub": ["127.0.0.1:5300"]}, [(WARNING, "it is off"), (WARNING, "5300 instead")]),
        ({"dns": ["off"], "stub": ["127.0.0.1:0"]}, {"stub": ["127.0.0.1:41000"]}, [(OK, "stub 1")]),
        ({"overlay": ["0.0.0.0:7653", "[::]:7653"]}, {"overlay": ["0.0.0.0:7653"]}, [(OK, "overlay 1")]),
        ({"dns": ["off"]}, {}, [(OK, "none")]),
    ],
)
def test_listeners_that_are_not_where_they_were_wanted_are_told(
    wanted: dict[str, list[str]], bound: dict[str, list[str]], told: list[tuple[str, str]]
) -> None:
    found = findings.listeners(wanted, bound)
    assert outcomes(found) == [outcome for outcome, _ in told]
    assert all(words in finding.what for finding, (_, words) in zip(found, told, strict=True)), found
    assert all(finding.todo for finding in found if finding.alarming)
