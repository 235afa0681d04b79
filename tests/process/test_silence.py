"""Nobody there yet, or no longer: a newcomer keeps trying, a member serves what it knows and finds the others again."""

from __future__ import annotations

import signal

from tests.process.machines import Village, until


def test_a_newcomer_keeps_trying_until_somebody_answers(village: Village) -> None:
    founder, alice, bob = village.founded(), village.machine(), village.machine()
    node = alice.start("join", founder.listener, "--name", "alice", "--cluster", "eu/home", "--timeout", "30")
    until(lambda: "trying again" in node.err, "the first round has ended")
    founder.up()
    assert node.line(25).startswith("joined as alice.home.eu.cloud in ")
    # A token, with the founder gone: asks on, and gets in when it is back.
    token = founder.done("invite", "eu/more").out.strip()
    founder.running[-1].signal(signal.SIGTERM)
    assert founder.running[-1].end() == 0
    node = bob.start("join", "--invite", token, "--name", "bob", "--timeout", "30")
    until(lambda: "knocking at" in node.err, "it knocks in vain")
    founder.up()
    assert node.line(25).startswith("joined as bob.more.eu.cloud in ")


def test_a_member_alone_serves_names_at_once_and_finds_its_peers_again(village: Village) -> None:
    founder, alice = village.founded(), village.machine()
    first = founder.up()
    node = alice.join(founder, "--name", "alice", "--cluster", "eu/home")
    until(lambda: alice.ask("founder.hq.cloud") == [founder.address], "alice was told where the founder is")
    node.signal(signal.SIGTERM)
    assert alice.running[-1].end() == 0
    founder.done("name", "set", "motd.hq", "TXT", "while alice was away")
    first.signal(signal.SIGTERM)
    assert first.end() == 0

    alice.up()  # every peer is dead
    assert alice.ask("alice.home.eu.cloud") == [alice.address]
    assert alice.ask("founder.hq.cloud") == [founder.address]
    assert alice.done("status", "--json").json["peers"] == 0
    alice.done("name", "set", "motd.home.eu", "TXT", "while all were away")

    founder.up()
    connected = until(lambda: alice.done("status", "--json").json["peers"] == 1, "alice has found the founder", 15)
    assert connected < 10
    until(lambda: founder.ask("motd.home.eu.cloud", "TXT") == ['"while all were away"'], "the founder has heard", 10)
    until(lambda: alice.ask("motd.hq.cloud", "TXT") == ['"while alice was away"'], "alice has heard", 10)
