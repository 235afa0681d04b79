"""Sockets of a run: the contract's fallbacks, each with its line, on loopback addresses."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from overlay.driver import listen
from overlay.driver.holder import holder
from overlay.driver.interfaces import Interface
from overlay.driver.listen import Listeners, Moved, inherited, name_of, open_listeners
from overlay.errors import ConfigError, UsageError
from overlay.wire.address import Address

HERE = [Interface("lo", "127.0.0.1", 8, True), Interface("eth0", "127.0.7.1", 24, False), Interface("eth1", "127.0.7.2", 24, False)]


@dataclass(frozen=True)
class Listen:
    overlay: tuple[str, ...] = ("off",)
    tls: tuple[str, ...] = ("off",)
    http: tuple[str, ...] = ("off",)
    dns: tuple[str, ...] = ("off",)
    stub: tuple[str, ...] = ("off",)
    whois: tuple[str, ...] = ("off",)


@contextmanager
def opened(wanted: Listen, notices: list[str] | None = None) -> Iterator[Listeners]:
    ours = open_listeners(wanted, (notices if notices is not None else []).append, found=HERE)
    try:
        yield ours
    finally:
        ours.close()


@contextmanager
def taken(host: str, *, tcp: bool = True, port: int = 0) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.bind((host, port or free_port()))
        if tcp:
            sock.listen()
        yield sock.getsockname()[1]


def free_port() -> int:
    """A port that nobody holds on any address, below those that the system hands out by itself."""
    for port in range(20_000 + os.getpid() % 5_000, 30_000):
        try:
            with taken("0.0.0.0", port=port), taken("0.0.0.0", tcp=False, port=port):
                return port
        except OSError:
            continue
    raise AssertionError("no free port")


def port_of(text: str) -> int:
    return int(text.rpartition(":")[2])


def test_overlay_is_udp_and_tcp_on_one_port() -> None:
    with opened(Listen(overlay=("127.0.0.1:0", "[::1]:0"))) as ours:
        bound = ours.bound()
        assert len(bound["overlay"]) == 2 and bound["overlay"][1].startswith("[::1]:")
        assert [s.getsockname()[:2] for s in ours.overlay_udp] == [s.getsockname()[:2] for s in ours.overlay_tcp]
        assert all(not sock.getblocking() and not sock.get_inheritable() for sock in ours.all())


@pytest.mark.parametrize("tcp", [True, False])
def test_a_taken_overlay_port_names_its_holder_and_leaves_nothing_open(tcp: bool) -> None:
    with taken("127.0.0.1", tcp=tcp) as port:
        with pytest.raises(ConfigError) as caught:
            open_listeners(Listen(overlay=("127.0.0.2:0", f"127.0.0.1:{port}")), print, found=HERE)
        assert caught.value.exit_status == 1 and len(caught.value.lines()) == 2
        assert f"127.0.0.1:{port}" in caught.value.what and f"(pid {os.getpid()})" in caught.value.what
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if tcp else socket.SOCK_STREAM) as other:
            other.bind(("127.0.0.1", port))  # the half that was free is free again


def test_both_families_of_a_wildcard_share_a_port() -> None:
    port = free_port()
    with opened(Listen(overlay=(f"0.0.0.0:{port}", f"[::]:{port}"))) as ours:
        assert ours.bound()["overlay"] == [f"0.0.0.0:{port}", f"[::]:{port}"]


def test_a_machine_without_ipv6_skips_the_default_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    real = listen._bound

    def no_ipv6(address: Address, kind: int) -> socket.socket:
        if address.family == 6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(address, kind)

    monkeypatch.setattr(listen, "_bound", no_ipv6)
    notices: list[str] = []
    with opened(Listen(overlay=("0.0.0.0:0", "[::]:0")), notices) as ours:
        assert len(ours.overlay_udp) == 1 and notices == []
    with opened(Listen(overlay=("off",))) as ours:
        assert len(ours.overlay_udp) == 1
    with pytest.raises(ConfigError):
        open_listeners(Listen(overlay=("[::1]:0",)), print, found=HERE)
    with pytest.raises(ConfigError):
        open_listeners(Listen(overlay=("[::]:0",)), print, found=HERE)


def test_without_an_overlay_listener_the_node_can_still_send() -> None:
    with opened(Listen()) as ours:
        assert ours.overlay_udp and not ours.overlay_tcp
        assert ours.bound() == {"overlay": [], "tls": [], "http": [], "dns": [], "stub": []}


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:80", "[127.0.0.1]:80", "localhost:80", "", ":80", "[::1]"])
def test_what_is_not_an_address_is_misuse(text: str) -> None:
    with pytest.raises(UsageError):
        open_listeners(Listen(http=(text,)), print, found=HERE)


def test_a_taken_http_port_falls_to_8053_with_one_line() -> None:
    notices: list[str] = []
    with taken("127.0.7.9") as port, opened(Listen(http=(f"127.0.7.9:{port}",)), notices) as ours:
        assert ours.bound()["http"] == ["127.0.7.9:8053"]
        assert len(notices) == 1 and "8053" in notices[0] and f"(pid {os.getpid()})" in notices[0]


def test_where_8053_is_taken_too_the_next_free_port_is_used() -> None:
    notices: list[str] = []
    with taken("127.0.7.9") as port, taken("127.0.7.9", port=8053), taken("127.0.7.9", port=8054):
        wanted = Listen(http=(f"127.0.7.9:{port}",))
        with opened(wanted, notices) as ours:
            assert ours.bound()["http"] == ["127.0.7.9:8055"] and len(notices) == 1


def test_a_forbidden_port_falls_back_like_a_taken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = listen._bound

    def as_a_user(address: Address, kind: int) -> socket.socket:
        if 0 < address.port < 1024:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(address, kind)

    monkeypatch.setattr(listen, "_bound", as_a_user)
    notices: list[str] = []
    wanted = Listen(http=("127.0.7.9:80",), dns=("0.0.0.0:53",), stub=("127.0.7.9:53",))
    with opened(wanted, notices) as ours:
        assert ours.bound() == {"overlay": [], "tls": [], "http": ["127.0.7.9:8053"], "dns": [], "stub": ["127.0.7.9:5300"]}
    assert len(notices) == 3 and all("not permitted" in line for line in notices)
    assert notices[1].endswith("off")


def test_a_wildcard_of_http_is_one_socket_per_interface_address() -> None:
    port = free_port()
    with opened(Listen(http=(f"0.0.0.0:{port}",))) as ours:
        assert ours.bound()["http"] == [f"127.0.0.1:{port}", f"127.0.7.1:{port}", f"127.0.7.2:{port}"]


def test_the_addresses_of_an_http_wildcard_move_together() -> None:
    with taken("127.0.7.2") as port, opened(Listen(http=(f"0.0.0.0:{port}",))) as ours:
        assert len({port_of(text) for text in ours.bound()["http"]}) == 1
        assert port_of(ours.bound()["http"][0]) != port


def test_a_wildcard_of_dns_leaves_loopback_to_the_stub() -> None:
    port = free_port()
    with opened(Listen(dns=(f"0.0.0.0:{port}",), stub=(f"127.0.0.1:{port}",))) as ours:
        assert ours.bound()["dns"] == [f"127.0.7.1:{port}", f"127.0.7.2:{port}"]
        assert ours.bound()["stub"] == [f"127.0.0.1:{port}"]
        assert len(ours.dns_tcp) == 2 and len(ours.stub_tcp) == 1


@pytest.mark.parametrize("tcp", [True, False])
def test_a_taken_dns_port_is_off_with_one_line(tcp: bool) -> None:
    notices: list[str] = []
    with taken("127.0.7.9", tcp=tcp) as port, opened(Listen(dns=(f"127.0.7.9:{port}",)), notices) as ours:
        assert ours.bound()["dns"] == [] and ours.dns_tcp == []
        assert len(notices) == 1 and notices[0].endswith("off") and "taken by" in notices[0]


def test_one_taken_interface_does_not_cost_the_others_their_dns() -> None:
    notices: list[str] = []
    with taken("127.0.7.1", tcp=False) as port, opened(Listen(dns=(f"0.0.0.0:{port}",)), notices) as ours:
        assert ours.bound()["dns"] == [f"127.0.7.2:{port}"] and len(notices) == 1


@pytest.mark.parametrize("tcp", [True, False])
def test_a_taken_stub_port_falls_to_5300_and_on(tcp: bool) -> None:
    notices: list[str] = []
    with taken("127.0.7.9", tcp=tcp) as port, opened(Listen(stub=(f"127.0.7.9:{port}",)), notices) as ours:
        assert ours.bound()["stub"] == ["127.0.7.9:5300"]
        with opened(Listen(stub=(f"127.0.7.9:{port}",))) as second:
            assert second.bound()["stub"] == ["127.0.7.9:5301"]
    assert len(notices) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="others cannot bind an address before it is there")
def test_an_address_that_the_machine_has_not_got_yet_is_listened_at_and_told() -> None:
    notices: list[str] = []
    wanted = Listen(overlay=("203.0.113.77:7653",), http=("203.0.113.77:8053",), stub=("[2001:db8::77]:5300",))
    with opened(wanted, notices) as ours:
        bound = ours.bound()
        assert (bound["overlay"], bound["http"], bound["stub"]) == (["203.0.113.77:7653"], ["203.0.113.77:8053"], ["[2001:db8::77]:5300"])
    assert len(notices) == 3 and all(" is not an address of this machine yet" in line for line in notices)


ETH2 = Interface("eth2", "127.0.7.3", 24, False)


def test_wildcards_follow_the_machines_addresses_and_nothing_else_does() -> None:
    port, notices = free_port(), list[str]()
    wanted = Listen(http=(f"0.0.0.0:{port + 1}",), dns=(f"0.0.0.0:{port}",), stub=("127.0.0.1:0",))
    with taken("127.0.7.2", port=port + 1), opened(wanted, notices) as ours:
        stub = ours.bound()["stub"]
        assert len(notices) == 1  # http has moved to a fallback
        http = port_of(ours.bound()["http"][0])
        moved = ours.follow([HERE[0], HERE[2], ETH2], notices.append)
        assert ours.bound()["http"] == [f"127.0.0.1:{http}", f"127.0.7.2:{http}", f"127.0.7.3:{http}"]
        assert ours.bound()["dns"] == [f"127.0.7.2:{port}", f"127.0.7.3:{port}"]
        assert [name_of(sock).host for sock in ours.dns_tcp] == ["127.0.7.2", "127.0.7.3"]
        assert ours.bound()["stub"] == stub
        assert [(kind, name_of(sock).host, sock.type) for kind, sock in moved.opened] == [
            ("http", "127.0.7.3", socket.SOCK_STREAM), ("dns", "127.0.7.3", socket.SOCK_DGRAM), ("dns", "127.0.7.3", socket.SOCK_STREAM),
        ]
        assert {name_of(sock).host for sock in moved.closing} == {"127.0.7.1"} and len(moved.closing) == 3
        for sock in moved.closing:
            sock.close()
        assert ours.follow([HERE[0], HERE[2], ETH2], notices.append) == Moved()
        assert len(notices) == 1


def test_an_address_that_comes_late_and_is_taken_is_told_once() -> None:
    port, notices = free_port(), list[str]()
    with opened(Listen(dns=(f"0.0.0.0:{port}",)), notices) as ours, taken("127.0.7.3", port=port):
        for _ in range(3):
            ours.follow([*HERE, ETH2], notices.append)
        assert len(notices) == 1 and f"127.0.7.3:{port} is taken by" in notices[0]
        assert len(ours.bound()["dns"]) == 2


def test_a_node_that_started_without_addresses_listens_when_they_come() -> None:
    port, notices = free_port(), list[str]()
    ours = open_listeners(Listen(http=(f"0.0.0.0:{port}",), dns=(f"0.0.0.0:{port + 1}",)), notices.append, found=[])
    try:
        assert ours.bound()["http"] == ours.bound()["dns"] == []
        ours.follow(HERE, notices.append)
        assert ours.bound()["http"] == [f"127.0.0.1:{port}", f"127.0.7.1:{port}", f"127.0.7.2:{port}"]
        assert ours.bound()["dns"] == [f"127.0.7.1:{port + 1}", f"127.0.7.2:{port + 1}"]
        assert notices == []
    finally:
        ours.close()


def test_the_holder_is_unknown_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert holder(Address("127.0.0.1", 1), proc=tmp_path) == "another process"


def test_a_holder_on_the_wildcard_is_found() -> None:
    with taken("0.0.0.0") as port:
        assert f"(pid {os.getpid()})" in holder(Address("127.0.0.1", port), ("tcp",))


def test_sockets_passed_on_are_used_and_the_rest_opened() -> None:
    code = (
        "import os; from overlay.driver.listen import *; from dataclasses import dataclass\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "given = inherited()\n"
        "class W: overlay = ('127.0.0.1:1',); tls = ('off',); http = ('off',); dns = ('off',); stub = ('127.0.0.1:0',); whois = ('off',)\n"
        "ours = open_listeners(W, print, given=given)\n"
        "print(len(ours.overlay_udp), len(ours.overlay_tcp), len(ours.http), len(ours.stub_udp), 'LISTEN_FDS' in os.environ, inherited())\n"
        "print(ours.bound()['overlay'][0], ours.overlay_udp[0].getblocking(), ours.overlay_udp[0].get_inheritable())"
    )
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with taken("127.0.0.1", tcp=False) as port, datagram as udp, socket.socket() as tcp, socket.socket() as http:
        assert port
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        name = tcp.getsockname()
        udp.bind(name)
        http.bind(("127.0.0.1", 0))
        http.listen()
        places = [sock.fileno() for sock in (udp, tcp, http)]
        shell = "; ".join(f"os.dup2({fd}, {100 + n})" for n, fd in enumerate(places))
        shell += "; " + "; ".join(f"os.dup2({100 + n}, {3 + n})" for n in range(3))
        launch = f"import os, sys; {shell}; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
        done = subprocess.run(
            [sys.executable, "-c", launch, code],
            pass_fds=places,
            env={**os.environ, "LISTEN_FDS": "3", "LISTEN_FDNAMES": "overlay:overlay:http"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines() == ["1 1 1 1 False None", f"127.0.0.1:{name[1]} False False"]


def test_nothing_is_inherited_without_the_variables_or_for_another_process() -> None:
    assert inherited({}) is None
    assert inherited({"LISTEN_FDS": "2", "LISTEN_PID": "1"}) is None
    assert inherited({"LISTEN_FDS": "0"}) is None
    assert inherited({"LISTEN_FDS": "many"}) is None


def test_an_inherited_descriptor_that_is_no_socket_is_a_named_error() -> None:
    code = (
        "import os; from overlay.driver.listen import inherited; from overlay.errors import ConfigError\n"
        "os.dup2(os.open('/dev/null', os.O_RDONLY), 3)\n"
        "try: inherited({'LISTEN_FDS': '1'})\n"
        "except ConfigError as error: print(error.rule)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "inherited"


def test_whois_listens_where_it_is_wanted_and_is_off_where_it_cannot_be_with_one_line() -> None:
    notices: list[str] = []
    with opened(Listen(whois=(f"127.0.7.9:{free_port()}",)), notices) as ours:
        (told,) = ours.bound()["whois"]
        assert told.startswith("127.0.7.9:") and notices == []
        with opened(Listen(whois=(told,)), notices) as second:
            assert "whois" not in second.bound() and len(notices) == 1
            assert notices[0].startswith(f"whois: {told} is taken by") and notices[0].endswith(": off")
