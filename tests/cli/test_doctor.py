"""``overlay doctor``: every check says what is, what to do, and never takes "not checked" for "no"."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from bootstrap.entrance import WayIn
from overlay import limits
from overlay.cli import machine_checks as machine
from overlay.cli.membership import IDENTITY, STATE, found_overlay
from overlay.cli.table import COMMANDS
from overlay.cli.zone_check import KNOCK, PATIENCE, ask_listener, zone_findings
from overlay.driver.http import Site, as_json
from overlay.driver.interfaces import Interface
from overlay.errors import NotRunning, OverlayError, PeerError, ReachError, TrustError
from overlay.findings import FAILED, OK, SKIPPED, WARNING, Finding
from overlay.founding import Plan
from overlay.name import parse_path
from overlay.units import b64
from overlay.wire.address import Address
from tests.bootstrap.driver.test_entry import OTHER, OURS, THEIRS, WAY, ZONE, Names, zone
from tests.cli.fakes import running
from tests.cli.shell import Run
from tests.property.quiet_node import quiet_node

AT = 1_795_302_151


def outcomes(found: list[Finding]) -> list[str]:
    return [finding.outcome for finding in found]


def founded(home: Path, zone: str = "cloud.example.org") -> bytes:
    """A founder's home that has its root keys elsewhere; the overlay's id."""
    plan = Plan.checked(zone=zone, tld="cloud", admission="open", name=parse_path("hq/founder"))
    made = found_overlay(home, plan, keys=1, root_out=home.parent / "keys", advertised=("127.0.0.1",), at=AT)
    return made.root.digest


# -- the home


def test_a_home_in_order_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    founded(home)
    assert [(f.outcome, f.todo) for f in machine.home(home)] == [(OK, "")]


def test_a_home_that_is_not_there_was_not_checked_and_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert outcomes(machine.home(tmp_path / "absent")) == [SKIPPED]
    assert outcomes(machine.home(tmp_path / "file")) == [FAILED]
    assert outcomes(machine.home(tmp_path)) == [SKIPPED]  # nothing was founded in it


@pytest.mark.parametrize(
    ("name", "mode", "outcome"),
    [(IDENTITY, 0o640, FAILED), (IDENTITY, 0o604, FAILED), (STATE, 0o644, WARNING), ("root.key", 0o644, FAILED), (".", 0o777, FAILED)],
)
def test_what_others_may_read_or_change_is_told_with_the_line_that_mends_it(tmp_path: Path, name: str, mode: int, outcome: str) -> None:
    home = tmp_path / "home"
    founded(home)
    if name == "root.key":
        (home / name).write_text("x")
    (home / name).chmod(mode)
    (told,) = (f for f in machine.home(home) if "chmod" in f.todo)
    assert (told.outcome, f"mode {mode:04o}" in told.what) == (outcome, True)
    mended = told.todo.partition(";")[0].split()
    os.chmod(mended[2], int(mended[1], 8))
    assert not [f for f in machine.home(home) if "chmod" in f.todo]


def test_root_keys_on_the_machine_and_a_damaged_identity_are_told(tmp_path: Path) -> None:
    home = tmp_path / "home"
    founded(home)
    for name in ("root.key", "root-2.key"):
        (home / name).touch(0o600)
    (home / IDENTITY).write_text("not a key")
    told = machine.home(home)
    assert outcomes(told) == [FAILED, WARNING, WARNING]
    assert all("overlay root export" in f.todo for f in told[1:])


# -- settings, disk, user, network


def test_settings_that_do_not_read_fail(tmp_path: Path) -> None:
    assert machine.settings(tmp_path).outcome == OK
    (tmp_path / "overlay.toml").write_text("[lan]\nadmitt = 1\ndiscovry = 2\n")
    told = machine.settings(tmp_path)
    assert (told.outcome, "2 mistakes" in told.what) == (FAILED, True)


class Disk:
    """What ``statvfs`` says of a disk."""

    f_frsize, f_flag, f_files, f_favail = 4_096, 0, 1_000, 500

    def __init__(self, free: int, **other: int) -> None:
        self.f_bavail = free // self.f_frsize
        self.__dict__.update(other)


@pytest.mark.parametrize(
    ("disk", "outcome"),
    [
        (Disk(1 << 30), OK), (Disk(100 << 20), WARNING), (Disk(10 << 20), FAILED), (Disk(1 << 30, f_favail=0), FAILED),
        (Disk(1 << 30, f_files=0, f_favail=0), OK), (Disk(1 << 30, f_flag=os.ST_RDONLY), FAILED),
    ],
)  # fmt: skip
def test_a_disk_is_judged_by_what_is_left_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk, outcome: str) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert machine.space(tmp_path / "not" / "there").outcome == outcome


def test_root_without_a_user_to_become_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    assert machine.user(os.getuid() or 1).outcome == OK
    with monkeypatch.context() as there:
        there.setattr(pwd, "getpwnam", lambda name: None)
        assert machine.user(0).outcome == OK
    monkeypatch.setattr(pwd, "getpwnam", absent)
    told = machine.user(0)
    assert (told.outcome, told.todo.startswith("useradd --system ")) == (WARNING, True)


def test_a_small_receive_buffer_is_told_with_the_number_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UDP_BUFFER", 4_096)
    assert machine.udp_buffer().outcome == OK
    monkeypatch.setattr(limits, "UDP_BUFFER", 2**30)
    told = machine.udp_buffer()
    assert (told.outcome, "net.core.rmem_max=1073741824" in told.todo) == (WARNING, True)


SIX, FOUR = Interface("eth0", "2001:db8::7", 64, False), Interface("eth0", "192.0.2.7", 24, False)
LINK, LOOP = Interface("eth0", "fe80::1", 64, False, 2), Interface("lo", "::1", 128, True)


@pytest.mark.parametrize(
    ("found", "bound", "outcome"),
    [
        ([FOUR, LINK, LOOP], ["0.0.0.0:7653"], OK), ([FOUR, SIX], ["0.0.0.0:7653"], WARNING), ([SIX], ["0.0.0.0:7653", "[::]:7653"], OK),
        ([SIX], None, OK),
    ],
)  # fmt: skip
def test_ipv6_is_to_be_used_where_there_is_any(found: list[Interface], bound: list[str] | None, outcome: str) -> None:
    assert machine.ipv6(found, bound).outcome == outcome


@pytest.mark.parametrize(
    ("text", "stubs", "outcome", "todo"),
    [
        ("nameserver 127.0.0.1\n", ["127.0.0.1:53"], OK, ""),
        ("nameserver 192.0.2.1\nnameserver 127.0.0.1\n", ["127.0.0.1:53"], OK, ""),
        ("nameserver 192.0.2.1\n", ["127.0.0.1:53"], WARNING, "put `nameserver 127.0.0.1` first in"),
        ("nameserver 127.0.0.1\n", ["127.0.0.1:5300"], WARNING, "dig @127.0.0.1 -p 5300"),
        ("nameserver 127.0.0.53\n", ["127.0.0.1:5300"], SKIPPED, "resolvectl"),
        ("", ["127.0.0.1:53"], WARNING, "nameserver"),
        ("nameserver 127.0.0.1\n", [], WARNING, "[listen] stub"),
        ("nameserver 127.0.0.1\n", None, SKIPPED, "overlay up"),
    ],
)
def test_whether_programs_ask_the_stub_is_read_from_their_resolvers(
    tmp_path: Path, text: str, stubs: list[str] | None, outcome: str, todo: str
) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    told = machine.resolver(stubs, "cloud", file)
    assert (told.outcome, todo in told.todo) == (outcome, True), told


# -- the bootstrap zone


async def proved(way: WayIn) -> str:
    return "alice.home.eu.cloud"


async def proved_alone(way: WayIn) -> str:
    if way == WAY:
        return "alice.home.eu.cloud"
    raise ReachError("no answer over UDP or TCP")


async def proved_wrong(way: WayIn) -> str:
    raise PeerError("turned away: R04")


async def own_and_asleep(way: WayIn) -> str:
    raise NotRunning("this node, which does not run")


@pytest.mark.parametrize(
    ("table", "prove", "told"),
    [
        (zone(OURS, WAY, OTHER), proved, [(OK, "names this overlay"), (OK, "127.0.0.1:7653: alice"), (OK, "127.0.0.2:7653")]),
        (zone(OURS, WAY, OTHER), proved_alone, [(OK, ""), (OK, "alice"), (WARNING, "127.0.0.2:7653: no answer over UDP or TCP")]),
        (zone(OURS, WAY, OTHER), proved_wrong, [(OK, ""), (FAILED, "turned away: R04"), (FAILED, "turned away")]),
        (zone(OURS, WAY), own_and_asleep, [(OK, ""), (SKIPPED, "does not run")]),
        (zone(THEIRS, WAY), proved, [(FAILED, "another overlay")]),
        (zone(OURS), proved, [(OK, ""), (WARNING, "names no node")]),
        ({}, proved, [(WARNING, "leads nobody in")]),
        ({(f"_overlay.{ZONE}", "TXT"): (b"v=overlay1;id=short;tld=cloud",)}, proved, [(WARNING, "does not read")]),
        (
            {**zone(OURS, WAY), (f"_overlay.{ZONE}", "TXT"): (*zone(OURS)[f"_overlay.{ZONE}", "TXT"], *zone(THEIRS)[f"_overlay.{ZONE}", "TXT"])},
            proved, [(FAILED, "names 2 overlays"), (OK, "alice")],
        ),
        ({**zone(OURS, WAY), (f"_node._overlay.{ZONE}", "TXT"): (b"v=overlay1;at=nowhere",)}, proved,
         [(OK, ""), (WARNING, "do not read (txt-at)"), (WARNING, "names no node")]),
        (None, proved, [(SKIPPED, "the resolvers do not answer")]),
    ],
)  # fmt: skip
async def test_the_zone_is_read_as_newcomers_read_it(
    autojump_clock: MockClock, table: Any, prove: Any, told: list[tuple[str, str]]
) -> None:
    found = await zone_findings(ZONE, "cloud", OURS, Names(table), prove)
    assert outcomes(found) == [outcome for outcome, _ in told], found
    assert all(words in finding.what for finding, (_, words) in zip(found, told, strict=True)), found
    assert all(finding.todo for finding in found if finding.outcome != OK)


async def test_what_is_to_be_published_is_the_line_itself(autojump_clock: MockClock) -> None:
    (told,) = await zone_findings(ZONE, "cloud", OURS, Names(zone(THEIRS)), proved)
    line = told.todo.removeprefix("publish instead: ")
    name, _, _, rtype, text = line.split(" ", 4)
    again = await zone_findings(ZONE, "cloud", OURS, Names({(name.rstrip("."), rtype): (text.strip('"').encode(),)}), proved)
    assert outcomes(again) == [OK, WARNING]


async def test_a_way_that_hangs_and_a_dns_that_hangs_are_waited_for_within_bounds(autojump_clock: MockClock) -> None:
    async def hangs(way: WayIn) -> str:
        await trio.sleep_forever()
        raise AssertionError

    class Hung(Names):
        async def ask(self, name: str, rtype: str) -> tuple[bytes, ...] | tuple[str, ...]:
            await trio.sleep_forever()
            return ()

    began = trio.current_time()
    assert outcomes(await zone_findings(ZONE, "cloud", OURS, Names(zone(OURS, WAY, OTHER)), hangs)) == [OK, FAILED, FAILED]
    assert trio.current_time() - began < KNOCK + 1
    assert outcomes(await zone_findings(ZONE, "cloud", OURS, Hung({}), proved)) == [SKIPPED]
    assert trio.current_time() - began < KNOCK + PATIENCE + 2


async def test_a_zone_of_addresses_alone_is_asked_at_each_address() -> None:
    """A node's HTTP answers at the address; whether it is ours, another's, or nobody's stands in the finding."""
    facts = {"overlay_id": b64(OURS), "tld": "cloud", "key": b64(WAY.key), "addresses": []}

    async def app(request: object) -> Any:
        return as_json(facts)

    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen(4)
    address = Address("127.0.0.1", listener.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _serving(Site(app)), [trio.SocketListener(listener)])
        assert await ask_listener([Address("127.0.0.1", 9), address], OURS, WAY.key) == f"answers at {address}"
        with pytest.raises(PeerError, match="another node"):
            await ask_listener([address], OURS, OTHER.key)
        with pytest.raises(PeerError, match="another overlay"):
            await ask_listener([address], THEIRS)
        with pytest.raises(ReachError):
            await ask_listener([Address("127.0.0.1", 9)], OURS)
        nursery.cancel_scope.cancel()


def _serving(site: Site) -> Any:
    async def serve(stream: trio.SocketStream) -> None:
        await site.connection(stream, b"", Address("127.0.0.1", 1))

    return serve


# -- the node


async def test_a_running_node_tells_its_own_findings_and_status_warns_of_the_same(tmp_path: Path) -> None:
    async with quiet_node(tmp_path) as quiet:
        desk = quiet.plugged._desk
        rows = await desk["doctor"].run({})  # type: ignore[call-arg]
        status = await desk["status"].run({})  # type: ignore[call-arg]
    assert isinstance(rows, list) and isinstance(status, dict)
    assert all(set(row) == {"check", "outcome", "what", "todo"} for row in rows)
    checks = {row["check"] for row in rows}
    assert checks >= {"user", "peers", "clock", "rights", "root", "identity", "listeners", "zone"}
    assert next(row for row in rows if row["check"] == "zone")["outcome"] == SKIPPED  # its only resolver refuses
    alarming = {f"{row['what']}. To do: {row['todo']}" for row in rows if row["outcome"] in (WARNING, FAILED) and row["check"] != "user"}
    assert set(status["warnings"]) == alarming
    assert any(line.startswith("only founder.hq.cloud holds grant and sign on the root") for line in status["warnings"])


async def test_a_problem_of_the_engine_is_a_failure_and_is_not_told_twice(tmp_path: Path) -> None:
    async with quiet_node(tmp_path) as quiet:
        quiet.plugged.engine.problems["clock"] = "this machine's clock is 400 days ahead"
        assert quiet.plugged.checks is not None
        found = [one for one in quiet.plugged.checks.own() if one.check == "clock"]
        assert [(one.outcome, one.what) for one in found] == [(FAILED, "this machine's clock is 400 days ahead")]
        assert not any("clock" in line for line in quiet.plugged.checks.warnings())


# -- the command

STATUS = {"name": "alice.home.eu.cloud", "tld": "cloud", "pid": 7, "listen": {"overlay": ["127.0.0.1:7653"], "stub": []}}


def test_without_a_node_it_says_so_and_checks_what_it_can(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    founded(home)
    (home / "overlay.toml").write_text('[names]\nupstream = ["127.0.0.1:9"]\n')
    before = {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}
    seen = run("--home", str(home), "doctor", "--json")
    rows = {row["check"]: row for row in json.loads(seen.out)}
    assert (rows["node"]["outcome"], rows["node"]["todo"]) == (SKIPPED, "start it with `overlay up`")
    assert (rows["home"]["outcome"], rows["settings"]["outcome"], rows["peers"]["outcome"]) == (OK, OK, SKIPPED)
    assert (rows["zone"]["outcome"], "cloud.example.org" in rows["zone"]["what"]) == (SKIPPED, True)
    assert {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()} == before  # it looked, and left nothing
    assert (seen.status, seen.err) == (0 if all(row["outcome"] != FAILED for row in rows.values()) else 1, "")


def test_a_home_without_anything_is_no_failure(run: Run, tmp_path: Path) -> None:
    rows = {row["check"]: row for row in json.loads(run("--home", str(tmp_path / "none"), "doctor", "--json").out)}
    assert {rows[check]["outcome"] for check in ("node", "home", "zone", "rights")} == {SKIPPED}


def test_a_state_that_does_not_read_is_told(run: Run, tmp_path: Path) -> None:
    founded(tmp_path / "home")
    (tmp_path / "home" / STATE).write_bytes(b"no database" * 1_000)
    seen = run("--home", str(tmp_path / "home"), "doctor", "--json")
    assert (seen.status, [row["outcome"] for row in json.loads(seen.out) if row["check"] == "state"]) == (1, [FAILED])


@pytest.mark.parametrize(("outcome", "status"), [(OK, 0), (WARNING, 0), (SKIPPED, 0), (FAILED, 1)])
def test_only_a_failure_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, status: int) -> None:
    for name in ("home", "settings", "space", "udp_buffer", "ipv6", "resolver"):
        one = Finding(name, OK, "well")
        monkeypatch.setattr(machine, name, lambda *args, one=one: [one] if one.check == "home" else one)
    evil = {"check": "root", "outcome": outcome, "what": "only \x1b[2Jone\nholds it", "todo": "overlay grant / --to x"}
    with running(tmp_path, {"status": STATUS, "doctor": [evil]}):
        people, programs = run("--home", str(tmp_path), "doctor"), run("--home", str(tmp_path), "doctor", "--json")
    assert (people.status, programs.status) == (status, status)
    assert json.loads(programs.out)[-1] == evil
    assert "\x1b" not in people.out
    assert ("overlay grant / --to x" in people.out) is (outcome != OK)
    assert len(people.complaint) == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(TrustError("user 7 may not ask", "ask as root"), SKIPPED), (NotRunning("on its way in", "wait"), SKIPPED), (ReachError("silent", "x"), FAILED)],
    ids=["of another user", "on its way in", "that is silent"],
)
def test_a_node_that_could_not_be_asked_was_not_checked(run: Run, tmp_path: Path, error: OverlayError, outcome: str) -> None:
    with running(tmp_path, {"status": error}):
        rows = {row["check"]: row for row in json.loads(run("--home", str(tmp_path), "doctor", "--json").out)}
    assert (rows["node"]["outcome"], rows["rights"]["outcome"]) == (outcome, SKIPPED)


def test_it_is_a_reading_command_of_the_table() -> None:
    (command,) = (command for command in COMMANDS if command.words == ("doctor",))
    assert [option.name for option in command.options] == ["--json"]
