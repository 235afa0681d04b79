"""``overlay completion bash|zsh|fish``: a script for the shell, written out from the table of commands.

The script knows commands, options and their fixed values itself and starts no program for them. Where a node is wanted it asks
the running one, by ``overlay completion nodes``; files are offered where a file is wanted, and nowhere else. ``compgen -W`` carries
out what stands in its words, so names from outside never get there.
"""

from __future__ import annotations

import re
from typing import Final

from overlay.cli.client import ask, put
from overlay.cli.grammar import EVERYWHERE, VERSION, Argument, Call, Command, Option
from overlay.cli.table import COMMANDS

PATIENCE: Final = 2.0  # seconds for the node: somebody has pressed a key and waits
NODES, FILES, DIRECTORIES, NOTHING = "@nodes", "@files", "@directories", "@nothing"
_NAME: Final = re.compile(r"[a-z0-9_.-]{1,255}")
_PLACES: Final = {
    "FILE": FILES, "DRAFT": FILES, "DIR": DIRECTORIES, "NODE": NODES, "NAME": NODES, "KEY|NODE": NODES, "SHELL": "bash|zsh|fish",
    "TYPE": "A|AAAA|CAA|CNAME|DNAME|HTTPS|MX|PTR|SRV|SVCB|TXT",
}  # fmt: skip


def completion(call: Call) -> None:
    """Print the script, or (``nodes``) what it asks for: the names of nodes, a line each."""
    if call.values["shell"] == "nodes":
        for name in (str(row.get("name")) for row in ask(call, "nodes", {}, PATIENCE)):
            if _NAME.fullmatch(name):  # it ends on a command line
                put(name)
    else:
        put({"bash": _bash, "zsh": _zsh, "fish": _fish}[call.values["shell"]]())


def kind_of(place: Argument | Option) -> str:
    """What may stand there: fixed words with ``|`` between, or one of the kinds above."""
    written = place.value if isinstance(place, Option) else place.name
    fixed = written if "|" in written and written == written.lower() else NOTHING
    return _PLACES.get(written, fixed)


def _firsts() -> list[str]:
    return list(dict.fromkeys(command.words[0] for command in COMMANDS))


def _seconds(first: str) -> list[str]:
    return [command.words[1] for command in COMMANDS if len(command.words) == 2 and command.words[0] == first]


def _all_options(command: Command) -> tuple[Option, ...]:
    return (*command.options, *EVERYWHERE)


def _names(option: Option) -> list[str]:
    return [name for name in (option.name, option.short) if name]


# -- bash, and zsh through its bashcompinit


_BASH: Final = r"""_overlay() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}" home="" options="" valued="" places="" kind="" place=1 word
    COMPREPLY=()
    while ((place < COMP_CWORD)) && [[ "${COMP_WORDS[place]}" == -* ]]; do
        if [[ "${COMP_WORDS[place]}" == --home ]]; then home="${COMP_WORDS[place + 1]}"; ((place += 1)); fi
        ((place += 1))
    done
    if ((place > COMP_CWORD)); then
        COMPREPLY=($(compgen -d -- "$current"))
        return
    elif ((place == COMP_CWORD)); then
        COMPREPLY=($(compgen -W "@FIRSTS@" -- "$current"))
        return
    fi
    local command="${COMP_WORDS[place]}"
    ((place += 1))
    case "$command" in
@GROUPS@
    esac
    if [[ -n "$options" ]]; then
        if ((place == COMP_CWORD)); then
            COMPREPLY=($(compgen -W "$options" -- "$current"))
            return
        fi
        command="$command ${COMP_WORDS[place]}"
        ((place += 1))
    fi
    case "$command" in
@COMMANDS@
        *) return ;;
    esac
    for word in $valued; do
        if [[ "$previous" == "${word%%=*}" ]]; then kind="${word#*=}"; fi
    done
    if [[ -z "$kind" && "$current" == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$current"))
        return
    fi
    if [[ -z "$kind" ]]; then
        local nth=0 at=0
        while ((place < COMP_CWORD)); do
            if [[ "${COMP_WORDS[place]}" != -* ]]; then
                ((nth += 1))
            elif [[ " $valued" == *" ${COMP_WORDS[place]}="* ]]; then
                ((place += 1))
            fi
            ((place += 1))
        done
        for word in $places; do
            if ((at == nth)); then kind="$word"; fi
            ((at += 1))
        done
    fi
    case "$kind" in
        @nodes)
            while read -r word; do
                if [[ -n "$word" && "$word" == "$current"* ]]; then COMPREPLY+=("$word"); fi
            done <<< "$(overlay ${home:+--home "$home"} completion nodes 2>/dev/null)"
            ;;
        @files) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null ;;
        @directories) COMPREPLY=($(compgen -d -- "$current")); compopt -o filenames 2>/dev/null ;;
        @nothing | "") ;;
        *) COMPREPLY=($(compgen -W "${kind//|/ }" -- "$current")) ;;
    esac
}
complete -F _overlay overlay"""


def _bash() -> str:
    firsts = " ".join([*_firsts(), *(name for option in (*EVERYWHERE, VERSION) for name in _names(option))])
    groups = [f"        {first}) options='{' '.join(_seconds(first))}' ;;" for first in _firsts() if _seconds(first)]
    commands = []
    for command in COMMANDS:
        options = [name for option in _all_options(command) for name in _names(option)]
        valued = [f"{name}={kind_of(option)}" for option in _all_options(command) if option.value for name in _names(option)]
        places = [kind_of(place) for place in command.arguments]
        told = f"options='{' '.join(options)}' valued='{' '.join(valued)}' places='{' '.join(places)}'"
        commands.append(f"        '{command.name}') {told} ;;")
    return _BASH.replace("@FIRSTS@", firsts).replace("@GROUPS@", "\n".join(groups)).replace("@COMMANDS@", "\n".join(commands))


def _zsh() -> str:
    return "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n" + _bash()


# -- fish

_FISH: Final = {NODES: "-x -a '(overlay completion nodes 2>/dev/null)'", FILES: "-r -F", DIRECTORIES: "-x -a '(__fish_complete_directories)'"}


def _fish() -> str:
    lines = ["complete -c overlay -f"]
    for option in (*EVERYWHERE, VERSION):
        lines.append(f"complete -c overlay -n __fish_use_subcommand {_fish_option(option)}")
    for first in _firsts():
        told = ", ".join(_seconds(first)) or next(command.summary for command in COMMANDS if command.words[0] == first)
        lines.append(f"complete -c overlay -n __fish_use_subcommand -a {first} -d {_quoted(told)}")
    for command in COMMANDS:
        first = command.words[0]
        here = f"__fish_seen_subcommand_from {first}"
        if len(command.words) == 2:
            unseen = f"{here}; and not __fish_seen_subcommand_from {' '.join(_seconds(first))}"
            lines.append(f"complete -c overlay -n {_quoted(unseen)} -a {command.words[1]} -d {_quoted(command.summary)}")
            here += f"; and __fish_seen_subcommand_from {command.words[1]}"
        for option in _all_options(command):
            lines.append(f"complete -c overlay -n {_quoted(here)} {_fish_option(option)}")
        for kind in dict.fromkeys(kind_of(place) for place in command.arguments):
            if kind != NOTHING:
                lines.append(f"complete -c overlay -n {_quoted(here)} {_fish_kind(kind).removeprefix('-x ').removeprefix('-r ')}")
    return "\n".join(lines)


def _fish_option(option: Option) -> str:
    short = f" -s {option.short[1:]}" if option.short else ""
    value = f" {_fish_kind(kind_of(option))}" if option.value else ""
    return f"-l {option.name[2:]}{short}{value} -d {_quoted(option.meaning)}"


def _fish_kind(kind: str) -> str:
    return "-x" if kind == NOTHING else _FISH.get(kind) or f"-x -a {_quoted(kind.replace('|', ' '))}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
