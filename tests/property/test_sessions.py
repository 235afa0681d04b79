"""Sessions under whatever the network makes of a real conversation, and under a peer that says anything: no exception, bounded memory."""

from __future__ import annotations

import pytest

from overlay.session import events
from tests.session.wire_pair import Wire

# What X25519 gives zeros for (RFC 7748, 6.1): nobody honest has such a key, but anybody may write one into a record.
LOW_ORDER = [bytes(32), b"\x01" + bytes(31), bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")]


@pytest.mark.parametrize("key", LOW_ORDER, ids=lambda key: key[:2].hex())
@pytest.mark.parametrize("how", [{}, {"udp": False}], ids=["udp", "tcp"])
def test_dialling_a_key_that_nobody_can_have_fails_and_ends_nothing(key: bytes, how: dict[str, bool]) -> None:
    """A key of low order in a record or a text once ended every node that dialled it."""
    wire = Wire()
    a, b = wire.end(1), wire.end(2)
    a.sessions.dial(key, b.addresses, wire.now, wire.at(), **how)
    wire.settle(a)
    wire.run(20)
    assert [event.peer_key for event in a.of(events.DialFailed)] == [key]
    assert a.sessions.counters["drop:noise-key"]
    wire.join(a, b)
