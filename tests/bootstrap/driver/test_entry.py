"""Getting in, end to end on loopback: a fake name server, a fake node's HTTP, and a caller that knocks."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from bootstrap.domain import OverlayText, way_text
from bootstrap.driver.entry import TRY_LIMIT, Entered, Entry
from bootstrap.driver.lookup import Lookup
from bootstrap.entrance import Domain, Listener, WayIn
from bootstrap.goal import Goal
from bootstrap.mirror import Facts, way_in
from overlay.errors import Malformed, PeerError, ReachError, TrustError
from overlay.wire.address import Address

OURS, THEIRS = b"o" * 32, b"t" * 32
ZONE = "cloud.neonics.com"
WAY = WayIn((Address("127.0.0.1", 7653),), b"k" * 32)
OTHER = WayIn((Address("127.0.0.2", 7653),), b"l" * 32)


class Names(Lookup):
    """A DNS that answers from a table, or not at all."""

    def __init__(self, table: dict[tuple[str, str], tuple[bytes, ...] | tuple[str, ...]] | None) -> None:
        super().__init__([])
        self.table = table
        self.asked = 0

    async def ask(self, name: str, rtype: str) -> tuple[bytes, ...] | tuple[str, ...]:
        self.asked += 1
        await trio.sleep(0.01)
        if self.table is None:
            raise ReachError("the resolvers do not answer: 192.0.2.53 silent")
        return self.table.get((name, rtype), ())


def zone(overlay_id: bytes, *ways: WayIn) -> dict[tuple[str, str], tuple[bytes, ...] | tuple[str, ...]]:
    return {
        (f"_overlay.{ZONE}", "TXT"): (str(OverlayText(overlay_id, "cloud")).encode(),),
        (f"_node._overlay.{ZONE}", "TXT"): tuple(way_text(way).encode() for way in ways),
    }


async def no_web(_address: Address, _path: str) -> bytes:
    await trio.sleep(0.01)
    raise ReachError("Connection refused", rule="fetch-connect")


async def knock(way: WayIn, overlay_id: bytes) -> str:
    await trio.sleep(0.02)
    return f"in through {way}"


async def test_a_domain_lets_us_in(autojump_clock: MockClock) -> None:
    told: list[str] = []
    entered = await Entry(Goal(place=Domain(ZONE)), knock, told.append, lookup=Names(zone(OURS, WAY)), fetch=no_web).run()
    assert entered == Entered(WAY, OURS, "in through 127.0.0.1:7653")
    assert told[0] == f"asking the DNS for ways into {ZONE}" and told[-1] == "knocking at 127.0.0.1:7653"


async def test_the_first_way_in_cancels_the_others(autojump_clock: MockClock) -> None:
    cancelled = []

    async def first_hangs(way: WayIn, overlay_id: bytes) -> str:
        if way == WAY:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append(way)
                raise
        return await knock(way, overlay_id)

    entered = await Entry(Goal(overlay_id=OURS, known=(WAY, OTHER)), first_hangs, print, lookup=Names(None)).run()
    assert entered.way == OTHER and cancelled == [WAY] and trio.current_time() < 0.5


@pytest.mark.parametrize(
    "error",
    [ReachError("no answer"), PeerError("its passport leads to another overlay"), Malformed("it speaks nonsense")],
)
async def test_a_way_that_fails_is_told_and_the_next_is_tried(error: ReachError | PeerError, autojump_clock: MockClock) -> None:
    told: list[str] = []

    async def first_fails(way: WayIn, overlay_id: bytes) -> str:
        if way == WAY:
            raise error
        return await knock(way, overlay_id)

    entered = await Entry(Goal(overlay_id=OURS, known=(WAY, OTHER)), first_fails, told.append, lookup=Names(None)).run()
    assert entered.way == OTHER and f"{WAY} does not let us in: {error.what}" in told


async def test_a_refusal_meant_for_the_person_ends_the_attempt(autojump_clock: MockClock) -> None:
    async def refuse(way: WayIn, overlay_id: bytes) -> str:
        raise TrustError("the token is spent", "ask for a new one: overlay invite")

    with pytest.raises(TrustError, match="spent"):
        await Entry(Goal(overlay_id=OURS, known=(WAY, OTHER)), refuse, print, lookup=Names(None)).run()


async def test_a_knock_that_hangs_is_given_up_and_repeated(autojump_clock: MockClock) -> None:
    knocks: list[float] = []

    async def hang_once(way: WayIn, overlay_id: bytes) -> str:
        knocks.append(trio.current_time())
        if len(knocks) == 1:
            await trio.sleep_forever()
        return await knock(way, overlay_id)

    await Entry(Goal(overlay_id=OURS, known=(WAY,)), hang_once, print, lookup=Names(None), entropy=lambda n: bytes([127]) * n).run()
    assert knocks[1] - knocks[0] == pytest.approx(TRY_LIMIT + 1.0, abs=0.05)


async def test_a_domain_of_another_overlay_is_refused_with_status_4(autojump_clock: MockClock) -> None:
    with pytest.raises(TrustError) as caught:
        await Entry(Goal(place=Domain(ZONE), overlay_id=OURS), knock, print, lookup=Names(zone(THEIRS, WAY)), fetch=no_web).run()
    assert caught.value.exit_status == 4


async def test_without_any_answer_it_repeats_until_time_is_up_and_says_why(autojump_clock: MockClock) -> None:
    names = Names(None)
    entry = Entry(Goal(place=Domain(ZONE)), knock, print, lookup=names, fetch=no_web)
    with trio.move_on_after(60) as scope:
        await entry.run()
    assert scope.cancelled_caught and 20 < names.asked < 60
    assert entry.plan.counters["ways_failed"] > 0
    assert "192.0.2.53 silent" in entry.plan.unreached().what


async def test_a_name_server_that_comes_back_is_used(autojump_clock: MockClock) -> None:
    names = Names(None)

    async def mend() -> None:
        await trio.sleep(10)
        names.table = zone(OURS, WAY)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(mend)
        entered = await Entry(Goal(place=Domain(ZONE)), knock, print, lookup=names, fetch=no_web).run()
    assert entered.way == WAY


async def test_a_change_of_network_is_heard_during_a_pause(autojump_clock: MockClock) -> None:
    names = Names(None)
    entry = Entry(Goal(place=Domain(ZONE)), knock, print, lookup=names, fetch=no_web)

    async def plug_in() -> None:
        await trio.sleep(100)  # pauses are 30 s by now
        names.table = zone(OURS, WAY)
        entry.hurry()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(plug_in)
        await entry.run()
    assert trio.current_time() < 101


async def test_an_address_lets_us_in_over_real_http() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(4_096)
        facts = Facts(
            overlay_id=OURS, zone=ZONE, tld="cloud", name="", node_id=bytes(32), key=WAY.key,
            addresses=(Address("192.0.2.1", 7653),), record=b"", revision=0, cluster="",
        )
        body = json.dumps(way_in(facts)).encode()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        with trio.fail_after(5):
            entered = await Entry(Goal(place=Listener("127.0.0.1", port)), knock, print, lookup=Names(None)).run()
        assert entered.way.addresses == (Address("127.0.0.1", port), Address("192.0.2.1", 7653)) and entered.overlay_id == OURS
        nursery.cancel_scope.cancel()


async def test_why_a_fetch_failed_is_counted(autojump_clock: MockClock) -> None:
    entry = Entry(Goal(place=Listener("192.0.2.1")), knock, print, lookup=Names(None), fetch=no_web)
    with trio.move_on_after(0.5):
        await entry.run()
    assert entry.plan.counters["drop:fetch-connect"] == 3
