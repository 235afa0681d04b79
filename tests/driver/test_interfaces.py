"""The machine's own addresses, and those worth telling."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
import trio
import trio.testing

from overlay.driver.interfaces import POLL, Interface, advertised, interfaces, watch


def test_loopback_is_found_and_flagged() -> None:
    lo = [one for one in interfaces() if one.host == "127.0.0.1"]
    assert len(lo) == 1 and lo[0].loopback and lo[0].prefix == 8 and lo[0].network == "127.0.0.0/8"


@pytest.mark.skipif(shutil.which("ip") is None, reason="ip(8) is the judge")
def test_the_same_addresses_as_ip_says() -> None:
    told = json.loads(subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout)
    expected = {
        (one["ifname"], address["local"], address["prefixlen"])
        for one in told
        if "UP" in one["flags"]
        for address in one["addr_info"]
        if address["family"] in ("inet", "inet6")
    }
    found = interfaces()
    assert {(one.name, one.host, one.prefix) for one in found} == expected
    assert all(one.index > 0 for one in found if one.link_local and ":" in one.host)


FOUND = [
    Interface("lo", "127.0.0.1", 8, True),
    Interface("eth0", "192.168.1.7", 24, False),
    Interface("eth0", "fe80::1", 64, False, 2),
    Interface("eth0", "2001:db8::7", 64, False),
    Interface("br0", "10.0.0.1", 24, False),  # a bridge that is the LAN
    *(Interface(name, f"172.16.{n}.1", 24, False) for n, name in enumerate(("docker0", "br-12ab", "lxcbr9", "virbr0", "tun0", "tap1", "wg0"))),
]


def test_bridges_of_containers_and_vpns_are_left_out() -> None:
    assert [one.host for one in advertised(FOUND)] == ["192.168.1.7", "2001:db8::7", "10.0.0.1"]


@pytest.mark.parametrize(("wanted", "host"), [("wg0", "172.16.6.1"), ("172.16.0.1", "172.16.0.1"), ("127.0.0.1", "127.0.0.1")])
def test_what_is_named_is_told(wanted: str, host: str) -> None:
    assert host in [one.host for one in advertised(FOUND, [wanted])]


async def test_where_nobody_tells_a_watcher_looks_from_time_to_time(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("socket.AF_NETLINK", raising=False)
    looks: list[float] = []
    with trio.move_on_after(3.5 * POLL):
        await watch(lambda: looks.append(trio.current_time()))
    assert len(looks) == 4
