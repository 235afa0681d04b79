"""``overlay.toml``: one frozen tree of settings from one file, every mistake reported at once (CONTRACT, "Configuration").

It decides which keys there are, what they may hold and what holds without them; a mistyped key is an error with its line
and its nearest neighbour, never a setting silently ignored. It refuses to know what a setting does: whoever acts on it
reads the field. What each key may hold stands in ``settings.py``; the file itself is the command line's affair.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from overlay.errors import ConfigError, UsageError
from overlay.settings import OFF, SETTINGS, Setting, toml

FILE: Final = "overlay.toml"  # in the home
_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_HEADER: Final = re.compile(rf"\s*\[\[?\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]")
_ASSIGNMENT: Final = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where this node listens: texts ``IP:PORT``, or ``("off",)``. ``advertise``: interfaces or addresses to tell others."""

    overlay: tuple[str, ...] = ("0.0.0.0:7653", "[::]:7653")
    tls: tuple[str, ...] = ("0.0.0.0:443", "[::]:443")
    http: tuple[str, ...] = ("0.0.0.0:80",)
    dns: tuple[str, ...] = ("0.0.0.0:53",)
    stub: tuple[str, ...] = ("127.0.0.1:53",)
    whois: tuple[str, ...] = OFF
    advertise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Which world a name belongs to, and who answers for the public one (empty: the system's own resolvers)."""

    policy: str = "overlay-first"
    upstream: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """Who may do more than ask. ``keys``: ``NAME:SECRET``; ``transfer``: names of keys; ``notify``: ``ZONE ADDRESS KEY``;
    ``update``: ``NAME KEY``.
    """

    keys: tuple[str, ...] = ()
    transfer: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    update: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    """The own LAN. ``virtual_ip`` is ``IP/prefix`` in its shortest form, or empty."""

    discovery: bool = True
    admit: bool = False
    virtual_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far this node goes to be reached, and for others. ``guess``: ports at a NAT; ``relay``: datagrams carried for members."""

    guess: bool = True
    relay: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Whether releases of the kernel channel may replace this program: ``yes``, ``no`` or ``ask``."""

    kernel: str = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operate:
    """What a remote reboot restarts: ``program`` or ``machine``."""

    reboot: str = "program"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of one node."""

    listen: Listen = field(default_factory=Listen)
    names: Names = field(default_factory=Names)
    dns: Dns = field(default_factory=Dns)
    lan: Lan = field(default_factory=Lan)
    reach: Reach = field(default_factory=Reach)
    release: Release = field(default_factory=Release)
    operate: Operate = field(default_factory=Operate)


class Problem(NamedTuple):
    """One mistake in the file: its line (from 1) and what is wrong, as a person reads it."""

    line: int
    text: str


class InvalidConfig(ConfigError):
    """The file has mistakes; ``problems`` lists them all, in the order of their lines."""

    def __init__(self, path: str, problems: tuple[Problem, ...]) -> None:
        told = "; ".join(f"line {problem.line}: {problem.text}" for problem in problems)
        super().__init__(f"{path}: {told}", "correct it, then try `overlay config check`", rule="config")
        self.problems = problems


_KINDS: Final[dict[str, type]] = {"listen": Listen, "names": Names, "dns": Dns, "lan": Lan, "reach": Reach, "release": Release, "operate": Operate}


def parse(text: str, path: str) -> Config:
    """TOML text -> settings. ``path`` is for messages. Raises ``InvalidConfig`` with all mistakes."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        told = str(error)[: found.start()] if found else str(error)
        raise InvalidConfig(path, (Problem(line, f"is not valid TOML: {told}"),)) from None
    except RecursionError:
        raise InvalidConfig(path, (Problem(1, "is nested too deeply"),)) from None
    except ValueError as error:  # a whole number of thousands of digits: Python refuses it, and tomllib passes that on
        raise InvalidConfig(path, (Problem(1, f"holds a number that is too long: {str(error).partition(':')[0]}"),)) from None
    lines = _lines(text)
    problems: list[Problem] = []
    sections: dict[str, Any] = {}
    for name, value in document.items():
        if name not in SETTINGS:
            problems.append(Problem(_line(lines, (name,)), _unknown_section(name, value)))
        elif not isinstance(value, dict):
            problems.append(Problem(_line(lines, (name,)), f"{name} is a section: write it once as [{name}], its keys below"))
        else:
            sections[name] = _section(name, value, lines, problems)
    problems += _missing_keys(sections.get("dns", {}), lines)
    if problems:
        raise InvalidConfig(path, tuple(sorted(problems)))
    return Config(**{name: _KINDS[name](**values) for name, values in sections.items()})


def _section(name: str, table: Mapping[str, object], lines: Mapping[tuple[str, ...], int], problems: list[Problem]) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        line = _line(lines, (name, key))
        if key not in SETTINGS[name]:
            problems.append(Problem(line, _unknown_key(name, key)))
            continue
        try:
            values[key] = SETTINGS[name][key].rule(value)
        except ValueError as error:
            problems.append(Problem(line, f"[{name}] {key} {error}"))
    return values


def _missing_keys(dns: Mapping[str, tuple[str, ...]], lines: Mapping[tuple[str, ...], int]) -> Iterator[Problem]:
    """Names of keys that [dns] uses and does not have."""
    held = {text.partition(":")[0] for text in dns.get("keys", ())}
    for key in ("transfer", "notify", "update"):
        for text in dns.get(key, ()):
            if (name := text.rpartition(" ")[2]) not in held:
                yield Problem(_line(lines, ("dns", key)), f"[dns] {key} names the key {name[:80]!r}, which is not among keys")


def _unknown_key(section: str, key: str) -> str:
    told = f"unknown key {key[:80]!r} in [{section}]"
    elsewhere = [other for other, settings in SETTINGS.items() if key in settings]
    if elsewhere:
        return f"{told}; it belongs in [{elsewhere[0]}]"
    near = difflib.get_close_matches(key, SETTINGS[section], 1, 0.4)
    if near:
        return f"{told}; did you mean {near[0]}?"
    return f"{told}; it has {', '.join(SETTINGS[section])}"


def _unknown_section(name: str, value: object) -> str:
    if isinstance(value, (dict, list)) and not (isinstance(value, list) and any(name in settings for settings in SETTINGS.values())):
        near = difflib.get_close_matches(name, SETTINGS, 1, 0.4)
        return f"unknown section [{name[:80]}]; " + (f"did you mean [{near[0]}]?" if near else f"there are {', '.join(SETTINGS)}")
    keys = {key: section for section, settings in SETTINGS.items() for key in settings}
    closest = difflib.get_close_matches(name, keys, 1, 0.4)
    return f"unknown key {name[:80]!r} outside a section" + (f"; did you mean {closest[0]} in [{keys[closest[0]]}]?" if closest else "")


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Key -> the line that sets it. ``tomllib`` tells no lines; a text inside a multi-line string may mislead us, not more."""
    found: dict[tuple[str, ...], int] = {}
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            section = _words(header[1])
            found.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            key = section + _words(assignment[1])
            for end in range(1, len(key) + 1):
                found.setdefault(key[:end], number)
    return found


def _words(dotted: str) -> tuple[str, ...]:
    return tuple(word.strip("\"'") for word in re.findall(_KEY, dotted))


def _line(lines: Mapping[tuple[str, ...], int], key: tuple[str, ...]) -> int:
    return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), 1)


FLAGS: Final = {f"listen_{kind}": ("listen", kind) for kind in ("overlay", "tls", "http", "dns", "stub")}


def overrides(config: Config, flags: Mapping[str, object]) -> Config:
    """The settings with the flags of ``init join up`` laid over them: ``listen_overlay`` .. ``listen_stub`` (texts), ``no_lan``.

    Absent, None, empty and False flags change nothing. Raises ``UsageError``.
    """
    for flag, (section, key) in FLAGS.items():
        given = flags.get(flag)
        if given:
            try:
                value = SETTINGS[section][key].rule(list(given) if isinstance(given, (list, tuple)) else given)
            except ValueError as error:
                raise UsageError(f"--{flag.replace('_', '-')}: {error}", "write IP:PORT, [IP]:PORT or off", rule="flag") from None
            config = dataclasses.replace(config, listen=dataclasses.replace(config.listen, **{key: value}))
    if flags.get("no_lan"):
        config = dataclasses.replace(config, lan=dataclasses.replace(config.lan, discovery=False))
    return config


def plain(config: Config, *, effective: bool = True) -> dict[str, dict[str, Any]]:
    """The tree as JSON carries it; without ``effective`` only what differs from the defaults."""
    return {
        section: kept
        for section, settings in SETTINGS.items()
        if (kept := {key: value for key, value in _values(config, section, settings) if effective or value != _default(section, key)})
    }


def dump(config: Config, *, effective: bool = True) -> str:
    """The tree as TOML that :func:`parse` reads back to the same tree."""
    tables = plain(config, effective=effective)
    return "\n".join(
        f"[{section}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items()) for section, table in tables.items()
    )


def _values(config: Config, section: str, settings: Mapping[str, Setting]) -> Iterator[tuple[str, Any]]:
    part = getattr(config, section)
    for key in settings:
        value = getattr(part, key)
        yield key, "off" if value == OFF else list(value) if isinstance(value, tuple) else value


def _default(section: str, key: str) -> Any:
    return dict(_values(Config(), section, SETTINGS[section]))[key]
