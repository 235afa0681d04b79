"""The flight recorder beside a node: what it notes, what it never says, what it never costs (decision 12)."""

from __future__ import annotations

import ast
import inspect
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from overlay import acts, limits
from overlay.driver.logfile import LogFile
from overlay.driver.recorder import ACTS, INPUT, TAKE, Recorded, act, entries, keep, plain, value_of
from overlay.errors import Absent
from overlay.lab.replay import read, replay
from overlay.lab.world import Host, World
from overlay.name import ROOT, parse_path
from overlay.node import Node
from overlay.statements import Service
from overlay.wire.address import Address, Way
from tests.house.source import report, sources
from tests.lab.scenes import node

AT = 1_800_000_000.0
LOOKS = {"usable", "name", "wake_at"}  # they change nothing


@pytest.fixture
def founder(monkeypatch: pytest.MonkeyPatch) -> tuple[World, Host]:
    monkeypatch.setattr("overlay.lab.world.Node", Recorded)
    world = World(1)
    host = world.found("hq/founder")
    world.run(1)
    return world, host


def recorded(host: Host) -> Recorded:
    one = node(host)
    assert isinstance(one, Recorded)
    return one


def test_every_input_of_a_node_is_noted() -> None:
    public = {name for name, value in inspect.getmembers(Node, inspect.isfunction) if not name.startswith("_")}
    assert public - LOOKS <= vars(Recorded).keys()
    for name in public - LOOKS:
        assert inspect.signature(getattr(Recorded, name)) == inspect.signature(getattr(Node, name)), name


def test_acts_of_a_person_go_through_the_recorder() -> None:
    """`acts.something(node, ...)` called by itself would be missing from a replay; `usable` only looks."""
    offences = []
    for source in sources("overlay"):
        for call in ast.walk(source.tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "acts":
                if call.func.attr in ACTS and call.func.attr != "usable" and not source.module.startswith("overlay.lab"):
                    offences.append(f"{source.where}:{call.lineno}: acts.{call.func.attr} past the recorder: use Engine.act")
    report(offences)


@pytest.mark.parametrize("value", [
    ROOT, parse_path("eu/home/web"), Address("192.0.2.1", 7653), Way("tcp", Address("2001:db8::1", 1), "::", 7), (1, ("two", b"3"), ()),
    frozenset({"own", "grant"}), Service(name=parse_path("eu/www"), proto="udp", port=53, addresses=("192.0.2.1",), health="cmd:true"),
    acts.Given(path=parse_path("eu"), subject=bytes(32), rights=frozenset({"own"}), life=5), None, True, 2**63, -1, 1.5, b"", "", [[], {}],
])  # fmt: skip
def test_values_come_back_as_they_were(value: object) -> None:
    packed = msgpack.packb([value], default=plain, strict_types=True)
    assert msgpack.unpackb(packed, ext_hook=value_of) == [value]


def test_what_cannot_be_noted_stops_nothing_and_is_counted(founder: tuple[World, Host]) -> None:
    _, host = founder
    asked: list[object] = []

    def strange(one: Node, what: object) -> None:
        asked.append(what)

    for what in (object(), "\ud800", 2**70):
        act(recorded(host), strange, what)
    assert len(asked) == 3
    assert recorded(host).counters["flight_unsaid"] == 3
    played = replay(read(recorded(host).recording()), host.identity)
    assert played.inputs > 3


def test_what_the_node_asks_of_itself_is_no_input(founder: tuple[World, Host]) -> None:
    world, host = founder
    before = inputs(host)
    world.do(host, lambda one, at: act(one, acts.set_data, parse_path("hq/motd"), "TXT", ("hello",), 30, at))  # it publishes
    assert [name for name in inputs(host)[len(before) :] if name] == ["set_data"]


def inputs(host: Host) -> list[str]:
    return [
        msgpack.unpackb(entry[1], ext_hook=lambda *_: None, strict_map_key=False)[0]
        for entry in read(recorded(host).recording()).entries
        if entry[0] == INPUT
    ]


def test_a_refusal_is_an_answer_and_no_crash(founder: tuple[World, Host]) -> None:
    world, host = founder
    crashes: list[Recorded] = []
    recorded(host).crashed = crashes.append
    with pytest.raises(Absent):
        world.do(host, lambda one, at: act(one, acts.revoke, bytes(32), at) and None)
    assert not crashes
    assert recorded(host).error is None


@pytest.mark.parametrize("broken", ["sessions.receive", "sessions.wake", "directory.take", "peers.take"])
def test_whatever_leaves_a_machine_is_told_once_with_the_last_input(
    founder: tuple[World, Host], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, host = founder
    crashes: list[tuple[dict[str, str] | None, bytes]] = []
    one = recorded(host)
    one.crashed = lambda node: crashes.append((node.error, node.recording()))

    def fail(*_: object) -> None:
        raise RuntimeError(broken)

    room, _, method = broken.partition(".")
    monkeypatch.setattr(getattr(one, room), method, fail)
    calls: list[Callable[[], Any]] = [
        lambda: one.datagram(b"?", Way("udp", Address("192.0.2.1", 1)), world.now, AT), lambda: one.wake(world.now + 1, AT),
        lambda: one.take(world.now + 1, AT),
    ]  # fmt: skip
    with pytest.raises(RuntimeError, match=broken):
        for call in calls:
            call()
    ((error, recording),) = crashes
    assert error is not None
    assert (error["kind"], error["where"]) == ("RuntimeError", "test_recorder.py: fail")
    assert read(recording).error == error


def test_the_ring_forgets_the_oldest_steps_and_counts_them(founder: tuple[World, Host], monkeypatch: pytest.MonkeyPatch) -> None:
    world, host = founder
    one = recorded(host)
    for number in range(10_000):
        one.datagram(bytes(900), Way("udp", Address("192.0.2.1", number + 1)), world.now, AT)
        one.take(world.now, AT)
    assert one._octets <= limits.FLIGHT
    assert sum(map(len, one._ring)) > limits.FLIGHT * 0.9
    assert one.forgotten == one.counters["flight_forgotten"] > 8_000
    assert len(one._ways) <= 1_024
    last = [entry for entry in read(one.recording()).entries if entry[0] != TAKE][-1]
    assert last[3].remote.port == 10_000


@pytest.mark.parametrize("octets", [b"\x09", b"\x02" + bytes(10), b"\x00\xff"])
def test_entries_of_no_kind_are_an_error(octets: bytes) -> None:
    with pytest.raises(Exception, match=r"entry of kind|unpack_from"):
        list(entries(octets))


# -- the file


def test_the_file_is_its_owners_alone_and_replaces_the_one_before(founder: tuple[World, Host], tmp_path: Path) -> None:
    _, host = founder
    path, log = tmp_path / "flight", LogFile(tmp_path / "log")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("somebody's")
    path.symlink_to(elsewhere)
    before = os.umask(0)
    try:
        for _ in range(2):
            keep(recorded(host), path, log, AT)
    finally:
        os.umask(before)
    log.close()
    assert elsewhere.read_text() == "somebody's"
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not path.is_symlink()
    assert read(path.read_bytes()).whole
    assert (tmp_path / "log").read_text().count(" info flight ") == 2


def test_a_crash_is_logged_with_its_place_and_a_disk_that_takes_nothing_costs_the_recording(founder: tuple[World, Host], tmp_path: Path) -> None:
    _, host = founder
    log = LogFile(tmp_path / "log")
    one = recorded(host)
    one.error = {"kind": "KeyError", "text": "'x'", "where": "machine.py: take", "trace": ""}
    keep(one, tmp_path / "nowhere" / "flight", log, AT)
    log.close()
    crash, lost = (tmp_path / "log").read_text().splitlines()
    assert "error crash" in crash
    assert 'where="machine.py: take"' in crash
    assert "warning flight-lost" in lost


def test_no_recording_holds_a_private_key(founder: tuple[World, Host]) -> None:
    _, host = founder
    recording = recorded(host).recording()
    identity = host.identity
    for secret in (identity.secret, identity.exchange.private_bytes_raw(), identity.signer.private.private_bytes_raw()):  # type: ignore[attr-defined]
        assert secret not in recording
    assert identity.node_id in recording
