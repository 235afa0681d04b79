"""Two LANs of three nodes each: two clusters, one gateway each, which dies, comes back and goes (DESIGN 3.6; GOALS, "Cluster").

One story, told as chapters; each test is a statement about what a chapter left behind. The router between the LANs passes
everything on: reaching through NATs is another story.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.netns.hosts import Host, wait_until
from tests.netns.lans import Lans
from tests.netns.story import SOON, everywhere

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

HERE, THERE = "eu/here", "us/there"
CRASH = 4.0  # seconds without a gateway after a crash (GOALS)
PLANNED = 0.3  # seconds, by plan
BUSY = 1.0  # seconds more on a machine that does other things as well: both times are the nodes' own


@dataclass
class Story:
    """What happened, for the tests to look at."""

    lans: Lans
    here: list[Host]
    there: list[Host]
    clusters: list[dict[str, Any]] = field(default_factory=list)
    crash: float = 0.0  # seconds without a gateway
    planned: float = 0.0
    asked: list[str] = field(default_factory=list)  # what a stub answered while the gateway left by plan
    unanswered: list[str] = field(default_factory=list)  # while one had crashed
    returned: list[dict[str, Any]] = field(default_factory=list)

    @property
    def all(self) -> list[Host]:
        return [*self.here, *self.there]


def name_of(host: Host) -> str:
    return f"{host.name}.{'here.eu' if host.name.startswith('here') else 'there.us'}.cloud"


def statuses(hosts: list[Host]) -> list[dict[str, Any]]:
    return [host.json("status") for host in hosts]


def led(hosts: list[Host]) -> Host | None:
    """The gateway of these nodes, where they agree on who it is."""
    found = statuses(hosts)
    leaders = [host for host, status in zip(hosts, found, strict=True) if status["gateway"]]
    standbys = sum(status["standby"] for status in found)
    if len(leaders) != 1 or standbys != min(1, len(hosts) - 1) or {status["gateway_name"] for status in found} != {name_of(leaders[0])}:
        return None
    return leaders[0]


def roles(host: Host) -> list[tuple[float, str]]:
    """(UTC seconds, role) as the node's log has it."""
    found = re.findall(r"^(\S+)Z info role role=(\w+)", host.overlay("log", "-n", "400").ok().out, flags=re.MULTILINE)
    return [(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp(), role) for when, role in found]


def became_gateway(hosts: list[Host], after: float) -> float:
    return min(when for host in hosts for when, role in roles(host) if role == "gateway" and when >= after - 0.01)


def answers_for_all(story: Story, host: Host) -> bool:
    return all(host.dig(name_of(other)).data == [other.v4] for other in story.all)


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with Lans() as lans:
        for lan in ("here", "there"):
            lans.lan(lan)
        here = [lans.on("here", f"here{n}", f"10.1.0.{n}/24") for n in (11, 12, 13)]
        there = [lans.on("there", f"there{n}", f"10.2.0.{n}/24") for n in (11, 12, 13)]
        lans.route(here="10.1.0.1/24", there="10.2.0.1/24")
        story = Story(lans, here, there)
        here[0].home.mkdir()
        here[0].overlay("init", "cloud.example.org", "--admission", "open", "--cluster", HERE, "--name", here[0].name).ok()
        here[0].overlay("up", "--detach").ok()
        there[0].overlay("join", str(here[0].v4), "--cluster", THERE, "--name", there[0].name, "--detach", "--timeout", "20").ok()
        for host in (*here[1:], *there[1:]):
            host.overlay("join", "lan", "--name", host.name, "--detach", "--timeout", "20").ok()
        told(story)
        yield story


def counted(host: Host) -> list[dict[str, Any]]:
    """What it tells of the clusters, once all are counted; else nothing."""
    rows: list[dict[str, Any]] = host.json("clusters")
    return rows if len(rows) == 2 and all(row["nodes"] == 3 and len(row["gateways"]) == 2 for row in rows) else []


def told(story: Story) -> None:
    for lan in (story.here, story.there):
        wait_until(lambda lan=lan: led(lan), SOON, "one gateway, one standby")  # type: ignore[misc]
    everywhere(story.all, "all names at each stub", lambda host: answers_for_all(story, host), 20)
    story.clusters = wait_until(lambda: counted(story.here[1]), 30, "two clusters of three, as their gateways count them every 10 s")

    gateway = led(story.there)
    assert gateway is not None
    others = [host for host in story.there if host is not gateway]
    died = time.time()
    gateway.kill()
    asking = [host for host in story.all if host is not gateway]
    story.unanswered = [host.name for host in asking if host.dig(name_of(gateway)).status != "NOERROR"]
    wait_until(lambda: any(status["gateway"] for status in statuses(others)), 15, "somebody follows it")
    story.crash = became_gateway(others, died) - died
    others[0].overlay("name", "set", "motd.there.us", "TXT", "said without it").ok()
    everywhere(asking, "the change", lambda host: host.dig("motd.there.us.cloud", "TXT").data == ['"said without it"'], 20)

    gateway.overlay("up", "--detach").ok()
    wait_until(lambda: led(story.there), 15, "one gateway again")
    story.returned = statuses(story.there)

    leaving = led(story.here)
    assert leaving is not None
    staying = [host for host in story.here if host is not leaving]
    loop = f"for n in $(seq 60); do dig @127.0.0.1 {name_of(story.there[0])} +short +tries=1 +time=1 +nocookie; sleep 0.05; done"
    stub = staying[0].popen("sh", "-c", loop)
    began = time.time()
    leaving.overlay("down").ok()
    wait_until(lambda: any(status["gateway"] for status in statuses(staying)), SOON, "a successor")
    yielded = max(when for when, role in roles(leaving) if role == "member")
    story.planned = became_gateway(staying, began) - yielded
    story.asked = stub.communicate(timeout=30)[0].split("\n")[:-1]
    leaving.overlay("up", "--detach").ok()
    wait_until(lambda: led(story.here), 15, "one gateway after its return")


def test_each_lan_is_a_cluster_with_one_gateway_as_all_of_them_say(story: Story) -> None:
    assert {row["cluster"]: row["nodes"] for row in story.clusters} == {HERE: 3, THERE: 3}
    assert [len(row["gateways"]) for row in story.clusters] == [2, 2]  # the gateway and its standby, no member
    assert led(story.here) is not None and led(story.there) is not None


def test_every_stub_answers_for_every_node(story: Story) -> None:
    for host in story.all:
        assert answers_for_all(story, host), host.name


def test_a_gateway_that_crashed_is_followed_within_four_seconds_and_names_go_on(story: Story) -> None:
    assert 0 < story.crash <= CRASH + BUSY
    assert story.unanswered == []


def test_who_comes_back_does_not_depose_its_successor(story: Story) -> None:
    assert sum(status["gateway"] for status in story.returned) == 1


def test_a_gateway_that_goes_hands_over_and_no_question_is_lost(story: Story) -> None:
    assert story.planned <= PLANNED + BUSY
    assert story.asked == [story.there[0].v4] * 60
