"""A real router maps our ports in each protocol: strangers get in, mappings are renewed, outlive its reboots, and go with us."""

from __future__ import annotations

import time

import pytest

from tests.netns.home import ROUTER_OUT, Home
from tests.netns.hosts import wait_until

pytestmark = pytest.mark.netns

MAPPED = 2.0  # seconds from the start of the mapper to the mapping, of which 0.25 s wait for a better protocol: the goal is 1, on an idle machine
AGAIN = 5.0  # seconds from the start of the router's daemon to the mapping, where it announces itself: the goal is 2, on an idle machine


@pytest.mark.parametrize("protocol", ["pcp", "nat-pmp", "upnp"])
def test_a_port_is_mapped_renewed_mapped_again_after_a_reboot_and_removed(protocol: str) -> None:
    with Home(protocol) as home:
        mapper = home.map("alice", 7653, life=8)
        first = wait_until(mapper.mapped, 10, "the port is mapped")[0]
        assert (first["by"], first["host"], first["external"]) == (protocol, ROUTER_OUT, 7653)
        assert first["at"] - mapper.said[0]["at"] < MAPPED
        assert home.reaches(7653), home.mappings()

        second = wait_until(lambda: mapper.mapped()[1:], 10, "the mapping is renewed")[0]
        assert 3.9 < second["at"] - first["at"] < 7.5, "between a half and five eighths of 8 s"
        wait_until(lambda: time.monotonic() > first["at"] + 8.5, 10, "the first lease is over")
        assert home.reaches(7653)

        home.kill_router()
        before = len(mapper.mapped())
        started = time.monotonic()
        home.start_router()
        wait_until(lambda: mapper.mapped()[before:], 10, "the port is mapped again")
        assert mapper.mapped()[before]["at"] - started < AGAIN
        wait_until(lambda: home.reaches(7653), 5, "strangers get in again")

        mapper.end()
        assert home.mappings() == []
        assert mapper.said[-2]["reason"] == "dropped"
        assert not home.reaches(7653)


def test_two_nodes_behind_one_router_have_a_port_each_and_one_that_was_killed_gets_its_own_back() -> None:
    with Home("pcp") as home:
        gateway, standby = home.map("alice", 7653), home.map("bob", 7653)
        ports = [wait_until(one.mapped, 10, "each has its port")[0]["external"] for one in (gateway, standby)]
        assert len(set(ports)) == 2
        assert all(home.reaches(port) for port in ports)

        gateway.child.kill()
        wait_until(lambda: not home.reaches(ports[0]), 5, "the gateway is gone")
        assert home.reaches(ports[1]), "the standby's own mapping stands by itself"
        again = home.map("alice", 7653)
        assert wait_until(again.mapped, 10, "it is mapped again")[0]["external"] == ports[0]
        again.end()
        assert home.reaches(ports[1]) and not home.reaches(ports[0])
        standby.end()
        assert home.mappings() == []
