"""The control socket: how the commands of this machine speak to its running node (CONTRACT; DESIGN 3.13).

It decides who may ask (root and the owner everything, group `overlay` what only reads, nobody else anything) and how a
question and its answer stand on the socket; ``control_client.py`` has the form. It refuses to know what the commands do:
they come as a table of handlers. A client that hangs up cancels what it asked for.
"""

from __future__ import annotations

import grp
import json
import os
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from overlay import limits
from overlay.driver.control_client import SOCKET, short_path
from overlay.errors import ConfigError, OverlayError, TrustError, UsageError

GROUP: Final = "overlay"
_SO_PEERCRED: Final[int | None] = getattr(socket, "SO_PEERCRED", None)
_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h; absent from the socket module

Args = dict[str, Any]
Tell = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handler:
    """One command: ``await run(args)`` gives a value that JSON can carry, or raises an ``OverlayError``.

    ``reading`` commands change nothing; members of group `overlay` may ask them.
    """

    run: Callable[[Args], Awaitable[object]]
    reading: bool = False


@dataclass(frozen=True, slots=True)
class TellingHandler:
    """A command that tells its progress: ``await run(args, tell)``, each ``await tell(text)`` one line to the client."""

    run: Callable[[Args, Tell], Awaitable[object]]
    reading: bool = False


Handlers = Mapping[str, Handler | TellingHandler]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the kernel says."""

    uid: int
    groups: frozenset[int]


def permitted(caller: Caller, owners: frozenset[int], group: int | None, *, reading: bool) -> bool:
    """The rule of DESIGN 3.13: root and ``owners`` all, ``group`` what only reads, others nothing."""
    return caller.uid == 0 or caller.uid in owners or (reading and group is not None and group in caller.groups)


def open_control(home: Path) -> socket.socket:
    """Bind and listen on ``home/run/control.sock`` (mode 0660). A file left over by a crash is replaced.

    Raises ``ConfigError`` where another node answers there or the directory does not allow it.
    """
    path = home / SOCKET
    group = _group()
    try:
        path.parent.mkdir(mode=0o750, exist_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with short_path(path) as short:
                _clear(short, home)
                sock.bind(short)
                # Without the kernel's word on who asks, the mode alone must keep the group out of what writes.
                os.chmod(short, 0o660 if _SO_PEERCRED is not None else 0o600)
                if group is not None:
                    _share(short, path.parent, group)
            sock.listen(64)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise ConfigError(f"cannot open {path}: {error.strerror}", "check the owner and mode of the home", rule="control-bind") from None
    return sock


def _clear(short: str, home: Path) -> None:
    if not os.path.lexists(short):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(short)
        except (BlockingIOError, PermissionError):
            pass  # somebody listens (and is busy), or is not ours to ask
        except OSError:
            os.unlink(short)
            return
    raise ConfigError(f"another node answers on {home}", "stop it with `overlay down`, or use another --home", rule="control-busy")


def _share(short: str, directory: Path, group: int) -> None:
    for target in (short, directory):
        try:
            os.chown(target, -1, group)
        except PermissionError:
            return  # an owner outside the group cannot hand it over; then only the owner asks


def _group() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _caller(sock: trio.socket.SocketType) -> Caller:
    if _SO_PEERCRED is None:
        return Caller(os.geteuid(), frozenset())
    _, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, 12))
    try:
        listed = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * 256)
    except OSError:
        listed = b""
    return Caller(uid, frozenset({gid, *struct.unpack(f"{len(listed) // 4}I", listed)}))


async def serve_control(
    sock: socket.socket,
    handlers: Handlers,
    *,
    owners: frozenset[int] | None = None,
    group: int | None = None,
    counters: Counter[str] | None = None,
) -> None:
    """Answer on a socket of :func:`open_control` until cancelled.

    ``owners`` are the user ids that may ask everything (this process's by default); ``group`` the id of the reading
    group (that of `overlay` by default).
    """
    server = _Server(
        handlers,
        owners if owners is not None else frozenset({os.geteuid()}),
        group if group is not None else _group(),
        counters if counters is not None else Counter(),
    )
    await trio.serve_listeners(server.serve, [trio.SocketListener(trio.socket.from_stdlib_socket(sock))])


class _Server:
    def __init__(self, handlers: Handlers, owners: frozenset[int], group: int | None, counters: Counter[str]) -> None:
        self.handlers = handlers
        self.owners = owners
        self.group = group
        self.counters = counters
        self.open = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        if self.open >= limits.CONTROL_CONNECTIONS:
            self.counters["drop:control-full"] += 1
            await stream.aclose()
            return
        self.open += 1
        try:
            async with stream:
                await self._conversation(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            self.counters["control_hung_up"] += 1
        finally:
            self.open -= 1

    async def _conversation(self, stream: trio.SocketStream) -> None:
        caller = _caller(stream.socket)
        buffer = bytearray()
        while True:
            while (end := buffer.find(b"\n")) < 0:
                if len(buffer) > limits.CONTROL_REQUEST:
                    self.counters["drop:control-too-long"] += 1
                    await stream.send_all(_error(UsageError("the request is too long", "ask for less at once", rule="control-too-long")))
                    return
                data = await stream.receive_some(65_536)
                if not data:
                    return
                buffer += data
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if not await self._answered(stream, caller, line, buffer):
                return

    async def _answered(self, stream: trio.SocketStream, caller: Caller, line: bytes, buffer: bytearray) -> bool:
        """Carry out one request and write its answer; False where the client has gone."""
        answer = b""
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                # What arrives meanwhile is the next request; an end is a client that has lost interest.
                while len(buffer) <= limits.CONTROL_REQUEST:
                    data = await stream.receive_some(65_536)
                    if not data:
                        self.counters["control_hung_up"] += 1
                        nursery.cancel_scope.cancel()
                        return
                    buffer.extend(data)

            nursery.start_soon(watch)
            try:
                answer = _line({"result": await self._run(stream, caller, line)})
            except OverlayError as error:
                self.counters["control_refused"] += 1
                answer = _error(error)
            nursery.cancel_scope.cancel()
        if answer:
            await stream.send_all(answer)
        return bool(answer)

    async def _run(self, stream: trio.SocketStream, caller: Caller, line: bytes) -> object:
        command, args = read_request(line)
        handler = self.handlers.get(command)
        if not permitted(caller, self.owners, self.group, reading=handler is None or handler.reading):
            raise TrustError(f"user {caller.uid} may not ask this node", "ask as its owner or root; group `overlay` may read", rule="control-refused")
        if handler is None:
            raise UsageError(f"the running node does not know {command[:60]!r}", "is it of an older revision than the command?", rule="command")
        self.counters["control_requests"] += 1
        if isinstance(handler, Handler):
            return await handler.run(args)

        async def tell(text: str) -> None:
            await stream.send_all(_line({"progress": text}))

        return await handler.run(args, tell)


def read_request(line: bytes) -> tuple[str, Args]:
    """The command and its arguments. Text in it is text: half a character (a lone surrogate) could be neither signed nor stored."""
    try:
        found = json.loads(line)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("command"), str) or not isinstance(found.get("args", {}), dict):
        raise UsageError("the request makes no sense", 'send {"command": NAME, "args": {...}} and a line end', rule="control-request")
    return found["command"], found.get("args", {})


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _error(error: OverlayError) -> bytes:
    return _line({"error": {"what": error.what, "todo": error.todo, "exit": error.exit_status, "rule": error.rule}})
