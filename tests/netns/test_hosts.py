"""The hosts themselves are what the scenarios take them for: they reach each other, the public DNS answers, nothing leads out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.hosts import PREFIX, RESOLVERS, Net, clear_after_crashes, read_dig, wait_until
from tests.netns.publicdns import EXAMPLE_TXT, EXAMPLE_V4, SERVER_V4, SERVER_V6, kept_block

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with Net() as net:
        net.host("alice")
        net.host("six", v4=False)
        yield net


def test_hosts_reach_each_other_and_nothing_else(net: Net) -> None:
    alice, six = net.hosts["alice"], net.hosts["six"]
    six.popen(sys.executable, "-m", "http.server", "8000", "--bind", str(six.v6))
    reach = "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
    wait_until(lambda: alice.run(sys.executable, "-c", reach, str(six.v6), "8000").status == 0, 5, "alice reaches six")
    assert alice.run(sys.executable, "-c", reach, "198.51.100.1", "80").status != 0


def test_the_public_dns_is_every_hosts_resolver_and_answers_alike_each_time(net: Net) -> None:
    for host, server in ((net.hosts["alice"], SERVER_V4), (net.hosts["six"], SERVER_V6)):
        assert server in host.run("cat", "/etc/resolv.conf").out
        assert host.dig("example.org", at=server).data == [EXAMPLE_V4]
        assert EXAMPLE_TXT in host.dig("example.org", "TXT", at=server).data[0]
        assert host.dig("nothing.example.net", at=server).status == "NXDOMAIN"
        assert host.dig("nothing.cloud", at=server).status == "NXDOMAIN"
        assert host.dig("www.public.cloud", at=server).data == ["192.0.2.82"]
    query = bytes.fromhex("12340100000100000000000007") + b"example\x03org\x00\x00\x10\x00\x01"
    assert net.hosts["alice"].ask(query, SERVER_V4) == net.hosts["alice"].ask(query, SERVER_V4)


def test_a_bootstrap_zone_is_served_as_printed(net: Net) -> None:
    kept = '_overlay.cloud.neonics.com. 300 IN TXT "v=overlay1;id=x"'
    printed = f"; keep your DNS host:\n{kept}\n; delegate the zone\ncloud.neonics.com. 300 IN NS a.\n"
    assert kept_block(printed) == [kept]
    net.dns.serve("cloud.neonics.com", kept_block(printed))
    alice = net.hosts["alice"]
    assert alice.dig("_overlay.cloud.neonics.com", "TXT", at=SERVER_V4).data == ['"v=overlay1;id=x"']
    assert alice.dig("other.cloud.neonics.com", at=SERVER_V4).status == "NXDOMAIN"
    assert alice.dig("neonics.com", at=SERVER_V4).data == ["192.0.2.83"]


def test_a_host_that_is_switched_off_runs_nothing(net: Net) -> None:
    host = net.host("gone")
    child = host.popen("sleep", "60")
    wait_until(host.pids, 5, "the command has begun")
    host.switch_off()
    assert child.wait(timeout=5) != 0
    assert not host.pids()


def test_what_a_crashed_run_left_is_removed_and_nothing_else(net: Net) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait(timeout=5)
    left = f"{PREFIX}{ended.pid}-left"
    subprocess.run(["ip", "netns", "add", left], check=True, timeout=10)
    (RESOLVERS / left).mkdir(parents=True)
    assert left in clear_after_crashes()
    assert not (RESOLVERS / left).exists()
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True, timeout=10).stdout
    assert left not in listed
    assert net.hosts["alice"].namespace in listed


def test_a_net_takes_everything_away_again() -> None:
    with Net() as net:
        host, folder = net.host("short"), net.folder
        host.popen("sleep", "60")
        assert folder.is_dir()
    assert not folder.exists()
    assert not (RESOLVERS / host.namespace).exists()
    assert not Path(f"/run/netns/{host.namespace}").exists()
    assert Path(f"/proc/{os.getpid()}").exists()


def test_dig_is_read_with_status_flags_and_data() -> None:
    text = ";; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1\n;; flags: qr aa rd; QUERY: 1\n\n;; ANSWER SECTION:\n"
    text += 'a.b.\t30\tIN\tTXT\t"x y"\n\n;; AUTHORITY SECTION:\nb.\t30\tIN\tNS\tc.\n'
    answer = read_dig(text)
    assert (answer.status, answer.flags, answer.data) == ("NOERROR", frozenset({"qr", "aa", "rd"}), ['"x y"'])
    assert read_dig(";; no servers could be reached\n").status == "NO-ANSWER"
