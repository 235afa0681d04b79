"""What must last, lasts; and nothing shows before it does (DESIGN 3.13)."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits, machine
from overlay.driver.store import MIGRATIONS, Store, TwoLots, lock_home
from overlay.errors import ConfigError, StateError
from overlay.machine import Effect, Log, Step
from overlay.wire.address import Address, Way


def put(key: bytes, value: bytes | None = b"v", table: str = "t") -> machine.Store:
    return machine.Store(table, key, value)


def log(event: str) -> Log:
    return Log("info", event)


def words(effects: Sequence[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Log)]


# --- the file


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.db") as store:
        store.commit_now([put(b"a", b"1"), put(b"b", b"2"), put(b"a", b"3", "other"), put(b"b", None), put(b"c", b"1"), put(b"c", b"2")])
    with Store.open(tmp_path / "state.db") as store:
        assert store.load() == {"t": {b"a": b"1", b"c": b"2"}, "other": {b"a": b"3"}}


async def test_an_asynchronous_commit_is_the_same(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.db") as store:
        await store.commit([put(b"a", b"1")])
        assert store.load() == {"t": {b"a": b"1"}}


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    Store.open(tmp_path / "state.db").close()
    assert stat.S_IMODE((tmp_path / "state.db").stat().st_mode) == 0o600


def test_a_killed_writer_loses_nothing_it_has_acknowledged(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from overlay import machine; from overlay.driver.store import Store\n"
        "s = Store.open(Path(sys.argv[1]))\n"
        "for n in range(20): s.commit_now([machine.Store('t', bytes([n]), b'x')]); print(n, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "state.db")], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    with Store.open(tmp_path / "state.db") as store:
        assert len(store.load()["t"]) == len(done.stdout.split()) == 20


@pytest.mark.parametrize("damage", [b"this is not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_file_is_two_lines_that_say_what_to_do(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(damage)
    with pytest.raises(StateError) as caught:
        Store.open(path)
    assert caught.value.rule == "state-damaged"
    assert "damaged" in caught.value.what and f"mv {path}" in caught.value.todo
    assert path.read_bytes() == damage  # evidence is not touched


def test_damage_inside_the_file_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with Store.open(path) as store:
        store.commit_now([put(n.to_bytes(4, "big"), bytes(500)) for n in range(500)])
    data = bytearray(path.read_bytes())
    data[8192:40_960] = os.urandom(32_768)
    path.write_bytes(data)
    with pytest.raises(StateError) as caught:
        Store.open(path)
    assert caught.value.rule == "state-damaged"


def test_a_missing_directory_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(StateError) as caught:
        Store.open(tmp_path / "nowhere" / "state.db")
    assert caught.value.rule == "state-open"


def test_a_later_revisions_file_is_read_while_it_only_adds(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with Store.open(path) as store:
        store.commit_now([put(b"a")])
    with sqlite3.connect(path) as later:
        later.execute("CREATE TABLE extra (x)")
        later.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 7}")
    with Store.open(path) as store:
        assert store.load() == {"t": {b"a": b"v"}}
        store.commit_now([put(b"b")])
    with sqlite3.connect(path) as later:
        assert later.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 7,)


def test_a_file_without_our_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE kv (something_else)")
        other.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    with pytest.raises(StateError):
        Store.open(path)


def test_a_value_of_a_foreign_type_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with Store.open(path) as store:
        store.commit_now([put(b"a")])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE kv SET value = 'text'")
    with Store.open(path) as store, pytest.raises(StateError):
        store.load()


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.db") as store:
        store.commit_now([put(b"a")])
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own full disk
        with pytest.raises(StateError) as caught:
            store.commit_now([put(b"b", b"2"), put(b"c", bytes(100_000))])
        assert caught.value.rule == "state-write" and "full" in caught.value.what
        assert store.load() == {"t": {b"a": b"v"}}
        store.commit_now([put(b"d")])  # and works again when there is room


def test_a_read_only_database_is_told(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state.db") as store:
        store._db.execute("PRAGMA query_only = 1")
        with pytest.raises(StateError) as caught:
            store.commit_now([put(b"a")])
        assert "read-only" in caught.value.what


# --- the two lots


class Disk:
    """A store that obeys the contract, waits where told, and may crash at a given commit."""

    def __init__(self, crash_at: int = -1) -> None:
        self.durable: dict[bytes, bytes | None] = {}
        self.lots: list[int] = []
        self.gate = trio.Event()
        self.gate.set()
        self.crash_at = crash_at

    async def commit(self, stores: Sequence[machine.Store]) -> None:
        await self.gate.wait()
        await trio.lowlevel.checkpoint()
        if len(self.lots) == self.crash_at:
            raise StateError("the disk is gone", rule="state-write")
        self.lots.append(len(stores))
        self.durable.update({write.key: write.value for write in stores})


async def test_a_step_with_nothing_to_store_passes_at_once() -> None:
    shown: list[str] = []
    lots = TwoLots(Disk().commit, lambda effects: shown.extend(words(effects)))
    lots.put(Step(then=(log("a"),)))
    assert shown == ["a"]


async def test_nothing_shows_before_its_commit_and_order_is_kept() -> None:
    disk, shown = Disk(), list[str]()
    disk.gate = trio.Event()
    lots = TwoLots(disk.commit, lambda effects: shown.extend(words(effects)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lots.run)
        lots.put(Step((put(b"1"),), (log("a"),)))
        lots.put(Step(then=(log("b"),)))  # waits behind the first: order is kept
        await trio.testing.wait_all_tasks_blocked()
        lots.put(Step((put(b"2"),), (log("c"),)))
        lots.put(Step((put(b"3"),), (log("d"),)))
        await trio.testing.wait_all_tasks_blocked()
        assert shown == []
        disk.gate.set()
        await lots.settled()
        assert shown == ["a", "b", "c", "d"]
        assert disk.lots == [1, 2]  # what came during the first commit shares the second
        nursery.cancel_scope.cancel()


async def test_steps_put_while_performing_follow_in_order() -> None:
    disk, shown = Disk(), list[str]()

    def perform(effects: tuple[Effect, ...]) -> None:
        for word in words(effects):
            shown.append(word)
            if word == "a":
                lots.put(Step(then=(log("a.1"),)))
                lots.put(Step((put(b"x"),), (log("a.2"),)))

    lots = TwoLots(disk.commit, perform)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lots.run)
        lots.put(Step(then=(log("a"), log("b"))))
        assert shown == ["a", "b", "a.1"]
        lots.put(Step(then=(log("c"),)))
        await lots.settled()
        assert shown == ["a", "b", "a.1", "a.2", "c"]
        nursery.cancel_scope.cancel()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=30), st.integers(0, 12), st.integers(0, 3))
def test_a_crash_at_any_commit_shows_nothing_that_is_not_durable(storing: list[bool], crash_at: int, batch: int) -> None:
    disk, shown = Disk(crash_at), list[int]()

    def perform(effects: tuple[Effect, ...]) -> None:
        shown.extend(int(word) for word in words(effects))
        for n in shown:
            assert not storing[n] or bytes([n]) in disk.durable

    async def world() -> None:
        lots = TwoLots(disk.commit, perform)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lots.run)
                for n, stores in enumerate(storing):
                    lots.put(Step((put(bytes([n])),) if stores else (), (log(str(n)),)))
                    if batch and n % batch == 0:
                        await trio.testing.wait_all_tasks_blocked()
                await lots.settled()
                nursery.cancel_scope.cancel()
        except* StateError:
            pass

    trio.run(world)
    assert shown == list(range(len(shown)))  # a prefix: nothing overtakes, nothing is shown twice
    if crash_at >= len(disk.lots):
        assert len(shown) == len(storing) or crash_at == len(disk.lots)


async def test_a_failed_commit_is_told_and_its_effects_stay_away() -> None:
    shown: list[str] = []
    lots = TwoLots(Disk(crash_at=0).commit, lambda effects: shown.extend(words(effects)))
    lots.put(Step((put(b"1"),), (log("a"),)))
    with pytest.raises(StateError):
        await lots.run()
    assert shown == []


async def test_who_brings_work_waits_while_the_disk_is_slow() -> None:
    disk = Disk()
    disk.gate = trio.Event()
    lots = TwoLots(disk.commit, lambda effects: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lots.run)
        for n in range(limits.LOTS_PENDING + 1):
            lots.put(Step((put(n.to_bytes(4, "big")),)))
        with trio.move_on_after(0) as scope:
            await lots.room()
        assert scope.cancelled_caught and lots.counters["store_pressed"] == 1
        disk.gate.set()
        await lots.room()
        assert lots.pending < limits.LOTS_PENDING
        nursery.cancel_scope.cancel()


# --- the lock


def test_a_home_has_one_node(tmp_path: Path) -> None:
    lock = lock_home(tmp_path)
    with pytest.raises(ConfigError) as caught:
        lock_home(tmp_path)
    assert caught.value.rule == "home-locked" and f"pid {os.getpid()}" in caught.value.what
    lock.release()
    lock_home(tmp_path).release()


def test_a_dead_nodes_lock_is_free(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from overlay.driver.store import lock_home; lock_home(Path(sys.argv[1])); import os; os._exit(1)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / "run" / "lock").exists()
    lock_home(tmp_path).release()


def test_a_home_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(StateError):
        lock_home(tmp_path / "nowhere")


# --- a disk in trouble


class Trouble:
    """What ``TwoLots`` tells of a disk that takes nothing."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def __call__(self, error: StateError | None, sends: tuple[machine.Send, ...]) -> None:
        self.heard.append((error.rule if error is not None else "mended", len(sends)))


class FullDisk(Disk):
    """Takes nothing while ``full``."""

    def __init__(self, rule: str = "state-write") -> None:
        super().__init__()
        self.full = False
        self.rule = rule

    async def commit(self, stores: Sequence[machine.Store]) -> None:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StateError("the disk is full", rule=self.rule)
        await super().commit(stores)


SEND = machine.Send(Way("udp", Address("192.0.2.1", 7653), ""), b"x")


async def test_while_a_disk_is_full_nothing_that_it_owes_is_sent_and_all_else_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    disk, told, shown, sent = FullDisk(), Trouble(), list[str](), list[Effect]()

    def perform(effects: tuple[Effect, ...]) -> None:
        shown.extend(words(effects))
        sent.extend(effect for effect in effects if isinstance(effect, machine.Send))

    lots = TwoLots(disk.commit, perform, on_trouble=told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lots.run)
        disk.full = True
        lots.put(Step((put(b"1"),), (log("a"), SEND)))
        lots.put(Step(then=(SEND,)))  # waited behind it: its sends may tell of it
        await lots.settled()
        assert told.heard == [("state-write", 2)]
        assert (shown, sent) == (["a"], [])
        assert lots.trouble is not None
        lots.put(Step((put(b"1", b"2"), put(b"3")), (log("b"), SEND)))
        lots.put(Step(then=(log("c"),)))
        assert (shown, sent) == (["a", "b", "c"], [SEND])  # at once: nothing is promised any more
        await trio.sleep(10)
        assert disk.durable == {}
        disk.full = False
        await trio.sleep(3)
        assert disk.durable == {b"1": b"2", b"3": b"v"}  # the last write of each
        assert told.heard == [("state-write", 2), ("mended", 0)]
        assert lots.trouble is None
        lots.put(Step((put(b"4"),), (log("d"),)))
        assert shown[-1] == "c"  # durable before visible again
        await lots.settled()
        assert (shown[-1], disk.durable[b"4"]) == ("d", b"v")
        nursery.cancel_scope.cancel()


async def test_what_is_owed_at_the_end_is_tried_once_more(autojump_clock: trio.testing.MockClock) -> None:
    for full in (True, False):
        disk, shown = FullDisk(), list[str]()
        lots = TwoLots(disk.commit, lambda effects, shown=shown: shown.extend(words(effects)), on_trouble=Trouble())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lots.run)
            disk.full = True
            lots.put(Step((put(b"1"),)))
            await lots.settled()
            nursery.cancel_scope.cancel()
        disk.full = full
        lots.put(Step(then=(log("farewell"),)))
        await lots.finish()
        assert disk.durable == ({} if full else {b"1": b"v"})
        assert shown == ["farewell"]


async def test_what_waits_when_a_run_ends_is_kept_before_it_is_told() -> None:
    disk, shown = FullDisk(), list[str]()
    lots = TwoLots(disk.commit, lambda effects: shown.extend(words(effects)), on_trouble=Trouble())
    lots.put(Step((put(b"1"),), (log("a"),)))
    lots.put(Step(then=(log("b"),)))
    assert shown == []
    await lots.finish()
    assert (shown, disk.durable) == (["a", "b"], {b"1": b"v"})
    disk.full = True
    lots.put(Step((put(b"2"),), (log("c"),)))
    lots.put(Step(then=(log("d"),)))
    await lots.finish()
    assert shown == ["a", "b", "d"]


async def test_a_damaged_state_and_more_owed_than_memory_may_hold_end_the_run(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = FullDisk("state-damaged")
    damaged.full = True
    lots = TwoLots(damaged.commit, lambda effects: None, on_trouble=Trouble())
    lots.put(Step((put(b"1"),)))
    with pytest.raises(StateError):
        await lots.run()
    monkeypatch.setattr(limits, "OWED", 10)
    disk = FullDisk()
    disk.full = True
    lots = TwoLots(disk.commit, lambda effects: None, on_trouble=Trouble())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lots.run)
        lots.put(Step((put(b"1"),)))
        await lots.settled()
        for n in range(2, 11):
            lots.put(Step((put(bytes([n])),)))
        with pytest.raises(StateError):
            lots.put(Step((put(b"eleven"),)))
        assert lots.counters["owed_full"] == 1
        nursery.cancel_scope.cancel()
