"""Help, drawn from the table of commands: all of it by groups, one group of words, or one command.

Imported only when somebody asks for help.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from overlay.cli.client import put
from overlay.cli.grammar import EVERYWHERE, VERSION, Command, usage_of
from overlay.cli.layout import BOLD, coloured
from overlay.cli.table import COMMANDS, GROUPS

WIDTH = 100  # columns


def show(words: tuple[str, ...]) -> None:
    """Print the help of the command or group with these words, of all where there are none."""
    exact = [command for command in COMMANDS if command.words == words]
    below = [command for command in COMMANDS if command.words[: len(words)] == words]
    put(_one(exact[0]) if exact else _several(below, words) if words else _all())


def _all() -> str:
    lines = ["usage: overlay [--home DIR] COMMAND ...", ""]
    lines.append("Machines that find each other, trust each other, and answer for their own top-level domain.")
    for group in GROUPS:
        lines += ["", coloured(group, BOLD)]
        lines += _columns((command.name, command.summary) for command in COMMANDS if command.group == group)
    lines += ["", coloured("Everywhere", BOLD)]
    lines += _columns((f"{option.name} {option.value}".rstrip(), option.meaning) for option in (*EVERYWHERE, VERSION))
    lines += ["", "`overlay COMMAND --help` tells more of one command; reading commands take --json."]
    return "\n".join(lines)


def _several(commands: list[Command], words: tuple[str, ...]) -> str:
    lines = [f"usage: overlay {' '.join(words)} COMMAND ...", ""]
    lines += _columns((command.name, command.summary) for command in commands)
    return "\n".join(lines)


def _one(command: Command) -> str:
    lines = textwrap.wrap(f"usage: {usage_of(command)}", WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    lines += ["", f"{command.summary[0].upper()}{command.summary[1:]}."]
    if command.notes:
        lines += textwrap.wrap(command.notes, WIDTH)
    if command.arguments:
        lines += ["", *_columns((place.name, place.meaning) for place in command.arguments)]
    options = (*command.options, *EVERYWHERE)
    lines += ["", *_columns((f"{o.short + ', ' if o.short else ''}{o.name} {o.value}".rstrip(), o.meaning) for o in options)]
    return "\n".join(lines)


def _columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    known = list(rows)
    width = min(26, max(len(left) for left, _ in known))
    return [f"  {left.ljust(width)}  {right}" if len(left) <= width else f"  {left}\n  {' ' * width}  {right}" for left, right in known]
