"""Commands that need no running node: version, config, zone serve.

They read this machine's files only; ``zone serve`` brings the engine of names, imported when it is asked.
"""

from __future__ import annotations

import importlib
import platform
from pathlib import Path
from typing import Final

from overlay import __version__
from overlay.cli.client import put, put_json, say
from overlay.cli.grammar import Call
from overlay.cli.home import own
from overlay.errors import UsageError

PROTOCOL: Final = 1


def version(call: Call) -> None:
    """``overlay version``."""
    python = platform.python_version()
    if call.json:
        put_json({"version": __version__, "python": python, "protocol": PROTOCOL})
    else:
        put(f"overlay {__version__} (python {python}, protocol {PROTOCOL})")


def config_check(call: Call) -> None:
    """``overlay config check``: each mistake a line on stdout, exit 1 where there is one."""
    config, files = importlib.import_module("overlay.config"), importlib.import_module("overlay.cli.config_file")
    home = Path(own(call.home))
    path = home / config.FILE
    try:
        files.load(home)
    except config.InvalidConfig as error:
        if call.json:
            put_json({"valid": False, "path": str(path), "problems": [{"line": p.line, "problem": p.text} for p in error.problems]})
        else:
            for problem in error.problems:
                put(f"{path}:{problem.line}: {problem.text}")
        raise
    if call.json:
        put_json({"valid": True, "path": str(path), "problems": []})
    else:
        say(f"{path} is valid" if path.exists() else f"there is no {path}: the defaults hold")


def config_show(call: Call) -> None:
    """``overlay config show``: what differs from the defaults, or all of it with --effective."""
    config, files = importlib.import_module("overlay.config"), importlib.import_module("overlay.cli.config_file")
    settings = files.load(Path(own(call.home)))
    effective = call.values["effective"]
    if call.json:
        put_json(config.plain(settings, effective=effective))
    elif text := config.dump(settings, effective=effective):
        put(text.rstrip("\n"))
    else:
        say("nothing is set: the defaults hold (--effective shows them)")


def zone_serve(call: Call) -> int:
    """``overlay zone serve FILE|- --listen IP:PORT``."""
    listen = call.values["listen"]
    if listen is None:
        raise UsageError("`overlay zone serve` wants --listen", "say where it answers: --listen IP:PORT", rule="option-missing")
    status: int = importlib.import_module("tld.driver.serve_file").main(call.values["file"], listen)
    return status
