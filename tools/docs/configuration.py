"""``docs/configuration.md``: every key of ``overlay.toml``, from ``overlay/settings.py`` and the defaults of ``overlay/config.py``."""

from __future__ import annotations

from overlay.config import Config, plain
from overlay.settings import SETTINGS, toml
from tools.docs.markdown import code, head, table

INTRODUCTION = """
One file in the home of the node (`--home`, `OVERLAY_HOME`), TOML, all keys optional. Below stands what holds without it.
`overlay config check` reports every mistake at once, with its line and the nearest key; `overlay config show --effective`
prints what holds.

"""

FLAGS = """
The flags `--listen-overlay`, `--listen-tls`, `--listen-http`, `--listen-dns`, `--listen-stub` (repeatable) and `--no-lan` of
`init`, `join` and `up` lie over the file. A home without a file gets one from the flags with which it is founded or enrolled,
so that `overlay up` listens there again; flags of `up` hold for that run. Changes are read at the next start.

A wildcard of `http` or `dns` stands for each address of the machine's interfaces, loopback left to the stub; UDP and TCP of one
listener stand or fall together. What is really bound, after all fallbacks, stands in `overlay status`.
"""

NOT_YET = """
Keys marked *not yet* are checked and kept, and nothing acts on them in this version.
"""


def example() -> str:
    """The file with every key at its default, and what it means."""
    lines = []
    for section, keys in plain(Config()).items():
        lines.append(f"\n[{section}]")
        width = max(len(f"{key} = {toml(value)}") for key, value in keys.items())
        lines += [f"{f'{key} = {toml(value)}'.ljust(width)}  # {SETTINGS[section][key].meaning}" for key, value in keys.items()]
    return code("\n".join(lines).lstrip("\n"), "toml")


def page() -> str:
    """The whole page."""
    defaults = plain(Config())
    rows = [
        (f"`{section}.{key}`", setting.takes, f"`{toml(defaults[section][key])}`", setting.meaning + ("" if setting.acts else " (*not yet*)"))
        for section, settings in SETTINGS.items() for key, setting in settings.items()
    ]  # fmt: skip
    return "".join([
        head("Configuration: `overlay.toml`", "`overlay/settings.py`", "`overlay/config.py`"), INTRODUCTION, example(), "\n",
        table(("key", "takes", "default", "means"), rows), NOT_YET, FLAGS,
    ])  # fmt: skip
