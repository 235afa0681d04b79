"""The default router is the one that the kernel's table names, and our address is the one that goes there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overlay.driver import routes

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
ZEROS = "0" * 32


def four(octets: str) -> str:
    """A dotted address as the table has it: in the machine's byte order."""
    return f"{int.from_bytes(bytes(map(int, octets.split('.'))), sys.byteorder):08X}"


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(routes.socket, "if_nametoindex", {"lan": 2, "wifi": 3}.__getitem__)
    monkeypatch.setattr(routes, "_towards", lambda gateway: f"ours towards {gateway}")
    return tmp_path


def test_the_default_route_of_least_metric_counts(proc: Path) -> None:
    lines = [
        f"wifi\t00000000\t{four('192.168.2.1')}\t0003\t0\t0\t600\t00000000\t0\t0\t0",
        f"lan\t00000000\t{four('192.168.1.1')}\t0003\t0\t0\t100\t00000000\t0\t0\t0",
        f"lan\t{four('192.168.1.0')}\t00000000\t0001\t0\t0\t0\t{four('255.255.255.0')}\t0\t0\t0",
        "tun\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0",  # a tunnel has no router that could be asked
        f"down\t00000000\t{four('192.168.9.1')}\t0002\t0\t0\t0\t00000000\t0\t0\t0",
        "garbage",
    ]
    (proc / "route").write_text(HEAD + "\n".join(lines) + "\n")
    assert routes.default_router(4, proc) == routes.Default("192.168.1.1", "ours towards 192.168.1.1", 2)


def test_over_ipv6_a_link_local_router_has_its_scope(proc: Path) -> None:
    router = "fe80" + "0" * 27 + "1"
    lines = [
        f"{ZEROS} 00 {ZEROS} 00 {router} 00000400 00000001 00000000 00000003 wifi",
        f"{ZEROS} 00 {ZEROS} 00 {ZEROS} ffffffff 00000001 00000000 00200200 lo",
        f"{ZEROS} 08 {ZEROS} 00 {router} 00000001 00000001 00000000 00000003 lan",
    ]
    (proc / "ipv6_route").write_text("\n".join(lines) + "\n")
    assert routes.default_router(6, proc) == routes.Default("fe80::1%3", "ours towards fe80::1%3", 3)


def test_no_table_and_no_default_route_are_no_router(proc: Path) -> None:
    assert routes.default_router(4, proc) is None
    (proc / "route").write_text(HEAD)
    assert routes.default_router(4, proc) is None


@pytest.mark.skipif(shutil.which("ip") is None or not sys.platform.startswith("linux"), reason="ip(8) is the judge")
def test_it_is_the_same_router_as_ip_says() -> None:
    told = json.loads(subprocess.run(["ip", "-j", "-4", "route", "show", "default"], capture_output=True, check=True).stdout)
    least = min((one for one in told if "gateway" in one), key=lambda one: one.get("metric", 0), default=None)
    found = routes.default_router(4)
    assert (found.gateway if found is not None else None) == (least["gateway"] if least is not None else None)
