"""What must last: the node's file ``state.db``, the two lots of a step's effects, and the lock on a home.

It decides how values come to rest (SQLite in a worker thread, WAL, fsynced at each commit) and that nothing becomes
visible before what it rests on is durable (DESIGN 3.13, "durable before visible"; research F12). It refuses to know what
the tables mean: a value is octets under a key in a named table. Migrations only add, so that a node rolled back to an
older revision still reads its state. Where one day that cannot be, the format is raised: older revisions then refuse the
file in two lines and leave it as it is.
"""

from __future__ import annotations

import contextlib
import errno
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
MENDED: Final = ("state-write", "state-busy")  # rules of errors that room, a remount or another program's end may mend
AGAIN: Final = 2.0  # seconds between attempts to write what is owed
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
        """Open or create the file (mode 0600), check it whole, bring it to this revision's version.

        On a full disk there is no room for the index that SQLite shares between processes: it is then kept in memory, and
        nobody else reads the file while we run.
        """
        try:
            return cls._opened(path, "NORMAL")
        except StateError as error:
            if error.rule != "state-write":
                raise
        return cls._opened(path, "EXCLUSIVE")

    @classmethod
    def _opened(cls, path: Path, locking: str) -> Store:
        connection = None
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            connection.execute(f"PRAGMA locking_mode = {locking}")
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != ("ok",):
                raise sqlite3.DatabaseError(found[0])
            _refuse_later(path, connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection)
        except OSError as error:
            raise StateError(f"{path} cannot be opened: {error.strerror}", _todo(error, "check its owner and mode"), rule="state-open") from None
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
        return StateError(f"{path} cannot be written: {_fault(path) or error}", "check the disk and its free space", rule="state-write")
    return StateError(
        f"{path} is damaged: {error}", f"move it aside (mv {path} {path}.damaged) and start again; `identity` is kept", rule="state-damaged"
    )


def _fault(path: Path) -> str:
    """What the system says of writing there: SQLite's own words for a failed write tell nothing."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return (error.strerror or "").lower()
    return ""


def _todo(error: OSError, else_: str) -> str:
    if error.errno == errno.EROFS:
        return "make that disk writable (the kernel's log tells why it is not), or use another --home"
    return "make room on that disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else else_


class TwoLots:
    """Performs steps in order, each ``then`` after the commit of every ``first`` before it.

    Steps that arrive while a commit is under way share the next one: the slower the disk, the larger the lots. A step
    with nothing to store, put while nothing waits, is performed at once. ``perform`` may put further steps; they follow.

    A disk that is full, read-only or failing does not end the run. What the lot at fault was about to send is not sent;
    ``on_trouble(error, sends)`` hears of it first, and answers for it that nothing more is promised. From then on stores
    are owed and effects performed at once, until all that is owed has been committed: ``on_trouble(None, ())``.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[machine.Store]], Awaitable[None]],
        perform: Callable[[tuple[machine.Effect, ...]], None],
        counters: Counter[str] | None = None,
        on_trouble: Callable[[StateError | None, tuple[machine.Send, ...]], None] | None = None,
    ) -> None:
        self._commit = commit
        self._perform = perform
        self._on_trouble = on_trouble
        self._steps: deque[machine.Step] = deque()
        self._busy = False  # a lot is being committed or performed; what is put meanwhile waits its turn
        self._owed: dict[tuple[str, bytes], machine.Store] = {}
        self._more = trio.Event()
        self._less = trio.Event()
        self.trouble: StateError | None = None  # why nothing is durable now
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
        """Commit and perform until cancelled. A ``StateError`` that no waiting mends ends it: its effects stay unperformed."""
        while True:
            if self.trouble is not None:
                await trio.sleep(AGAIN)
                await self._pay()
                continue
            await self._more.wait()
            self._more = trio.Event()
            while self._steps:
                await self._one_lot()

    async def finish(self) -> None:
        """After :meth:`run` was cancelled: one last lot of all that waits and is owed. What cannot be kept is not told."""
        lot = list(self._steps)
        self._steps.clear()
        stores = [*self._owed.values(), *(write for step in lot for write in step.first)]
        try:
            if stores:
                await self._commit(stores)
        except StateError as error:
            if error.rule not in MENDED:
                raise
            lot = [step for step in lot if not step.first]
        for step in lot:
            self._perform(step.then)

    async def _one_lot(self) -> None:
        self._busy = True
        try:
            lot = list(self._steps)
            self._steps.clear()
            stores = [write for step in lot for write in step.first]
            if stores:
                try:
                    await self._commit(stores)
                except StateError as error:
                    if error.rule not in MENDED or self._on_trouble is None:
                        raise
                    lot = self._fail(lot, error)
                else:
                    self.counters["store_commits"] += 1
            for step in lot:
                if step.then:
                    self._perform(step.then)
        finally:
            self._busy = False
            self._less.set()
            self._less = trio.Event()
        if self.trouble is not None:
            self._pass()

    def _fail(self, lot: list[machine.Step], error: StateError) -> list[machine.Step]:
        """The lot is not durable: owe it, and keep back what it would have told others. What is left of it."""
        assert self._on_trouble is not None
        self.trouble = error
        sends: list[machine.Send] = []
        left: list[machine.Step] = []
        for step in lot:
            self._owe(step)
            sends += [effect for effect in step.then if isinstance(effect, machine.Send)]
            left.append(machine.Step(then=tuple(effect for effect in step.then if not isinstance(effect, machine.Send))))
        self.counters["sends_kept_back"] += len(sends)
        self._on_trouble(error, tuple(sends))
        return left

    def _owe(self, step: machine.Step) -> None:
        for write in step.first:
            self._owed[write.table, write.key] = write
        if len(self._owed) > limits.OWED:
            assert self.trouble is not None
            self.counters["owed_full"] += 1
            raise self.trouble

    async def _pay(self) -> None:
        """Try to commit all that is owed."""
        assert self._on_trouble is not None
        paid = list(self._owed.values())
        try:
            await self._commit(paid)
        except StateError as error:
            if error.rule not in MENDED:
                raise
            self.trouble = error
            return
        for write in paid:
            if self._owed[write.table, write.key] is write:  # not written anew meanwhile
                del self._owed[write.table, write.key]
        if not self._owed:
            self.trouble = None
            self.counters["store_commits"] += 1
            self._on_trouble(None, ())

    def _pass(self) -> None:
        """Perform from the head of the queue what needs no commit, or, in trouble, gets none."""
        self._busy = True
        try:
            while self._steps and (self.trouble is not None or not self._steps[0].first):
                step = self._steps.popleft()
                self._owe(step)
                self._perform(step.then)
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
        todo = _todo(error, "check the owner and mode of the home")
        raise StateError(f"{path} cannot be opened: {error.strerror}", todo, rule="home-lock") from None
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
