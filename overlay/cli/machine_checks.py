"""Checks of this machine, for ``overlay doctor``: the home, the disk, the user, the network's settings. They need no running node.

Each looks and says; none changes anything, and none asks another machine. What a node alone knows stands in
``node_checks.py``, what the public DNS says in ``zone_check.py``.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from overlay import limits
from overlay.cli.config_file import load
from overlay.cli.membership import IDENTITY, ROOT_KEY, STATE
from overlay.config import FILE, InvalidConfig
from overlay.driver.interfaces import Interface
from overlay.driver.privilege import USER
from overlay.errors import ConfigError, OverlayError
from overlay.findings import FAILED, OK, SKIPPED, WARNING, Finding
from overlay.identity.keys import Identity
from overlay.wire.address import Address, parse_address
from tld.driver.host import RESOLV_CONF, is_own, parse_resolv_conf

LITTLE: Final = (16 << 20, 128 << 20)  # octets free: below the first a node cannot work, below the second not for long; guess
RESOLVED: Final = "127.0.0.53"  # where systemd-resolved answers


def home(place: Path) -> list[Finding]:
    """The home: there, the node's own, and its secrets nobody else's."""
    if not place.is_dir():
        if place.exists():
            return [Finding("home", FAILED, f"{place} is not a directory", "name another --home")]
        return [Finding("home", SKIPPED, f"{place} does not exist", "overlay init or overlay join makes it, or name another --home")]
    try:
        found = list(_home(place))
    except OSError as error:
        return [Finding("home", SKIPPED, f"{error.filename or place} cannot be looked at: {error.strerror}", "ask as its owner or root")]
    return found or [Finding("home", OK, f"{place}: its files are in order")]


def _home(place: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(place.stat().st_mode)
    if mode & 0o002:
        yield Finding("home", FAILED, f"anybody may change {place} (mode {mode:04o})", f"chmod 750 {place}")
    identity = place / IDENTITY
    if not identity.exists():
        yield Finding("home", SKIPPED, f"{place} holds no node yet", "overlay init founds an overlay, overlay join enters one")
        return
    secrets = [identity, *sorted(place.glob(ROOT_KEY)), *sorted(place.glob("root-*.key"))]
    for path in [*secrets, *([place / STATE] if (place / STATE).exists() else [])]:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            told = f"others may read {path} (mode {mode:04o})"
            yield Finding("home", FAILED if path in secrets else WARNING, told, f"chmod 600 {path}; who has read it can be this node")
    try:
        Identity.from_file(identity.read_text(errors="replace"), str(identity))
    except OverlayError as error:
        yield Finding("home", FAILED, error.what, error.todo or "restore it from a backup")
    for path in secrets[1:]:
        yield Finding("home", WARNING, f"a root key lies on this machine: {path}", "overlay root export DIR moves it to where nobody else reads it")
    owners = {path.stat().st_uid: path for path in (place, identity, place / STATE) if path.exists()}
    if len(owners) > 1:
        told = ", ".join(f"{path} to {_user(uid)}" for uid, path in sorted(owners.items()))
        yield Finding("home", WARNING, f"files of the home belong to several users: {told}", f"chown -R USER {place}, USER being who runs the node")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def settings(place: Path) -> Finding:
    """Whether ``overlay.toml`` reads."""
    try:
        load(place)
    except InvalidConfig as error:
        count = len(error.problems)
        return Finding("settings", FAILED, f"{place / FILE} has {count} mistake{'s' if count > 1 else ''}", "overlay config check names each")
    except ConfigError as error:
        return Finding("settings", FAILED, error.what, error.todo)
    return Finding("settings", OK, f"{place / FILE} is valid" if (place / FILE).exists() else "the defaults hold")


def space(place: Path) -> Finding:
    """Whether the disk under the home has room."""
    there = next((path for path in (place, *place.parents) if path.exists()), Path("/"))
    try:
        disk = os.statvfs(there)
    except OSError as error:
        return Finding("space", SKIPPED, f"{there} cannot be looked at: {error.strerror}", "ask as its owner or root")
    free = disk.f_bavail * disk.f_frsize
    told = f"{free >> 20:,} MiB free at {there}"
    if disk.f_flag & os.ST_RDONLY:
        return Finding("space", FAILED, f"{there} can only be read", "mount it for writing")
    if free < LITTLE[0] or (disk.f_files and not disk.f_favail):
        return Finding("space", FAILED, f"no room: {told}", "make room: what cannot be stored is not acknowledged")
    return Finding("space", WARNING if free < LITTLE[1] else OK, told, "make room" if free < LITTLE[1] else "")


def user(euid: int) -> Finding:
    """Whom the node runs as, or would: root alone where nobody made a user for it."""
    if euid != 0:
        return Finding("user", OK, f"not root but {_user(euid)}")
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return Finding(
            "user", WARNING, "the node runs as root: there is no user `overlay` to become",
            f"useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin {USER}, then start it again",
        )  # fmt: skip
    return Finding("user", OK, f"started as root, runs as {USER}")


def udp_buffer() -> Finding:
    """Whether the system gives a socket the room that bursts of datagrams need."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.UDP_BUFFER)
        got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    got //= 2 if os.path.isdir("/proc/self") else 1  # Linux says twice what it gives: socket(7)
    if got >= limits.UDP_BUFFER:
        return Finding("udp buffer", OK, f"{got >> 10:,} KiB a socket")
    return Finding(
        "udp buffer", WARNING, f"a socket gets {got >> 10:,} KiB of {limits.UDP_BUFFER >> 10:,}: bursts are dropped",
        f"sysctl -w net.core.rmem_max={limits.UDP_BUFFER} (and in /etc/sysctl.d, to last)",
    )  # fmt: skip


def ipv6(found: Sequence[Interface], bound: Sequence[str] | None) -> Finding:
    """Whether IPv6 is there and used. ``bound``: the node's overlay listeners, None where none runs."""
    hosts = [one.host for one in found if ":" in one.host and not one.loopback and not one.link_local]
    if not hosts:
        return Finding("ipv6", OK, "this machine has no IPv6 address; IPv4 alone is used")
    if bound is not None and not any(text.startswith("[") for text in bound):
        return Finding("ipv6", WARNING, f"this machine has {hosts[0]}, and the node listens on IPv4 alone", 'add "[::]:7653" to [listen] overlay')
    return Finding("ipv6", OK, f"{len(hosts)} address{'es' if len(hosts) > 1 else ''}, such as {hosts[0]}")


def resolver(stubs: Sequence[str] | None, tld: str, file: Path = RESOLV_CONF) -> Finding:
    """Whether the programs of this machine ask the node's stub. ``stubs``: where it answers, None where no node runs."""
    if stubs is None:
        return Finding("resolver", SKIPPED, "no node runs, so there is no stub to be used", "overlay up")
    if not stubs:
        return Finding("resolver", WARNING, "the stub is off: no program of this machine resolves the overlay's names", "set [listen] stub")
    try:
        asked = parse_resolv_conf(file.read_text(errors="replace"))
    except OSError as error:
        return Finding("resolver", SKIPPED, f"{file} cannot be read: {error.strerror}", "ask as root")
    own = [parse_address(text, 53) for text in stubs]
    if any(is_own(address, own) for address in asked):
        return Finding("resolver", OK, f"{file} names the stub")
    if any(address.host == RESOLVED for address in asked):
        return Finding("resolver", SKIPPED, "systemd-resolved answers here; whom it asks was not checked", f"resolvectl query NAME.{tld} shows it")
    told = ", ".join(address.host for address in asked) or "nobody"
    return Finding("resolver", WARNING, f"{file} names {told}, not the stub: names below {tld} resolve for who asks the stub alone", _use(own, file))


def _use(own: Sequence[Address], file: Path) -> str:
    usual = next((address for address in own if address.port == 53), None)
    if usual is not None:
        return f"put `nameserver {usual.host}` first in {file}"
    return f"ask it by hand (dig @{own[0].host} -p {own[0].port}), or free port 53: {file} knows no other"
