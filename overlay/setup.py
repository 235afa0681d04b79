"""What a node is started with, and what it finds on its disk: tables, keys, the first start of a founding machine.

Pure values; who reads and writes the disk is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from overlay import limits
from overlay.cluster.links import Link
from overlay.directory.book import Book
from overlay.directory.spread import Spread
from overlay.errors import Malformed
from overlay.identity.keys import Identity, verify
from overlay.machine import Entropy, Store
from overlay.newcomer import own_passport
from overlay.records.record import Record
from overlay.records.trust import Trust, Verifier
from overlay.session.suite import STANDARD, Suite
from overlay.statements import Statements
from overlay.wire.codec import encode

OWN = "own"  # the store's table for what a node knows of itself
PEERS = "peers"  # remembered peers: exchange key -> addresses
PASSPORT = b"passport"
FOUNDING = b"founding"
NAME = b"name"

Stored = Mapping[str, Mapping[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a node is started with. ``verifier`` and ``suite`` are what its crypto stands on; the lab has others."""

    identity: Identity
    overlay_id: bytes
    entropy: Entropy
    port: int
    advertised: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()  # what leads to a LAN
    lan: bool = False  # whether neighbours on the LAN are looked for
    lan_admit: bool = False  # whether presence on the LAN lets newcomers into an invite overlay
    guess: bool = True  # whether ports at a NAT are guessed
    relay: bool = True  # whether datagrams are carried for others
    dns: bool = False
    incarnation: int = 1  # how often this node has started
    small: int = limits.SMALL_OVERLAY
    spread: Spread = field(default_factory=Spread)
    asks_public: bool = False  # whether the public DNS is asked before a second-level name is claimed
    stored: Stored = field(default_factory=dict)
    verifier: Verifier = verify
    suite: Suite = STANDARD


def counted(rows: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """A table of counts, each in decimal; ``Malformed`` where one is damaged: a count that begins anew would give away what was used up."""
    if not all(value.isdigit() and len(value) < 10 for value in rows.values()):
        raise Malformed("a stored count does not read", rule="stored-count")
    return {key: int(value) for key, value in rows.items()}


def found(root: Record, founder: list[Record], identity: Identity, at: float, verifier: Verifier = verify) -> list[Store]:
    """The stores of a founding machine's first start: the founding record, its grants (name grant last), its passport."""
    trust = Trust(root.digest, verifier)
    book = Book(trust)
    for record in (root, *founder):
        book.add(record, at)
    statements = Statements(identity=identity, overlay_id=root.digest, book=book)
    passport = own_passport(book, statements, identity, founder[-1], at)
    return [
        *book.take_stores(), Store(OWN, FOUNDING, root.raw), Store(OWN, NAME, founder[-1].digest),
        Store(OWN, PASSPORT, encode([record.raw for record in passport.records])),
    ]
