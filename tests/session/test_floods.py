"""Floods, from strangers and from peers with good keys: what is alive goes on, memory stays, and nobody is used as an amplifier."""

from __future__ import annotations

import pytest

from overlay.session.relation import CHALLENGE_AGAIN
from overlay.wire.address import Address
from overlay.wire.codec import encode
from overlay.wire.messages import Frame
from tests.session.test_paths import joined, octets_to

VICTIM = Address("198.51.100.66", 4000)


@pytest.mark.parametrize("count", [1, 2, 15, 16, 95])
def test_challenges_from_an_address_that_has_not_proved_itself_are_answered_with_no_more_octets_than_came(count: int) -> None:
    wire, a, b = joined()
    link = a.sessions._numbers[a.number].link
    came = 0
    for _ in range(5):
        data = link.seal(encode([[Frame.KEEPALIVE.value], *[[Frame.CHALLENGE.value, bytes(8)]] * count]))
        came += len(data)
        wire.inject(b, data, source=VICTIM.host, port=VICTIM.port)
        assert octets_to(b, VICTIM) <= came
        wire.run(CHALLENGE_AGAIN)
    assert octets_to(b, VICTIM) > 0
