"""The test bed itself: a standard STUN client finds each kind of NAT to be what it is called (RFC 4787, RFC 5780)."""

from __future__ import annotations

from tests.netns.hosts import wait_until
from tests.netns.nats import KINDS, Nats


def test_every_kind_of_nat_is_what_a_standard_stun_client_finds() -> None:
    with Nats() as net:
        server = net.stun_server()
        where = net.hosts["stun1"]
        wait_until(lambda: "3478" in where.run("ss", "-lun").out, 10, "the STUN server listens")
        for name, kind in KINDS.items():
            host = net.site(name, name)
            if kind.outward == "accept":
                assert net.judge(name, where.v4 or "") == (kind.mapping, kind.filtering), name
            else:
                assert "timeout" in host.run("turnutils_natdiscovery", "-m", where.v4 or "", timeout=30).out
        assert server.poll() is None
