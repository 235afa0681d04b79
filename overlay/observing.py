"""What a node says of the channels that it takes, and a cluster of a revision: `running` and `observed` (DESIGN 3.9, 3.10).

Every member watches (``release/standing.py``); one says what it saw to the world, signed: the gateway where it holds `attest`
over the cluster, else the member with the lowest id of those who do and are alive. It decides who that is and when something
is worth saying again. Others read it with ``release/gate.py``: what its publisher's cluster calls stable is announced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from overlay.name import Path
from overlay.node import Node
from overlay.publishing import published
from overlay.records import kinds, rights
from overlay.records.observed import Observed, Running, Vote
from overlay.records.record import Record
from overlay.records.releases import Release
from overlay.release import gate
from overlay.release.standing import SOAK, Standing, Wanted
from overlay.units import DAY
from overlay.wire.address import Address

PAUSE: Final = 1.0  # seconds between one's own words: dates have whole seconds, and of two with one date the digest would choose
COUNT_PAUSE: Final = 10.0  # seconds between words that differ in counts alone, or that somebody else said otherwise (guess)
AGAIN: Final = DAY  # between words that say the same
FOR: Final = 365 * DAY  # as long as a release: whoever comes late hears that it was announced


def subscribers(node: Node, channel: str) -> dict[bytes, tuple[str, Running]]:
    """What the nodes of the own cluster say that they run of a channel, by id, with their labels; of those who take it."""
    own, directory = node.presence, node.directory
    if own is None or directory is None or not directory.holdings.holds(own.cluster):
        return {}
    found = {}
    for host in directory.holdings.view(own.cluster).hosts:
        record = node.book.records.get((host.name, "running", channel.encode(), host.node_id)) if host.name.parent == own.cluster else None
        said = node.book.body(record) if record is not None else None
        if isinstance(said, Running) and not said.withdrawn:
            found[host.node_id] = host.name.leaf, said
    return found


def alive(node: Node) -> frozenset[bytes]:
    """The members of the own cluster that are not known to be dead or gone, this node included."""
    return frozenset(node.belonging.members.alive()) if node.belonging is not None else frozenset((node.identity.node_id,))


def observer(node: Node, at: float) -> bytes | None:
    """Who says what the own cluster saw; None where nobody who is alive may."""
    if node.presence is None or node.belonging is None:
        return None
    path = node.presence.cluster
    grants = (grant for place in (path, *path.ancestors()) for grant in node.book.grants_on(place, at))
    able = {grant.item for grant in grants if rights.ATTEST in grant.body[1]} & alive(node)
    gateway = node.belonging.lease.gateway
    return gateway if gateway in able else min(able, default=None)


def home_of(node: Node, channel: str, at: float) -> Path | None:
    """The cluster that is to see a release stable before others hear of it: this one, where somebody here takes the channel.

    None where nobody does, and where nobody may say what this cluster saw: then it is announced to all as it stands.
    """
    return node.presence.cluster if node.presence is not None and subscribers(node, channel) and observer(node, at) is not None else None


def tell(node: Node, channel: str, said: Running | None, at: float) -> bool:
    """Say what this node runs of a channel, or take it back, where that is due. True where it said so."""
    assert node.name is not None
    item = channel.encode()
    held = node.statements.held(node.name, "running", item)
    if said is None:
        if held is None or 7 in held.body:
            return False
        node.publish([node.statements.withdrawal(held, at)], at)
        return True
    if not node.statements.due(held, said.body(), at):
        return False
    node.publish([node.statements.sign(node.name, "running", said.body(), at, item=item)], at)
    return True


@dataclass(slots=True)
class Observing:
    """The watch of one node over its cluster. ``since``: when it started, monotonic seconds."""

    since: float
    standings: dict[str, Standing] = field(default_factory=dict)

    def look(self, node: Node, channel: str, addresses: Iterable[Address], now: float, at: float) -> float:
        """See what stands, and say it where that is this node's turn. When to look again at the latest (monotonic seconds)."""
        if node.presence is None:
            return float("inf")
        path, said = node.presence.cluster, published(node, channel)
        vote = _last(said, path)
        told = subscribers(node, channel)
        bodies = [kinds.read(record) for record in said if record.kind == "release"]
        home = any(isinstance(body, Release) and body.home == path for body in bodies)
        if not told and not home and (vote is None or vote.said.withdrawn):
            self.standings.pop(channel, None)
            return float("inf")
        standing = self.standings.setdefault(channel, Standing(self.since))
        if vote is not None and not vote.said.withdrawn:
            standing.stable = vote.said.stable  # what the cluster has said stands, whoever says it next
        decision = gate.decide(said, None, at, here=path)
        seen = standing.look(_wanted(decision), told, alive(node), now)
        wait = float("inf")
        if observer(node, at) == node.identity.node_id:
            wait = _say(node, channel, replace(seen, addresses=tuple(addresses)[:2]) if told or home else None, vote, at)
        return min(standing.wake_at(), now + wait)


def _wanted(decision: gate.Decision) -> Wanted:
    if decision.release is None or decision.why == "G10":
        return Wanted()
    body = decision.body
    soak = SOAK if body.soak is None else float(body.soak)
    return Wanted(
        revision=body.revision, content=gate.content_of(body), release=decision.release.digest, soak=soak, barred=decision.why not in ("", "G08"),
    )


def _last(said: Iterable[Record], path: Path) -> Vote | None:
    """The newest word of a cluster, taken back or not."""
    mine = [record for record in said if record.kind == "observed" and record.name == path]
    newest = max(mine, key=lambda record: (record.issued, record.digest), default=None)
    body = kinds.read(newest) if newest is not None else None
    return Vote(newest, body) if newest is not None and isinstance(body, Observed) else None


def patience(vote: Vote, seen: Observed, me: bytes) -> float:
    """For how long (seconds) the last word of the cluster stands before ``me`` says ``seen`` instead.

    Two that both take themselves for the observer, and see other things, must not fill the table with their quarrel.
    """
    before = vote.said
    if before == seen:
        return AGAIN
    same = replace(before, installed=0, restarted=0, healthy=0, live=0) == replace(seen, installed=0, restarted=0, healthy=0, live=0)
    return COUNT_PAUSE if same or vote.record.signer != me else PAUSE


def _say(node: Node, channel: str, seen: Observed | None, vote: Vote | None, at: float) -> float:
    """Say it, or take back what was said, where that is due; else in how many seconds it will be."""
    assert node.presence is not None
    path, item = node.presence.cluster, channel.encode()
    if seen is None:
        held = node.statements.held(path, "observed", item)
        if held is not None and 7 not in held.body:
            node.publish([node.statements.withdrawal(held, at)], at)
        return float("inf")
    if vote is not None and not vote.said.withdrawn:
        wait = vote.record.issued + patience(vote, seen, node.identity.node_id) - at
        if wait > 0:
            return wait
    node.publish([node.statements.sign(path, "observed", seen.body(), at, item=item, life=FOR)], at)
    return float("inf")
