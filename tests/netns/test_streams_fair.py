"""A stream on a link of 20 Mbit/s and 10 ms beside a TCP flow: neither starves. ``benchmarks/streams.py`` gives the figures."""

from __future__ import annotations

import pytest

from benchmarks import shaped
from benchmarks.streams import turn

pytestmark = [pytest.mark.netns, pytest.mark.timeout(60)]


def test_a_stream_beside_a_tcp_flow_gets_between_a_quarter_and_three_quarters() -> None:
    with shaped.link(delay=10) as link:
        octets = turn(link, ("stream", "cubic"), 9.0)
    share = octets["stream"] / (octets["stream"] + octets["tcp"])
    assert 0.25 <= share <= 0.75, octets
