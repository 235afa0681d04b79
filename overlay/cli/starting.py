"""``overlay join`` and ``up``: whether the node runs here, or in a process of its own that outlives the command.

It decides which of the two, and what the child is told: the same command for the foreground. It refuses to know the node:
what runs it is imported only where it runs, for those imports are most of a start, and the child makes them anyway.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from overlay.cli.config_file import load
from overlay.cli.detach import detach
from overlay.cli.grammar import Call
from overlay.cli.home import made, own
from overlay.config import Config, overrides
from overlay.errors import UsageError

WAIT: Final = 60.0  # seconds: CONTRACT, `join --detach`
HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
_MARGIN: Final = 5.0  # seconds that a child has to start, and to tell why it gives up, before its parent does


def join(call: Call) -> int:
    """``overlay join [WHERE]``."""
    home, config = configured(call)
    if (call.values["where"] or "").strip().lower() == "lan" and not config.lan.discovery:
        raise UsageError("neighbours on the LAN are not looked for here", "leave out --no-lan, or set [lan] discovery = true", rule="lan")
    if not call.values["detach"]:
        return _here(call, home, config)
    timeout: float = call.values["timeout"] or WAIT
    words = [*_foreground(call), "--timeout", f"{timeout:g}"]
    return detach(["--home", str(home), *words], Path(made(str(home))) / "log", timeout + _MARGIN)


def up(call: Call) -> int:
    """``overlay up``."""
    home, config = configured(call)
    if not call.values["detach"]:
        return _here(call, home, config)
    log = home / "log" if home.is_dir() else Path(os.devnull)
    return detach(["--home", str(home), *_foreground(call)], log, WAIT)


def configured(call: Call) -> tuple[Path, Config]:
    """The home that is meant, and its settings with the command line's laid over them."""
    home = Path(own(call.home))
    return home, overrides(load(home), call.values)


@contextmanager
def waiting_signals() -> Iterator[None]:
    """While a run is imported, set up and taken down its signals wait (`running.py` hears them between)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        yield
    finally:
        if hasattr(signal, "sigtimedwait"):
            while signal.sigtimedwait(HEARD, 0) is not None:
                pass  # it asked for the end, which is here
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _here(call: Call, home: Path, config: Config) -> int:
    with waiting_signals():
        status: int = getattr(importlib.import_module("overlay.cli.entering"), call.command.name)(call, home, config)
    return status


def _foreground(call: Call) -> list[str]:
    """The same command for the foreground, written out from what was read: no word can change its meaning on the way."""
    words = list(call.command.words)
    for option in call.command.options:
        value = call.values[option.key]
        if option.key in ("detach", "timeout") or value in (None, False, ()):
            continue
        if value is True:
            words.append(option.name)
        else:
            words += [f"{option.name}={one}" for one in (value if option.many else (value,))]
    if call.debug:
        words.append("--debug")
    return words + [str(call.values[place.key]) for place in call.command.arguments if call.values[place.key] is not None]
