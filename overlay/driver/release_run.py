"""The command that a person gave for a channel, and how it is seen whether the outcome is well (CONTRACT, `subscribe`).

It decides how long each may take; a command that hangs is ended with all that it started. It refuses to know what either is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

ACTIVATE_LIMIT: Final = 300.0  # seconds; guess: a package is installed, a service restarted
HEALTH_LIMIT: Final = 30.0  # seconds in which it must be well: one probe may fail while a service starts
HEALTH_EVERY: Final = 1.0  # seconds between probes
PROBE_LIMIT: Final = 5.0  # seconds for one
TOLD: Final = 300  # octets of what a command said last that are kept


async def activate(command: str, *, file: Path, channel: str, revision: int, limit: float = ACTIVATE_LIMIT) -> str:
    """Run it; empty where it did well, else what went wrong."""
    environment = {
        **os.environ, "OVERLAY_RELEASE_FILE": str(file), "OVERLAY_REVISION": str(revision), "OVERLAY_CHANNEL": channel,
    }
    environment.pop("OVERLAY_PASSPHRASE", None)
    return await _shell(command, environment, limit)


async def healthy(check: str, *, limit: float = HEALTH_LIMIT) -> str:
    """Whether a command exits with 0, or a URL answers below 400, within the time: empty, or what went wrong."""
    why = "it was not asked"
    with trio.move_on_after(limit):
        while True:
            why = await _probe(check)
            if not why:
                return ""
            await trio.sleep(HEALTH_EVERY)
    return f"not well after {limit:g} s: {why}"


async def _probe(check: str) -> str:
    if check.startswith("http://"):
        try:
            return await _page(check)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, ValueError) as error:
            return f"{check} does not answer ({type(error).__name__})"
    return await _shell(check.removeprefix("cmd:"), dict(os.environ), PROBE_LIMIT)


async def _page(url: str) -> str:
    host, _, path = url.removeprefix("http://").partition("/")
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    name, port = (name, port) if colon else (host, "80")
    with trio.fail_after(PROBE_LIMIT):
        async with await trio.open_tcp_stream(name.strip("[]"), int(port)) as stream:
            await stream.send_all(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            words = (await stream.receive_some(64)).split()
    good = len(words) >= 2 and words[1].isdigit() and int(words[1]) < 400
    return "" if good else f"{url} answers {words[1].decode(errors='replace') if len(words) > 1 else 'nothing'}"


async def _shell(command: str, environment: dict[str, str], limit: float) -> str:
    with tempfile.TemporaryFile() as said:  # no pipe: what goes on in the background may keep it open
        with trio.move_on_after(limit):
            try:
                done = await trio.run_process(
                    ["/bin/sh", "-c", command], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said.fileno(),
                    start_new_session=True, deliver_cancel=_end, env=environment, cwd="/",
                )
            except OSError as error:
                return f"it cannot be run: {error.strerror}"
            if done.returncode == 0:
                return ""
            said.seek(max(0, said.seek(0, os.SEEK_END) - TOLD))
            lines = said.read(TOLD).decode(errors="replace").strip().splitlines()
            return f"exit status {done.returncode}" + (f": {lines[-1]}" if lines else "")
    return f"it did not end within {limit:g} s"


async def _end(shell: trio.Process) -> None:
    """End the shell and all that it started: they are one process group."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
