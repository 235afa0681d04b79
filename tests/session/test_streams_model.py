"""A machine of chance over two ends: whatever is asked of streams in whatever order over whatever network, octets arrive once and in order."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from overlay.session import events
from overlay.wire.address import Address
from tests.session.pouring import Tap, joined, pattern, run
from tests.session.wire_pair import Wire

sides = st.integers(0, 1)


class Pouring(RuleBasedStateMachine):
    """What was written is kept by stream and writer, and compared with what the other end got."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[tuple[int, int], bytearray] = {}  # (stream, side) -> all
        self.finished: set[tuple[int, int]] = set()
        self.broken: set[int] = set()
        self.streams: list[int] = []
        self.moves = 0

    @initialize(seed=st.integers(0, 1_000), loss=st.sampled_from([0.0, 0.02, 0.2]), delay=st.sampled_from([(0.001, 0.001), (0.01, 0.2)]))
    def begin(self, seed: int, loss: float, delay: tuple[float, float]) -> None:
        self.wire = Wire(seed, loss=loss, delay=delay, duplicate=0.1)
        self.taps: tuple[Tap, Tap] = joined(self.wire)

    def knows(self, tap: Tap, stream: int) -> bool:
        """Whether it is this end's own, or this end was told of it."""
        flow = tap.end.sessions._numbers[tap.end.number].flow
        return stream in tap.opened or (flow is not None and stream % 2 == flow.streams._ours % 2)

    @rule(side=sides)
    def open(self, side: int) -> None:
        stream = self.taps[side].open(finish=False, head=len(self.streams))
        if stream:
            self.streams.append(stream)
            self.written[stream, 0], self.written[stream, 1] = bytearray(), bytearray()

    @rule(data=st.data(), side=sides, size=st.sampled_from([1, 700, 5_000, 90_000]), finish=st.booleans())
    def write(self, data: st.DataObject, side: int, size: int, finish: bool) -> None:
        mine = [s for s in self.streams if (s, side) not in self.finished and s not in self.broken]
        if mine:
            stream = data.draw(st.sampled_from(mine))
            tap = self.taps[side]
            if not self.knows(tap, stream):
                return
            octets = pattern(stream * 7 + side, len(self.written[stream, side]) + size)[-size:]
            self.written[stream, side] += octets
            tap.pour(stream, octets, finish=finish)
            self.wire.settle(tap.end)
            if finish:
                self.finished.add((stream, side))

    @rule(data=st.data(), side=sides, code=st.integers(0, 2**32 - 1))
    def reset(self, data: st.DataObject, side: int, code: int) -> None:
        tap = self.taps[side]
        known = [stream for stream in self.streams if self.knows(tap, stream)]
        if known:
            stream = data.draw(st.sampled_from(known))
            self.broken.add(stream)
            tap.unsent.pop(stream, None)
            tap.unread.pop(stream, None)
            tap.end.sessions.streams.reset(tap.end.number, stream, code, self.wire.now)
            self.wire.settle(tap.end)

    @rule(seconds=st.sampled_from([0.005, 0.05, 0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        run(self.wire, list(self.taps), seconds)

    @rule(side=sides, reads=st.booleans())
    def read(self, side: int, reads: bool) -> None:
        self.taps[side].reads = reads

    @rule()
    def new_keys(self) -> None:
        for tap in self.taps:
            tap.end.sessions._numbers[tap.end.number].link.created -= 4_000

    @rule()
    def move(self) -> None:
        self.moves += 1
        self.wire.seen_as = {self.taps[0].end.addresses[0]: Address("198.51.100.7", 5_000 + self.moves)}
        self.say_where()

    def say_where(self) -> None:
        """Nobody finds an end that has moved and says nothing: it says so until a challenge had time to go and come."""
        for _ in range(6):
            self.taps[0].end.sessions.message(self.taps[0].end.number, 1, b"here", self.wire.now)
            self.wire.settle(self.taps[0].end)
            run(self.wire, list(self.taps), 0.3, step=0.1)

    @rule(seconds=st.sampled_from([0.1, 2.0]))
    def dark(self, seconds: float) -> None:
        self.wire.udp_blocked = True
        run(self.wire, list(self.taps), seconds)
        self.wire.udp_blocked = False
        self.say_where()

    @invariant()
    def what_came_is_the_beginning_of_what_was_written(self) -> None:
        for (stream, side), octets in self.written.items():
            got = self.taps[1 - side].got.get(stream, b"")
            assert octets.startswith(got)

    def teardown(self) -> None:
        if not hasattr(self, "wire"):
            return
        self.wire.loss = min(self.wire.loss, 0.02)
        for tap in self.taps:
            tap.reads = True
        run(self.wire, list(self.taps), 12, step=0.1)
        run(self.wire, list(self.taps), 30, step=0.5)
        assert all(not tap.end.of(events.Closed) for tap in self.taps), [tap.end.of(events.Closed) for tap in self.taps]
        self.what_came_is_the_beginning_of_what_was_written()
        for (stream, side), octets in self.written.items():
            if stream not in self.broken:
                other = self.taps[1 - side]
                assert other.got.get(stream, b"") == octets, (stream, side, len(octets), len(other.got.get(stream, b"")))
                assert (stream in other.finished) == ((stream, side) in self.finished)
        over = {s for s in self.streams if s in self.broken or {(s, 0), (s, 1)} <= self.finished}
        for tap in self.taps:
            flow = tap.end.sessions._numbers[tap.end.number].flow
            left = set() if flow is None else set(flow.streams._table)
            assert left == set(self.streams) - over, (left, over)


def test_octets_arrive_once_and_in_order_whatever_is_done_to_streams_and_network() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Pouring,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
