"""Which sockets a run gets: bound as configured, by the fallbacks of CONTRACT ("Configuration", [listen]).

It decides what happens where a port is taken or not permitted, that UDP and TCP of one listener stand or fall together,
and that wildcards of ``dns`` and ``http`` become one socket per interface address, also of addresses that come later. It
refuses to know what is served on them. Sockets may also come from outside (``LISTEN_FDS`` of systemd, or a predecessor): DESIGN 3.13.

    overlay  taken: ConfigError naming the holder        dns   taken: off
    http     taken: 8053, then the next free port        stub  taken: 5300, then the next free port
    whois    taken: off                                 tls   taken: off
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from overlay.driver.holder import holder
from overlay.driver.interfaces import Interface, interfaces
from overlay.errors import ConfigError, UsageError
from overlay.wire.address import Address

OFF: Final = "off"
ANY: Final = ("0.0.0.0", "::")
FIRST_FALLBACK: Final = {"http": 8053, "stub": 5300}
FALLBACKS: Final = 100  # ports tried from there
BACKLOG: Final = 128
_PASSED: Final = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_REFUSED: Final = (errno.EADDRINUSE, errno.EACCES, errno.EPERM)
_NO_IPV6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_IP_FREEBIND: Final = 15  # linux/in.h
_IPV6_FREEBIND: Final = 78  # linux/in6.h
_EPHEMERAL_TRIES: Final = 20  # a port chosen for TCP may be taken for UDP

Notice = Callable[[str], None]
T = TypeVar("T")


class Wanted(Protocol):
    """``[listen]``: each a tuple of ``IP:PORT``, or of the one word ``off``. Port 0 lets the system choose."""

    @property
    def overlay(self) -> tuple[str, ...]: ...
    @property
    def tls(self) -> tuple[str, ...]: ...
    @property
    def http(self) -> tuple[str, ...]: ...
    @property
    def dns(self) -> tuple[str, ...]: ...
    @property
    def stub(self) -> tuple[str, ...]: ...
    @property
    def whois(self) -> tuple[str, ...]: ...


@dataclass(slots=True)
class Wildcard:
    """A wildcard of `http` or `dns`: what it stands for changes with the machine's addresses."""

    kind: str
    asked: Address
    port: int  # as bound: for `http` perhaps a fallback
    told: set[str] = field(default_factory=set)  # hosts of which it was said why there is no socket

    def owns(self, sock: socket.socket) -> bool:
        """Whether a socket of its kind is there because of it."""
        return name_of(sock).port == self.port and (sock.family == socket.AF_INET6) == (self.asked.family == 6)


@dataclass(frozen=True, slots=True)
class Moved:
    """What changed with the machine's addresses: sockets opened, by what they are for, and those that have left ``Listeners``."""

    opened: tuple[tuple[str, socket.socket], ...] = ()
    closing: tuple[socket.socket, ...] = ()


@dataclass(slots=True)
class Listeners:
    """Bound, listening, non-blocking sockets by what they are for."""

    overlay_udp: list[socket.socket] = field(default_factory=list)
    overlay_tcp: list[socket.socket] = field(default_factory=list)
    tls: list[socket.socket] = field(default_factory=list)
    http: list[socket.socket] = field(default_factory=list)
    dns_udp: list[socket.socket] = field(default_factory=list)
    dns_tcp: list[socket.socket] = field(default_factory=list)
    stub_udp: list[socket.socket] = field(default_factory=list)
    stub_tcp: list[socket.socket] = field(default_factory=list)
    whois: list[socket.socket] = field(default_factory=list)
    wildcards: list[Wildcard] = field(default_factory=list)

    def bound(self) -> dict[str, list[str]]:
        """``listen`` of ``overlay status``: what is really bound, as ``IP:PORT``."""
        pairs = {"overlay": self.overlay_tcp, "tls": self.tls, "http": self.http, "dns": self.dns_udp, "stub": self.stub_udp}
        pairs |= {"whois": self.whois} if self.whois else {}
        return {kind: [str(name_of(sock)) for sock in socks] for kind, socks in pairs.items()}

    def all(self) -> list[socket.socket]:
        """Every socket."""
        inner, outer = [*self.stub_udp, *self.stub_tcp], [*self.overlay_udp, *self.overlay_tcp, *self.tls, *self.http]
        return [*outer, *self.dns_udp, *self.dns_tcp, *inner, *self.whois]

    def follow(self, here: Sequence[Interface], notice: Notice) -> Moved:
        """The machine's addresses are these now: open what is missing, give up what is gone. Closing it is the caller's."""
        opened: list[tuple[str, socket.socket]] = []
        closing: list[socket.socket] = []
        for wildcard in self.wildcards:
            hosts = _spread(wildcard.asked, here, loopback=wildcard.kind == "http")
            wildcard.told &= set(hosts)
            shelves = {"http": [self.http], "dns": [self.dns_udp, self.dns_tcp]}[wildcard.kind]
            for shelf in shelves:
                gone = [sock for sock in shelf if wildcard.owns(sock) and name_of(sock).host not in hosts]
                closing += gone
                shelf[:] = [sock for sock in shelf if sock not in gone]
            held = {name_of(sock).host for sock in shelves[0] if wildcard.owns(sock)}
            for host in (host for host in hosts if host not in held):
                try:
                    opened += [(wildcard.kind, sock) for sock in self._open_at(wildcard, host)]
                except OSError as error:
                    one = Address(host, wildcard.port)
                    if host not in wildcard.told and error.errno != errno.EADDRNOTAVAIL:  # not ready yet: told of again when it is
                        notice(f"{wildcard.kind}: {one} {_reason(one, error, ('udp', 'tcp') if wildcard.kind == 'dns' else ('tcp',))}: off")
                        wildcard.told.add(host)
        return Moved(tuple(opened), tuple(closing))

    def _open_at(self, wildcard: Wildcard, host: str) -> list[socket.socket]:
        one = Address(host, wildcard.port)
        if wildcard.kind == "http":
            self.http.append(_tcp(one))
            return self.http[-1:]
        udp, tcp = _pair(one)
        self.dns_udp.append(udp)
        self.dns_tcp.append(tcp)
        return [udp, tcp]

    def close(self) -> None:
        """Close every socket."""
        for sock in self.all():
            sock.close()


def name_of(sock: socket.socket) -> Address:
    """Where a socket is bound."""
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def open_listeners(
    wanted: Wanted,
    notice: Notice,
    *,
    given: Listeners | None = None,
    found: Sequence[Interface] | None = None,
) -> Listeners:
    """Open what ``wanted`` asks for; ``notice`` gets one line for each fallback.

    ``given`` are sockets of :func:`inherited`: a kind that it has is not opened again. ``found`` are the machine's
    interfaces (asked for by default). Raises ``ConfigError`` where an overlay listener cannot be had, ``UsageError``
    for what is not ``IP:PORT``; nothing stays open then.
    """
    ours = given if given is not None else Listeners()
    here = found if found is not None else interfaces()
    with ExitStack() as undo:
        undo.callback(ours.close)
        if not ours.overlay_udp:
            _open_overlay(_addresses(wanted.overlay), ours)
        if not ours.tls:
            _open_tls(_addresses(wanted.tls), ours, notice)
        if not ours.http:
            _open_http(_addresses(wanted.http), here, ours, notice)
        if not ours.dns_udp:
            _open_dns(_addresses(wanted.dns), here, ours, notice)
        if not ours.stub_udp:
            _open_stub(_addresses(wanted.stub), ours, notice)
        if not ours.whois:
            _open_whois(_addresses(wanted.whois), ours, notice)
        undo.pop_all()
    _tell_absent(ours, here, notice)
    return ours


def _tell_absent(ours: Listeners, here: Sequence[Interface], notice: Notice) -> None:
    """Say which addresses that were asked for the machine has not got."""
    present = {*ANY, *(one.host for one in here)}
    for sock in ours.all():
        bound = name_of(sock)
        host = bound.host.partition("%")[0]
        if sock.type == socket.SOCK_STREAM and host not in present and not ipaddress.ip_address(host).is_loopback:
            notice(f"{bound} is not an address of this machine yet: it is listened at from when it is")


# --- the four kinds


def _open_overlay(addresses: Sequence[Address], ours: Listeners) -> None:
    for address in addresses:
        try:
            udp, tcp = _pair(address)
        except OSError as error:
            if error.errno in _NO_IPV6 and address.host == "::":
                continue  # a machine without IPv6; the default asks for both families
            raise _refused(address, error) from None
        ours.overlay_udp.append(udp)
        ours.overlay_tcp.append(tcp)
    if addresses and not ours.overlay_udp:
        raise ConfigError("this machine has no IPv6", 'set [listen] overlay = ["0.0.0.0:7653"]', rule="listen-overlay")
    if not addresses:  # "off": nobody can come to us, but we still go to others
        for host in ("0.0.0.0", "::"):
            try:
                ours.overlay_udp.append(_udp(Address(host, 0)))
            except OSError as error:
                if host == "0.0.0.0" or error.errno not in _NO_IPV6:
                    ours.close()
                    raise _refused(Address(host, 0), error) from None


def _open_tls(addresses: Sequence[Address], ours: Listeners, notice: Notice) -> None:
    for address in addresses:
        try:
            ours.tls.append(_tcp(address))
        except OSError as error:
            if error.errno not in _NO_IPV6 or address.host != "::":
                notice(f"tls: {address} {_reason(address, error, ('tcp',))}: off")


def _open_http(addresses: Sequence[Address], here: Sequence[Interface], ours: Listeners, notice: Notice) -> None:
    for address in addresses:
        hosts = _spread(address, here, loopback=True)
        found = _first_free("http", address, ("tcp",), functools.partial(_all_of, hosts), notice)
        ours.http += found or []
        if address.host in ANY and found is not None:
            ours.wildcards.append(Wildcard("http", address, name_of(found[0]).port if found else address.port))


def _open_dns(addresses: Sequence[Address], here: Sequence[Interface], ours: Listeners, notice: Notice) -> None:
    for address in addresses:
        allowed = True
        for host in _spread(address, here, loopback=False):
            # One address at a time: a hypervisor's own server on its bridge must not cost us the others.
            one = Address(host, address.port)
            try:
                udp, tcp = _pair(one)
            except OSError as error:
                notice(f"dns: {one} {_reason(one, error, ('udp', 'tcp'))}: off")
                allowed = error.errno not in (errno.EACCES, errno.EPERM)
                if not allowed:
                    break  # the same on every address; said once
                continue
            ours.dns_udp.append(udp)
            ours.dns_tcp.append(tcp)
        if address.host in ANY and allowed:
            ours.wildcards.append(Wildcard("dns", address, address.port))


def _open_stub(addresses: Sequence[Address], ours: Listeners, notice: Notice) -> None:
    for address in addresses:
        found = _first_free("stub", address, ("udp", "tcp"), functools.partial(_pair_at, address.host), notice)
        if found is not None:
            ours.stub_udp.append(found[0])
            ours.stub_tcp.append(found[1])


def _open_whois(addresses: Sequence[Address], ours: Listeners, notice: Notice) -> None:
    for address in addresses:
        try:
            ours.whois.append(_tcp(address))
        except OSError as error:
            notice(f"whois: {address} {_reason(address, error, ('tcp',))}: off")


def _first_free(
    kind: str, address: Address, protocols: Sequence[str], bind: Callable[[int], T], notice: Notice
) -> T | None:
    """``bind(port)`` with the port asked for, else with the fallbacks of its kind, the reason told in one line."""
    first = FIRST_FALLBACK[kind]
    reason = ""
    for port in (address.port, *(fallback for fallback in range(first, first + FALLBACKS) if fallback != address.port)):
        try:
            found = bind(port)
        except OSError as error:
            reason = reason or _reason(address, error, protocols)
            if error.errno not in _REFUSED:
                break
            continue
        if reason:
            notice(f"{kind}: {address} {reason}: using port {port}")
        return found
    notice(f"{kind}: {address} {reason}: off")
    return None


def _spread(address: Address, here: Sequence[Interface], *, loopback: bool) -> list[str]:
    """A wildcard -> the interface addresses it stands for; any other address -> itself."""
    if address.host not in ANY:
        return [address.host]
    six = address.family == 6
    hosts = [one.host for one in here if (":" in one.host) is six and not one.link_local and (loopback or not one.loopback)]
    return list(dict.fromkeys(hosts))


def _addresses(texts: Sequence[str]) -> list[Address]:
    addresses = []
    for text in texts:
        if text == OFF:
            continue
        host, _, port = text.rpartition(":")
        try:
            ip = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
            if not (port.isascii() and port.isdigit() and int(port) < 65_536) or host.startswith("[") is not (ip.version == 6):
                raise ValueError
        except ValueError:
            raise UsageError(f"{text[:80]!r} is not an address to listen on", "write IP:PORT, IPv6 as [IP]:PORT", rule="listen") from None
        addresses.append(Address(str(ip), int(port)))
    return addresses


# --- sockets


def _udp(address: Address) -> socket.socket:
    return _bound(address, socket.SOCK_DGRAM)


def _tcp(address: Address) -> socket.socket:
    return _bound(address, socket.SOCK_STREAM)


def _bound(address: Address, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if address.family == 6 else socket.AF_INET, kind)
    try:
        sock.setblocking(False)
        if address.family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last run may still linger
        host, _, scope = address.host.partition("%")
        name = (host, address.port, 0, socket.if_nametoindex(scope) if scope else 0) if address.family == 6 else (host, address.port)
        try:
            sock.bind(name)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or not _bind_free(sock):
                raise
            sock.bind(name)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_free(sock: socket.socket) -> bool:
    """Let it be bound to an address that the machine has not got yet: at a boot the network may come after us. Linux only."""
    if sys.platform != "linux":
        return False
    six = sock.family == socket.AF_INET6
    sock.setsockopt(socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP, _IPV6_FREEBIND if six else _IP_FREEBIND, 1)
    return True


def _pair(address: Address) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port, or an ``OSError`` and neither."""
    for attempt in range(_EPHEMERAL_TRIES):
        tcp = _tcp(address)
        try:
            return _udp(name_of(tcp)), tcp
        except OSError as error:
            tcp.close()
            if address.port != 0 or error.errno != errno.EADDRINUSE or attempt == _EPHEMERAL_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _pair_at(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    return _pair(Address(host, port))


def _all_of(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """TCP on that port of every host, or an ``OSError`` and none."""
    socks: list[socket.socket] = []
    try:
        for host in hosts:
            socks.append(_tcp(Address(host, port)))
            port = name_of(socks[0]).port  # port 0: the first choice holds for all
    except OSError:
        for sock in socks:
            sock.close()
        raise
    return socks


# --- why not


def _refused(address: Address, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"overlay: {address} {_reason(address, error, ('udp', 'tcp'))}",
            "end that program, or choose another port with --listen-overlay",
            rule="listen-overlay",
        )
    return ConfigError(
        f"overlay: {address} cannot be bound: {error.strerror}", "choose an address and port that this user may use", rule="listen-overlay"
    )


def _reason(address: Address, error: OSError, protocols: Sequence[str]) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"is taken by {holder(address, protocols)}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "is not permitted"
    return f"cannot be bound ({error.strerror})"


# --- from outside


def inherited(environment: MutableMapping[str, str] | None = None) -> Listeners | None:
    """The sockets that systemd or a predecessor passed on (sd_listen_fds(3)), or None.

    ``LISTEN_FDNAMES`` says what each is for (``overlay tls http dns stub``); what has no such name is told by its port.
    The variables are removed, so that our children do not take them for theirs. Raises ``ConfigError`` for what is no
    such socket.
    """
    env = environment if environment is not None else os.environ
    count, pid, names = (env.pop(f"LISTEN_{word}", "") for word in ("FDS", "PID", "FDNAMES"))
    if not count.isdigit() or (pid and pid != str(os.getpid())) or not int(count):
        return None
    labels: Mapping[int, str] = dict(enumerate(names.split(":")))
    ours = Listeners()
    for n in range(int(count)):
        try:
            os.set_inheritable(_PASSED + n, False)
            sock = socket.socket(fileno=_PASSED + n)
            _shelve(ours, sock, labels.get(n, ""))
        except (OSError, ValueError) as error:
            raise ConfigError(f"the inherited descriptor {_PASSED + n} is of no use: {error}", "check the socket unit", rule="inherited") from None
    return ours


def _shelve(ours: Listeners, sock: socket.socket, label: str) -> None:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        sock.close()
        raise ValueError("neither IPv4 nor IPv6")
    sock.setblocking(False)
    address = name_of(sock)
    loopback = ipaddress.ip_address(address.host.partition("%")[0]).is_loopback
    by_port = {53: "stub" if loopback else "dns", 5300: "stub", 80: "http", 443: "tls", 8053: "http", 43: "whois"}
    kind = label if label in ("overlay", "tls", "http", "dns", "stub", "whois") else by_port.get(address.port, "overlay")
    udp = sock.type == socket.SOCK_DGRAM
    shelves = {
        ("overlay", True): ours.overlay_udp,
        ("overlay", False): ours.overlay_tcp,
        ("tls", False): ours.tls,
        ("http", False): ours.http,
        ("dns", True): ours.dns_udp,
        ("dns", False): ours.dns_tcp,
        ("stub", True): ours.stub_udp,
        ("stub", False): ours.stub_tcp,
        ("whois", False): ours.whois,
    }
    if (kind, udp) not in shelves:
        sock.close()
        raise ValueError(f"{kind} is not served over UDP")
    shelves[kind, udp].append(sock)
