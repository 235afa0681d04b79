"""One node's part in the election: what it takes, what it refuses, what it promises about itself."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay import limits
from overlay.cluster.lease import DRIFT, LEASE, PATIENCE, SPREAD, Lease
from overlay.cluster.outputs import Role, RoleChanged, Tell
from overlay.cluster.rank import SOAK, Rank, Ranks, Soaked
from overlay.cluster.terms import BLOCK, SANE, TOP, Gone, Hand, Numbers, Renew, Report, Word, read, stored_number
from overlay.errors import Malformed
from overlay.machine import Store
from overlay.wire.codec import Value, decode, encode
from overlay.wire.messages import Note
from tests.cluster.lan import Host, Lan

ME, ANN, BOB, EVE = (bytes([n]) * 32 for n in (5, 6, 4, 9))
ALL = {ME, ANN, BOB, EVE}


def lease(number: int = 0, *, able: bool = True, alive: set[bytes] = ALL, speakers: set[bytes] = ALL, now: float = 0.0) -> Lease:
    found = Lease(ME, number, able, Random(1).randbytes, now)
    found.members(alive, speakers, now)
    return found


def run(node: Lease, now: float, end: float) -> float:
    """Wake it whenever it wants, until ``end``."""
    while (due := node.wake_at()) is not None and due <= end:
        now = max(now, due)
        node.wake(now)
    return end


def told(node: Lease, kind: type[Word] = Renew) -> list[tuple[bytes, Word]]:
    words = [(one.to, read(one.body)) for one in node.take() if isinstance(one, Tell)]
    return [(to, word) for to, word in words if isinstance(word, kind)]


def hear(node: Lease, sender: bytes, word: Word, now: float) -> None:
    node.receive(sender, decode(encode(word.body())), now)


# -- starting


def test_the_only_speaker_is_gateway_at_once_and_its_number_is_stored_before_it_is_told() -> None:
    node = lease(7, alive={ME, ANN}, speakers={ME})
    assert node.role is Role.GATEWAY
    assert node.holds(0.0)
    out = node.take()
    stores = [index for index, one in enumerate(out) if isinstance(one, Store)]
    first_word = min(index for index, one in enumerate(out) if isinstance(one, Tell))
    assert node.term == (8, ME)
    assert stores[0] < first_word
    assert [stored_number(one.value) for one in out if isinstance(one, Store)] == [7 + BLOCK]
    assert out[-1] == RoleChanged(Role.GATEWAY, ME, None, 8)


def test_where_others_may_speak_it_listens_first_and_not_longer_than_the_four_seconds_allow() -> None:
    node = lease()
    run(node, 0.0, PATIENCE - 0.01)
    assert node.role is Role.MEMBER
    run(node, PATIENCE, PATIENCE + SPREAD)
    assert node.role is Role.GATEWAY
    assert (PATIENCE + SPREAD) / (1 - DRIFT) < 4.0


def test_while_it_listens_it_asks_so_a_live_gateway_that_does_not_know_it_is_heard() -> None:
    node = lease()
    asked = {to for to, word in told(node, Report) if isinstance(word, Report) and word.asks}
    assert asked == ALL - {ME}


def test_a_node_that_may_not_speak_follows_and_never_claims() -> None:
    node = lease(able=False, speakers={ANN, BOB})
    hear(node, ANN, Renew(3, 1, BOB, 7), 1.0)
    assert (node.role, node.gateway, node.standby, node.term) == (Role.MEMBER, ANN, BOB, (3, ANN))
    run(node, 1.0, 100.0)
    assert (node.role, node.gateway) == (Role.MEMBER, None)
    assert not [one for one in node.take() if not isinstance(one, RoleChanged)]


def test_who_loses_the_right_to_speak_stops_at_once() -> None:
    node = lease(alive={ME, ANN}, speakers={ME})
    node.members({ME, ANN}, {ANN}, 5.0)
    assert (node.role, node.holds(5.0)) == (Role.MEMBER, False)


def test_who_gets_the_right_to_speak_listens_before_it_claims() -> None:
    node = lease(able=False, speakers={ANN})
    run(node, 0.0, 50.0)
    node.members(ALL, {ME, ANN}, 50.0)
    run(node, 50.0, 53.0)
    assert node.role is Role.MEMBER
    run(node, 53.0, 54.0)
    assert node.role is Role.GATEWAY


def test_a_gateway_that_nobody_follows_leaves_within_a_second_all_the_same() -> None:
    many = {bytes([n]) * 32 for n in range(20)} | {ME}
    node = lease(alive=many, speakers={ME})
    node.members(many, many, 1.0)
    node.leave(1.5)
    assert node.holds(1.5)
    run(node, 1.5, 2.51)
    assert (node.role, node.gateway) == (Role.MEMBER, None)
    assert len({to for to, _ in told(node, Hand)}) == 4


# -- holding


def test_a_lease_ends_at_its_date_whether_or_not_anybody_looked() -> None:
    node = lease(alive={ME, ANN}, speakers={ME, ANN})
    run(node, 0.0, 4.0)
    assert node.role is Role.GATEWAY
    assert node.holds(4.0)
    assert not node.holds(4.0 + LEASE)
    node.take()
    hear(node, ANN, Report(0, 0, 0, 9, asks=True), 4.0 + LEASE)  # whatever comes first after a stall
    assert node.role is not Role.GATEWAY
    assert not told(node), "it renewed what had run out"
    assert node.counters["lease_lapsed"] == 1


def test_the_standby_follows_first_and_takes_the_next_number() -> None:
    node = lease()
    hear(node, ANN, Renew(3, 1, ME, 0), 1.0)
    assert node.role is Role.STANDBY
    run(node, 1.0, 1.0 + PATIENCE - 0.001)
    assert node.gateway == ANN
    run(node, 1.0, 1.0 + PATIENCE)
    assert node.term == (4, ME)


def test_a_standby_that_stalled_itself_listens_before_it_takes_over() -> None:
    node = lease()
    hear(node, ANN, Renew(3, 1, ME, 0), 1.0)
    node.take()
    node.wake(9.0)
    assert node.role is Role.MEMBER
    hear(node, ANN, Renew(3, 9, ME, 0), 9.01)  # what waited in its socket
    run(node, 9.01, 11.0)
    assert node.gateway == ANN


# -- what others say


def test_a_sender_that_may_not_speak_is_counted_and_ignored() -> None:
    node = lease(speakers={ME, ANN})
    hear(node, EVE, Renew(10**6, 1, None, 0), 1.0)
    assert node.gateway is None
    assert node.counters["drop:lease-unentitled"] == 1


def test_a_copy_or_straggler_of_a_renewal_renews_nothing() -> None:
    node = lease()
    hear(node, ANN, Renew(3, 5, BOB, 1), 1.0)
    for beat in (5, 4):
        hear(node, ANN, Renew(3, beat, BOB, 1), 2.5)
    hear(node, ANN, Renew(2, 99, BOB, 1), 2.5)
    assert node.counters["drop:lease-old"] == 3
    run(node, 2.5, 1.0 + PATIENCE)
    assert node.gateway is None


def test_who_has_stopped_is_not_followed_again_by_its_own_stragglers() -> None:
    node = lease()
    hear(node, ANN, Renew(3, 5, BOB, 1), 1.0)
    hear(node, ANN, Gone(3), 1.1)
    hear(node, ANN, Renew(3, 6, BOB, 1), 1.2)
    assert node.gateway is None


def test_a_straggler_from_its_last_term_ends_no_later_one() -> None:
    node = lease()
    hear(node, ANN, Renew(5, 1, BOB, 1), 1.0)
    hear(node, ANN, Gone(3), 1.1)
    assert node.gateway == ANN


def test_the_higher_term_stays_and_tells_the_lower_at_once() -> None:
    node = lease(5, alive=ALL, speakers={ME})
    node.members(ALL, ALL, 0.5)
    node.take()
    hear(node, ANN, Renew(3, 1, None, 0), 0.6)
    assert [to for to, _ in told(node)] == [ANN]
    hear(node, ANN, Renew(6, 1, None, 0), 0.7)  # equal numbers: the higher id
    assert (node.role, node.gateway) == (Role.MEMBER, ANN)
    assert {to for to, _ in told(node, Gone)} == ALL - {ME}


def test_only_the_gateway_can_hand_over_and_only_its_own_term() -> None:
    node = lease()
    hear(node, ANN, Renew(3, 1, BOB, 1), 1.0)
    hear(node, BOB, Hand(3), 1.1)
    hear(node, ANN, Hand(2), 1.1)
    assert node.role is Role.MEMBER
    hear(node, ANN, Hand(3), 1.2)
    assert node.term == (4, ME)
    node.take()
    hear(node, ANN, Hand(3), 1.22)  # asked again: the answer was lost
    assert [to for to, _ in told(node)] == [ANN]


def test_a_gateway_whose_members_have_seen_a_higher_number_takes_one_above_it() -> None:
    node = lease(alive=ALL, speakers={ME})
    node.members(ALL, ALL, 0.5)
    hear(node, BOB, Report(44, 0, 0, 5), 1.0)
    assert node.term == (45, ME)
    hear(node, BOB, Report(99, 0, 0, 5), 2.0)  # not as often as somebody likes
    assert node.term == (45, ME)


@pytest.mark.parametrize(
    "word", [Renew(7, 1, None, 0), Renew(TOP, 2**53, ME, 65_535), Report(1, 2, 3, 4), Report(0, 0, 0, 0, True), Hand(1), Gone(2, True)],
)  # fmt: skip
def test_words_go_over_the_wire_and_back(word: Word) -> None:
    assert read(decode(encode(word.body()))) == word


def test_the_words_have_these_octets() -> None:
    assert encode(Renew(7, 2, bytes(32), 1).body()).hex() == "8501010207030204c420" + "00" * 32 + "0501"
    assert encode(Report(7, 3, 2, 60, True).body()).hex() == "8601020207030304020" + "53c06c3"
    assert encode(Hand(7).body()).hex() == "8201030207"
    assert encode(Gone(7, True).body()).hex() == "8301040207" + "03c3"


@pytest.mark.parametrize(
    "body", [None, [], {}, {1: 5, 2: 1}, {1: 1, 2: -1, 3: 1, 5: 0}, {1: 1, 2: 2**63, 3: 1, 5: 0}, {1: 1, 2: 1, 3: 1, 4: b"short", 5: 0},
             {1: 3, 2: 1, 3: 1}, {1: 2, 2: 1, 3: 0, 4: 8, 5: 0}, {1: True, 2: 1}],
)  # fmt: skip
def test_what_is_wrong_raises_malformed_only(body: Value) -> None:
    node = lease()
    with pytest.raises(Malformed):
        node.receive(ANN, body, 1.0)


@pytest.mark.parametrize("value", [b"-1", b"x", b"", b"9" * 19, str(SANE + 1).encode(), b"\xb2", b"1" * 50])
def test_a_damaged_number_in_the_store_is_told(value: bytes) -> None:
    if value:
        with pytest.raises(Malformed):
            stored_number(value)
    else:
        assert stored_number(None) == 0


# -- absurd numbers


def test_numbers_far_ahead_count_as_the_bound_and_a_true_distance_is_caught_up_with() -> None:
    numbers = Numbers(0)
    assert numbers.count(3, 0.0) == 3
    for _ in range(1_000):
        assert numbers.count(10**12, 0.5) == limits.TERM_AHEAD
    assert numbers.count(2_500, 1.5) == 2 * limits.TERM_AHEAD
    assert numbers.count(2_500, 2.5) == 2_500


def test_a_liar_about_numbers_is_gateway_while_it_lives_and_the_counter_is_there_afterwards() -> None:
    lan, hosts = calm(3)
    liar = lan.add()
    lan.start(liar)
    assert liar.lease is not None
    lan.until(20.0)
    liar.stalled = 1e9  # its own lease is out of the game: what it says is put into its mouth
    for beat in range(200):  # 50 s, four a second
        lie = Renew(TOP - 5, beat, None, 1).body()
        for host in hosts:
            lan.at(20.0 + beat / 4, lambda to=host.node_id, lie=lie: lan._send(liar, Tell(to, Note.LEASE, lie)))
    lan.until(45.0)
    assert {host.lease.gateway for host in hosts if host.lease is not None} == {liar.node_id}, "no flapping: a rightful speaker may be gateway"
    lan.until(69.5)
    lan.crash(liar)
    lan.until(74.0)
    (holder,) = [host for host in hosts if host.lease is not None and host.lease.holds(host.clock(lan.now))]
    assert holder.lease is not None and holder.lease.term is not None
    assert holder.lease.term[0] <= 60 * limits.TERM_AHEAD
    assert {host.lease.gateway for host in hosts if host.lease is not None} == {holder.node_id}


# -- rank


def test_a_better_grade_is_handed_over_to_after_a_minute_and_the_gateway_answers_until_it_is_followed() -> None:
    lan, hosts = calm(3)
    better = lan.add(reach=2, revision=1)
    lan.at(20.0, lambda: lan.start(better))
    lan.until(79.0)
    assert acting(lan) != [better]
    lan.until(95.0)
    assert acting(lan) == [better]
    assert not lan.judge.faults


def test_an_equal_grade_with_more_uptime_is_worth_no_hand_over() -> None:
    lan, hosts = calm(3)
    (first,) = acting(lan)
    lan.until(200.0)
    assert acting(lan) == [first]
    assert "hand-over" not in lan.judge.figures


def test_a_claim_of_a_revision_that_no_release_proves_wins_nothing() -> None:
    lan, hosts = calm(2)
    liar = lan.add(liar=True)
    lan.at(20.0, lambda: lan.start(liar))
    lan.until(30.0)
    (first,) = acting(lan)
    for when in range(30, 300, 7):
        lan.at(float(when), lambda: lan.say_rank(liar))
    lan.until(300.0)
    assert acting(lan) == [first]
    assert first is not liar


def test_a_gateway_that_leaves_is_followed_without_a_gap() -> None:
    lan, hosts = calm(4)
    (first,) = acting(lan)
    lan.until(30.0)
    lan.leave(first)
    lan.until(30.3)
    (second,) = acting(lan)
    assert second is not first
    assert lan.judge.figures["hand-over"] and not lan.judge.faults


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(0, 9)), min_size=1, max_size=12), st.floats(0.0, 90.0))
def test_what_counts_is_the_lowest_of_the_last_minute(said: list[tuple[float, int]], later: float) -> None:
    now, soaked, before = 0.0, Soaked(said[0][1], 0.0), [(0.0, said[0][1])]
    for step, value in said[1:]:
        now += step
        soaked.say(value, now)
        before.append((now, value))
    now += later
    ruling = [value for index, (_, value) in enumerate(before) if index + 1 == len(before) or before[index + 1][0] > now - SOAK]
    assert soaked.counted(now) == (min(ruling) if now >= SOAK else 0)


def test_who_climbs_faster_than_is_remembered_counts_as_less() -> None:
    soaked = Soaked(0, 0.0)
    for value in range(1_000):
        soaked.say(value, value / 100)
    assert len(soaked._since) <= 16
    assert soaked.counted(200.0) < 999


def test_the_standby_stays_while_nobody_has_a_better_merit() -> None:
    ranks = Ranks(Rank(0, 0, 0.0, ME), 0.0)
    ranks.say(Rank(0, 1, 50.0, ANN), 50.0)
    assert ranks.order({ANN}, 50.0) == [ANN]
    ranks.say(Rank(0, 1, 10.0, BOB), 51.0)
    assert ranks.order({ANN, BOB}, 52.0) == [ANN, BOB]
    ranks.say(Rank(0, 2, 10.0, BOB), 53.0)
    assert ranks.order({ANN, BOB}, 112.5) == [ANN, BOB]
    assert ranks.order({ANN, BOB}, 113.5) == [BOB, ANN]


# -- whatever comes

NUMBERS = st.one_of(st.integers(0, 40), st.sampled_from([10**12, 2**62, TOP]))
WORDS: st.SearchStrategy[Word] = st.one_of(
    st.builds(Renew, NUMBERS, st.integers(0, 99), st.sampled_from([None, ME, ANN, EVE]), st.integers(0, 9)),
    st.builds(Report, NUMBERS, st.sampled_from([0, 1, 10**9]), st.integers(0, 7), st.integers(0, 10**9), st.booleans()),
    st.builds(Hand, NUMBERS), st.builds(Gone, NUMBERS, st.booleans()),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([ANN, BOB, EVE]), WORDS, st.floats(0.0, 2.0)), max_size=60), st.booleans())
def test_whatever_is_said_terms_only_rise_are_stored_first_and_silence_makes_it_gateway(said: list[tuple[bytes, Word, float]], wakes: bool) -> None:
    node, now, durable, highest = lease(3, speakers={ME, ANN, BOB}), 0.0, 0, 3

    def look() -> None:
        nonlocal durable, highest
        for one in node.take():
            if isinstance(one, Store):
                durable = stored_number(one.value)
            elif isinstance(one, Tell) and isinstance(word := read(one.body), Renew):
                assert highest <= word.number <= durable
                highest = word.number
        assert not node.holds(now) or node.role is Role.GATEWAY

    look()
    for sender, word, pause in said:
        now = run(node, now, now + pause) if wakes else now + pause
        hear(node, sender, word, now)
        look()
    now = run(node, now, now + 4.0)
    look()
    assert node.holds(now)
    assert node.term is not None
    assert node.term[0] <= 3 + (len(said) + 2) * (limits.TERM_AHEAD + 1)


def calm(count: int) -> tuple[Lan, list[Host]]:
    """So many hosts, ten seconds old, on a LAN that loses nothing."""
    lan = Lan(Random(count), loss=0.0, delay=(0.0005, 0.002), commit=0.005)
    hosts = [lan.add() for _ in range(count)]
    for host in hosts:
        lan.start(host)
    lan.until(10.0)
    return lan, hosts


def acting(lan: Lan) -> list[Host]:
    return [host for host in lan.hosts.values() if host.lease is not None and host.lease.holds(host.clock(lan.now))]
