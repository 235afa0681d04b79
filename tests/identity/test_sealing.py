"""Secrets sealed to an exchange key: its holder opens them, nobody else does, for nothing else."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay.errors import Malformed
from overlay.identity.sealing import SEALED, seal, unseal

ALICE, BOB = (X25519PrivateKey.from_private_bytes(bytes((number,)) * 32) for number in (1, 2))
SECRET, PURPOSE = b"s" * 32, b"a purpose"


def box(seed: bytes = b"e" * 32) -> bytes:
    return seal(SECRET, ALICE.public_key().public_bytes_raw(), PURPOSE, seed)


def test_its_holder_opens_it() -> None:
    assert len(box()) == SEALED + len(SECRET)
    assert unseal(box(), ALICE, PURPOSE) == SECRET
    assert box() == box() != box(b"f" * 32)


@pytest.mark.parametrize("damaged", [b"", box()[:-1], box() + b"x", bytes(32) + box()[32:], box()[:-1] + b"\0" * 1, b"\xff" * 80])
def test_what_is_damaged_or_of_low_order_is_refused(damaged: bytes) -> None:
    with pytest.raises(Malformed):
        unseal(damaged, ALICE, PURPOSE)


def test_nobody_else_opens_it_nor_for_another_purpose() -> None:
    with pytest.raises(Malformed):
        unseal(box(), BOB, PURPOSE)
    with pytest.raises(Malformed):
        unseal(box(), ALICE, b"another")
