"""The plan: sources in order and raced, the pinned id, pauses, and who is refused. Names are of the documentation ranges."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.domain import OverlayText, way_text
from bootstrap.entrance import Domain, Listener, WayIn
from bootstrap.goal import Ask, Fetch, GiveUp, Goal, Tell, Try
from bootstrap.mirror import WELL_KNOWN, Facts, way_in
from bootstrap.plan import HEAD_START, PATIENCE, RESOLUTION_DELAY, Plan
from bootstrap.race import STAGGER
from overlay.errors import OverlayError, TrustError, UsageError
from overlay.units import b64
from overlay.wire.address import Address

ZONE = "cloud.neonics.com"
OURS, THEIRS = b"o" * 32, b"t" * 32
FOUNDER = WayIn((Address("2001:db8::10", 7653), Address("203.0.113.10", 7653)), b"f" * 32)
SECOND = WayIn((Address("203.0.113.20", 7653),), b"s" * 32)
PEER = WayIn((Address("198.51.100.5", 7653),), b"p" * 32)
DOMAIN = Domain(ZONE)

Values = tuple[bytes, ...] | tuple[str, ...]


def well_known(overlay_id: bytes, way: WayIn) -> bytes:
    return json.dumps(way_in(Facts(
        overlay_id=overlay_id, zone=ZONE, tld="cloud", name="", node_id=bytes(32), key=way.key, addresses=way.addresses,
        record=b"", revision=0, cluster="",
    ))).encode()


@dataclass
class World:
    """An internet: what the DNS says, who serves HTTP, which keys let one in; each answer takes ``delay`` seconds."""

    dns: dict[tuple[str, str], Values | None] = field(default_factory=dict)  # None: nobody answers
    http: dict[Address, bytes] = field(default_factory=dict)
    open: dict[bytes, bytes] = field(default_factory=dict)  # exchange key -> overlay id
    silent: set[bytes] = field(default_factory=set)  # exchange keys that never answer
    delay: float = 0.02
    delays: dict[object, float] = field(default_factory=dict)

    def publish(self, overlay_id: bytes, *ways: WayIn) -> None:
        self.dns[f"_overlay.{ZONE}", "TXT"] = (str(OverlayText(overlay_id, "cloud")).encode(),)
        self.dns[f"_node._overlay.{ZONE}", "TXT"] = tuple(way_text(way).encode() for way in ways)

    def run(self, goal: Goal, until: float = 60.0, *, dice: int = 127) -> Run:
        return Run(self, Plan(goal, lambda n: bytes([dice]) * n)).go(until)


@dataclass
class Run:
    """What happened when a plan ran in that world."""

    world: World
    plan: Plan
    now: float = 0.0
    log: list[tuple[float, object]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    entered: WayIn | None = None
    error: OverlayError | None = None
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _tickets: count[int] = field(default_factory=count)

    def go(self, until: float) -> Run:
        if not self.log:
            self.plan.start(self.now)
        while self.entered is None and self.error is None:
            for effect in self.plan.take():
                self._perform(effect)
            wake_at = self.plan.wake_at()
            times = [t for t in (wake_at, self._due[0][0] if self._due else None) if t is not None]
            if not times or min(times) > until or self.entered or self.error:
                break
            self.now = max(self.now, min(times))
            if self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
            else:
                self.plan.wake(self.now)
        return self

    def _perform(self, effect: object) -> None:
        if isinstance(effect, Tell):
            self.told.append(effect.line)
        elif isinstance(effect, GiveUp):
            self.error = effect.error
        else:
            assert isinstance(effect, Ask | Fetch | Try)
            self.log.append((self.now, effect))
            if not (isinstance(effect, Try) and effect.way.key in self.world.silent):
                delay = self.world.delays.get(effect, self.world.delay)
                heapq.heappush(self._due, (self.now + delay, next(self._tickets), lambda: self._answer(effect)))

    def _answer(self, effect: Ask | Fetch | Try) -> None:
        world = self.world
        if isinstance(effect, Ask):
            values = world.dns.get((effect.name, effect.rtype), ())
            if values is None:
                self.plan.failed(effect, "silent", self.now)
            else:
                self.plan.answered(effect, values, self.now)
        elif isinstance(effect, Fetch):
            assert effect.path == WELL_KNOWN
            if effect.address in world.http:
                self.plan.fetched(effect, world.http[effect.address], self.now)
            else:
                self.plan.failed(effect, "connection refused", self.now)
        elif world.open.get(effect.way.key) == effect.overlay_id:
            self.entered = effect.way
            self.plan.entered()
        else:
            self.plan.failed(effect, "no answer", self.now)

    @property
    def pending(self) -> bool:
        return bool(self._due)

    def tries(self) -> list[tuple[float, WayIn]]:
        return [(at, effect.way) for at, effect in self.log if isinstance(effect, Try)]

    def asked(self) -> list[str]:
        return [f"{effect.name} {effect.rtype}" for _, effect in self.log if isinstance(effect, Ask)]

    def fetches(self) -> list[tuple[float, Address]]:
        return [(at, effect.address) for at, effect in self.log if isinstance(effect, Fetch)]


@pytest.fixture
def world() -> World:
    world = World(open={FOUNDER.key: OURS, SECOND.key: OURS, PEER.key: OURS})
    world.publish(OURS, FOUNDER, SECOND)
    return world


def test_a_domain_leads_in_after_one_exchange_with_the_dns(world: World) -> None:
    run = world.run(Goal(place=DOMAIN))
    assert run.entered == FOUNDER and run.plan.overlay_id == OURS
    assert run.asked() == [f"_overlay.{ZONE} TXT", f"_node._overlay.{ZONE} TXT"] and run.now == pytest.approx(0.04)
    assert any(b64(OURS) in line and "pinned" in line for line in run.told)


@pytest.mark.parametrize("late", [f"_overlay.{ZONE}", f"_node._overlay.{ZONE}"])
def test_the_two_texts_may_come_in_any_order(world: World, late: str) -> None:
    world.delays[Ask(late, "TXT")] = 0.5
    assert world.run(Goal(place=DOMAIN)).entered == FOUNDER


def test_ways_race_a_quarter_of_a_second_apart(world: World) -> None:
    world.silent = {FOUNDER.key}
    run = world.run(Goal(place=DOMAIN))
    (first, _), (second, way) = run.tries()
    assert run.entered == way == SECOND and second - first == pytest.approx(STAGGER)


def test_remembered_peers_come_first_and_the_dns_is_not_asked(world: World) -> None:
    run = world.run(Goal(place=DOMAIN, overlay_id=OURS, known=(PEER,)))
    assert run.entered == PEER and run.asked() == []


def test_silent_peers_have_a_head_start_and_no_more(world: World) -> None:
    world.silent = {PEER.key}
    run = world.run(Goal(place=DOMAIN, overlay_id=OURS, known=(PEER,)))
    assert run.entered == FOUNDER and run.now == pytest.approx(HEAD_START + 0.04)


def test_peers_that_refuse_cost_no_head_start(world: World) -> None:
    world.open.pop(PEER.key)
    run = world.run(Goal(place=DOMAIN, overlay_id=OURS, known=(PEER,)))
    assert run.entered == FOUNDER and run.now == pytest.approx(0.06)


def test_a_token_needs_no_dns(world: World) -> None:
    world.dns.clear()
    assert world.run(Goal(overlay_id=OURS, known=(SECOND,))).entered == SECOND


def test_a_zone_with_only_addresses_is_asked_over_http_ipv6_first() -> None:
    world = World(open={FOUNDER.key: OURS}, dns={(ZONE, "A"): ("203.0.113.10",), (ZONE, "AAAA"): ("2001:db8::10",)})
    world.http[Address("203.0.113.10", 80)] = well_known(OURS, FOUNDER)
    run = world.run(Goal(place=DOMAIN))
    assert run.entered is not None and run.entered.key == FOUNDER.key and run.plan.overlay_id == OURS
    assert [str(address) for _, address in run.fetches()][:2] == ["[2001:db8::10]:80", "203.0.113.10:80"]


@pytest.mark.parametrize("port", [80, 7653, 8053])
def test_an_address_is_asked_at_every_port_where_a_node_may_answer(port: int) -> None:
    world = World(open={SECOND.key: OURS}, dns={(ZONE, "A"): ("203.0.113.20",)})
    world.http[Address("203.0.113.20", port)] = well_known(OURS, SECOND)
    assert world.run(Goal(place=DOMAIN), 5.0).entered == SECOND


def test_addresses_wait_a_moment_for_ipv6_and_not_for_ever() -> None:
    world = World(open={SECOND.key: OURS}, dns={(ZONE, "A"): ("203.0.113.20",)})
    world.http[Address("203.0.113.20", 80)] = well_known(OURS, SECOND)
    world.delays[Ask(ZONE, "AAAA")] = 4.0
    run = world.run(Goal(place=DOMAIN))
    assert run.entered == SECOND and run.fetches()[0][0] == pytest.approx(0.04 + RESOLUTION_DELAY)


def test_ipv6_that_comes_late_is_still_asked() -> None:
    world = World(open={FOUNDER.key: OURS}, dns={(ZONE, "A"): ("203.0.113.20",), (ZONE, "AAAA"): ("2001:db8::10",)})
    world.http[Address("2001:db8::10", 80)] = well_known(OURS, FOUNDER)
    world.delays[Ask(ZONE, "AAAA")] = 0.5
    run = world.run(Goal(place=DOMAIN), 5.0)
    assert run.entered is not None and run.entered.key == FOUNDER.key


def test_a_zone_with_only_name_servers_is_asked_through_them() -> None:
    world = World(open={SECOND.key: OURS}, dns={(ZONE, "NS"): ("ns1.neonics.com",), ("ns1.neonics.com", "A"): ("203.0.113.20",)})
    world.http[Address("203.0.113.20", 8053)] = well_known(OURS, SECOND)
    run = world.run(Goal(place=DOMAIN), 5.0)
    assert run.entered == SECOND and "ns1.neonics.com AAAA" in run.asked()


def test_an_id_without_ways_binds_what_the_addresses_say() -> None:
    world = World(open={FOUNDER.key: THEIRS, SECOND.key: OURS}, dns={(ZONE, "A"): ("203.0.113.10", "203.0.113.20")})
    world.publish(OURS)
    world.http = {Address("203.0.113.10", 80): well_known(THEIRS, FOUNDER), Address("203.0.113.20", 80): well_known(OURS, SECOND)}
    run = world.run(Goal(place=DOMAIN))
    assert run.entered == SECOND and run.plan.counters["drop:other-overlay"] == 1


def test_silent_ways_lead_to_the_addresses_beside_them(world: World) -> None:
    world.silent = {FOUNDER.key, SECOND.key}
    world.dns[ZONE, "A"] = ("203.0.113.30",)
    world.http[Address("203.0.113.30", 80)] = well_known(OURS, PEER)
    run = world.run(Goal(place=DOMAIN))
    assert run.entered is not None and run.entered.key == PEER.key and run.now < PATIENCE + 1


def test_ways_without_an_id_serve_who_has_pinned_one(world: World) -> None:
    del world.dns[f"_overlay.{ZONE}", "TXT"]
    assert world.run(Goal(place=DOMAIN, overlay_id=OURS)).entered == FOUNDER
    run = world.run(Goal(place=DOMAIN), 5.0)
    assert run.tries() == [] and any("has no _overlay record" in line for line in run.told)


@pytest.mark.parametrize("port", [7653, 80, 8053])
def test_an_address_alone_leads_in_and_pins_the_id(port: int) -> None:
    world = World(open={SECOND.key: OURS}, http={Address("203.0.113.20", port): well_known(OURS, SECOND)})
    run = world.run(Goal(place=Listener("203.0.113.20")))
    assert run.entered == SECOND and run.plan.overlay_id == OURS and run.asked() == []
    assert any(b64(OURS) in line for line in run.told)


def test_an_address_with_a_port_is_asked_there_only() -> None:
    world = World(http={Address("203.0.113.20", 7653): well_known(THEIRS, SECOND)})
    run = world.run(Goal(place=Listener("203.0.113.20", 7000)), 10.0)
    assert {address for _, address in run.fetches()} == {Address("203.0.113.20", 7000)} and run.entered is None


# -- whom we refuse


def test_a_domain_that_points_to_another_overlay_is_refused(world: World) -> None:
    world.publish(THEIRS, FOUNDER)
    run = world.run(Goal(place=DOMAIN, overlay_id=OURS))
    assert isinstance(run.error, TrustError) and run.error.exit_status == 4 and run.error.rule == "overlay-id"
    assert b64(THEIRS) in run.error.what and run.error.todo and run.tries() == []


def test_a_domain_that_points_elsewhere_does_not_harm_while_a_peer_lets_us_in(world: World) -> None:
    world.publish(THEIRS, FOUNDER)
    world.delays[Try(PEER, OURS)] = HEAD_START + 2
    assert world.run(Goal(place=DOMAIN, overlay_id=OURS, known=(PEER,))).entered == PEER


def test_a_domain_that_points_elsewhere_is_refused_when_no_peer_answers(world: World) -> None:
    world.publish(THEIRS, FOUNDER)
    world.open.pop(PEER.key)
    assert isinstance(world.run(Goal(place=DOMAIN, overlay_id=OURS, known=(PEER,))).error, TrustError)


def test_a_steadfast_node_outlasts_a_domain_that_points_elsewhere(world: World) -> None:
    world.publish(THEIRS, FOUNDER)
    run = world.run(Goal(place=DOMAIN, overlay_id=OURS, steadfast=True), 20.0)
    assert run.error is None and run.tries() == [] and sum("another overlay" in line for line in run.told) == 1
    world.publish(OURS, FOUNDER)
    assert run.go(100.0).entered == FOUNDER


def test_an_address_of_another_overlay_is_refused() -> None:
    world = World(http={Address("203.0.113.20", 7653): well_known(THEIRS, SECOND)})
    run = world.run(Goal(place=Listener("203.0.113.20"), overlay_id=OURS))
    assert isinstance(run.error, TrustError) and "203.0.113.20:7653" in run.error.what


def test_an_overlay_met_first_stays_the_one(world: World) -> None:
    world.silent = set()
    world.open.clear()
    run = world.run(Goal(place=DOMAIN), 0.9)
    world.publish(THEIRS, SECOND)
    world.open[SECOND.key] = THEIRS
    run.go(20.0)
    assert run.entered is None and isinstance(run.error, TrustError)


def test_a_zone_of_two_overlays_asks_the_person_to_choose(world: World) -> None:
    world.dns[f"_overlay.{ZONE}", "TXT"] = tuple(str(OverlayText(i, "cloud")).encode() for i in (THEIRS, OURS))
    run = world.run(Goal(place=DOMAIN))
    assert run.error is not None and run.error.exit_status == 1 and "--id" in run.error.todo and b64(THEIRS) in run.error.what
    assert world.run(Goal(place=DOMAIN, overlay_id=OURS)).entered == FOUNDER


def test_a_web_site_is_not_a_way_in() -> None:
    world = World(dns={(ZONE, "A"): ("203.0.113.20",)}, http={Address("203.0.113.20", 80): b"<html>"})
    run = world.run(Goal(place=DOMAIN), 5.0)
    assert run.tries() == [] and run.plan.counters["drop:json"] >= 1 and "not as a node" in "\n".join(run.told)


def test_nobody_is_sent_to_addresses_where_nobody_listens() -> None:
    world = World(dns={(ZONE, "A"): ("224.0.0.1", "0.0.0.0"), (ZONE, "AAAA"): ("fe80::1", "::ffff:192.0.2.1")})
    assert world.run(Goal(place=DOMAIN), 5.0).fetches() == []


# -- repeating


@pytest.mark.parametrize("dns", [None, ()])
def test_when_nothing_answers_it_repeats_with_growing_pauses(dns: Values | None) -> None:
    world = World(dns={(f"{label}.{ZONE}", "TXT"): dns for label in ("_overlay", "_node._overlay")})
    run = world.run(Goal(place=DOMAIN), 200.0)
    starts = [at for at, effect in run.log if effect == Ask(f"_overlay.{ZONE}", "TXT")]
    pauses = [after - before for before, after in zip(starts, starts[1:], strict=False)]
    assert [round(pause) for pause in pauses[:8]] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert "trying again in 2 s" in "\n".join(run.told)
    assert run.plan.unreached().exit_status == 5


@pytest.mark.parametrize(("dice", "pause"), [(0, 0.75), (255, 1.25)])
def test_pauses_are_spread_by_chance(dice: int, pause: float) -> None:
    run = World().run(Goal(overlay_id=OURS, known=(PEER,)), 1.6, dice=dice)
    (first, _), (second, _) = run.tries()[:2]
    assert second - first == pytest.approx(pause + 0.02)


def test_the_founder_may_come_up_later() -> None:
    world = World()
    run = world.run(Goal(place=DOMAIN), 10.0)
    assert run.entered is None
    world.publish(OURS, FOUNDER)
    world.open[FOUNDER.key] = OURS
    assert run.go(60.0).entered == FOUNDER


def test_the_same_step_is_told_once(world: World) -> None:
    world.open.clear()
    run = world.run(Goal(place=DOMAIN), 100.0)
    steps = [line for line in run.told if "trying again" not in line]
    assert len(steps) == len(set(steps)) and f"knocking at {SECOND}" in steps


def test_a_change_of_network_ends_a_pause() -> None:
    run = World().run(Goal(overlay_id=OURS, known=(PEER,)), 20.0)
    before = len(run.tries())
    run.plan.hurry(run.now)
    assert run.go(run.now + 0.1).tries()[before:] == [(run.now - 0.02, PEER)]


def test_time_up_says_what_was_tried(world: World) -> None:
    world.open.clear()
    error = world.run(Goal(place=DOMAIN), 3.0).plan.unreached()
    assert str(SECOND) in error.what and error.todo and error.exit_status == 5
    assert "nobody answered yet" in Plan(Goal(place=DOMAIN), bytes).unreached().what


def test_after_the_end_nothing_is_wanted(world: World) -> None:
    run = world.run(Goal(place=DOMAIN))
    run.plan.failed(Try(SECOND, OURS), "late", run.now)
    run.plan.answered(Ask("stray.example.org", "A"), ("192.0.2.1",), run.now)
    run.plan.hurry(run.now)
    run.plan.wake(run.now + 100)
    assert run.plan.wake_at() is None and run.plan.take() == []


def test_answers_to_what_was_not_asked_change_nothing() -> None:
    plan = Plan(Goal(place=Listener("203.0.113.20")), bytes)
    plan.start(0.0)
    plan.take()
    plan.fetched(Fetch(Address("203.0.113.66", 7653), WELL_KNOWN), well_known(THEIRS, SECOND), 0.0)
    plan.answered(Ask(f"_overlay.{ZONE}", "TXT"), (str(OverlayText(THEIRS, "cloud")).encode(),), 0.0)
    assert plan.overlay_id is None and plan.take() == []


def test_a_goal_without_anywhere_to_look_is_misuse() -> None:
    with pytest.raises(UsageError):
        Goal()
    with pytest.raises(UsageError):
        Goal(known=(PEER,))


@settings(deadline=1_000, max_examples=60)
@given(st.data())
def test_whatever_the_world_says_the_plan_follows_only_one_overlay_and_never_stalls(data: st.DataObject) -> None:
    ids, ways = st.sampled_from([OURS, THEIRS]), st.sampled_from([FOUNDER, SECOND, PEER])
    overlay_texts = st.lists(ids.map(lambda i: str(OverlayText(i, "cloud")).encode()) | st.binary(max_size=30), max_size=2).map(tuple)
    way_texts = st.lists(ways.map(lambda w: way_text(w).encode()) | st.binary(max_size=30), max_size=3).map(tuple)
    hosts = st.lists(st.sampled_from(["203.0.113.20", "203.0.113.10", "224.0.0.1", "junk.example.org"]), max_size=2).map(tuple)
    world = World(dns={
        (f"_overlay.{ZONE}", "TXT"): data.draw(overlay_texts | st.none()),
        (f"_node._overlay.{ZONE}", "TXT"): data.draw(way_texts | st.none()),
        (ZONE, "A"): data.draw(hosts.map(lambda found: tuple(h for h in found if h[0] == "2")) | st.none()),
        (ZONE, "NS"): data.draw(hosts | st.none()),
    })
    for address in data.draw(st.lists(st.sampled_from([Address("203.0.113.20", 80), Address("203.0.113.10", 7653)]), max_size=2)):
        world.http[address] = data.draw(st.builds(well_known, ids, ways) | st.binary(max_size=30))
    world.silent = data.draw(st.sets(ways.map(lambda way: way.key)))
    world.delays = {Ask(ZONE, "AAAA"): data.draw(st.floats(0, 5)), Ask(f"_overlay.{ZONE}", "TXT"): data.draw(st.floats(0, 5))}
    pinned = data.draw(ids | st.none())
    run = world.run(Goal(place=DOMAIN, overlay_id=pinned), 40.0)
    tried = {effect.overlay_id for _, effect in run.log if isinstance(effect, Try)}
    assert len(tried) <= 1 and (pinned is None or tried <= {pinned})
    waits_for_a_silent_one = any(isinstance(effect, Try) and effect.way.key in world.silent for _, effect in run.log)
    assert run.error or run.plan.wake_at() is not None or run.pending or waits_for_a_silent_one
