"""The test bed itself: a standard STUN client finds each kind of NAT to be what it is called (RFC 4787, RFC 5780)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.netns.hosts import wait_until
from tests.netns.nats import KINDS, Nats


def test_every_kind_of_nat_is_what_a_standard_stun_client_finds() -> None:
    with Nats() as net:
        server = net.stun_server()
        where = net.hosts["stun1"]
        wait_until(lambda: "3478" in where.run("ss", "-lun").out, 10, "the STUN server listens")
        for name in KINDS:
            net.site(name, name)

        def judged(name: str) -> tuple[str, str]:
            if KINDS[name].outward == "accept":
                return net.judge(name, where.v4 or "")
            return ("timeout" if "timeout" in net.hosts[name].run("turnutils_natdiscovery", "-m", where.v4 or "", timeout=30).out else "open", "")

        with ThreadPoolExecutor(len(KINDS)) as pool:  # each waits for answers that do not come
            found = dict(zip(KINDS, pool.map(judged, KINDS), strict=True))
        for name, kind in KINDS.items():
            assert found[name] == ((kind.mapping, kind.filtering) if kind.outward == "accept" else ("timeout", "")), name
        assert server.poll() is None
