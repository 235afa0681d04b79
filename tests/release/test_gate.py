"""The gate's rules, G01 to G10: each refuses what it names, and lets pass what differs by one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from overlay.directory.book import Book
from overlay.errors import Malformed
from overlay.name import Path, parse_path
from overlay.records import rights
from overlay.records.observed import Observed
from overlay.records.record import Record
from overlay.records.releases import Channel
from overlay.release.gate import Decision, Floor, decide, halted, newest_keys, to_vouch
from overlay.units import DAY, HOUR
from tests.records.actors import AT, Overlay, found, refused
from tests.records.publishing import Publishing, channel_keys, declare, open_channel

HOME = parse_path("eu/home")


@pytest.fixture
def app() -> Publishing:
    return open_channel(found(), keys=3, threshold=2)


def judged(overlay: Overlay, records: Sequence[Record], at: float = AT) -> list[Record]:
    """What a book holds of these: every one must count."""
    book = Book(overlay.trust())
    for record in (overlay.root, *overlay.founder.grants, *overlay.first.grants, *overlay.member.grants, *records):
        book.add(record, at)
    return list(book.published.get("app", {}).values())


def look(
    app: Publishing, *said: Record, floor: Floor | None = None, at: float = AT, installed: int = 0, here: Path | None = None, urged: bool = False,
) -> Decision:
    return decide(judged(app.overlay, [app.record, *said], at), floor, at, installed, here=here, urged=urged)


def test_what_is_published_and_vouched_for_is_installed(app: Publishing) -> None:
    release = app.release(1)
    found = look(app, release, app.now(release))
    assert (found.why, found.release) == ("", release)
    assert found.floor is not None and (found.floor.revision, found.floor.at) == (1, AT)
    assert Floor.from_row(found.floor.row()) == found.floor


def test_g01_the_first_version_is_pinned_and_a_later_one_needs_a_threshold_of_the_one_before(app: Publishing) -> None:
    first = look(app).floor
    assert first is not None and (first.channel, first.revision) == (app.record.raw, 0)  # before anything is there to be installed
    release = app.release(1)
    pinned = look(app, release, app.now(release)).floor
    assert pinned is not None and pinned.channel == app.record.raw
    keys = channel_keys(2, "new")
    stolen = app.next(keys, 2, signers=[app.keys[0], *keys])
    rotated = app.next(keys, 2, signers=[*app.keys[:2], *keys])
    assert newest_keys([app.record, stolen], pinned) == app.record
    assert newest_keys([app.record, rotated], pinned) == rotated
    assert newest_keys([rotated], pinned) == rotated  # the pinned one may have left the book
    rival = declare(app.overlay, "app", Channel(version=1, keys=tuple(sorted(k.public for k in keys)), threshold=2), keys)
    assert newest_keys([app.record, rival], pinned) == app.record


def test_g01_who_comes_new_begins_with_the_earliest_declaration(app: Publishing) -> None:
    keys = channel_keys(1, "rival")
    rival = declare(app.overlay, "app", Channel(version=1, keys=(keys[0].public,), threshold=1), keys, at=AT + 100)
    assert newest_keys([rival, app.record], None) == app.record


def test_g02_after_a_rotation_the_old_keys_say_nothing(app: Publishing) -> None:
    old = app.release(1)
    floor = look(app, old, app.now(old)).floor
    keys = channel_keys(2, "new")
    rotated = app.next(keys, 2, signers=[*app.keys[:2], *keys])
    backdated = app.release(9)
    found = look(app, rotated, old, backdated, app.now(backdated), floor=floor)
    assert found.why == "G00" and found.release is None
    after = Publishing(app.overlay, "app", keys, 2, rotated)
    fresh = after.release(2)
    found = look(app, rotated, old, backdated, fresh, after.now(fresh), floor=floor)
    assert (found.why, found.release) == ("", fresh)


def test_g02_a_rotation_takes_a_stolen_leap_back(app: Publishing) -> None:
    """Fast-forward: who had the keys once may have named the highest number there is; counters are per key set."""
    leap = app.release(2**31 - 1)
    floor = look(app, leap, app.now(leap)).floor
    keys = channel_keys(2, "new")
    after = Publishing(app.overlay, "app", keys, 2, app.next(keys, 2, signers=[*app.keys[:2], *keys]))
    fresh = after.release(3)
    found = look(app, after.record, leap, fresh, after.now(fresh), floor=floor)
    assert (found.why, found.release) == ("", fresh)


def test_g03_past_the_date_of_its_keys_nothing_new_is_installed(app: Publishing) -> None:
    body = Channel.read(app.record)
    app.record = declare(app.overlay, "app", body, app.keys[:2], life=10 * DAY)
    release = app.release(1)
    held = judged(app.overlay, [app.record, release])
    late = AT + 10 * DAY
    held.append(app.now(release, at=late - HOUR))
    assert decide(held, None, late - 1).why == ""
    assert decide(held, None, late).why == "G03"
    assert decide(held, None, late - 1).keys_end == late


def test_g04_without_a_fresh_word_nothing_is_installed(app: Publishing) -> None:
    release = app.release(1)
    assert look(app, release).why == "G04"
    now = app.now(release)
    held = judged(app.overlay, [app.record, release, now])
    assert decide(held, None, AT + DAY - 1).why == ""
    assert decide(held, None, AT + DAY).why == "G04"


def test_g04_a_word_about_what_is_not_here_holds_nobody_back(app: Publishing) -> None:
    """A stolen key of `attest` alone neither brings in a release nor stops one."""
    release, hidden = app.release(1), app.release(2)
    liar = app.overlay.actor("liar")
    app.overlay.root_grant(liar, "", {"attest"})
    held = judged(app.overlay, [*liar.grants, app.record, release, app.now(release), app.now(hidden, by=liar)])
    found = decide(held, None, AT)
    assert (found.why, found.release) == ("", release)


def test_g05_no_revision_goes_below_what_was_named_before(app: Publishing) -> None:
    old, new = app.release(1), app.release(2)
    floor = look(app, old, new, app.now(new)).floor
    found = look(app, old, app.now(old), floor=floor)
    assert found.why == "G05" and found.floor is not None and found.floor.revision == 2
    assert look(app, old, new, app.now(new), floor=floor).why == ""


def test_g06_one_revision_has_one_content(app: Publishing) -> None:
    one, other = app.release(1, content=b"one"), app.release(1, content=b"other", signers=app.keys[1:])
    first = look(app, one, app.now(one)).floor
    assert look(app, other, app.now(other), floor=first).why == "G06"
    again = app.release(1, content=b"one", signers=app.keys[1:], note="signed anew")
    assert look(app, again, app.now(again), floor=first).why == ""


def test_two_publishers_at_once_end_with_one_release_everywhere(app: Publishing) -> None:
    one, other = app.release(1, content=b"one"), app.release(1, content=b"other", signers=app.keys[1:])
    second = app.overlay.actor("second")
    app.overlay.root_grant(second, "", {"attest"})
    said = [*second.grants, app.record, one, other, app.now(one), app.now(other, by=second)]
    chosen = {decide(judged(app.overlay, order), None, AT).release for order in (said, said[:2] + said[:1:-1])}
    assert chosen == {min(one, other, key=lambda record: record.digest)}


def test_g07_one_key_stops_a_revision_and_the_threshold_lets_it_go_on(app: Publishing) -> None:
    release = app.release(1)
    now, halt = app.now(release), app.halt(1)
    assert look(app, release, now, halt).why == "G07"
    assert look(app, release, now, app.halt(2)).why == ""
    lift = app.halt(1, lifted=True)
    assert look(app, release, now, halt, lift).why == ""
    assert look(app, release, now, lift, app.halt(1, signers=app.keys[2:])).why == "G07"
    assert halted([halt], app.record, 1) and not halted([halt, lift], app.record, 1)


def test_g08_a_release_says_what_it_may_replace(app: Publishing) -> None:
    release = app.release(5, lowest=3)
    now = app.now(release)
    assert look(app, release, now, installed=2).why == "G08"
    assert look(app, release, now, installed=3).why == ""
    assert look(app, release, now).why == ""  # nothing is there to be replaced


def test_g09_a_clock_in_1970_takes_nothing_that_was_out_of_date(app: Publishing) -> None:
    release = app.release(1)
    held = judged(app.overlay, [app.record, release, app.now(release)])
    floor = Floor(channel=app.record.raw, at=AT + 2 * DAY)
    assert decide(held, floor, 100.0).why == "G04"
    assert decide(held, replace(floor, at=0), 100.0).why == ""


def test_who_vouches_names_the_highest_and_never_goes_back(app: Publishing) -> None:
    one, two = app.release(1), app.release(2)
    held = judged(app.overlay, [app.record, one, two])
    assert to_vouch(held, None, AT) == (app.record, two)
    said = app.now(two)
    assert to_vouch(judged(app.overlay, [app.record, one]), said, AT) is None
    rival = app.release(2, content=b"other", signers=app.keys[1:])
    assert to_vouch([app.record, two, rival], said, AT) == (app.record, two)
    assert to_vouch([app.record, rival], said, AT) is None


@pytest.mark.parametrize("row", [b"", b"\x90", b"\x94\xc4\x00\x00\xc4\x00\x00", b"\x93\x01\x02\x03"])
def test_a_floor_that_the_disk_did_not_keep_is_damage(row: bytes) -> None:
    with pytest.raises(Malformed):
        Floor.from_row(row)


def test_a_floor_stands_on_a_channel(app: Publishing) -> None:
    with refused("stored-floor", Malformed):
        Floor.from_row(Floor(channel=app.release(1).raw).row())


def test_g06_of_two_publishers_with_one_key_neither_is_taken_once_one_was_named_and_the_next_number_goes_on(app: Publishing) -> None:
    first = app.release(1, content=b"one")
    now = app.now(first)
    second = app.release(1, content=b"two", at=AT + 5)  # the same key, later: it has the place of the first in every book
    held = judged(app.overlay, [app.record, first, now, second], AT + 10)
    assert first not in held and second in held
    assert decide(held, None, AT + 10).why == "G06"
    assert to_vouch(held, now, AT + 10) is None
    third = app.release(2)
    assert decide(judged(app.overlay, [app.record, first, now, second, third, app.now(third, at=AT + 20)], AT + 30), None, AT + 30).why == ""


def home(app: Publishing, revision: int, **changed: object) -> Record:
    return app.release(revision, home=HOME, **changed)


def test_g10_what_a_home_is_to_see_stable_waits_elsewhere_for_its_word(app: Publishing) -> None:
    release = home(app, 1)
    now = app.now(release)
    found = look(app, release, now)
    assert (found.why, found.release, found.coming) == ("G10", release, None)
    assert found.floor is not None and found.floor.revision == 0  # what is not let in bars nothing
    assert look(app, release, now, here=HOME).why == ""
    assert look(app, release, now, here=parse_path("us/office")).why == "G10"
    assert look(app, release, now, urged=True).why == ""
    first = app.overlay.first
    assert look(app, release, now, app.observed(first, "eu/home", 1, release)).why == ""
    assert look(app, release, now, app.observed(first, "eu/home", 0, release)).why == "G10"
    assert look(app, release, now, app.observed(first, "eu/home", 1, app.release(1, content=b"other"))).why == "G10"  # of another content
    assert look(app, release, now, app.observed(app.overlay.founder, "us/office", 1, release)).why == "G10"  # of another cluster


def test_g10_the_newest_word_of_a_cluster_counts(app: Publishing) -> None:
    release = home(app, 1)
    said = [release, app.now(release), app.observed(app.overlay.first, "eu/home", 1, release)]
    assert look(app, *said, app.observed(app.overlay.founder, "eu/home", 0, release, at=AT + 5)).why == "G10"
    assert look(app, *said, app.observed(app.overlay.founder, "eu/home", 0, release, at=AT - 5)).why == ""
    assert look(app, *said, app.observed(app.overlay.founder, "eu/home", 1, release, at=AT + 5, withdrawn=True)).why == "G10"


def test_g10_what_was_let_in_stays_let_in(app: Publishing) -> None:
    release = home(app, 1)
    now = app.now(release)
    floor = look(app, release, now, urged=True).floor
    assert look(app, release, now, floor=floor).why == ""


def test_g10_meanwhile_what_was_announced_before_is_installed_and_the_next_one_is_fetched(app: Publishing) -> None:
    old, new = home(app, 1), home(app, 2)
    said = [old, new, app.now(new)]
    found = look(app, *said, app.observed(app.overlay.first, "eu/home", 1, new))
    assert (found.why, found.release, found.coming) == ("", old, new)
    assert found.floor is not None and found.floor.revision == 1
    assert look(app, *said, app.observed(app.overlay.first, "eu/home", 2, new), floor=found.floor).release == new
    plain = app.release(1)
    assert look(app, plain, new, app.now(new)).release == plain  # that no home holds back


def test_g10_a_replay_of_an_older_word_brings_nobody_back(app: Publishing) -> None:
    old, new = home(app, 1), home(app, 2)
    word = app.observed(app.overlay.first, "eu/home", 2, new)
    floor = look(app, old, new, app.now(new), word).floor
    assert floor is not None and floor.revision == 2
    late = look(app, old, new, app.now(new), app.observed(app.overlay.first, "eu/home", 1, new), floor=floor)
    assert (late.release, late.why) == (new, "")


def test_a_word_about_a_cluster_takes_attest_over_it(app: Publishing) -> None:
    release = home(app, 1)
    stranger = app.overlay.member
    body = Observed(revision=1, release=release.digest, stable=1).body()
    forged = app.overlay.statement(stranger, "observed", HOME, body, item=b"app", via=stranger.holds(rights.MEMBER, HOME))
    with refused("R07"):
        judged(app.overlay, [app.record, release, forged])
