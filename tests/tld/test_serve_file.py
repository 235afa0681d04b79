"""``zone serve``: what it says, when it ends, and what it refuses."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from overlay import limits
from overlay.errors import ConfigError, UsageError
from overlay.wire.address import Address
from tld import codes
from tld.driver.serve_file import listen_on, load, main
from tld.label import from_text, to_wire
from tld.query import ask
from tld.zone import ZoneError

ROOT = Path(__file__).resolve().parents[2]
ZONE = "cloud. 60 IN SOA ns1.cloud. host.cloud. 1 2 3 4 30\nwww 5 A 192.0.2.10\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_file_is_served_until_a_signal(tmp_path: Path) -> None:
    path = tmp_path / "z"
    path.write_text(ZONE)
    port = free_port()
    program = f"import sys; from tld.driver.serve_file import main; sys.exit(main({str(path)!r}, '127.0.0.1:{port}'))"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving cloud.\n"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(5)
                client.sendto(ask(1, to_wire(from_text("www.cloud.")), codes.A), ("127.0.0.1", port))
                assert client.recv(512).endswith(b"\xc0\0\2\x0a")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_file_that_is_no_zone_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "z"
    path.write_text("cloud. 60 IN SOA\n")
    with pytest.raises(ZoneError, match=rf"{path}: line 1: a name is missing"):
        main(str(path), f"127.0.0.1:{free_port()}")


def test_an_address_in_use_is_an_error_of_two_lines(tmp_path: Path) -> None:
    path = tmp_path / "z"
    path.write_text(ZONE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigError) as caught:
            main(str(path), f"127.0.0.1:{holder.getsockname()[1]}")
    assert len(caught.value.lines()) == 2


def test_something_that_is_no_address_is_misuse() -> None:
    with pytest.raises(UsageError):
        main("-", "nowhere:x")


def test_both_sockets_stand_on_the_same_port() -> None:
    udp, tcp = listen_on(Address("127.0.0.1", free_port()))
    with udp, tcp:
        assert udp.getsockname() == tcp.getsockname()


@pytest.mark.parametrize("content", [b"\xff\xfe", None, b""])
def test_what_cannot_be_read_is_a_zone_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "z"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ZoneError):
        load(str(path))


def test_directories_nul_and_endless_files_are_zone_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MASTER_FILE", 10_000)
    for path in (str(tmp_path), "a\0b", "/dev/zero"):
        with pytest.raises(ZoneError):
            load(path)
