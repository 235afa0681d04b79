"""``overlay init``, ``join`` and ``up``: what was typed becomes values, the flags are laid over the configuration.

It decides what of the flags is remembered: the listeners chosen when a node is founded or enrolled, since it will be
started again without them. Whether a node runs here was decided before (``starting.py``); ``process.py`` does the rest.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from overlay.cli import process
from overlay.cli.client import put, say
from overlay.cli.config_file import remember
from overlay.cli.detach import report
from overlay.cli.grammar import Call
from overlay.cli.home import made
from overlay.cli.starting import configured
from overlay.config import FILE, Config
from overlay.errors import UsageError

_MAX_ROOT_KEYS: Final = 16  # overlay/records/kinds.py, Root


def init(call: Call) -> None:
    """``overlay init ZONE``."""
    values = call.values
    threshold, keys = _root_keys(values["root_keys"])
    if keys > 1 and not values["root_out"]:
        raise UsageError("--root-keys wants --root-out", "name the directory that takes the keys: --root-out DIR", rule="root-out")
    founding = process.Founding(
        zone=values["zone"], tld=values["tld"], admission=values["admission"], cluster=values["cluster"], name=values["name"],
        addresses=tuple(_bare_ip(text) for text in values["address"]), root_threshold=threshold, root_keys=keys,
        root_out=Path(os.path.abspath(values["root_out"])) if values["root_out"] else None, shadow=values["shadow"],
    )  # fmt: skip
    home, config = configured(call)
    founded = process.found(home, founding, config)
    _remember(home, config, say)
    for line in founded.publish:
        put(line)
    for line in founded.talk:
        say(line)


def join(call: Call, home: Path, config: Config) -> int:
    """``overlay join [WHERE]`` in this process."""
    values = call.values
    joining = process.Joining(
        where=values["where"], invite=values["invite"], cluster=values["cluster"], name=values["name"], overlay_id=values["id"],
        timeout=values["timeout"], shadow=values["shadow"],
    )  # fmt: skip
    with report() as told:
        if not (home / "identity").exists():
            _remember(Path(made(str(home))), config, told.progress)
        process.run_node(home, config, joining, told)
    return 0


def up(_call: Call, home: Path, config: Config) -> int:
    """``overlay up`` in this process."""
    with report() as told:
        process.run_node(home, config, None, told)
    return 0


def _remember(home: Path, config: Config, tell: Callable[[str], None]) -> None:
    if remember(home, config):
        tell(f"wrote {home / FILE}: it listens there from now on")


def _root_keys(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    found = re.fullmatch(r"([0-9]{1,2})/([0-9]{1,2})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= _MAX_ROOT_KEYS:
        todo = f"write K/N, such as 2/3, with N at most {_MAX_ROOT_KEYS}"
        raise UsageError(f"--root-keys {text[:20]!r} makes no sense", todo, rule="root-keys")
    return int(found[1]), int(found[2])


def _bare_ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise UsageError(f"--address {text[:60]!r} is not an IP address", "write it without a port", rule="address") from None
