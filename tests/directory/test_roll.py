"""Members of a cluster, in pages: everybody once, whoever comes and goes meanwhile; hostile pages end the asking."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from overlay import limits
from overlay.directory.roll import Member, asked, page, question, read
from overlay.directory.view import HostEntry
from overlay.errors import Malformed
from overlay.name import parse_path
from overlay.records.kinds import Host
from overlay.wire.codec import decode, encode
from tests.records.actors import refused

HOME = parse_path("eu/home")


def host(path: str, number: int) -> HostEntry:
    return HostEntry(name=parse_path(path), node_id=number.to_bytes(32, "big"), host=Host(exchange=bytes(32)))


def walked(hosts: list[HostEntry], counters: Counter[str]) -> list[Member]:
    """What a far cluster learns, over the wire's form."""
    after, found = b"", list[Member]()
    while True:
        path, begin = asked(decode(encode(question(HOME, after))))
        got = read(decode(encode(page(hosts, path, begin, {hosts[0].node_id: 42}, counters))), HOME, after)
        found += got.members
        if not got.more:
            return found
        after = found[-1].node_id


def test_a_far_cluster_learns_every_member_once_however_many_there_are() -> None:
    counters: Counter[str] = Counter()
    hosts = [host(f"eu/home/n{n}", n + 1) for n in range(2 * limits.MEMBERS_PAGE + 1)]
    elsewhere = [host("eu/x", 900), host("eu/home/a/deep", 901), host("eu/home", 902)]
    found = walked([*hosts, *elsewhere], counters)
    assert [member.name for member in found] == [one.name for one in hosts]
    assert [member.revision for member in found[:2]] == [42, 0] and counters["members_cut"] == 2


def test_a_page_of_the_longest_names_fits_the_frame_of_an_answer() -> None:
    name = "/".join(("a" * 60, "b" * 60, "c" * 50))
    hosts = [host(f"{name}{n:03}", n + 1) for n in range(limits.MEMBERS_PAGE)]
    assert len(encode(page(hosts, hosts[0].name.parent, b"", {}, Counter()))) < limits.REPLY_OCTETS / 32


ROW = ["eu/home/a", bytes(31) + b"\5", 0]


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ([], "field-type"), ({1: [ROW[:2]]}, "members-row"), ({1: [["eu/x/a", ROW[1], 0]]}, "members-row"), ({1: [["", ROW[1], 0]]}, "members-row"),
        ({1: [["eu//a", ROW[1], 0]]}, "members-path"), ({1: [ROW, ROW]}, "members-order"), ({2: True}, "members-order"),
        ({1: [[ROW[0], bytes(31) + b"\4", 0]]}, "members-order"), ({1: [[*ROW[:2], -1]]}, "members-row"), ({1: [[*ROW[:2], True]]}, "members-row"),
        ({1: [ROW] * (limits.MEMBERS_PAGE + 1)}, "field-range"),
    ],
)  # fmt: skip
def test_a_page_that_lies_or_does_not_go_on_is_refused(body: Any, rule: str) -> None:
    with refused(rule, Malformed):
        read(body, HOME, bytes(31) + b"\4")


@pytest.mark.parametrize("body", [{}, {1: 5}, {1: "eu//home"}, {1: "eu/home", 2: b"short"}, None])
def test_a_question_that_makes_no_sense_is_malformed(body: Any) -> None:
    with pytest.raises(Malformed):
        asked(body)
