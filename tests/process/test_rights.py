"""Rights by command, on real nodes: admitted by code, granted, revoked, and root keys that change and leave (CONTRACT)."""

from __future__ import annotations

import os
import pty
import re
import select
import time
from pathlib import Path

import pytest

from tests.process.machines import SOON, Machine, Village, until

CODE = re.compile(r"waiting to be admitted; on (\S+) run: overlay admit ([A-Z2-7]{4}-[A-Z2-7]{4})")


@pytest.fixture(scope="module")
def founder(shared: Village) -> Machine:
    """The founder of an invite overlay with two of three root keys."""
    machine = shared.machine()
    keys = str(machine.home / "keys")
    words = ("--name", "founder", "--cluster", "hq", "--address", machine.address, "--root-keys", "2/3", "--root-out", keys)
    machine.done("init", "cloud.example.net", *words)
    machine.up()
    return machine


def read_until(terminal: int, wanted: re.Pattern[str]) -> re.Match[str]:
    """What a person at that terminal reads, until it is there."""
    seen, end = "", time.monotonic() + SOON
    while (found := wanted.search(seen)) is None:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"not on the screen: {seen}"
        seen += os.read(terminal, 4_096).decode()
    return found


def test_a_newcomer_at_a_terminal_is_admitted_by_the_code_that_both_sides_show(founder: Machine, shared: Village) -> None:
    machine = shared.machine()
    ours, theirs = pty.openpty()
    try:
        node = machine.start("join", founder.listener, "--name", "carol", "--cluster", "eu/home", terminal=theirs)
        where, code = read_until(ours, CODE).groups()
        assert where == "founder.hq.cloud"
        (waiting,) = founder.done("admit", "list", "--json").json
        assert (waiting["code"], waiting["name"], waiting["cluster"], waiting["address"]) == (code, "carol", "eu/home", machine.address)
        wrong = founder.overlay("admit", "AAAA-AAAA")
        assert wrong.status == 1 and len(wrong.err.splitlines()) == 2
        assert founder.overlay("admit", "what").status == 2
        assert founder.done("admit", code.lower()).err == "admitted carol.home.eu.cloud\n"
        assert node.line().startswith("joined as carol.home.eu.cloud in ")
        assert founder.done("admit", "list", "--json").json == []
    finally:
        os.close(ours)
        os.close(theirs)


def test_without_a_terminal_nobody_waits_for_a_code(founder: Machine, shared: Village) -> None:
    machine = shared.machine()
    outcome = machine.overlay("join", founder.listener, "--name", "mute", "--cluster", "eu/mute", "--timeout", "20")
    assert outcome.status == 4 and "invite" in outcome.err
    assert founder.done("admit", "list", "--json").json == []


def test_rights_are_given_shown_and_taken_away(founder: Machine, shared: Village) -> None:
    bob = shared.machine()
    token = founder.done("invite", "us/office").out.strip()
    node = bob.start("join", "--invite", token, "--name", "bob")
    assert node.line().startswith("joined as bob.office.us.cloud")
    until(lambda: founder.ask("bob.office.us.cloud") == [bob.address], "the founder knows bob")

    given = founder.done("grant", "shop", "--to", "bob.office.us", "--rights", "own,carry", "--expires", "2d", "--json").json
    assert given["path"] == "shop" and given["rights"] == ["carry", "own"]
    assert abs(given["expires"] - time.time() - 2 * 86_400) < 60
    until(lambda: "shop" in [g["path"] for g in bob.done("status", "--json").json["grants"]], "bob holds it")
    bob.done("name", "set", "motd.shop", "TXT", "open")
    until(lambda: founder.ask("motd.shop.cloud", "TXT") == ['"open"'], "bob speaks for the shop")
    rows = founder.done("grants", "shop", "--json").json
    assert [(row["name"], row["by_name"], row["state"]) for row in rows] == [("bob.office.us.cloud", "founder.hq.cloud", "live")]

    refused = bob.overlay("grant", "hq", "--to", "founder.hq", "--rights", "own")
    assert refused.status == 4 and len(refused.err.splitlines()) == 2
    (founders,) = [row["grant"] for row in founder.done("grants", "hq/founder", "--json").json]
    assert bob.overlay("revoke", founders).status == 4
    assert founder.overlay("grant", "x", "--to", "nobody.at.all", "--rights", "own").status == 1
    assert founder.overlay("grant", "x", "--to", "bob.office.us", "--rights", "fly").status == 2

    founder.done("revoke", given["grant"])
    until(lambda: founder.ask("motd.shop.cloud", "TXT") != ['"open"'], "what stood on it is gone")
    (own,) = [row["grant"] for row in founder.done("grants", "us/office/bob", "--json").json]
    founder.done("revoke", own)
    until(lambda: all(peer["name"] != "bob.office.us.cloud" for peer in founder.done("peers", "--json").json), "bob is out", 10)
    until(lambda: "own-name-revoked" in (bob.home / "log").read_text(), "bob knows why")
    bob.done("down")
    assert node.end() == 0
    again = bob.overlay("up")
    assert again.status == 4 and "revoked" in again.complaint[0] and "join again" in again.complaint[1]


def test_a_token_that_leaked_is_withdrawn(founder: Machine, shared: Village) -> None:
    token = founder.done("invite", "eu/leaked", "--uses", "5").out.strip()
    founder.done("revoke", token)
    until(lambda: founder.overlay("revoke", token).status == 1, "its invite has ended")
    late = shared.machine().overlay("join", "--invite", token, "--name", "late", "--timeout", "20")
    assert late.status == 4 and len(late.complaint) == 2


def test_the_root_keys_give_the_root_to_another_node(founder: Machine, shared: Village) -> None:
    heir = shared.machine()
    token = founder.done("invite", "eu/heir").out.strip()
    assert heir.start("join", "--invite", token, "--name", "heir").line().startswith("joined as heir.heir.eu.cloud")
    until(lambda: founder.ask("heir.heir.eu.cloud") == [heir.address], "the founder knows its heir")
    keys = sorted((founder.home / "keys").glob("*.key"))
    words = [word for key in keys for word in ("--key", str(key))]
    assert founder.done("root", "grant", "heir.heir.eu", *words, "--json").json == {"published": True}
    until(lambda: "" in [g["path"] for g in heir.done("status", "--json").json["grants"]], "the heir holds the root")
    (row,) = [row for row in heir.done("grants", "/", "--json").json if row["path"] == "" and row["name"] == "heir.heir.eu.cloud"]
    assert row["by_name"] == "root keys"


def test_root_keys_change_by_two_of_three_on_different_machines_and_leave_the_machine(founder: Machine, shared: Village, tmp_path: Path) -> None:
    keys = founder.home / "keys"
    rotated = founder.done("root", "rotate", "--root-out", str(founder.home), "--key", str(keys / "root-1.key"), "--json").json
    assert rotated["missing"] == 1
    elsewhere = shared.machine()
    signed = elsewhere.overlay("root", "sign", rotated["draft"], "--key", str(keys / "root-1.key"))
    assert signed.status == 4, "the same key twice is one signature"
    assert elsewhere.done("root", "sign", rotated["draft"], "--key", str(keys / "root-3.key"), "--json").json["missing"] == 0
    assert founder.done("root", "sign", rotated["draft"], "--json").json == {"published": True}
    assert not Path(rotated["draft"]).exists()
    assert "renewed" in founder.done("root", "sign", "--json").json

    (new,) = rotated["keys"]
    assert Path(new).stat().st_mode & 0o777 == 0o600
    exported = founder.done("root", "export", str(tmp_path / "stick"), "--json").json["keys"]
    assert exported == [str(tmp_path / "stick" / Path(new).name)] and not Path(new).exists()
    none = founder.overlay("root", "export", str(tmp_path / "stick"))
    assert none.status == 1 and len(none.err.splitlines()) == 2
    assert founder.done("root", "rotate", "--admission", "open", "--key", exported[0], "--json").json["published"]
    late = shared.machine()
    node = late.start("join", founder.listener, "--name", "late", "--cluster", "open/door")
    assert node.line().startswith("joined as late.door.open.cloud"), "the overlay is open from now on"
