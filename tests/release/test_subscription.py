"""What is kept of subscriptions: read back, told in order, a failed revision never tried again by itself, a damaged row a loss of that row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overlay.release.subscription import ACTIVE, FAILED, RUNNING, TABLE, Subscription, Subscriptions
from tests.records.actors import AT, found
from tests.records.publishing import Publishing, open_channel

SUB = Subscription(channel="app", activate="true", health="true")


class Disk(dict[bytes, bytes]):
    """What the stores of a run leave."""

    def write(self, stores: object) -> None:
        for store in stores:  # type: ignore[attr-defined]
            assert store.table == TABLE
            if store.value is None:
                self.pop(store.key, None)
            else:
                self[store.key] = store.value


@pytest.fixture
def app() -> Publishing:
    return open_channel(found())


def published(app: Publishing, revision: int) -> list[object]:
    release = app.release(revision)
    return [app.record, release, app.now(release)]


def test_a_revision_is_fetched_run_once_and_remembered(app: Publishing) -> None:
    disk, kept = Disk(), Subscriptions({})
    disk.write(kept.subscribe(SUB))
    decision, stores = kept.look("app", published(app, 1), AT)  # type: ignore[arg-type]
    disk.write(stores)
    assert kept.todo("app", decision, False, ["any"]).act == "fetch"
    assert kept.todo("app", decision, True, ["any"]).act == "run"
    outcome, stores = kept.begins("app", decision, AT)
    disk.write(stores)
    assert outcome is not None and outcome.state == RUNNING
    disk.write(kept.ended("app", replace(outcome, state=ACTIVE), AT))
    assert kept.todo("app", decision, True, ["any"]).act == ""
    again = Subscriptions(disk)
    assert again.damaged == 0
    assert again.subscribed() == [SUB] and again.of("app").floor == kept.of("app").floor
    decision, stores = again.look("app", published(app, 1), AT)  # type: ignore[arg-type]
    assert stores == [] and again.todo("app", decision, True, ["any"]).act == ""
    assert again.todo("app", decision, False, ["any"]).act == "fetch"  # its octets were lost


def test_a_failed_revision_is_not_tried_again_until_a_person_says_so(app: Publishing) -> None:
    disk, kept = Disk(), Subscriptions({})
    disk.write(kept.subscribe(SUB))
    decision, _ = kept.look("app", published(app, 2), AT)  # type: ignore[arg-type]
    outcome, stores = kept.begins("app", decision, AT)
    assert outcome is not None
    disk.write([*stores, *kept.ended("app", replace(outcome, state=FAILED, what="exit status 1"), AT)])
    for one in (kept, Subscriptions(disk)):
        assert one.todo("app", decision, True, ["any"]).why == "failed"
    disk.write(kept.again("app"))
    assert kept.todo("app", decision, True, ["any"]).act == "run"
    assert Subscriptions(disk).todo("app", decision, True, ["any"]).act == "run"


def test_under_a_command_a_node_may_die_once_and_not_for_ever(app: Publishing) -> None:
    disk, kept = Disk(), Subscriptions({})
    disk.write(kept.subscribe(SUB))
    decision, _ = kept.look("app", published(app, 1), AT)  # type: ignore[arg-type]
    for tries in (1, 2):
        outcome, stores = kept.begins("app", decision, AT)
        assert outcome is not None and outcome.tries == tries
        disk.write(stores)
        kept = Subscriptions(disk)  # the node died under it
    outcome, stores = kept.begins("app", decision, AT)
    disk.write(stores)
    assert outcome is None
    assert Subscriptions(disk).todo("app", decision, True, ["any"]).why == "failed"


def test_what_is_for_no_machine_like_this_is_said_so(app: Publishing) -> None:
    kept = Subscriptions({})
    kept.subscribe(SUB)
    decision, _ = kept.look("app", published(app, 1), AT)  # type: ignore[arg-type]
    assert kept.todo("app", decision, False, ["linux-x86_64"]).why == "platform"


def test_unsubscribing_keeps_the_floor(app: Publishing) -> None:
    disk, kept = Disk(), Subscriptions({})
    disk.write(kept.subscribe(SUB))
    disk.write(kept.look("app", published(app, 3), AT)[1])  # type: ignore[arg-type]
    disk.write(kept.unsubscribe("app"))
    again = Subscriptions(disk)
    floor = again.of("app").floor
    assert again.subscribed() == [] and floor is not None and floor.revision == 3


@pytest.mark.parametrize("key", [b"sub:app", b"floor:app", b"current:app", b"last:app", b"bad:app:x", b"what:app", b"sub:\xff"])
@pytest.mark.parametrize("row", [b"", b"\x80", b"\x96\x01\x02\x03\x04\x05\x06", b"\xff"])
def test_a_damaged_row_costs_itself_alone(key: bytes, row: bytes) -> None:
    kept = Subscriptions({key: row, b"sub:web": Subscription(channel="web").row()})
    assert kept.damaged == 1
    assert "web" in {one.channel for one in kept.subscribed()}
