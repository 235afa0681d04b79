"""`overlay join`: by address, by token, again, elsewhere; who is refused, and with which exit status (CONTRACT, `join`)."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.process.machines import ZONE, Foreground, Machine, Village, until


@pytest.fixture(scope="module")
def founder(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    return machine


@pytest.fixture(scope="module")
def guarded(shared: Village) -> Machine:
    """The founder of an invite overlay."""
    machine = shared.founded(admission="invite", cluster="eu/home")
    machine.up()
    return machine


def test_an_address_is_enough_and_a_taken_name_is_refused_with_the_next_free_one(founder: Machine, shared: Village) -> None:
    alice, other = shared.machine(), shared.machine()
    node = alice.start("join", founder.listener, "--name", "alice", "--cluster", "eu/home")
    assert re.fullmatch(r"joined as alice\.home\.eu\.cloud in [0-9]+\.[0-9] s", node.line())
    overlay_id = alice.done("status", "--json").json["overlay_id"]
    assert sum(overlay_id in line and "pinned" in line for line in node.err.splitlines()) == 1  # told once
    assert alice.ask("alice.home.eu.cloud") == [alice.address]  # usable means: at once
    until(lambda: founder.ask("alice.home.eu.cloud") == [alice.address], "the founder knows alice")

    taken = other.overlay("join", founder.listener, "--name", "alice", "--cluster", "eu/home", "--timeout", "20")
    assert taken.status == 4
    assert taken.complaint == ["overlay: the name alice.home.eu is taken", "choose another: alice-2 is free"]
    assert taken.out == ""
    # The same home, another name: nothing of the refusal is left.
    assert other.join(founder, "--name", "alice-2", "--cluster", "eu/home").process.poll() is None


def test_without_a_name_the_hosts_is_taken_or_the_next_free_one(founder: Machine, shared: Village) -> None:
    names = []
    for node in [shared.machine().start("join", founder.listener, "--cluster", "us/lab") for _ in range(2)]:
        said = node.line()
        names.append(said.split()[2].split(".")[0])
    first = min(names, key=len)
    assert sorted(names) == [first, f"{first}-2"]


def test_joining_again_is_up_and_another_overlay_is_refused(founder: Machine, guarded: Machine, shared: Village) -> None:
    member = shared.machine()
    node = member.join(founder, "--name", "again", "--cluster", "asia/again")
    node.signal(signal.SIGTERM)
    assert node.end() == 0
    node = member.start("join", founder.listener)
    assert node.line().startswith("up as again.again.asia.cloud ")
    node.signal(signal.SIGTERM)
    assert node.end() == 0
    token = guarded.done("invite").out.strip()
    other_id = guarded.done("status", "--json").json["overlay_id"]
    for words in (["other.example.org"], ["--invite", token], [founder.listener, "--id", other_id], [guarded.listener]):
        refused = member.overlay("join", *words, "--timeout", "10")
        assert refused.status == 4, (words, refused)
        assert "belongs to" in refused.complaint[0], refused.err


def test_an_invite_overlay_lets_nobody_in_without_a_token(guarded: Machine, shared: Village) -> None:
    first, second = shared.machine(), shared.machine()
    waiting = first.start("join", guarded.listener, "--timeout", "30")  # no terminal
    detached = second.overlay("join", guarded.listener, "--detach", "--timeout", "30")
    assert waiting.end() == 4
    assert detached.status == 4
    for complaint in (waiting.err.splitlines()[-2:], detached.complaint):
        assert "invite" in " ".join(complaint), complaint
    assert detached.out == ""


def test_a_token_lets_in_as_often_as_it_says(guarded: Machine, shared: Village) -> None:
    token = guarded.done("invite", "eu/home").out
    assert token.count("\n") == 1
    first, second = shared.machine(), shared.machine()
    node = first.start("join", "--invite", token.strip(), "--name", "bob")
    assert node.line().startswith("joined as bob.home.eu.cloud in ")
    spent = second.overlay("join", "--invite", token.strip(), "--name", "carol", "--timeout", "20")
    assert spent.status == 4, spent
    assert "token" in spent.complaint[0]
    assert len(spent.complaint[1]) > 10


def test_an_expired_or_altered_token_is_refused_before_anybody_is_asked(guarded: Machine, shared: Village) -> None:
    machine = shared.machine(configured=False)
    token = guarded.done("invite", "--expires", "1s").out.strip()
    made = time.monotonic()
    for wrong in (token[:20] + ("A" if token[20] != "A" else "B") + token[21:], "-\N{SNOWMAN}"):
        refused = machine.overlay("join", "--invite", wrong, "--timeout", "20")
        assert refused.status == 4, (wrong, refused)
        assert refused.complaint[0] == "overlay: the token is damaged"
        assert refused.seconds < 10
    until(lambda: time.monotonic() - made > 2.1, "the token's second has passed")
    expired = machine.overlay("join", "--invite", token, "--timeout", "20")
    assert expired.status == 4
    assert expired.complaint == ["overlay: the token has expired", "ask for a new one: overlay invite"]
    assert not (machine.home / "identity").exists()


def test_an_id_that_is_not_the_overlays_is_refused(founder: Machine, guarded: Machine, shared: Village) -> None:
    other_id = guarded.done("status", "--json").json["overlay_id"]
    refused = shared.machine().overlay("join", founder.listener, "--id", other_id, "--timeout", "20")
    assert refused.status == 4
    assert "another overlay" in refused.complaint[0]
    assert other_id in refused.complaint[0]


@pytest.mark.parametrize("words", [("--name", "a.b"), ("--id", "short"), ("x", "y")])
def test_what_cannot_be_meant_is_misuse(shared: Village, words: tuple[str, ...]) -> None:
    refused = shared.machine(configured=False).overlay("join", *(("127.0.78.253",) if words != ("x", "y") else ()), *words)
    assert refused.status == 2, refused
    assert len(refused.err.splitlines()) == 2


def test_nobody_there_ends_in_time_with_5(village: Village) -> None:
    machines = [village.machine() for _ in range(3)]
    began = time.monotonic()
    nodes = [machines[0].start("join", "127.0.78.252", "--timeout", "1"), machines[1].start("join", ZONE, "--timeout", "1")]
    detached = machines[2].overlay("join", "127.0.78.252:7653", "--detach", "--timeout", "2")
    assert [node.end() for node in nodes] == [5, 5]
    assert detached.status == 5
    assert time.monotonic() - began < 12
    for said in (*(node.err for node in nodes), detached.err):
        assert "no way into the overlay was found" in said.splitlines()[-2]


def test_a_home_without_an_overlay_wants_to_know_where(village: Village) -> None:
    machine = village.machine()
    assert machine.overlay("join").status == 2
    assert machine.overlay("up").complaint[0].endswith("holds no enrolled node")


def test_a_node_on_its_way_in_says_so_and_can_be_stopped(village: Village) -> None:
    machine = village.machine()
    node: Foreground = machine.start("join", "127.0.78.252")
    until(lambda: "asking 127.0.78.252" in node.err, "it knocks")
    status = machine.overlay("status")
    assert status.status == 3
    assert status.seconds < 5
    assert "not joined yet" in status.complaint[0]
    assert machine.overlay("down").status == 0
    assert node.end() == 0
