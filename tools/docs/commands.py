"""``docs/commands.md``: every command of ``overlay/cli/table.py``, as its help has it, and what an exit status means."""

from __future__ import annotations

from overlay import errors
from overlay.cli.grammar import EVERYWHERE, VERSION, Command, Option, usage_of
from overlay.cli.table import COMMANDS, GROUPS
from tools.docs.markdown import code, head, prose, table

INTRODUCTION = """
`overlay [--home DIR] COMMAND ...`. Data on stdout, talk on stderr, tables for people, `--json` on every reading command. A name
is written with dots (`web.home.eu`) or as a path from the root (`eu/home/web`); a node by name or id. Durations: `90s 15m 24h
30d`. An error is two lines: what happened, what to do.

"""


def page() -> str:
    """The whole page."""
    parts = [head("Commands", "`overlay/cli/table.py`", "`overlay/errors.py`"), INTRODUCTION]
    parts += ["## Exit status\n\n", table(("status", "means"), _statuses()), "\n## Everywhere\n\n"]
    parts.append(table(("option", "means"), map(_option, (*EVERYWHERE, VERSION))))
    for group in GROUPS:
        parts.append(f"\n## {group}\n")
        parts += [_command(command) for command in COMMANDS if command.group == group]
    return "".join(parts)


def _command(command: Command) -> str:
    rows = [(f"`{place.name}`", place.meaning) for place in command.arguments]
    rows += [_option(option) for option in command.options]
    said = f"{command.summary[0].upper()}{command.summary[1:]}. {command.notes}".rstrip()
    parts = [f"\n### {command.name}\n\n", code(usage_of(command)), f"\n{said}\n"]
    return "".join([*parts, *(["\n", table(("", ""), rows)] if rows else [])])


def _option(option: Option) -> tuple[str, str]:
    names = f"{option.short}, {option.name}" if option.short else option.name
    return f"`{f'{names} {option.value}'.rstrip()}`", option.meaning + (" (repeatable)" if option.many else "")


def _statuses() -> list[tuple[int, str]]:
    by_status: dict[int, list[str]] = {0: ["Done."]}
    for family in errors.OverlayError.__subclasses__():
        by_status.setdefault(family.exit_status, []).append(prose((family.__doc__ or "").partition("\n")[0]))
    return [(status, " ".join(said)) for status, said in sorted(by_status.items())]
