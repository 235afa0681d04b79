"""The way in by the LAN: one overlay is taken, of several a person chooses, and no neighbour can lead astray (CONTRACT, `join lan`)."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bootstrap.domain import OverlayText, way_text
from bootstrap.entrance import Domain, Lan, WayIn, parse_where
from bootstrap.goal import Ask, Fetch, GiveUp, Goal, Listen, Tell, Try
from bootstrap.lan import FORGET, LISTEN, WAIT, Seeking, Sender
from bootstrap.mirror import Facts, way_in
from bootstrap.plan import LAN_HEAD_START, Plan
from overlay import limits
from overlay.cluster.beacon import GROUP_4, Beacon, Kind, encode, seek, tag_of
from overlay.cluster.links import Link
from overlay.errors import OverlayError
from overlay.units import b64
from overlay.wire.address import Address, Way

OURS, THEIRS = b"o" * 32, b"t" * 32
AT = 1_800_000_000.0
ZONE = "cloud.example.org"
WAN = WayIn((Address("203.0.113.10", 7653),), b"w" * 32)


def sender(host: str, overlay_id: bytes = OURS, key: bytes | None = None) -> Sender:
    return Sender(tag_of(overlay_id, int(AT // 3600)), key or host.encode().ljust(32, b"k"), Address(host, 7653))


def well_known(one: Sender, overlay_id: bytes = OURS, tld: str = "cloud") -> bytes:
    return json.dumps(way_in(Facts(
        overlay_id=overlay_id, zone=ZONE, tld=tld, name="", node_id=bytes(32), key=one.exchange, addresses=(), record=b"", revision=0, cluster="",
    ))).encode()  # fmt: skip


class Attempt:
    """A plan, and what it wanted."""

    def __init__(self, goal: Goal) -> None:
        self.now = 0.0
        self.plan = Plan(goal, bytes)
        self.effects: list[object] = []
        self.plan.start(self.now)
        self.look()

    def look(self) -> None:
        self.effects += self.plan.take()

    def of(self, kind: type) -> list:  # type: ignore[type-arg]
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def hear(self, one: Sender) -> None:
        self.plan.heard(one, self.now, AT)
        self.look()

    def pass_to(self, now: float) -> None:
        while (wake := self.plan.wake_at()) is not None and wake <= now:
            self.now = max(self.now, wake)
            self.plan.wake(self.now)
            self.look()
        self.now = now

    def serve(self) -> None:
        """Answer all that is asked over HTTP by then."""
        for fetch in self.of(Fetch):
            one = next((s for s, _ in self.plan._senders.values() if s.address == fetch.address), None)
            if one is not None:
                self.plan.fetched(fetch, well_known(one, OURS if one.tag == sender("x").tag else THEIRS), self.now)
        self.look()

    @property
    def error(self) -> OverlayError | None:
        return next((effect.error for effect in self.of(GiveUp)), None)

    @property
    def tried(self) -> list[WayIn]:
        return [effect.way for effect in self.of(Try)]


def on_lan(overlay_id: bytes | None = None) -> Attempt:
    return Attempt(Goal(place=Lan(), overlay_id=overlay_id, lan=True))


def test_where_may_be_the_lan() -> None:
    assert parse_where("LAN") == Lan() and str(Lan()) == "lan"


def test_one_overlay_on_the_lan_is_pinned_told_and_dialled_by_key() -> None:
    attempt, alice = on_lan(), sender("192.168.1.2")
    assert attempt.of(Listen)
    attempt.hear(alice)
    assert [fetch.address for fetch in attempt.of(Fetch)] == [alice.address]
    attempt.serve()
    assert not attempt.tried, "others may answer yet"
    attempt.pass_to(LISTEN)
    assert attempt.tried == [alice.way]
    assert any(b64(OURS) in tell.line and "pinned" in tell.line for tell in attempt.of(Tell))


def test_of_several_overlays_a_person_chooses() -> None:
    attempt = on_lan()
    for one in (sender("192.168.1.2"), sender("192.168.1.3", THEIRS), sender("192.168.1.4")):
        attempt.hear(one)
        attempt.serve()
    attempt.pass_to(LISTEN)
    assert attempt.error is not None and attempt.error.exit_status == 1
    assert b64(OURS) in attempt.error.what and b64(THEIRS) in attempt.error.what and "--id" in attempt.error.todo
    assert not attempt.tried


def test_an_id_chooses_at_once_and_the_others_are_not_followed() -> None:
    attempt = on_lan(OURS)
    attempt.hear(sender("192.168.1.3", THEIRS))
    attempt.hear(sender("192.168.1.2"))
    assert attempt.tried == [sender("192.168.1.2").way]
    attempt.serve()
    attempt.pass_to(60)
    assert attempt.tried.count(sender("192.168.1.3").way) == 0 and attempt.error is None


def test_who_does_not_answer_is_waited_for_no_longer_than_a_while() -> None:
    attempt, alice, mute = on_lan(), sender("192.168.1.2"), sender("192.168.1.9", THEIRS)
    attempt.hear(mute)
    attempt.pass_to(0.3)
    attempt.hear(alice)
    attempt.plan.fetched(next(f for f in attempt.of(Fetch) if f.address == alice.address), well_known(alice), attempt.now)
    attempt.pass_to(WAIT - 0.01)
    assert not attempt.tried
    attempt.pass_to(WAIT)
    assert attempt.tried == [alice.way]


def test_a_silent_lan_is_told_and_listened_to_for_ever() -> None:
    attempt = on_lan()
    attempt.pass_to(100)
    assert "no node of an overlay answers on this LAN" in attempt.plan.unreached().what
    assert len(attempt.of(Listen)) == 1 and attempt.error is None
    attempt.hear(sender("192.168.1.2"))
    attempt.serve()
    attempt.pass_to(attempt.now + LISTEN)
    assert attempt.tried == [sender("192.168.1.2").way], "the pause ends when somebody is heard"


def test_a_clock_that_is_days_off_does_not_keep_a_newcomer_out() -> None:
    """It does not recognize the tag: the sender says its overlay itself."""
    attempt = on_lan(OURS)
    alice = sender("192.168.1.2")
    attempt.plan.heard(alice, 0.0, AT - 9 * 86_400)
    attempt.look()
    assert not attempt.tried
    attempt.serve()
    assert attempt.tried == [alice.way]


def test_a_link_local_address_is_the_last_resort() -> None:
    attempt, key = on_lan(), b"a" * 32
    for host in ("fe80::2%2", "192.168.1.2"):
        attempt.hear(sender(host, key=key))
        attempt.serve()
    attempt.pass_to(LISTEN)
    assert [way.addresses[0].host for way in attempt.tried] == ["192.168.1.2"]
    attempt.pass_to(LISTEN + 1)
    assert [way.addresses[0].host for way in attempt.tried] == ["192.168.1.2", "fe80::2%2"]


def test_with_an_id_nobody_is_told_of_a_pause_before_there_was_time_to_answer() -> None:
    attempt = on_lan(OURS)
    attempt.pass_to(LISTEN - 0.01)
    assert not attempt.of(Tell)
    attempt.pass_to(LISTEN)
    assert "no node of an overlay answers on this LAN" in [tell.line for tell in attempt.of(Tell)]


# -- beside other ways


def joining(**more: object) -> Attempt:
    return Attempt(Goal(place=Domain(ZONE), lan=True, lan_first=True, **more))  # type: ignore[arg-type]


def answer(attempt: Attempt, overlay_id: bytes = OURS) -> None:
    """The DNS tells the overlay and a way in."""
    for ask in attempt.of(Ask):
        if ask.name == f"_overlay.{ZONE}":
            attempt.plan.answered(ask, (str(OverlayText(overlay_id, "cloud")).encode(),), attempt.now)
        else:
            attempt.plan.answered(ask, (way_text(WAN).encode(),), attempt.now)
    attempt.look()


def test_a_neighbour_goes_before_the_domains_ways_once_the_domain_has_said_which_overlay() -> None:
    attempt = joining()
    attempt.hear(sender("192.168.1.3", THEIRS))
    attempt.hear(sender("192.168.1.2"))
    assert not attempt.tried and not attempt.of(Fetch), "nobody on the LAN says which overlay a domain means"
    answer(attempt)
    assert attempt.tried == [sender("192.168.1.2").way]
    attempt.pass_to(LAN_HEAD_START)
    assert attempt.tried == [sender("192.168.1.2").way, WAN]
    assert attempt.error is None


def test_without_neighbours_the_domains_ways_wait_no_longer_than_the_head_start() -> None:
    attempt = joining()
    answer(attempt)
    assert not attempt.tried
    attempt.pass_to(LAN_HEAD_START)
    assert attempt.tried == [WAN]


def test_a_token_has_nothing_to_wait_for() -> None:
    attempt = Attempt(Goal(place=Domain(ZONE), overlay_id=OURS, known=(WAN,), lan=True))
    assert attempt.tried == [WAN]
    attempt.hear(sender("192.168.1.2"))
    assert attempt.tried == [WAN, sender("192.168.1.2").way], "not queued behind the others"


def test_where_all_else_is_dead_the_neighbour_is_enough() -> None:
    attempt = Attempt(Goal(place=Domain(ZONE), overlay_id=OURS, lan=True))
    attempt.pass_to(40)
    attempt.hear(sender("192.168.1.2"))
    assert attempt.tried == [sender("192.168.1.2").way]


@pytest.mark.parametrize("place", [Lan(), Domain(ZONE)])
def test_a_flood_of_beacons_fills_no_memory_and_starts_a_few_knocks_a_second(place: Lan | Domain) -> None:
    attempt = Attempt(Goal(place=place, overlay_id=OURS, lan=True))
    for number in range(2_000):
        attempt.now += 0.002
        attempt.hear(sender(f"192.168.{number // 250}.{number % 250}"))
    assert len(attempt.plan._senders) == limits.LAN_SENDERS
    assert len(attempt.tried) <= limits.KNOCKS


# -- the newcomer's ears


def heard(seeking: Seeking, data: bytes, host: str = "192.168.1.9", now: float = 0.0) -> Sender | None:
    return seeking.heard(data, Way("udp", Address(host, 7654)), now)


def beacon(number: int = 0, kind: Kind = Kind.HERE) -> bytes:
    return encode(Beacon(kind, tag_of(OURS, 1), number.to_bytes(32, "big"), 7653))


def seeking() -> Seeking:
    one = Seeking(bytes, Counter())
    one.follow([Link("eth0", 2, "192.168.1.2", 16)])
    return one


def test_the_question_goes_out_at_once_and_again_soon() -> None:
    one = seeking()
    assert GROUP_4 in [way.remote for way in one.due(0.0)]
    wake = one.wake_at()
    assert wake is not None and wake < 0.25
    assert one.due(wake)


def test_nodes_on_the_lan_count_and_nothing_else_does() -> None:
    one = seeking()
    assert heard(one, beacon()) == Sender(tag_of(OURS, 1), bytes(32), Address("192.168.1.9", 7653))
    assert heard(one, beacon(), "203.0.113.9") is None
    assert heard(one, seek(bytes(8), 40_000)) is None
    assert heard(one, beacon() + b"!") is None
    assert one.counters == Counter({"drop:beacon-off-link": 1, "drop:beacon-length": 1, "drop:lan-links": 0})


def test_senders_are_bounded_and_room_comes_again() -> None:
    one = seeking()
    found = [heard(one, beacon(number), f"192.168.1.{number + 1}") for number in range(50)]
    assert sum(sender is not None for sender in found) == limits.LAN_SENDERS
    assert one.counters["drop:beacon-senders"] == 50 - limits.LAN_SENDERS
    assert heard(one, beacon(49), "192.168.1.50", FORGET) is not None
