"""Who belongs to a cluster: what its gateway answers a far cluster that asks for more than the summary (DESIGN 3.6).

Pure: the nodes of a zone and a question in, a page out, and the page read again by who asked. A page begins after the
node id where the one before ended, so who joins or leaves meanwhile moves nobody twice, and an answer that does not go
on is refused. A node that has no other part in the cluster learns names, ids and revisions: no address, no LAN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from overlay import limits
from overlay.directory.view import HostEntry
from overlay.errors import Malformed, UsageError
from overlay.identity.keys import KEY
from overlay.name import Path, parse_path
from overlay.wire.codec import Fields, Value, ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node of a cluster; ``revision`` is 0 where it is not known."""

    name: Path
    node_id: bytes
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Some members, by node id. ``more``: others follow after the last of these."""

    members: tuple[Member, ...]
    more: bool


def question(path: Path, after: bytes = b"") -> Value:
    """The body of a MEMBERS call: the page of that cluster that begins after a node id."""
    return ordered({1: str(path), 2: after or None})


def asked(body: Value) -> tuple[Path, bytes]:
    """(cluster, node id after which to begin; empty: at the start) of a MEMBERS call. ``Malformed``."""
    fields = Fields(body, "members")
    after = fields.binary(2, 0, KEY, default=b"")
    if len(after) not in (0, KEY):
        raise Malformed("members: a page begins after a node id", rule="members-after")
    return _path(fields.text(1, 255)), after


def page(hosts: Iterable[HostEntry], path: Path, after: bytes, revisions: Mapping[bytes, int], counters: Counter[str]) -> Value:
    """The answer to a MEMBERS call, from the hosts of the zone that the cluster lies in."""
    mine = sorted((host for host in hosts if host.name.parent == path and host.node_id > after), key=lambda host: host.node_id)
    rows: list[Value] = [[str(host.name), host.node_id, revisions.get(host.node_id, 0)] for host in mine[: limits.MEMBERS_PAGE]]
    counters["members_cut"] += len(mine) > limits.MEMBERS_PAGE
    return ordered({1: rows, 2: len(mine) > limits.MEMBERS_PAGE or None})


def read(body: Value, path: Path, after: bytes = b"") -> Page:
    """The answer of a gateway. ``Malformed`` where it names nodes elsewhere, goes back, or does not go on."""
    fields = Fields(body, "members")
    found: list[Member] = []
    for row in fields.items(1, limits.MEMBERS_PAGE):
        if type(row) is not list or len(row) != 3:
            raise Malformed("members: a row is name, node id, revision", rule="members-row")
        name, node_id, revision = row
        if type(name) is not str or len(name) > 255 or type(node_id) is not bytes or len(node_id) != KEY or type(revision) is not int:
            raise Malformed("members: a row is name, node id, revision", rule="members-row")
        member = Member(name=_path(name), node_id=node_id, revision=revision)
        if not 0 <= revision < 2**53 or not member.name.labels or member.name.parent != path:
            raise Malformed("members: a name of another cluster", rule="members-row")
        if node_id <= after:
            raise Malformed("members: rows ascend", rule="members-order")
        after = node_id
        found.append(member)
    more = fields.flag(2)
    if more and not found:
        raise Malformed("members: an empty page is the last", rule="members-order")
    return Page(tuple(found), more)


def _path(text: str) -> Path:
    try:
        return parse_path(text)
    except UsageError as why:
        raise Malformed(f"members: {why.what}", rule="members-path") from None
