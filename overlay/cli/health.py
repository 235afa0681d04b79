"""Checks of the services that this node carries: is each alive, as the person said to find out (CONTRACT, `service add`).

It asks and reports; what a failing check means for names is decided elsewhere. Each service is checked once a second, or as
often as its check ends within its time limit, all of them side by side.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import trio

from overlay import acts
from overlay.driver.run import Engine
from overlay.errors import UsageError
from overlay.machine import Log
from overlay.name import Path, parse_zone
from overlay.statements import Service

EVERY = 1.0  # seconds between rounds (GOALS: a dead carrier is out of answers within 3 s)
LIMIT = 1.0  # seconds for a TCP or HTTP check
COMMAND_LIMIT = 10.0  # seconds for a command
Key = tuple[Path, str]  # name, protocol

FAILURES = 2  # in a row before a service counts as down: one lost packet is not an outage


class Health:
    """The checks of one node. A check that takes its time keeps no other waiting."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._failures: dict[Key, int] = {}  # in a row
        self._checking: set[Key] = set()

    async def run(self) -> None:
        """Check for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(EVERY)
                carried = self._engine.node.statements.services
                self._failures = {key: count for key, count in self._failures.items() if key in carried}
                for key, service in carried.items():
                    if service.health != "none" and key not in self._checking:
                        self._checking.add(key)
                        nursery.start_soon(self._check, key, service)

    async def _check(self, key: Key, service: Service) -> None:
        try:
            alive = await probe(service, self._engine.listeners.overlay_udp and self._own_host() or "127.0.0.1")
        finally:
            self._checking.discard(key)
        now = self._engine.node.statements.services.get(key)
        if now is None or now.health != service.health:
            return  # it is carried no longer, or to be checked otherwise
        self._failures[key] = 0 if alive else self._failures.get(key, 0) + 1
        if (alive and not now.healthy) or self._failures[key] == FAILURES:
            self._tell(service, alive)

    def _tell(self, service: Service, alive: bool) -> None:
        """What is new: to the names, and to the log."""
        name, proto = service.name, service.proto
        self._engine.act(acts.health, name, proto, alive)
        if alive:
            self._engine.let_out((Log("info", "service-up", {"name": name.dotted, "proto": proto}),))
        else:
            self._engine.let_out((Log("warning", "service-down", {"name": name.dotted, "proto": proto, "check": service.health}),))
        self._engine.step()

    def _own_host(self) -> str:
        presence = self._engine.node.presence
        return presence.addresses[0].host if presence is not None and presence.addresses else "127.0.0.1"


async def probe(service: Service, host: str) -> bool:
    """One check: `tcp` connects, `http://...` wants a status below 400, `cmd:...` an exit status of 0."""
    where = service.addresses[0] if service.addresses else host
    if service.health.startswith("cmd:"):
        return await _command(service.health.removeprefix("cmd:"))
    if service.health.startswith("http://"):
        with suppress(UsageError):  # of a service from before such texts were refused
            return await _http(*target(service.health, where, service.port))
        return False
    return await _limited(LIMIT, lambda: _tcp(where, service.port)) or await _limited(LIMIT, lambda: _tcp("127.0.0.1", service.port))


def target(health: str, host: str, port: int) -> tuple[str, int, str]:
    """Where an ``http://`` check asks: host, port, path. What the text leaves out is the service's. Else a ``UsageError``."""
    try:
        url = urlsplit(health)
        if not health.isascii() or not health.isprintable() or " " in health or url.username is not None:
            raise ValueError
        name = url.hostname or host
        if name != host and not name.replace(".", "").isdigit() and ":" not in name:
            parse_zone(name)
        elif name != host:
            ip_address(name)
        return name, url.port or port, (url.path or "/") + (f"?{url.query}" if url.query else "")
    except (ValueError, UsageError):
        raise UsageError(
            f"{health[:60]!r} is no place to ask", "write http://HOST:PORT/PATH; what is left out is the service's", rule="health",
        ) from None


async def _limited(limit: float, check: Callable[[], object]) -> bool:
    with trio.move_on_after(limit), suppress(OSError, trio.BrokenResourceError):
        result = check()
        return bool(await result)  # type: ignore[misc]
    return False


async def _tcp(host: str, port: int) -> bool:
    stream = await trio.open_tcp_stream(host, port)
    await stream.aclose()
    return True


async def _http(host: str, port: int, path: str) -> bool:
    async def ask() -> bool:
        stream = await trio.open_tcp_stream(host, port)
        async with stream:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head = b""
            while b"\r\n" not in head and len(head) < 4_096:
                more = await stream.receive_some(1_024)
                if not more:
                    break
                head += more
        words = head.split(b"\r\n")[0].split()
        return len(words) >= 2 and words[1].isdigit() and int(words[1]) < 400

    return await _limited(LIMIT, ask)


async def _command(line: str) -> bool:
    with trio.move_on_after(COMMAND_LIMIT), suppress(OSError):
        nowhere = subprocess.DEVNULL
        done = await trio.run_process(
            ["/bin/sh", "-c", line], check=False, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, deliver_cancel=_end,
        )
        return done.returncode == 0
    return False


async def _end(shell: trio.Process) -> None:
    """End the shell and all that it started: they are one process group."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
