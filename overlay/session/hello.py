"""What the two handshake messages say: payloads in and out, versions weighed (DESIGN 3.4; research F3).

    message 1  {1: time stamp, 2: lowest version, 3: highest version, 4: passport digest, 5: boot nonce, 6: [method, body]}
    message 2  {1: version chosen, 2: features, 3: passport digest, 4: address seen, 5: [answer], 6: boot nonce, 7: lowest, 8: highest}

Version 0 in message 2 says that there is none in common, and 7 and 8 say which there are: so an old node can tell its
person who is too new. It knows fields and bounds; what a passport digest is worth is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from overlay.errors import Malformed
from overlay.session import packet
from overlay.wire.address import Address, unpack_address
from overlay.wire.codec import Fields, Value, decode, encode, ordered
from overlay.wire.messages import METHODS, VERSION_HIGHEST, VERSION_LOWEST, Method

_VERSIONS = 2**31
_STAMPS = 2**62


@dataclass(frozen=True, slots=True)
class Early:
    """A read-only call inside message 1, which may be replayed: it changes nothing."""

    method: Method
    body: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What the other end said of itself."""

    passport_digest: bytes  # empty: a newcomer
    boot_nonce: bytes
    seen: Address | None = None  # our address as it sees it (initiators learn it)
    stamp: int = 0
    version: int = VERSION_HIGHEST
    early: Early | None = None
    answer: list[Value] | None = None  # of our early call, in a list of one


def offer(*, stamp: int, passport_digest: bytes, boot_nonce: bytes, early: Early | None) -> bytes:
    """The payload of message 1, in its full size. An early call that does not fit is left out."""
    fields = {1: stamp, 2: VERSION_LOWEST, 3: VERSION_HIGHEST, 4: passport_digest or None, 5: boot_nonce}
    if early is not None:
        with_early = encode(ordered({**fields, 6: [early.method.value, early.body]}))
        if len(with_early) <= packet.PAYLOAD_1:
            return packet.pad(with_early)
    return packet.pad(encode(ordered(fields)))


def read_offer(payload: bytes) -> Hello:
    """Message 1's payload; ``version`` is the highest common one, 0 where there is none."""
    fields = Fields(decode(packet.unpad(payload)), "message 1")
    lowest, highest = fields.integer(2, 1, _VERSIONS), fields.integer(3, 1, _VERSIONS)
    version = min(highest, VERSION_HIGHEST)
    return Hello(
        stamp=fields.integer(1, 1, _STAMPS),
        version=version if version >= max(lowest, VERSION_LOWEST) else 0,
        passport_digest=_digest(fields, 4),
        boot_nonce=fields.binary(5, 8, 8),
        early=_early(fields.items(6, 2)),
    )


def _digest(fields: Fields, key: int) -> bytes:
    digest = fields.binary(key, 0, 32, default=b"")
    if len(digest) not in (0, 32):
        raise Malformed("a digest has 32 octets", rule="field-range")
    return digest


def _early(items: list[Value]) -> Early | None:
    """An early call that we know and that may ride; others are as if absent, and come again as ordinary calls."""
    if len(items) != 2 or type(items[0]) is not int or items[0] not in RIDERS:
        return None
    return Early(Method(items[0]), items[1])


RIDERS = frozenset(method for method, rule in METHODS.items() if rule.early)


def accept(*, passport_digest: bytes, seen: Address, boot_nonce: bytes, version: int, answer: list[Value] | None) -> bytes:
    """The payload of message 2. An answer that does not fit is left out."""
    fields: dict[int, Value] = {1: version, 2: 0, 3: passport_digest or None, 4: seen.packed, 6: boot_nonce}
    if version == 0:
        fields |= {7: VERSION_LOWEST, 8: VERSION_HIGHEST}
    if answer is not None:
        with_answer = encode(ordered({**fields, 5: answer}))
        if len(with_answer) <= packet.PAYLOAD_2:
            return with_answer
    return encode(ordered(fields))


def read_accept(payload: bytes) -> Hello:
    """Message 2's payload. A version that we did not offer is Malformed; 0 is not."""
    fields = Fields(decode(payload), "message 2")
    version = fields.integer(1, 0, _VERSIONS)
    if version and not VERSION_LOWEST <= version <= VERSION_HIGHEST:
        raise Malformed("a version that was not offered", rule="version")
    return Hello(
        version=version,
        passport_digest=_digest(fields, 3),
        boot_nonce=fields.binary(6, 8, 8),
        seen=unpack_address(fields.binary(4, 6, 18)),
        answer=fields.items(5, 1) or None,
    )
