"""Announcing in virtual time: what a publisher's cluster has seen stable the others hear of, and who holds it back (DESIGN 3.10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from overlay import observing, publishing
from overlay.identity.keys import digest
from overlay.lab.world import Host, World
from overlay.node import Node
from overlay.records.observed import Why
from overlay.records.record import Record
from overlay.records.releases import Artifact, Release
from overlay.release import gate
from overlay.release.subscription import ACTIVE, FAILED, Subscription, Subscriptions
from overlay.reports import Reports
from overlay.summaries import announcement
from tests.lab.scenes import enter, invite, node

APP = "app"


@dataclass
class Taker:
    """A node that takes the channel: what the running program does for it, without its files and commands."""

    host: Host
    watch: observing.Observing
    kept: Subscriptions = field(default_factory=lambda: Subscriptions({}))
    fails: frozenset[int] = frozenset()  # revisions whose command fails here

    def look(self, node: Node, at: float, now: float) -> None:
        assert node.presence is not None
        mark = self.kept.of(APP)
        if mark.subscription is not None:
            decision, _ = self.kept.look(APP, publishing.published(node, APP), at, node.presence.cluster)
            if self.kept.todo(APP, decision, True, ["any"]).act == "run":
                outcome, _ = self.kept.begins(APP, decision, at)
                assert outcome is not None
                self.kept.ended(APP, replace(outcome, state=FAILED if outcome.revision in self.fails else ACTIVE), at)
        held = publishing.highest(node, APP)
        observing.tell(node, APP, self.kept.said(APP, held, at) if mark.subscription is not None else None, at)
        if APP in publishing.channels(node):
            publishing.vouch(node, APP, at)
        self.watch.look(node, APP, (), now, at)

    @property
    def revision(self) -> int:
        current = self.kept.of(APP).current
        return current.revision if current is not None else 0


class Scene:
    """Two clusters: hq, where the publisher stands with a backup, and eu/home."""

    def __init__(self) -> None:
        self.world = World(3)
        founder = self.world.found("hq/founder")
        self.world.run(1)
        backup = self.world.join("hq/backup", seed=invite(self.world, founder, "hq"))
        assert self.world.run_until(lambda: self.world.joined(backup), 20) is not None
        (far,) = enter(self.world, "eu/home/far")
        self.world.run(30)
        self.key = self.world.crypto.signer(self.world.dice.randbytes(32))
        self.publisher, self.backup, self.far = (Taker(host, observing.Observing(self.world.now)) for host in (founder, backup, far))
        self.takers = [self.publisher, self.backup, self.far]
        at = self.world.at(founder)
        draft = publishing.draft_channel(node(founder), APP, [self.key.public], 1, None, at)
        draft.sign([self.key])
        self.world.do(founder, lambda node, at: publishing.say(node, draft.record(), at))
        self.run(5)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.run(1)
            for taker in self.takers:
                if taker.host.node is not None:
                    self.world.do(taker.host, lambda node, at, taker=taker: taker.look(node, at, self.world.now))

    def until(self, condition: Callable[[], bool], limit: int) -> int:
        for second in range(limit):
            if condition():
                return second
            self.run(1)
        raise AssertionError(f"not within {limit} s: {[taker.revision for taker in self.takers]}")

    def subscribe(self, *takers: Taker) -> None:
        for taker in takers:
            taker.kept.subscribe(Subscription(channel=APP))
        self.run(3)

    def publish(self, **changed: object) -> Record:
        host = self.publisher.host
        at, revision = self.world.at(host), publishing.highest(node(host), APP) + 1
        artifact = Artifact(length=1, root=digest(str(revision).encode()))
        body = replace(
            Release(revision=revision, artifacts=(artifact,), home=observing.home_of(node(host), APP, at)), **changed,  # type: ignore[arg-type]
        )
        draft = publishing.draft_release(node(host), APP, body, None, at)
        draft.sign([self.key])
        self.world.do(host, lambda node, at: publishing.say(node, draft.record(), at))
        return draft.record()

    def seen(self, taker: Taker) -> gate.Vote:
        """What hq says, as that node has heard it."""
        votes = {str(path): vote for path, vote in gate.votes_of(publishing.published(node(taker.host), APP)).items()}
        return votes["hq"]

    def told(self, taker: Taker, release: Record) -> dict[str, object]:
        at = self.world.at(taker.host)
        return announcement(publishing.published(node(taker.host), APP), release, lambda path: path.dotted, at)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_release_is_announced_once_all_of_its_publishers_cluster_were_well_on_it_for_a_minute(scene: Scene) -> None:
    scene.subscribe(*scene.takers)
    release = scene.publish()
    scene.until(lambda: (scene.publisher.revision, scene.backup.revision) == (1, 1), 10)
    scene.run(50)
    assert scene.far.revision == 0
    told = scene.told(scene.far, release)
    assert (told["announced"], told["home"]) == (False, "hq")
    assert told["holding"] == [{"name": name, "why": "it was not well for long enough yet"} for name in ("backup.hq", "founder.hq")]
    assert 2 <= scene.until(lambda: scene.far.revision == 1, 30) <= 20
    told = scene.told(scene.far, release)
    assert told["announced"] is True and told["holding"] == []
    scene.run(15)
    said = scene.seen(scene.far).said
    assert (said.stable, said.live, said.installed, said.restarted, said.healthy) == (1, 2, 2, 2, 2)


def test_a_failing_backup_holds_it_back_everywhere_else_and_is_named(scene: Scene) -> None:
    scene.backup.fails = frozenset({1})
    scene.subscribe(*scene.takers)
    release = scene.publish()
    scene.run(120)
    assert (scene.publisher.revision, scene.backup.revision, scene.far.revision) == (1, 0, 0)
    assert scene.seen(scene.far).said.holding == (("backup", Why.FAILED),)
    assert scene.told(scene.far, release)["holding"] == [{"name": "backup.hq", "why": "its command failed there"}]
    scene.publish()
    scene.until(lambda: scene.far.revision == 2, 90)


def test_a_dead_backup_does_not_block(scene: Scene) -> None:
    scene.backup.fails = frozenset({1})
    scene.subscribe(*scene.takers)
    scene.world.crash(scene.backup.host)
    scene.run(20)
    scene.publish()
    scene.until(lambda: scene.far.revision == 1, 90)


def test_where_nobody_near_the_publisher_takes_the_channel_it_is_announced_at_once(scene: Scene) -> None:
    scene.subscribe(scene.far)
    scene.publish()
    assert scene.until(lambda: scene.far.revision == 1, 10) <= 4


def test_without_soak_it_is_announced_as_soon_as_all_run_it(scene: Scene) -> None:
    scene.subscribe(*scene.takers)
    scene.publish(soak=0)
    assert scene.until(lambda: scene.far.revision == 1, 20) <= 10


def test_two_restarts_within_ten_minutes_hold_back_until_the_ten_minutes_are_over(scene: Scene) -> None:
    scene.subscribe(*scene.takers)
    for _ in range(3):
        scene.publish()
        scene.until(lambda: scene.publisher.revision == publishing.highest(node(scene.publisher.host), APP), 10)
    scene.run(100)
    assert scene.publisher.revision == 3 and scene.far.revision == 0
    assert scene.seen(scene.far).said.development == ("backup", "founder")
    rows = Reports(node(scene.far.host), zone="cloud.example.net", tld="cloud").clusters(scene.world.at(scene.far.host))
    (row,) = [row for row in rows if row["cluster"] == "hq"]
    assert row["releases"][0]["development"] == ["backup.hq.cloud", "founder.hq.cloud"] and row["releases"][0]["stable"] == 0
    assert (row["revision"], row["stable"], row["development"]) == (0, True, [])  # of the program itself
    scene.until(lambda: scene.far.revision == 3, 600)


def test_while_the_next_is_in_development_who_comes_new_gets_what_was_announced(scene: Scene) -> None:
    scene.subscribe(scene.publisher, scene.backup)
    scene.publish(soak=0)
    scene.until(lambda: scene.seen(scene.far).said.stable == 1, 20)
    scene.backup.fails = frozenset({2})
    scene.publish()
    scene.run(10)
    scene.subscribe(scene.far)
    scene.run(5)
    assert (scene.publisher.revision, scene.far.revision) == (2, 1)


def test_who_takes_over_the_watch_goes_on_from_what_was_said(scene: Scene) -> None:
    scene.subscribe(scene.publisher, scene.far)
    scene.publish(soak=0)
    scene.until(lambda: scene.far.revision == 1, 20)
    scene.publisher.watch = observing.Observing(scene.world.now)  # it started again
    scene.publisher.fails = frozenset({2})
    scene.publish()
    scene.run(30)
    said = scene.seen(scene.far).said
    assert (said.revision, said.stable, said.holding) == (2, 1, (("founder", Why.FAILED),))


def test_a_person_may_urge_a_node_that_waits(scene: Scene) -> None:
    scene.backup.fails = frozenset({1})
    scene.subscribe(*scene.takers)
    scene.publish()
    scene.run(10)
    assert scene.far.revision == 0
    scene.far.kept.urge(APP)
    scene.run(2)
    assert scene.far.revision == 1


def test_who_takes_the_channel_no_longer_is_not_waited_for(scene: Scene) -> None:
    scene.backup.fails = frozenset({1})
    scene.subscribe(*scene.takers)
    scene.publish(soak=0)
    scene.run(20)
    assert scene.far.revision == 0
    scene.backup.kept.unsubscribe(APP)
    scene.until(lambda: scene.far.revision == 1, 20)


def test_two_that_see_otherwise_say_so_in_turn_and_slowly(scene: Scene) -> None:
    scene.subscribe(scene.publisher, scene.backup)
    scene.publish()
    scene.run(20)
    vote, me, other = scene.seen(scene.far), scene.seen(scene.far).record.signer, bytes(32)
    counts, otherwise = replace(vote.said, live=9), replace(vote.said, stable=9)
    assert observing.patience(vote, vote.said, me) == observing.patience(vote, vote.said, other) == observing.AGAIN
    assert observing.patience(vote, counts, me) == observing.patience(vote, counts, other) == observing.COUNT_PAUSE
    assert observing.patience(vote, otherwise, me) == observing.PAUSE
    assert observing.patience(vote, otherwise, other) == observing.COUNT_PAUSE
