"""The flight recorder: what went into a node, in a ring, so that a crash can be played again (docs/decisions/0012).

``Recorded`` is a node that notes each input before it takes it: datagrams, dates, acts of a person, and every octet of
entropy that it draws. Machines roll no dice and read no clock, so the same inputs lead a fresh node from the same stored
state to the same step, and to the same exception. Notes are octets in a ring of bounded size; one is a step: its inputs,
then the ``take`` that ended it. It refuses to know when a recording is wanted, but for one case: when an exception leaves
the machine, ``crashed`` is called before the exception goes on its way.

A recording holds no private key. What it does hold is in the decision; ``overlay/lab/replay.py`` reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import traceback
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial
from inspect import isfunction
from pathlib import Path as FilePath
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import msgpack

from overlay import acts, limits
from overlay.admission.request import Request
from overlay.cluster.links import Link
from overlay.driver.logfile import LogFile
from overlay.errors import OverlayError
from overlay.identity.keys import Signer
from overlay.machine import Log, Send, Step, Store
from overlay.name import Path
from overlay.node import Node
from overlay.peers import Peer
from overlay.records.record import Record, parse
from overlay.setup import Setup
from overlay.statements import Service
from overlay.wire.address import Address, Way

MAGIC: Final = b"overlay flight 1\n"
OVERHEAD: Final = 41  # octets that an entry of the ring costs beside its own: a bytes object and a place in the deque
ENTROPY, TAKE, DATAGRAM, INPUT = range(4)
NOT_SAID: Final = ("identity", "entropy", "stored", "verifier", "suite")  # of a node's setup: keys, and what is no value
UNSAID: Final = "?"  # stands for an input that could not be noted
WAYS: Final = 1_024  # ways whose octets are kept at hand
_TAKE: Final = struct.Struct("<Bdd")  # now, at
_DATAGRAM: Final = struct.Struct("<BddHH")  # now, at, octets of its way, octets; then both
_MORE: Final = struct.Struct("<BI")  # of entropy, or of an input as MessagePack; then these octets

P = ParamSpec("P")
T = TypeVar("T")


class Recorded(Node):
    """A node whose inputs are noted. What its methods call of each other is no input."""

    def __init__(self, setup: Setup, now: float, at: float) -> None:
        self.crashed: Callable[[Recorded], None] = lambda node: None
        self.error: dict[str, str] | None = None  # what left the machine
        self.forgotten = 0  # steps that the ring has let go
        self._ring: deque[bytes] = deque()
        self._octets = 0
        self._step: list[bytes] = []
        self._inside = True
        self._began = (now, at)
        self._shape = Shape()
        self._draw = setup.entropy
        self._ways: dict[Way, bytes] = {}
        super().__init__(replace(setup, entropy=self._entropy), now, at)
        self._inside = False

    # -- inputs

    def datagram(self, data: bytes, way: Way, now: float, at: float) -> None:
        """Written out: of all inputs it is the one that comes often."""
        packed = self._ways.get(way) or self._packed(way)
        self._step.append(_DATAGRAM.pack(DATAGRAM, now, at, len(packed), len(data)) + packed + data)
        self._inside = True
        try:
            super().datagram(data, way, now, at)
        except Exception as error:
            self._crash(error)
            raise
        finally:
            self._inside = False

    def take(self, now: float, at: float) -> Step:
        """The end of a step."""
        self._step.append(_TAKE.pack(TAKE, now, at))
        self._inside = True
        try:
            step = super().take(now, at)
        except Exception as error:
            self._crash(error)
            raise
        finally:
            self._inside = False
        self._shape.add(step)
        self._keep()
        return step

    def opened(self, way: Way, now: float, at: float) -> None:
        with self._noted("opened", way, now, at):
            super().opened(way, now, at)

    def closed(self, way: Way, now: float, at: float) -> None:
        with self._noted("closed", way, now, at):
            super().closed(way, now, at)

    def wake(self, now: float, at: float) -> None:
        with self._noted("wake", now, at):
            super().wake(now, at)

    def interfaces(self, hosts: Iterable[str], links: Iterable[Link] = ()) -> None:
        hosts, links = tuple(hosts), tuple(links)
        with self._noted("interfaces", hosts, links):
            super().interfaces(hosts, links)

    def dial(self, exchange: bytes, addresses: Iterable[Address], now: float, at: float, relays: Iterable[bytes] = ()) -> None:
        addresses = tuple(addresses)
        relays = tuple(relays)
        with self._noted("dial", exchange, addresses, now, at, relays):
            super().dial(exchange, addresses, now, at, relays)

    def join(self, request: Request, seed: Signer | None, redeemers: frozenset[bytes] = frozenset()) -> None:
        with self._noted("join", request, seed, redeemers):
            super().join(request, seed, redeemers)

    def publish(self, records: Iterable[Record], at: float) -> None:
        records = list(records)
        with self._noted("publish", records, at):
            super().publish(records, at)

    def keep(self, *stores: Store) -> None:
        with self._noted("keep", *stores):
            super().keep(*stores)

    def ping(self, peer: Peer, now: float) -> int:
        with self._noted("ping", peer, now):
            return super().ping(peer, now)

    def public(self, label: str, exists: bool | None, now: float, at: float) -> None:
        with self._noted("public", label, exists, now, at):
            super().public(label, exists, now, at)

    def farewell(self, now: float) -> None:
        with self._noted("farewell", now):
            super().farewell(now)

    def act(self, what: Callable[Concatenate[Node, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a person asks (``overlay/acts.py``), as one input."""
        with self._noted(what.__name__, *args):
            return what(self, *args, **kwargs)

    # -- notes

    @contextlib.contextmanager
    def _noted(self, name: str, *args: object) -> Iterator[None]:
        if self._inside:
            yield
            return
        try:
            packed = msgpack.packb([name, list(args)], default=plain, strict_types=True)
        except (TypeError, ValueError, OverflowError):  # what we cannot write down must not stop the node
            packed = msgpack.packb([UNSAID, [name]])
            self.counters["flight_unsaid"] += 1
        self._step += (_MORE.pack(INPUT, len(packed)), packed)
        self._inside = True
        try:
            yield
        except OverlayError:
            raise  # what a person asked is refused: an answer, no crash
        except Exception as error:
            self._crash(error)
            raise
        finally:
            self._inside = False

    def _packed(self, way: Way) -> bytes:
        if len(self._ways) >= WAYS:
            self._ways.clear()
        packed: bytes = msgpack.packb(way)
        self._ways[way] = packed
        return packed

    def _entropy(self, count: int) -> bytes:
        drawn = self._draw(count)
        self._step += (_MORE.pack(ENTROPY, count), drawn)
        return drawn

    def _keep(self) -> None:
        step = b"".join(self._step)
        self._step = []
        self._ring.append(step)
        self._octets += len(step) + OVERHEAD
        while self._octets > limits.FLIGHT and len(self._ring) > 1:
            self._octets -= len(self._ring.popleft()) + OVERHEAD
            self.forgotten += 1
            self.counters["flight_forgotten"] += 1

    def _crash(self, error: Exception) -> None:
        self.error = described(error)
        self.crashed(self)

    def recording(self) -> bytes:
        """All of it, as a file has it."""
        head = {
            "node_id": self.identity.node_id, "setup": self._setup(),
            "now": self._began[0], "at": self._began[1], "stored": {table: dict(rows) for table, rows in self.setup.stored.items()},
            "forgotten": self.forgotten, "shape": self._shape.numbers, "error": self.error,
        }  # fmt: skip
        packed = msgpack.packb(head)
        said = b"".join((len(packed).to_bytes(4, "big"), packed, *self._ring, *self._step))
        return MAGIC + hashlib.blake2s(said).digest() + said


    def _setup(self) -> dict[str, bytes]:
        """What the node was started with, but for its keys; what cannot be written down is left to its default."""
        said = {}
        for part in fields(Setup):
            if part.name not in NOT_SAID:
                with contextlib.suppress(TypeError, ValueError, OverflowError):
                    said[part.name] = msgpack.packb(getattr(self.setup, part.name), default=plain, strict_types=True)
        return said


class Shape:
    """What a node wanted, in three numbers: datagrams, their octets, and a checksum over every write.

    Not what datagrams say: who joins with a token proves that it holds the token's key, which no recording has.
    """

    __slots__ = ("_datagrams", "_octets", "_writes")

    def __init__(self) -> None:
        self._datagrams = self._octets = self._writes = 0

    def add(self, step: Step) -> None:
        for store in step.first:
            self._writes = zlib.crc32(b"\0".join((store.table.encode(), store.key, store.value or b"")), self._writes)
        for effect in step.then:
            if type(effect) is Send:
                self._datagrams += 1
                self._octets += len(effect.data)

    @property
    def numbers(self) -> list[int]:
        """The three."""
        return [self._datagrams, self._octets, self._writes]


def act(node: Node, what: Callable[Concatenate[Node, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Carry out what a person asks; noted where the node is a recorded one."""
    if isinstance(node, Recorded):
        return node.act(what, *args, **kwargs)
    return what(node, *args, **kwargs)


def described(error: Exception) -> dict[str, str]:
    """An exception as far as two runs must agree on it, and the way that it came. No values of variables: they may be secrets."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return {
        "kind": type(error).__name__, "text": str(error), "where": f"{FilePath(last.filename).name}: {last.name}",
        "trace": "".join(traceback.format_tb(error.__traceback__)),
    }  # fmt: skip


def keep(node: Recorded, path: FilePath, log: LogFile, at: float) -> None:
    """Put the recording where its owner alone can read it, and say so in the log; a disk that does not take it costs the recording."""
    if node.error is not None:
        log.write(Log("error", "crash", {"what": f"{node.error['kind']}: {node.error['text']}", "where": node.error["where"]}), at)
    try:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(node.recording())
    except OSError as error:
        log.write(Log("warning", "flight-lost", {"file": path, "reason": error.strerror}), at)
    else:
        log.write(Log("info", "flight", {"file": path, "whole": node.forgotten == 0}), at)


def entries(data: bytes) -> Iterator[tuple[Any, ...]]:
    """What follows the head of a recording: (TAKE, now, at), (DATAGRAM, now, at, way, octets), (ENTROPY, octets), (INPUT, packed).

    ``ValueError`` or ``struct.error`` where it is none of these.
    """
    place = 0
    while place < len(data):
        kind = data[place]
        if kind == TAKE:
            yield _TAKE.unpack_from(data, place)
            place += _TAKE.size
        elif kind == DATAGRAM:
            _, now, at, way_size, size = _DATAGRAM.unpack_from(data, place)
            place += _DATAGRAM.size
            proto, remote, local, link = msgpack.unpackb(data[place : place + way_size])
            yield kind, now, at, Way(proto, Address(*remote), local, link), data[place + way_size : place + way_size + size]
            place += way_size + size
        elif kind in (ENTROPY, INPUT):
            _, size = _MORE.unpack_from(data, place)
            place += _MORE.size
            yield kind, data[place : place + size]
            place += size
        else:
            raise ValueError(f"an entry of kind {kind}")


# What a recording may ask of a node, by name.
NODE: Final = ("opened", "closed", "wake", "interfaces", "dial", "join", "publish", "keep", "ping", "public", "farewell")
ACTS: Final[dict[str, Callable[..., Any]]] = {
    name: what for name, what in vars(acts).items() if isfunction(what) and what.__module__ == acts.__name__ and not name.startswith("_")
}

# -- values as MessagePack has them, and back

_VALUES: Final[tuple[type, ...]] = (Path, Address, Way, Record, tuple, frozenset, Peer, Signer, Service, acts.Given, Request, Store, Link)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_VALUES)}


def plain(value: object) -> msgpack.ExtType:
    """What MessagePack does not know: the number of its type, and its parts."""
    number = _NUMBERS.get(type(value))
    if number is None:
        raise TypeError(f"a {type(value).__name__} cannot be noted")
    match value:
        case Path():
            parts: object = list(value.labels)
        case Record():
            parts = value.raw
        case Peer():
            parts = value.session
        case Signer():
            parts = None  # a token's key: who plays the recording does without
        case frozenset():
            parts = sorted(value)
        case tuple():
            parts = list(value)
        case _:
            assert is_dataclass(value)
            parts = {part.name: getattr(value, part.name) for part in fields(value)}
    return msgpack.ExtType(number, msgpack.packb(parts, default=plain, strict_types=True))


def value_of(number: int, data: bytes, node: Node | None = None) -> Any:
    """The inverse of :func:`plain`; a session's number becomes that peer of the node."""
    kind = _VALUES[number]
    parts = msgpack.unpackb(data, ext_hook=partial(value_of, node=node), strict_map_key=False)
    if kind is Path:
        return Path(tuple(parts))
    if kind is Record:
        return parse(parts)
    if kind is Peer:
        return node.peers.peers[parts] if node is not None else None
    if kind is Signer:
        return Signer.from_seed(bytes(32))
    if kind in (tuple, frozenset):
        return kind(parts)
    return kind(**parts) if is_dataclass(kind) else kind(*parts)
