"""What must last: the node's file ``state.db``, the two lots of a step's effects, and the lock on a home.

It decides how values come to rest (SQLite in a worker thread, WAL, fsynced at each commit) and that nothing becomes
visible before what it rests on is durable (DESIGN 3.13, "durable before visible"; research F12). It refuses to know what
the tables mean: a value is octets under a key in a named table. Migrations only add, so that a node rolled back to an
older revision still reads its state. Where one day that cannot be, the format is raised: older revisions then refuse the
file in two lines and leave it as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import trio

from overlay import limits, machine
from overlay.errors import ConfigError, StateError

# Each entry takes the file from version n to n + 1. Entries are never changed and only add (DESIGN 3.13). The tens of a
# version are the file's format: a revision goes on with later versions of its own format, for they only add.
MIGRATIONS: Final[tuple[str, ...]] = (
    "CREATE TABLE kv (tbl TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key)) WITHOUT ROWID",
)
FORMAT: Final = 10
_FULL: Final = {"SQLITE_FULL": "the disk is full", "SQLITE_READONLY": "it is read-only", "SQLITE_CANTOPEN": "it cannot be opened"}

Tables = dict[str, dict[bytes, bytes]]


class Store:
    """One open ``state.db``. Used by one task at a time for writing; every method may raise ``StateError``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._db = connection
        self._limiter = trio.CapacityLimiter(1)  # the connection never sees two threads at once

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open or create the file (mode 0600), check it whole, bring it to this revision's version."""
        connection = None
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(found[0])
            _refuse_later(path, connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection)
        except OSError as error:
            raise StateError(f"{path} cannot be opened: {error.strerror}", "check its owner, its mode and the disk", rule="state-open") from None
        except (sqlite3.Error, StateError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StateError):
                raise
            raise _state_error(path, error) from None
        return cls(path, connection)

    def load(self) -> Tables:
        """Everything, by table."""
        tables: Tables = {}
        try:
            for table, key, value in self._db.execute("SELECT tbl, key, value FROM kv"):
                if not (type(table) is str and type(key) is bytes and type(value) is bytes):
                    raise sqlite3.DatabaseError("a value of a foreign type")
                tables.setdefault(table, {})[key] = value
        except sqlite3.Error as error:
            raise _state_error(self._path, error) from None
        return tables

    def commit_now(self, stores: Iterable[machine.Store]) -> None:
        """Write all of it or nothing, on disk on return; of two writes to a key the last stands. Blocks: for commands."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in stores:
                if write.value is None:
                    self._db.execute("DELETE FROM kv WHERE tbl = ? AND key = ?", (write.table, write.key))
                else:
                    self._db.execute("INSERT OR REPLACE INTO kv VALUES (?, ?, ?)", (write.table, write.key, write.value))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # the commit's own failure is what is told
                    self._db.execute("ROLLBACK")
            raise _state_error(self._path, error) from None

    async def commit(self, stores: Sequence[machine.Store]) -> None:
        """The same in a worker thread. A cancellation waits for a commit that has begun."""
        await trio.to_thread.run_sync(self.commit_now, stores, limiter=self._limiter)

    def close(self) -> None:
        """Fold the journal into the file and close it."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _refuse_later(path: Path, db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version // FORMAT > len(MIGRATIONS) // FORMAT:
        raise StateError(
            f"{path} was written by a later revision of this program (format {version // FORMAT}, version {version})",
            f"start that revision again; or move the file aside (mv {path} {path}.later) and join again, `identity` is kept", rule="state-later",
        )


def _migrate(db: sqlite3.Connection) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for n in range(version, len(MIGRATIONS)):
        db.execute("BEGIN IMMEDIATE")
        db.execute(MIGRATIONS[n])
        db.execute(f"PRAGMA user_version = {n + 1}")
        db.execute("COMMIT")
    # A newer file is welcome while it has what we use: later revisions only add.
    columns = {row[1] for row in db.execute("PRAGMA table_info(kv)")}
    if not columns >= {"tbl", "key", "value"}:
        raise sqlite3.DatabaseError("the table kv is not as it should be")


def _state_error(path: Path, error: sqlite3.Error) -> StateError:
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, reason in _FULL.items():
        if name.startswith(prefix):
            return StateError(f"{path} cannot be written: {reason}", "make room or mend its permissions, then start again", rule="state-write")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StateError(f"{path} is in use by another program", "end that program, then start again", rule="state-busy")
    if name.startswith("SQLITE_IOERR"):
        return StateError(f"{path} cannot be read or written: {error}", "check the disk and its free space", rule="state-write")
    return StateError(
        f"{path} is damaged: {error}", f"move it aside (mv {path} {path}.damaged) and start again; `identity` is kept", rule="state-damaged"
    )


class TwoLots:
    """Performs steps in order, each ``then`` after the commit of every ``first`` before it.

    Steps that arrive while a commit is under way share the next one: the slower the disk, the larger the lots. A step
    with nothing to store, put while nothing waits, is performed at once. ``perform`` may put further steps; they follow.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[machine.Store]], Awaitable[None]],
        perform: Callable[[tuple[machine.Effect, ...]], None],
        counters: Counter[str] | None = None,
    ) -> None:
        self._commit = commit
        self._perform = perform
        self._steps: deque[machine.Step] = deque()
        self._busy = False  # a lot is being committed or performed; what is put meanwhile waits its turn
        self._more = trio.Event()
        self._less = trio.Event()
        self.counters: Counter[str] = counters if counters is not None else Counter()

    def put(self, step: machine.Step) -> None:
        """Take a step. Never blocks; see :meth:`room`."""
        if not step:
            return
        self._steps.append(step)
        if not self._busy:
            self._pass()

    @property
    def pending(self) -> int:
        """Steps that wait for a commit; a lot under way not counted."""
        return len(self._steps)

    async def room(self) -> None:
        """Wait until fewer than ``limits.LOTS_PENDING`` steps wait. Who brings work from outside calls it first."""
        while len(self._steps) >= limits.LOTS_PENDING:
            self.counters["store_pressed"] += 1
            await self._less.wait()

    async def settled(self) -> None:
        """Wait until nothing waits and nothing is under way (for an orderly end)."""
        while self._steps or self._busy:
            await self._less.wait()

    async def run(self) -> None:
        """Commit and perform until cancelled. A commit's ``StateError`` ends it: its effects stay unperformed."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            while self._steps:
                await self._one_lot()

    async def _one_lot(self) -> None:
        self._busy = True
        try:
            lot = list(self._steps)
            self._steps.clear()
            stores = [write for step in lot for write in step.first]
            if stores:
                await self._commit(stores)
                self.counters["store_commits"] += 1
            for step in lot:
                if step.then:
                    self._perform(step.then)
        finally:
            self._busy = False
            self._less.set()
            self._less = trio.Event()

    def _pass(self) -> None:
        """Perform from the head of the queue what needs no commit."""
        self._busy = True
        try:
            while self._steps and not self._steps[0].first:
                self._perform(self._steps.popleft().then)
        finally:
            self._busy = False
        if self._steps:
            self._more.set()


class HomeLock:
    """Held as long as the node runs; the kernel lets go of it with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another node have the home."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_home(home: Path) -> HomeLock:
    """Take the home for this process (``run/lock``), or a ``ConfigError`` naming the process that has it."""
    path = home / "run" / "lock"
    try:
        path.parent.mkdir(mode=0o750, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StateError(f"{path} cannot be opened: {error.strerror}", "check the owner and mode of the home", rule="home-lock") from None
    if not _locked(descriptor):
        holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
        os.close(descriptor)
        who = f" (pid {holder})" if holder.isdigit() else ""
        raise ConfigError(f"a node{who} runs on {home}", "stop it with `overlay down`, or use another --home", rule="home-locked")
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError:
        pass  # a full disk hides our number from the next one who asks; the lock itself holds
    return HomeLock(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours now. Tried thrice: `overlay down` takes it for an instant to see whether anybody has it."""
    for _ in range(3):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False
