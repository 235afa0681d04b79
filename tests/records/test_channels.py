"""Rules R22 to R24: who declares a channel, whose word counts in it, on what that stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overlay.records import rights
from overlay.records.channels import follows
from overlay.records.record import Record
from overlay.records.releases import Channel, channel_path
from overlay.units import DAY
from tests.records.actors import AT, Overlay, actor, found, refused
from tests.records.publishing import Publishing, channel_keys, declare, open_channel


@pytest.fixture
def channel() -> Publishing:
    return open_channel(found(), keys=3, threshold=2)


def judge(overlay: Overlay, record: Record, at: float = AT) -> Record:
    overlay.trust().judge(record, at, overlay.lookup)
    return record


def test_r22_a_channel_is_declared_by_who_owns_the_root_or_was_given_it() -> None:
    overlay = found()
    judge(overlay, open_channel(overlay).record)
    publisher = actor("publisher")
    overlay.grant(overlay.founder, publisher, "", {"release:app"})
    keys = channel_keys(1)
    body = Channel(version=1, keys=(keys[0].public,), threshold=1)
    judge(overlay, declare(overlay, "app", body, keys, by=publisher, via=publisher.holds("release:app")))
    with refused("R22"):
        judge(overlay, declare(overlay, "other", body, keys, by=publisher, via=publisher.holds("release:app")))


@pytest.mark.parametrize("right", sorted(rights.KNOWN - {rights.OWN} | {"release:other"}))
def test_r22_no_other_right_declares_one(right: str) -> None:
    overlay = found()
    someone = actor("someone")
    via = overlay.root_grant(someone, "", {right})
    keys = channel_keys(1)
    with refused("R22"):
        judge(overlay, declare(overlay, "app", Channel(version=1, keys=(keys[0].public,), threshold=1), keys, by=someone, via=via))


def test_r22_owning_a_cluster_declares_none() -> None:
    overlay = found()
    keys = channel_keys(1)
    body = Channel(version=1, keys=(keys[0].public,), threshold=1)
    with refused("R22"):
        judge(overlay, declare(overlay, "app", body, keys, by=overlay.first, via=overlay.first.holds(rights.OWN, "eu/home")))


def test_r22_a_channels_own_keys_agree_to_be_its_keys() -> None:
    overlay = found()
    keys = channel_keys(3)
    body = Channel(version=1, keys=tuple(sorted(key.public for key in keys)), threshold=2)
    with refused("R22"):
        judge(overlay, declare(overlay, "app", body, keys[:1]))
    with refused("R22"):
        judge(overlay, declare(overlay, "app", body, [*keys, *channel_keys(1, "foreign")]))


def test_r22_a_channel_lives_no_longer_than_the_right_to_declare_it() -> None:
    overlay = found()
    publisher = actor("publisher")
    via = overlay.grant(overlay.founder, publisher, "", {"release:app"}, life=10 * DAY)
    keys = channel_keys(1)
    body = Channel(version=1, keys=(keys[0].public,), threshold=1)
    with refused("R22"):
        judge(overlay, declare(overlay, "app", body, keys, by=publisher, via=via, life=11 * DAY))
    with refused("R22"):
        judge(overlay, declare(overlay, "app", body, keys, by=publisher, via=via, at=AT - 400, life=DAY))


def test_r22_a_revoked_right_ends_the_channel(channel: Publishing) -> None:
    overlay = channel.overlay
    trust = overlay.trust()
    trust.adopt_revoke(overlay.revoke(overlay.keys, channel.overlay.founder.grants[0]), overlay.founder.grants[0])
    with refused("R12"):
        trust.judge(channel.record, AT, overlay.lookup)


@pytest.mark.parametrize("signed", [0, 1])
def test_r23_fewer_keys_than_the_threshold_publish_nothing(channel: Publishing, signed: int) -> None:
    with refused("R23"):
        judge(channel.overlay, channel.release(1, signers=channel.keys[signed : signed + 1]))
    judge(channel.overlay, channel.release(1, signers=channel.keys[signed : signed + 2]))


def test_r23_a_foreign_key_beside_the_threshold_spoils_a_release(channel: Publishing) -> None:
    with refused("R23"):
        judge(channel.overlay, channel.release(1, signers=[*channel.keys[:2], *channel_keys(1, "foreign")]))
    with refused("R23"):
        judge(channel.overlay, channel.release(1, signers=channel_keys(2, "foreign")))


def test_r23_one_key_halts_and_the_threshold_lifts(channel: Publishing) -> None:
    judge(channel.overlay, channel.halt(1))
    judge(channel.overlay, channel.halt(1, lifted=True))
    with refused("R23"):
        judge(channel.overlay, channel.halt(1, lifted=True, signers=channel.keys[:1]))
    with refused("R23"):
        judge(channel.overlay, channel.halt(1, signers=channel_keys(1, "foreign")))
    with refused("R23"):
        judge(channel.overlay, channel.halt(1, signers=channel.keys[:2]))


def test_r24_a_release_stands_on_a_live_version_of_its_own_channel(channel: Publishing) -> None:
    overlay = channel.overlay
    other = open_channel(overlay, "other", keys=3, threshold=2)
    with refused("R24"):
        judge(overlay, channel.release(1, signers=other.keys[:2], channel=other.record))
    with refused("R24"):
        judge(overlay, channel.release(1, channel=overlay.founder.holds(rights.OWN)))
    body = Channel(version=1, keys=tuple(sorted(key.public for key in channel.keys)), threshold=2)
    channel.record = declare(overlay, "app", body, channel.keys[:2], life=DAY)
    record = channel.release(1)
    judge(overlay, record)
    with refused("R24"):
        judge(overlay, record, at=AT + DAY + 1)


def test_only_who_holds_attest_on_the_root_vouches_for_freshness(channel: Publishing) -> None:
    overlay, release = channel.overlay, channel.release(1)
    judge(overlay, channel.now(release))
    with refused("R06"):  # `attest` on a cluster is not `attest` on the root
        via = overlay.first.holds(rights.ATTEST, "eu/home")
        judge(overlay, overlay.statement(overlay.first, "now", channel_path("app"), channel.now(release).body, via=via))


def test_a_version_follows_where_a_threshold_of_the_one_before_has_signed(channel: Publishing) -> None:
    keys = channel_keys(3, "new")
    first = Channel.read(channel.record)

    def after(*signers: object, **changed: object) -> bool:
        record = channel.next(keys, 2, signers=signers, **changed)  # type: ignore[arg-type]
        judge(channel.overlay, record)
        return follows(record, Channel.read(record), channel.record, first)

    assert after(*channel.keys[:2], *keys[:2])
    assert not after(*channel.keys[:1], *keys[:2])
    assert not after(*channel.keys[:2], *keys[:2], version=3)
    assert not after(*channel.keys[:2], *keys[:2], previous=bytes(32))


def test_a_signature_that_does_not_hold_spoils_a_release(channel: Publishing) -> None:
    record = channel.release(1)
    forged = replace(record, content=record.content[:-1] + b"\x00", seal=bytes(32))
    with refused("R01"):
        judge(channel.overlay, forged)
