"""Invite tokens: what a person hands to another so that their machine gets in (DESIGN 3.3, research F13).

It decides how a token is spelt and when it is refused. It refuses to know who may redeem it: that stands in the
``invite`` record named by the seed's public key. The secret in it is a seed of 32 octets; a newcomer signs with it over
the session's hash (``overlay.admission.request``), after having seen the redeemer's passport, and never shows it.

A token is base64url of three parts; ways in and redeemers may be absent:

    01
    {1: overlay id, 2: zone, 3: tld, 4: path, 5: seed, 6: expires, 7: [[exchange key, address ...] ...], 8: [node id ...], 9: exchange key}
    4 octets of BLAKE2s over what stands before

The checksum finds slips of copying (one in 4,000 million passes); it is no protection, and needs to be none.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from bootstrap.entrance import WayIn, alternate, reachable
from overlay import limits
from overlay.errors import Malformed, TrustError, UsageError
from overlay.identity.keys import DIGEST, KEY, Signer
from overlay.name import Path, parse_path, parse_zone
from overlay.units import b64, unb64
from overlay.wire.address import unpack_address
from overlay.wire.codec import Fields, Value, decode, encode, ordered

VERSION = 1  # its base64 begins with "A": no token looks like an option
CHECK = 4  # octets
MAX_REDEEMERS = 8  # as in the invite record
_LAST = 2**40  # UTC seconds: beyond any date


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An invite: ``seed`` is secret, ``expires`` UTC seconds, ``redeemers`` the node ids that may be asked (none: whoever answers).

    ``exchange`` is a redeemer's exchange key: those at the ``ways`` lead to it where it has no address of its own.
    """

    overlay_id: bytes
    zone: str
    tld: str
    path: Path
    seed: bytes = field(repr=False)
    expires: int
    ways: tuple[WayIn, ...] = ()
    redeemers: tuple[bytes, ...] = ()
    exchange: bytes = b""

    def __str__(self) -> str:
        return encode_token(self)

    @property
    def signer(self) -> Signer:
        """The seed as a key: its public half names the invite record, its signature proves the token."""
        return Signer.from_seed(self.seed)


def encode_token(token: Token) -> str:
    """The text to hand over. Of the ways in the first four are taken, fewer where they would make it too long to read back."""
    for count in range(min(len(token.ways), limits.TOKEN_WAYS), -1, -1):
        text = _spell(token, token.ways[:count])
        if len(text) <= limits.TOKEN:
            return text
    raise UsageError("the token would be too long", "invite into a shorter path", rule="token-length")


def decode_token(text: str, at: float) -> Token:
    """The token, or a ``TrustError``: damaged, of a newer version, or expired at ``at`` (UTC seconds)."""
    text = "".join(text.split())  # chats and terminals break lines
    try:
        if len(text) > limits.TOKEN:
            raise Malformed("too long", rule="token-damaged")
        data = unb64(text)
        if len(data) < 1 + CHECK or _checksum(data[:-CHECK]) != data[-CHECK:]:
            raise Malformed("the checksum does not hold", rule="token-damaged")
        if data[0] != VERSION:
            raise TrustError("the token is of a newer kind", "upgrade this program, or ask for a token made for it", rule="token-version")
        token = _read(decode(data[1:-CHECK], limit=limits.TOKEN))
    except (Malformed, UsageError):
        raise TrustError("the token is damaged", "copy it whole, or ask for a new one: overlay invite", rule="token-damaged") from None
    if token.expires <= at:
        raise TrustError("the token has expired", "ask for a new one: overlay invite", rule="token-expired")
    return token


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2s(data).digest()[:CHECK]


def _spell(token: Token, ways: tuple[WayIn, ...]) -> str:
    body: dict[int, Value] = {
        1: token.overlay_id, 2: token.zone, 3: token.tld, 4: str(token.path), 5: token.seed, 6: token.expires,
        7: [[way.key, *(address.packed for address in way.addresses)] for way in ways] or None, 8: list(token.redeemers) or None,
        9: token.exchange or None,
    }
    data = bytes((VERSION,)) + encode(ordered(body))
    return b64(data + _checksum(data))


def _read(value: Value) -> Token:
    fields = Fields(value, "token")
    fields.only(frozenset(range(1, 10)))
    redeemers = fields.items(8, MAX_REDEEMERS)
    if any(type(key) is not bytes or len(key) != KEY for key in redeemers):
        raise Malformed("token: redeemers are keys", rule="token-redeemers")
    return Token(
        overlay_id=fields.binary(1, DIGEST, DIGEST), zone=parse_zone(fields.text(2, 253)), tld=parse_zone(fields.text(3, 253)),
        path=parse_path(fields.text(4, 255)), seed=fields.binary(5, KEY, KEY), expires=fields.integer(6, 0, _LAST),
        ways=tuple(_way(item) for item in fields.items(7, limits.TOKEN_WAYS)), redeemers=tuple(redeemers),
        exchange=fields.binary(9, KEY, KEY, default=b""),
    )


def _way(item: Value) -> WayIn:
    if type(item) is not list or not 2 <= len(item) <= 1 + limits.WAY_ADDRESSES or type(item[0]) is not bytes:
        raise Malformed("token: a way in is a key and addresses", rule="token-way")
    addresses = [unpack_address(packed) for packed in item[1:]]
    if not all(reachable(address.host) for address in addresses):
        raise Malformed("token: nobody listens there", rule="token-way")
    return WayIn(alternate(addresses), item[0])
