"""Which home a command is about (CONTRACT, "the manners"): ``--home``, ``OVERLAY_HOME``, else the system's or the user's own.

It decides the order and nothing else; it looks at no file but to make the home. Where no home is named, a user's client
also finds the running system node. Texts, not ``Path``: clients do not pay for pathlib.
"""

from __future__ import annotations

import os
from typing import Final

from overlay.errors import ConfigError, UsageError

SYSTEM: Final = "/var/lib/overlay"


def named(option: str | None) -> str | None:
    """The home that was named, absolute; None where none was."""
    chosen = option if option is not None else os.environ.get("OVERLAY_HOME", "")
    if option is not None and not option:
        raise UsageError("--home names no directory", "write --home DIR", rule="home")
    return os.path.abspath(os.path.expanduser(chosen)) if chosen else None


def own(option: str | None) -> str:
    """The home that a node of the caller lives in. Raises ``ConfigError`` where the user has no home directory either."""
    chosen = named(option)
    if chosen is not None:
        return chosen
    if os.geteuid() == 0:
        return SYSTEM
    state = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # the XDG base directory specification: relative ones are to be ignored
        return os.path.join(state, "overlay")
    user = os.path.expanduser("~")
    if not os.path.isabs(user):
        raise ConfigError("this user has no home directory", "name one with --home or OVERLAY_HOME", rule="home")
    return os.path.join(user, ".local", "state", "overlay")


def asked(option: str | None) -> list[str]:
    """The homes whose running node a client may mean, the nearest first."""
    first = own(option)
    return [first] if named(option) is not None or first == SYSTEM else [first, SYSTEM]


def made(home: str) -> str:
    """The home, made where it is missing (mode 0750: group ``overlay`` passes through to the control socket)."""
    try:
        os.makedirs(home, mode=0o750, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {home}: {error.strerror}", "choose another --home, or check who owns it", rule="home") from None
    return home
