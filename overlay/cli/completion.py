"""``overlay completion bash|zsh|fish``: a script for the shell, written out from the table of commands.

The script knows the words itself and starts no program while one types.
"""

from __future__ import annotations

from overlay.cli.client import put
from overlay.cli.grammar import EVERYWHERE, Call, Command
from overlay.cli.table import COMMANDS


def completion(call: Call) -> None:
    """Print the script."""
    put({"bash": _bash, "zsh": _zsh, "fish": _fish}[call.values["shell"]]())


def _firsts() -> list[str]:
    return list(dict.fromkeys(command.words[0] for command in COMMANDS))


def _seconds(first: str) -> list[str]:
    return [command.words[1] for command in COMMANDS if len(command.words) == 2 and command.words[0] == first]


def _options(command: Command) -> str:
    return " ".join(option.name for option in (*command.options, *EVERYWHERE))


def _bash() -> str:
    groups = [f"        {first}) words='{' '.join(_seconds(first))}' ;;" for first in _firsts() if _seconds(first)]
    options = [f"        '{command.name}') words='{_options(command)}' ;;" for command in COMMANDS]
    return "\n".join(
        [
            "_overlay() {",
            '    local current="${COMP_WORDS[COMP_CWORD]}" first="" second="" words="" place=1',
            '    while [[ "${COMP_WORDS[place]}" == -* ]]; do',
            '        [[ "${COMP_WORDS[place]}" == --home ]] && ((place++))',
            "        ((place++))",
            "    done",
            '    if ((COMP_CWORD > place)); then first="${COMP_WORDS[place]}"; fi',
            '    if ((COMP_CWORD > place + 1)); then second="${COMP_WORDS[place + 1]}"; fi',
            '    if [[ -z "$first" ]]; then',
            f"        words='{' '.join(_firsts())} --home --debug --help --version'",
            '    elif [[ "$current" == -* ]]; then',
            '        case "$first $second" in',
            *[line.replace(f"'{command.name}')", f"'{command.name}'*)") for line, command in zip(options, COMMANDS, strict=True)],
            "        esac",
            '    elif [[ -z "$second" ]]; then',
            '        case "$first" in',
            *groups,
            "        esac",
            "    fi",
            '    if [[ -n "$words" ]]; then',
            '        COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "    else",
            '        COMPREPLY=($(compgen -f -- "$current"))',
            "    fi",
            "}",
            "complete -F _overlay overlay",
        ]
    )


def _zsh() -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = ["complete -c overlay -f"]
    for first in _firsts():
        told = next(command.summary for command in COMMANDS if command.words[0] == first)
        if _seconds(first):
            told = ", ".join(_seconds(first))
        lines.append(f"complete -c overlay -n __fish_use_subcommand -a {first} -d {_quoted(told)}")
    for command in COMMANDS:
        seen = " and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words).replace(" and ", "; and ")
        if len(command.words) == 2:
            others = " ".join(_seconds(command.words[0]))
            unseen = f"__fish_seen_subcommand_from {command.words[0]}; and not __fish_seen_subcommand_from {others}"
            lines.append(f"complete -c overlay -n {_quoted(unseen)} -a {command.words[1]} -d {_quoted(command.summary)}")
        for option in (*command.options, *EVERYWHERE):
            takes = " -r" if option.value else ""
            lines.append(f"complete -c overlay -n {_quoted(seen)} -l {option.name[2:]}{takes} -d {_quoted(option.meaning)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
