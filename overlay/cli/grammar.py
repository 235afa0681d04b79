"""How a command line is read: words against a table of commands, to a plain value or a misuse told in two lines.

It decides what is an option, what a value, and what the person may have meant. It refuses to know what a command does.
CONTRACT, "the manners": ids and tokens are taken as arguments even where they begin with "-". Our own reader, because
every command that merely asks the node pays for it: importing click alone costs four empty interpreters, which is the
whole budget of such a command (docs/decisions/0006).

    a word that begins with "-" is    an option, where the command has it (before "--")
                                      a value, where one that may begin so is due and it does not look like a long option
                                      else a misuse, with the nearest option
    the word after an option is       its value, whatever it begins with, unless it is itself an option of the command
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from overlay.errors import UsageError

_LONG: Final = re.compile(r"--[a-z][a-z-]{0,24}(=.*)?", re.DOTALL)  # ids and tokens have 43 characters and more

Rule = Callable[[str], Any]  # text -> value, or ValueError with the rest of the sentence "NAME ..."


def text(word: str) -> str:
    """Any text but an empty one."""
    if not word:
        raise ValueError("must not be empty")
    return word


def number(low: int, high: int) -> Rule:
    """A whole number within bounds."""

    def rule(word: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", word) or not low <= int(word) <= high:
            raise ValueError(f"is a whole number from {low} to {high}, not {word[:40]!r}")
        return int(word)

    return rule


def one_of(*words: str) -> Rule:
    """One of these words."""

    def rule(word: str) -> str:
        if word not in words:
            raise ValueError(f"is {', '.join(words[:-1])} or {words[-1]}, not {word[:40]!r}")
        return word

    return rule


def span(word: str) -> float:
    """A duration such as ``90s 15m 24h 30d`` -> seconds."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)", word)
    if not found:
        raise ValueError(f"is a duration such as 90s, 15m, 24h or 30d, not {word[:40]!r}")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}[found[2]]


def seconds(word: str) -> float:
    """Seconds, with or without a unit: the contract's ``S``. More than zero."""
    found = float(word) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", word) else span(word)
    if found <= 0:
        raise ValueError("must be more than 0")
    return found


class Option(NamedTuple):
    """``--name VALUE``, or a flag where ``value`` is empty. ``many`` options gather a tuple."""

    name: str
    value: str
    meaning: str
    rule: Rule = text
    default: Any = None
    many: bool = False
    short: str = ""

    @property
    def key(self) -> str:
        """Its name among the values read."""
        return self.name.lstrip("-").replace("-", "_")


class Argument(NamedTuple):
    """A word by its place. ``dashed``: it may begin with "-" (ids, tokens, data)."""

    name: str
    meaning: str
    rule: Rule = text
    required: bool = True
    many: bool = False
    dashed: bool = False

    @property
    def key(self) -> str:
        """Its name among the values read."""
        return self.name.lower()


class Command(NamedTuple):
    """One command: its words, the room of the help it stands in, what it does, and ``module:function`` that does it."""

    words: tuple[str, ...]
    group: str
    summary: str
    run: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    notes: str = ""

    @property
    def name(self) -> str:
        """As it is typed."""
        return " ".join(self.words)


class Call(NamedTuple):
    """What was asked for. ``values`` has every argument and option of the command; ``words`` are the words as typed."""

    command: Command
    values: dict[str, Any]
    home: str | None = None
    json: bool = False
    debug: bool = False
    words: tuple[str, ...] = ()


class Help(NamedTuple):
    """Help was asked for: of the command or group with these words, or of all."""

    words: tuple[str, ...]


HOME: Final = Option("--home", "DIR", "the home of the node (or OVERLAY_HOME)")
DEBUG: Final = Option("--debug", "", "add the traceback to an error")
HELP: Final = Option("--help", "", "show this help", short="-h")
VERSION: Final = Option("--version", "", "show the version")
JSON: Final = Option("--json", "", "print JSON")
EVERYWHERE: Final = (HOME, DEBUG, HELP)


def read(words: Sequence[str], table: Sequence[Command]) -> Call | Help:
    """The command line (without the program's name) -> what was asked for. Raises ``UsageError``."""
    rest = list(words)
    values: dict[str, Any] = {}
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option, value = _option(rest, (*EVERYWHERE, VERSION), "overlay")
        values[option.key] = value
    if "help" in values or not rest and "version" not in values:
        named = tuple(word for word in rest if not word.startswith("-"))
        return Help(next((named[:end] for end in range(len(named), 0, -1) if any(c.words[:end] == named[:end] for c in table)), ()))
    if "version" in values:
        rest = ["version", *rest]
    elif rest[0] == "help":
        return read([*rest[1:], "--help"], table)
    command = _command(rest, table)
    if isinstance(command, Help):
        return command
    return _call(command, rest[len(command.words) :], values, tuple(words))


def _command(rest: Sequence[str], table: Sequence[Command]) -> Command | Help:
    for command in table:
        if command.words == tuple(rest[: len(command.words)]):
            return command
    group = [command.words[1] for command in table if len(command.words) == 2 and command.words[0] == rest[0]]
    if not group:
        raise UsageError(f"there is no command {rest[0][:60]!r}", _nearest(rest[0], {c.words[0] for c in table}, "overlay"), rule="command")
    if "--help" in rest[1:] or "-h" in rest[1:]:
        return Help((rest[0],))
    if len(rest) == 1 or rest[1].startswith("-"):
        raise UsageError(f"`overlay {rest[0]}` wants to know what to do", f"say one of: {', '.join(group)}", rule="command")
    told = _nearest(rest[1], set(group), f"overlay {rest[0]}")
    raise UsageError(f"there is no command '{rest[0]} {rest[1][:60]}'", told, rule="command")


def _call(command: Command, rest: list[str], values: dict[str, Any], words: tuple[str, ...]) -> Call | Help:
    options = (*command.options, *EVERYWHERE)
    known = {name for option in options for name in (option.name, option.short) if name}
    places = list(command.arguments)
    found: list[str] = []
    literal = False
    while rest:
        word = rest[0]
        due = places[min(len(found), len(places) - 1)] if places else None
        if literal or word == "-" or not word.startswith("-"):
            found.append(rest.pop(0))
        elif word == "--":
            literal = True
            rest.pop(0)
        elif word.partition("=")[0] in known or _attached(word, options):
            option, value = _option(rest, options, f"overlay {command.name}")
            values[option.key] = (*values.get(option.key, ()), value) if option.many else value
        elif due is not None and due.dashed and not _LONG.fullmatch(word):
            found.append(rest.pop(0))
        else:
            said = word.partition("=")[0][:60]
            raise UsageError(f"`overlay {command.name}` has no option {said!r}", _nearest_option(word, known, command), rule="option")
    if values.pop("help", False):
        return Help(command.words)
    values.pop("version", None)
    home, debug, as_json = values.pop("home", None), values.pop("debug", False), values.pop("json", False)
    for option in command.options:
        if option is not JSON:
            values.setdefault(option.key, () if option.many else option.default if option.value else False)
    _place(command, found, values)
    return Call(command, values, home, as_json, debug, words)


def _place(command: Command, found: list[str], values: dict[str, Any]) -> None:
    usage = f"usage: {usage_of(command)}"
    for place in command.arguments:
        if place.required and not found:
            raise UsageError(f"`overlay {command.name}` wants {place.name}: {place.meaning}", usage, rule="argument-missing")
        taken, found = (found, []) if place.many else (found[:1], found[1:])
        try:
            read_words = tuple(place.rule(word) for word in taken)
        except ValueError as error:
            raise UsageError(f"{place.name} {error}", usage, rule="argument") from None
        values[place.key] = read_words if place.many else read_words[0] if read_words else None
    if found:
        raise UsageError(f"`overlay {command.name}` does not take {found[0][:60]!r}", usage, rule="argument-extra")


def _attached(word: str, options: Sequence[Option]) -> bool:
    """``-c5``: a short option and its number in one word."""
    return len(word) < 12 and word[2:].isdigit() and any(option.short == word[:2] and option.value for option in options)


def _option(rest: list[str], options: Sequence[Option], program: str) -> tuple[Option, Any]:
    """Take one option, and its value, off the front."""
    word, equals, value = rest.pop(0).partition("=")
    if not equals and _attached(word, options):
        word, equals, value = word[:2], "=", word[2:]
    option = next((option for option in options if word in (option.name, option.short)), None)
    if option is None:
        raise UsageError(
            f"`{program}` has no option {word[:60]!r} before the command", _nearest(word, {o.name for o in options}, program), rule="option"
        )
    if not option.value:
        if equals:
            raise UsageError(f"{word} takes no value", f"write {word} alone", rule="option-value")
        return option, True
    if not equals:
        if not rest or rest[0].partition("=")[0] in {name for o in options for name in (o.name, o.short) if name}:
            raise UsageError(f"{word} wants a value", f"write {word} {option.value}", rule="option-value")
        value = rest.pop(0)
    try:
        return option, option.rule(value)
    except ValueError as error:
        raise UsageError(f"{word} {error}", f"write {word} {option.value}", rule="option-value") from None


def _nearest_option(word: str, known: set[str], command: Command) -> str:
    told = _nearest(word.partition("=")[0], {name for name in known if name.startswith("--")}, f"overlay {command.name}")
    if any(place.dashed for place in command.arguments):
        return f"{told} (a value that begins with -- comes after a lone --)"
    return told


def _nearest(word: str, known: set[str], program: str) -> str:
    matches = importlib.import_module("difflib").get_close_matches  # only the mistaken pay for it
    near: list[str] = matches(word.lower(), sorted(known), 1)
    said = near[0] if near and near[0].startswith("-") else f"`{program} {near[0]}`" if near else ""
    return f"did you mean {said}?" if near else f"see `{program} --help`"


def usage_of(command: Command) -> str:
    """``overlay ping NODE [-c N]``."""
    parts = ["overlay", *command.words]
    for place in command.arguments:
        shown = place.name + ("..." if place.many else "")
        parts.append(shown if place.required else f"[{shown}]")
    for option in command.options:
        shown = f"{option.short or option.name} {option.value}".rstrip()
        parts.append(f"[{shown}]" + ("..." if option.many else ""))
    return " ".join(parts)
