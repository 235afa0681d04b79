"""Questions to a running node by its control socket, as the commands put them: for tests that ask again and again."""

from __future__ import annotations

from typing import Any

from overlay.driver.control_client import request
from overlay.errors import OverlayError
from tests.process.machines import Machine


def told(machine: Machine, command: str, **args: Any) -> Any:
    """What the node on that machine answers."""
    return request(machine.home, command, args, 20.0)


def status(machine: Machine, channel: str) -> Any:
    """`overlay release status CHANNEL --json`; empty where the channel is not known yet."""
    try:
        return told(machine, "release.status", channel=channel)
    except OverlayError:
        return {}


def problems(machine: Machine) -> list[str]:
    """What `overlay status` says is to be mended."""
    return list(told(machine, "status")["problems"])


def subscribe(machine: Machine, channel: str, activate: str = "") -> None:
    """`overlay subscribe CHANNEL --activate CMD`."""
    told(machine, "subscribe", channel=channel, activate=activate)
