"""What a plan is given and what it may want: the vocabulary between ``plan.py`` and whoever performs its wishes.

It decides nothing but which goals make sense: somewhere to look must be named, and ways into an overlay mean nothing
without its id (DESIGN 3.4: message 1 is bound to it).
"""

from __future__ import annotations

from dataclasses import dataclass

from bootstrap.entrance import Domain, Lan, Listener, WayIn
from overlay.errors import OverlayError, UsageError
from overlay.wire.address import Address


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the system's resolvers; answer with ``answered`` or ``failed``."""

    name: str
    rtype: str  # "TXT", "A", "AAAA", "NS"


@dataclass(frozen=True, slots=True)
class Fetch:
    """GET ``path`` over HTTP from that address; answer with ``fetched`` or ``failed``."""

    address: Address
    path: str


@dataclass(frozen=True, slots=True)
class Try:
    """Open a session to that node of that overlay and check its passport; answer with ``entered`` or ``failed``."""

    way: WayIn
    overlay_id: bytes


@dataclass(frozen=True, slots=True)
class Listen:
    """Ask on the LAN who is there, for as long as the attempt lasts; answer with ``heard``, as often as somebody is."""


@dataclass(frozen=True, slots=True)
class Tell:
    """One line for the person."""

    line: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Repeating will not help."""

    error: OverlayError


Effect = Ask | Fetch | Try | Listen | Tell | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the person asked for.

    ``overlay_id``: pinned, or None for a first contact. ``known``: ways into that overlay, remembered peers first, then
    the token's. ``steadfast``: never give up (``overlay up``). ``lan``: neighbours on the LAN are one more way in.
    ``lan_first``: they are preferred, since the cluster is theirs where nobody named one.
    """

    place: Domain | Listener | Lan | None = None
    overlay_id: bytes | None = None
    known: tuple[WayIn, ...] = ()
    steadfast: bool = False
    lan: bool = False
    lan_first: bool = False

    def __post_init__(self) -> None:
        if self.place is None and not self.known:
            raise UsageError("there is no way in to try", "name a domain or IP:port, or give a token: overlay join WHERE", rule="where")
        if self.known and self.overlay_id is None:
            raise UsageError("known ways need the overlay's id", "give it with --id", rule="overlay-id")
