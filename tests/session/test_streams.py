"""Streams over sessions: octets arrive once and in order, whatever the network does; credit, ends, resets."""

from __future__ import annotations

import pytest

from tests.session.pouring import KIND, Tap, joined, pattern, run
from tests.session.wire_pair import Wire


def table(tap: Tap) -> int:
    """Streams that an end still knows."""
    flow = tap.end.sessions._numbers[tap.end.number].flow
    return 0 if flow is None else len(flow.streams._table)


@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.2])
def test_octets_arrive_once_and_in_order_at_any_loss(loss: float) -> None:
    wire = Wire(5, delay=(0.005, 0.03), loss=loss, duplicate=0.05)
    a, b = joined(wire)
    there, back = pattern(1, 200_000), pattern(2, 100_000)
    stream = a.open(there, head={1: "zone"})
    run(wire, [a, b], 0.2)
    b.pour(stream, back)
    run(wire, [a, b], 60)
    assert b.got[stream] == there and a.got[stream] == back
    assert b.opened[stream].kind == KIND and b.opened[stream].head == {1: "zone"}
    assert a.finished == b.finished == [stream]
    assert table(a) == table(b) == 0
