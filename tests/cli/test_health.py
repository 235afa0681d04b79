"""Checks of carried services as they run in a node: each at its own pace, changes told once, in the log and in the names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from overlay.cli import health
from overlay.cli.health import Health
from overlay.name import parse_path
from tests.property.quiet_node import QuietNode, quiet_node

SOON = 20.0  # seconds: nothing here takes one


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(SOON):
        while not condition():
            await trio.sleep(0.01)


async def carry(quiet: QuietNode, name: str, check: str, port: int = 9) -> None:
    await quiet.plugged._desk["service.add"].run({"name": name, "port": port, "health": check, "address": "127.0.0.1"})  # type: ignore[call-arg]


def up(quiet: QuietNode, name: str) -> bool:
    return next(service.healthy for (path, _), service in quiet.node.statements.services.items() if path.dotted == name)


def logged(quiet: QuietNode) -> list[str]:
    return [line.split(" ", 1)[1] for line in (quiet.home / "log").read_text().splitlines() if " service-" in line]


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "EVERY", 0.02)


async def test_a_service_that_comes_and_goes_is_told_once_each_time(tmp_path: Path) -> None:
    async with quiet_node(tmp_path) as quiet:
        listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener[0].socket.getsockname()[1]
        await carry(quiet, "web.hq", "tcp", port)
        await until(lambda: up(quiet, "web.hq"))
        await trio.sleep(0.2)  # several rounds that find nothing new
        await listener[0].aclose()
        await until(lambda: not up(quiet, "web.hq"))
        await until(lambda: len(logged(quiet)) == 2)
    assert logged(quiet) == ["info service-up name=web.hq proto=tcp", "warning service-down name=web.hq proto=tcp check=tcp"]


async def test_a_check_that_hangs_keeps_no_other_waiting_and_is_ended_with_all_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "COMMAND_LIMIT", 3.0)
    pid = tmp_path / "pid"
    async with quiet_node(tmp_path / "home") as quiet:
        await carry(quiet, "slow.hq", f"cmd:(echo $$ > {pid}; exec sleep 600) | cat")
        await until(pid.exists)
        began = time.monotonic()
        await carry(quiet, "web.hq", "cmd:true")
        await until(lambda: up(quiet, "web.hq"))
        assert time.monotonic() - began < health.COMMAND_LIMIT
        first = int(pid.read_text())
        await until(lambda: _gone(first))
        assert not up(quiet, "slow.hq")


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (OSError, ProcessLookupError):
        return True


async def test_a_service_that_never_came_up_is_told_once_and_forgotten_when_it_is_carried_no_longer(tmp_path: Path) -> None:
    async with quiet_node(tmp_path) as quiet:
        checks = Health(quiet.plugged.engine)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checks.run)
            await carry(quiet, "web.hq", "cmd:false")
            await until(lambda: checks._failures.get((parse_path("hq/web"), "tcp"), 0) > 5)
            assert logged(quiet) == ["warning service-down name=web.hq proto=tcp check=cmd:false"] * 2  # once by each of both
            await quiet.plugged._desk["service.remove"].run({"name": "web.hq"})  # type: ignore[call-arg]
            await until(lambda: not checks._failures)
            nursery.cancel_scope.cancel()
