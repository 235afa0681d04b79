"""Stock validators with one trust anchor accept every node's answers (DESIGN 3.8): unbound, BIND, delv, drill, on real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.hosts import Host, Net, wait_until
from tests.netns.judges import Judges
from tests.netns.story import SOON, founded, joined

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

SIGNED = 20.0  # seconds for keys, signatures and DS to be everywhere: the root has a version in 5 s at most, twice


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


def anchors(host: Host, *options: str) -> list[str]:
    return host.overlay("dns", "anchor", *options).ok().lines


def validated(host: Host, name: str, kind: str = "A") -> bool:
    """Whether this host's own stub vouches for that name."""
    return "ad" in host.dig(name, kind).flags


CASES = [  # name, type, status, what is in the answer
    ("alice.home.eu.cloud", "A", "NOERROR", "A"), ("www.home.eu.cloud", "SRV", "NOERROR", "SRV"), ("hello.any.home.eu.cloud", "A", "NOERROR", "A"),
    ("alias.home.eu.cloud", "A", "NOERROR", "CNAME"), ("home.eu.cloud", "DNSKEY", "NOERROR", "DNSKEY"), ("eu.cloud", "A", "NOERROR", ""),
    ("alice.home.eu.cloud", "MX", "NOERROR", ""), ("nobody.home.eu.cloud", "A", "NXDOMAIN", ""), ("nobody.cloud", "A", "NXDOMAIN", ""),
    ("clusters.cloud", "A", "NOERROR", "A"), ("large.home.eu.cloud", "AAAA", "NOERROR", "AAAA"), ("hello.any.home.eu.cloud", "MX", "NOERROR", ""),
    ("home.eu.cloud", "DS", "NOERROR", "DS"),
]  # fmt: skip


def test_every_validator_accepts_every_nodes_answers_owner_or_not_and_whoever_is_dead(net: Net) -> None:
    story = founded(net)
    alice, bob, judge = net.host("alice", v6=False), net.host("bob", v6=False), net.host("judge", v6=False)
    assert joined(alice, "--cluster", "eu/home") == "alice.home.eu.cloud"
    assert joined(bob, "--cluster", "us/office") == "bob.office.us.cloud"
    alice.overlay("service", "add", "www.home.eu", "--port", "8000").ok()
    alice.overlay("name", "set", "*.any.home.eu", "A", "192.0.2.7").ok()
    alice.overlay("name", "set", "alias.home.eu", "CNAME", "bob.office.us").ok()
    alice.overlay("name", "set", "large.home.eu", "AAAA", *(f"2001:db8::{number}" for number in range(1, 50))).ok()
    everyone = (story.founder, alice, bob)
    for host in everyone:
        names = ("alice.home.eu.cloud", "www.home.eu.cloud", "bob.office.us.cloud", "hub.hub.cloud")
        wait_until(lambda host=host, names=names: all(validated(host, name) for name in names), SIGNED, f"{host.name} validates every zone")  # type: ignore[misc]
    told = anchors(bob)
    assert told == anchors(story.founder)
    judges = Judges(judge, "cloud", told)
    for node in everyone:
        assert node.v4
        for program in ("unbound", "named"):
            for name, kind, status, there in CASES:
                found, secure, answer = judges.verdict(program, node.v4, name, kind)
                assert (found, secure) == (status, True), (program, node.name, name, kind, answer.text)
                assert {rtype for _, rtype, _ in answer.answers} - {"RRSIG"} >= ({there} if there else set()), (program, node.name, answer.text)
            found, secure, answer = judges.verdict(program, node.v4, "whoami.cloud", "A")
            assert (found, secure) == ("NOERROR", False), (program, node.name, answer.text)
        for name, kind, status, _ in CASES:
            wanted = "; fully validated" if status == "NOERROR" else "; negative response, fully validated"
            assert judges.delv(node.v4, name, kind).endswith(wanted.removeprefix("; ").removeprefix("negative response, ")), (node.name, name, kind)
        assert judges.drill(node.v4, "www.home.eu.cloud", "A")

    alice.switch_off()
    for program in ("unbound", "named"):
        for node in (story.founder, bob):
            assert node.v4
            for name, kind, status, _ in CASES:
                found, secure, answer = judges.verdict(program, node.v4, name, kind)
                assert (found, secure) == (status, True), (program, node.name, name, kind, answer.text)


UNPACKED = Path(__file__).resolve().parents[2] / "build/resolved"


def test_systemd_resolved_on_a_nodes_machine_validates_what_the_stub_gives(net: Net) -> None:
    if not (UNPACKED / "lib/systemd/systemd-resolved").exists():
        pytest.skip("systemd-resolved is not unpacked (as root on Debian, make test does it)")
    founded(net)
    alice = net.host("alice", v6=False)
    alice.home.mkdir(parents=True, exist_ok=True)
    (alice.home / "overlay.toml").write_text('[names]\npolicy = "exclusive"\n')
    assert joined(alice, "--cluster", "eu/home") == "alice.home.eu.cloud"
    alice.overlay("name", "set", "*.any.home.eu", "A", "192.0.2.7").ok()
    alice.overlay("name", "set", "alias.home.eu", "CNAME", "hub.hub").ok()
    names = ("hub.hub.cloud", "alice.home.eu.cloud", "x.any.home.eu.cloud")
    wait_until(lambda: all(validated(alice, name) for name in names), SIGNED, "the stub validates")
    told = alice.overlay("dns", "anchor")
    assert told.ok().err == "", "an anchor goes with exclusive"
    anchor = net.folder / "overlay.positive"
    anchor.write_text("".join(f"{owner} IN DS {' '.join(data)}\n" for owner, _, _, _, *data in (line.split() for line in told.lines)))
    alice.popen(str(Path(__file__).with_name("resolved.sh")), str(UNPACKED), "127.0.0.1:53", str(anchor))

    def verdict(name: str, kind: str) -> tuple[str, bool]:
        answer = alice.dig(name, kind, at="127.0.0.53", options=("+dnssec",))
        return answer.status, "ad" in answer.flags

    wait_until(lambda: verdict("hub.hub.cloud", "A") == ("NOERROR", True), SOON, "systemd-resolved answers")
    for name, kind, status in (
        ("alice.home.eu.cloud", "A", "NOERROR"), ("x.any.home.eu.cloud", "A", "NOERROR"), ("alias.home.eu.cloud", "A", "NOERROR"),
        ("alice.home.eu.cloud", "MX", "NOERROR"), ("nobody.home.eu.cloud", "A", "NXDOMAIN"), ("nobody.cloud", "A", "NXDOMAIN"),
    ):  # fmt: skip
        assert verdict(name, kind) == (status, True), (name, kind)
