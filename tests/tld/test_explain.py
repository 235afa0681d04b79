"""What ``overlay resolve`` says of an answer: which world, which zone, which node said it, and why there is nothing, in words."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from overlay.name import Path
from overlay.units import b32
from overlay.wire.address import Address
from tests.tld.test_names_wire import place
from tests.tld.views import AT, HOME, carrier, data, home, host, node, root
from tld.codes import type_number
from tld.driver.host import Resolvers
from tld.driver.upstream import Upstream
from tld.explain import explain, full_name
from tld.names import Names

SERVICES = (
    carrier("eu/home/www", "eu/home/alice", 2, "203.0.113.20"), carrier("eu/home/www", "eu/home/bob", 3, healthy=False),
    carrier("eu/home/down", "eu/home/bob", 3, "203.0.113.30", healthy=False), carrier("eu/home/lost", "eu/home/bob", 3),
    *(carrier("eu/home/many", f"eu/home/n{number}", 10 + number, "203.0.113.99") for number in range(5)),
)  # fmt: skip
PLAIN = (
    data("eu/home/blog", "CNAME", "example.org."), data("eu/home/short", "CNAME", "www.home.eu.cloud."), data("eu/home/deep/er/motd", "TXT", "hello"),
    data("eu/home/*", "TXT", "any"), data("eu/home/out", "NS", "ns.example.org."),
)  # fmt: skip


def names(policy: str = "exclusive", *, joined: bool = True, fresh: bool = True, held: bool = True) -> Names:
    plug = Names(tld="cloud", zone="cloud.neonics.com", policy=policy, overlay_id=node(5))
    if joined:
        plug.update(root())
        if held:
            plug.update(home(hosts=(host("eu/home/new", 4),), carries=SERVICES, plain=PLAIN))
    plug.evidence(at=AT + (60 if fresh else 9_000), peers=1)
    return plug


def told(plug: Names, name: str, rtype: str = "A") -> dict[str, Any]:
    return explain(plug, full_name(name, plug), type_number(rtype))


ZONE = "the zone home.eu.cloud (serial 9), held here,"


@pytest.mark.parametrize(
    ("name", "rtype", "rcode", "reason"),
    [
        ("bob.home.eu", "A", "NOERROR", f"{ZONE} has it; said by bob.home.eu.cloud (host)"),
        ("www.home.eu", "A", "NOERROR", f"{ZONE} has it; said by alice.home.eu.cloud (carry), bob.home.eu.cloud (carry)"),
        ("anything.home.eu", "TXT", "NOERROR", f"{ZONE} has it; said by founder.hq.cloud (data)"),
        ("home.eu", "SOA", "NOERROR", f"{ZONE} has it: the overlay itself makes it"),
        ("blog.home.eu", "A", "NOERROR", f"an alias of example.org, which {ZONE} has; said by founder.hq.cloud (data)"),
        ("nobody.hq", "A", "NXDOMAIN", "the zone cloud (serial 7), held here, has no such name"),
        ("bob.home.eu", "MX", "NOERROR", f"{ZONE} has that name with A, AAAA, and no MX"),
        ("alice.home.eu", "AAAA", "NOERROR", f"{ZONE} has the node, which has no proved IPv6 address"),
        ("new.home.eu", "A", "NOERROR", f"{ZONE} has the node, which has no proved IPv4 address"),
        ("deep.home.eu", "A", "NOERROR", f"{ZONE} has names below that one, and no A at itself"),
        ("down.home.eu", "A", "NOERROR",
         f"{ZONE} has the name, and nobody reachable and healthy carries this service: bob.home.eu.cloud fails its check"),
        ("lost.home.eu", "SRV", "NOERROR",
         f"{ZONE} has the name, and nobody reachable and healthy carries this service: bob.home.eu.cloud has no address"),
        ("whoami", "A", "NOERROR", "this node has no public address of that kind, as far as it knows"),
        (f"{b32(node(2))}.id", "A", "NOERROR", "the self-certifying name of a node that is known here"),
        ("clusters", "A", "NOERROR", "the zone cloud (serial 7), held here, has it: the overlay itself makes it"),
        ("example.org.", "A", None, "not below cloud"),
    ],
)  # fmt: skip
def test_each_outcome_has_its_reason(name: str, rtype: str, rcode: str | None, reason: str) -> None:
    said = told(names(), name, rtype)
    assert (said["rcode"], said["reason"]) == (rcode, reason)


def test_more_sayers_than_a_line_holds_are_counted() -> None:
    assert told(names(), "many.home.eu")["reason"].endswith(" and 2 more")


@pytest.mark.parametrize(
    ("plug", "name", "rcode", "world", "reason"),
    [
        (names(joined=False), "bob.home.eu", "SERVFAIL", "overlay", "not joined: overlay up, or overlay dns uninstall"),
        (names("overlay-first", fresh=False), "www.google", "SERVFAIL", "overlay", "the root zone here is too old for proof"),
        (names(held=False), "bob.home.eu", None, "overlay", "it stands in the zone eu/home, which is known and not held here"),
        (names("overlay-first"), "www.google", None, "public", "the overlay has no google.cloud, by a root zone that is fresh enough to prove it"),
        (names("public-first"), "bob.home.eu", None, "public", "policy public-first: the public DNS comes first"),
        (names("suffix-only"), "bob.home.eu", None, "public", "policy suffix-only: cloud is not looked at"),
    ],
)  # fmt: skip
def test_the_world_is_chosen_for_a_reason(plug: Names, name: str, rcode: str | None, world: str, reason: str) -> None:
    said = told(plug, name)
    assert (said["rcode"], said["world"]) == (rcode, world)
    assert reason in said["reason"]


def test_records_say_by_whose_name_they_were_signed() -> None:
    rows = told(names(), "www.home.eu")["records"]
    assert [(row["kind"], row["item"], row["by"]) for row in rows] == [("carry", "tcp", "alice.home.eu.cloud"), ("carry", "tcp", "bob.home.eu.cloud")]
    (wildcard,) = told(names(), "anything.home.eu", "TXT")["records"]
    assert (wildcard["name"], wildcard["by"]) == ("*.home.eu.cloud", "founder.hq.cloud")


# -- with what others said


async def test_what_was_passed_on_says_to_whom_and_how_it_ended() -> None:
    async with place() as here:
        (upstream,) = here.stub.upstream.asked()
        public = await here.stub.resolve("example.org.")
        assert public["reason"] == f"not below cloud: passed on to {upstream}"
        theirs = await here.stub.resolve("www.google")
        assert (theirs["world"], theirs["answers"]) == ("public", ["192.0.2.2"])
        assert theirs["reason"].startswith("the overlay has no google.cloud, ")
        chased = await here.stub.resolve("blog.home.eu")
        assert chased["reason"].startswith("an alias of example.org, which the zone home.eu.cloud (serial 9), held here, has")


async def test_where_nobody_answers_the_reason_names_who_was_asked() -> None:
    async with place() as here:
        with trio.socket.socket() as closed:
            await closed.bind(("127.0.0.1", 0))
            where = Address(*closed.getsockname())
            here.stub.upstream = Upstream(Resolvers(clock=trio.current_time, own=tuple, configured=(where,)))
            failed = await here.stub.resolve("example.org.")
    assert failed["rcode"] == "SERVFAIL"
    assert failed["reason"] == "not below cloud: passed on to 127.0.0.1; cannot reach 127.0.0.1"


async def test_public_first_says_whose_answer_counted() -> None:
    async with place("public-first") as here:
        ours = await here.stub.resolve("alice.home.eu")
        assert (ours["world"], ours["answers"]) == ("overlay", ["203.0.113.20"])
        assert ours["reason"].startswith("the public DNS has no such name, so the overlay's counts: the zone home.eu.cloud")
        theirs = await here.stub.resolve("bob.home.eu")
        assert (theirs["world"], theirs["answers"]) == ("public", ["192.0.2.66"])


async def test_a_zone_that_cannot_be_had_is_named() -> None:
    async def nothing(path: Path) -> None:
        assert path == HOME

    async with place(fetch=nothing, held=False) as here:
        said = await here.stub.resolve("bob.home.eu")
    assert (said["rcode"], said["world"], said["answers"]) == ("SERVFAIL", "overlay", [])
    assert said["reason"] == (
        "it stands in the zone eu/home, which is known and not held here; nobody who holds eu/home could be reached: overlay clusters"
    )
