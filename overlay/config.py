"""``overlay.toml``: one frozen tree of settings from one file, every mistake reported at once (CONTRACT, "Configuration").

It decides which keys there are, what they may hold and what holds without them; a mistyped key is an error with its line
and its nearest neighbour, never a setting silently ignored. It refuses to know what a setting does: whoever acts on it
reads the field. ``SETTINGS`` is the table that the reader, the writer and the reference in ``docs/configuration.md`` share.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from overlay.errors import ConfigError, UsageError
from overlay.wire.address import parse_address

FILE: Final = "overlay.toml"  # in the home
OFF: Final = ("off",)
_MAX_OCTETS: Final = 1_048_576  # a guess: a thousand times the longest sensible file
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.@-]{1,15}")  # IFNAMSIZ of Linux less its final zero
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
    advertise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Which world a name belongs to, and who answers for the public one (empty: the system's own resolvers)."""

    policy: str = "overlay-first"
    upstream: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lan:
    """The own LAN. ``virtual_ip`` is ``IP/prefix`` in its shortest form, or empty."""

    discovery: bool = True
    admit: bool = False
    virtual_ip: str = ""


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
    lan: Lan = field(default_factory=Lan)
    release: Release = field(default_factory=Release)
    operate: Operate = field(default_factory=Operate)


class Problem(NamedTuple):
    """One mistake in the file: its line (from 1) and what is wrong, as a person reads it."""

    line: int
    text: str


class InvalidConfig(ConfigError):
    """The file has mistakes; ``problems`` lists them all, in the order of their lines."""

    def __init__(self, path: Path, problems: tuple[Problem, ...]) -> None:
        told = "; ".join(f"line {problem.line}: {problem.text}" for problem in problems)
        super().__init__(f"{path}: {told}", "correct it, then try `overlay config check`", rule="config")
        self.problems = problems


# What a value may be. Each rule returns the value as the tree holds it, or raises ValueError with the rest of a sentence.


def _listener(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        # The address is judged with a port that always passes; port 0 lets the system choose, which only tests want.
        parse_address(text[: len(text) - len(port)] + "1", 0)
        if not (port.isascii() and port.isdigit() and int(port) < 65_536) or host.startswith("[") is not (ip.version == 6):
            raise ValueError
    except (ValueError, UsageError):
        raise ValueError(f"{text[:80]!r} is not an address to listen on: write IP:PORT, IPv6 as [IP]:PORT") from None
    return f"[{ip}]:{int(port)}" if ip.version == 6 else f"{ip}:{int(port)}"


def _texts(value: object, each: Callable[[str], str]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'wants a list of strings, such as ["..."], not {_shown(value)}')
    found = tuple(each(item) for item in value)
    twice = [item for item in found if found.count(item) > 1]
    if twice:
        raise ValueError(f"names {twice[0]} twice")
    return found


def _listeners(value: object) -> tuple[str, ...]:
    if value in ("off", ["off"]):
        return OFF
    if isinstance(value, list) and "off" in value:
        raise ValueError('is either a list of addresses or "off"')
    if not isinstance(value, list) or not value:
        raise ValueError(f'wants a list such as ["127.0.0.1:53"], or "off", not {_shown(value)}')
    return _texts(value, _listener)


def _advertised(value: object) -> tuple[str, ...]:
    def one(text: str) -> str:
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            if _INTERFACE.fullmatch(text) and not re.fullmatch(r"[0-9.]+", text):
                return text
        raise ValueError(f"{text[:80]!r} is neither an interface nor an IP address")

    return _texts(value, one)


def _upstreams(value: object) -> tuple[str, ...]:
    def one(text: str) -> str:
        try:
            return str(parse_address(text, 53))
        except UsageError:
            raise ValueError(f"{text[:80]!r} is not the address of a resolver: write IP or IP:PORT") from None

    return _texts(value, one)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is true or false, not {_shown(value)}")
    return value


def _virtual(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'wants a string such as "192.168.1.250/24", not {_shown(value)}')
    if not value:
        return ""
    try:
        found = ipaddress.ip_interface(value)
        if "/" not in value or found.ip == found.network.network_address or found.ip.is_multicast:
            raise ValueError
    except ValueError:
        raise ValueError(f'{value[:80]!r} is not the address of a host with its prefix: write "192.168.1.250/24"') from None
    return str(found)


def _choice(*words: str) -> Callable[[object], str]:
    def rule(value: object) -> str:
        if value not in words or not isinstance(value, str):
            near = difflib.get_close_matches(value, words, 1) if isinstance(value, str) else []
            told = ", ".join(f'"{word}"' for word in words[:-1]) + f' or "{words[-1]}"'
            raise ValueError(f"is {told}, not {_shown(value)}" + (f'; did you mean "{near[0]}"?' if near else ""))
        return value

    return rule


def _shown(value: object) -> str:
    for kind, name in ((bool, "the truth value"), (int, "the number"), (float, "the number"), (str, "the string")):
        if isinstance(value, kind):
            return f"{name} {_toml(value)[:80]}"
    return "a list" if isinstance(value, list) else "a section" if isinstance(value, dict) else "a date"


class Setting(NamedTuple):
    """One key: its rule and, for the reference, what it means."""

    rule: Callable[[object], Any]
    meaning: str


SETTINGS: Final[dict[str, dict[str, Setting]]] = {
    "listen": {
        "overlay": Setting(_listeners, "overlay sessions, UDP and TCP; taken: exit 1, naming the holder"),
        "tls": Setting(_listeners, "overlay sessions inside TLS 1.3; taken or not permitted: skipped with a warning"),
        "http": Setting(_listeners, "mirror and releases; taken or not permitted: 8053, then the next free port"),
        "dns": Setting(_listeners, "authoritative DNS for the world; taken or not permitted: off"),
        "stub": Setting(_listeners, "resolver for this machine; taken or not permitted: 5300, then the next free port"),
        "advertise": Setting(_advertised, "interfaces or addresses to tell others beside those found (bridges and VPNs are left out)"),
    },
    "names": {
        "policy": Setting(_choice("overlay-first", "exclusive", "public-first", "suffix-only"), "which world wins where a name is in both"),
        "upstream": Setting(_upstreams, "resolvers for public names; empty: the system's own"),
    },
    "lan": {
        "discovery": Setting(_truth, "look for neighbours by beacons, and send them"),
        "admit": Setting(_truth, "invite overlays: presence on the LAN is enough to be let in"),
        "virtual_ip": Setting(_virtual, 'such as "192.168.1.250/24": the gateway carries it, announced by gratuitous ARP'),
    },
    "release": {"kernel": Setting(_choice("yes", "no", "ask"), "may releases of the kernel channel replace this program")},
    "operate": {"reboot": Setting(_choice("program", "machine"), "what a reboot from afar restarts")},
}
_KINDS: Final[dict[str, type]] = {"listen": Listen, "names": Names, "lan": Lan, "release": Release, "operate": Operate}


def load(home: Path) -> Config:
    """The settings of that home; the defaults where it has no ``overlay.toml``.

    Raises ``InvalidConfig`` with all mistakes, ``ConfigError`` where the file cannot be read.
    """
    path = home / FILE
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_OCTETS + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", "check its owner and mode, or choose another --home", rule="config-file"
        ) from None
    if len(data) > _MAX_OCTETS:
        raise ConfigError(f"{path} is longer than {_MAX_OCTETS} octets", "that is no configuration: correct it", rule="config-file")
    try:
        return parse(data.decode(), path)
    except UnicodeDecodeError as error:
        raise InvalidConfig(path, (Problem(data[: error.start].count(b"\n") + 1, "is not text in UTF-8"),)) from None


def parse(text: str, path: Path) -> Config:
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
        f"[{section}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items()) for section, table in tables.items()
    )


def _values(config: Config, section: str, settings: Mapping[str, Setting]) -> Iterator[tuple[str, Any]]:
    part = getattr(config, section)
    for key in settings:
        value = getattr(part, key)
        yield key, "off" if value == OFF else list(value) if isinstance(value, tuple) else value


def _default(section: str, key: str) -> Any:
    return dict(_values(Config(), section, SETTINGS[section]))[key]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        # TOML's basic strings: quote, backslash and control characters escaped; the rest stands as it is.
        return '"' + re.sub(r'["\\\x00-\x1f\x7f]', lambda found: f"\\u{ord(found[0]):04x}", value) + '"'
    return str(value)


def remember(home: Path, config: Config) -> bool:
    """Write what differs from the defaults as the ``overlay.toml`` of that home, unless there is one or nothing differs.

    So listeners chosen when a node is founded or enrolled hold when it starts again. Raises ``ConfigError``.
    """
    text = dump(config, effective=False)
    if not text:
        return False
    try:
        with (home / FILE).open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"cannot write {home / FILE}: {error.strerror}", "check the owner and mode of the home", rule="config-file"
        ) from None
    return True
