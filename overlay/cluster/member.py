"""What members tell of each other: cards, lives, and the words on the wire (SWIM: Das et al. 2002; Lifeguard: Dadgar et al. 2017).

A word is ``{1: kind, 2: number, 3: [incarnation, version] of the sender, 4: target, 5: [news]}``; news is a list
``[node id, life, incarnation, version, exchange key or b"", [addresses], accuser or b""]``. Only :class:`Malformed` is raised by :func:`read`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from overlay.cluster.outputs import Life
from overlay.errors import Malformed
from overlay.identity.keys import KEY
from overlay.wire.address import Address, unpack_address
from overlay.wire.codec import Fields, Value, octets, ordered

ADDRESSES: Final = 4  # of a card
NEWS: Final = 8  # in one word: each has at most 210 octets with its head, and four addresses are rare
NUMBER: Final = 2**32 - 1
COUNT: Final = 2**48  # of incarnations and versions
LIVES: Final = (Life.ALIVE, Life.SUSPECT, Life.DEAD, Life.LEFT)


class Kind(IntEnum):
    """What a word wants."""

    PING = 1  # are you there?
    ASK = 2  # is ``target`` there? I do not hear it
    ACK = 3  # I am here; or, to an ASK with that number: it is
    NACK = 4  # I am here, and do not hear it either
    GOSSIP = 5  # news alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a member says of itself. ``incarnation`` counts its restarts, on its disk; ``version`` what it said anew since."""

    node_id: bytes
    exchange: bytes = b""
    addresses: tuple[Address, ...] = ()
    incarnation: int = 0
    version: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """The later one counts."""
        return self.incarnation, self.version


@dataclass(frozen=True, slots=True)
class Member:
    """A member as this node knows it; ``since`` in monotonic seconds."""

    card: Card
    life: Life
    since: float


@dataclass(frozen=True, slots=True)
class News:
    """What is told about one member."""

    card: Card
    life: Life
    by: bytes = b""  # who found it silent

    def body(self) -> Value:
        card = self.card
        return [card.node_id, LIVES.index(self.life), card.incarnation, card.version, card.exchange, [a.packed for a in card.addresses], self.by]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One message among members."""

    kind: Kind
    number: int = 0
    order: tuple[int, int] = (0, 0)  # the sender's
    target: bytes | None = None
    news: tuple[News, ...] = ()

    def body(self) -> Value:
        return ordered({1: self.kind.value, 2: self.number, 3: list(self.order), 4: self.target, 5: [one.body() for one in self.news] or None})


def read(body: Value) -> Word:
    """What a member says."""
    fields = Fields(body, "members")
    fields.only(frozenset(range(1, 6)))
    kind = Kind(fields.integer(1, 1, len(Kind)))
    target = fields.binary(4, KEY, KEY, default=b"") or None
    if (kind is Kind.ASK) != (target is not None):
        raise Malformed("an ASK names its target, and nothing else does", rule="members-target")
    return Word(
        kind=kind, number=fields.integer(2, 0, NUMBER), order=_order(fields.items(3, 2)), target=target,
        news=tuple(read_news(one) for one in (fields.items(5, NEWS) if 5 in body else ())),
    )


def _order(items: list[Value]) -> tuple[int, int]:
    match items:
        case [int(incarnation), int(version)] if type(incarnation) is type(version) is int and min(items) >= 0 and max(items) <= COUNT:
            return incarnation, version
    raise Malformed("incarnation and version are two counts", rule="members-order")


def read_news(body: Value) -> News:
    """What is told about one member."""
    if type(body) is not list or len(body) != 7 or type(body[5]) is not list or len(body[5]) > ADDRESSES:
        raise Malformed("news of a member has seven parts", rule="members-news")
    node_id, life, incarnation, version, exchange, addresses, by = body
    known = type(life) is int and 0 <= life < len(LIVES)
    if not known or len(octets(node_id)) != KEY or {len(octets(exchange)), len(octets(by))} - {0, KEY}:
        raise Malformed("news of a member: node id, life, key", rule="members-news")
    order = _order([incarnation, version])
    card = Card(
        node_id=node_id, exchange=exchange, addresses=tuple(unpack_address(one) for one in addresses), incarnation=order[0], version=order[1],
    )
    return News(card, LIVES[life], by)
