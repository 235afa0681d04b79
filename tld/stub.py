"""Which world a name belongs to: the overlay's or the public one (DESIGN 3.8, four policies; research dns.md, C2, C3).

It decides, for a question and what this node knows, whether the stub answers by itself, passes the bytes on, fetches a
zone first, or refuses and says why. It refuses to know how an answer is made or carried. One rule stands above all: a
second-level name below the TLD belongs wholly to one world, and only proof of absence sends it into the public one,
never a timeout.

| policy | below the TLD | at and below the bootstrap zone |
|---|---|---|
| exclusive | the overlay's, wholly | upstream |
| overlay-first | the overlay's where it holds the second-level label; upstream where it provably does not | upstream |
| public-first | upstream; the overlay's where the public DNS says NXDOMAIN | upstream |
| suffix-only | upstream | the overlay's |
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.name import Path
from overlay.units import DAY, HOUR
from tld import codes
from tld.label import Name
from tld.reserved import is_reserved

POLICIES: Final = ("overlay-first", "exclusive", "public-first", "suffix-only")
HEAD_PROVES: Final = HOUR  # seconds: a head this old proves absence (DESIGN 3.8)
COPY_PROVES: Final = DAY  # seconds: and so does a stored copy, where there is no peer to ask

Labels = tuple[bytes, ...]  # of a path, root first: (b"eu", b"home")


@dataclass(frozen=True, slots=True)
class Local:
    """Answer from the zones held. ``path`` is the name below ``suffix``, at which the overlay's root stands."""

    suffix: Name
    path: Labels


@dataclass(frozen=True, slots=True)
class Public:
    """Pass the query on, bytes unchanged. ``else_local``: where the answer is NXDOMAIN, ours counts (public-first)."""

    else_local: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """The table knows the zone at ``path``, this node does not hold it: fetch it, then decide again."""

    path: Path


@dataclass(frozen=True, slots=True)
class Refuse:
    """Say this and nothing else."""

    rcode: int
    ede: int
    text: str


Decision = Local | Public | Wait | Refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What this node knows about the freshness of its root zone, at ``at`` (trusted UTC seconds)."""

    at: float
    head_issued: int | None  # when a builder last vouched for the root zone held; None: never, or not held
    peers: int  # admitted sessions just now

    @property
    def proves(self) -> bool:
        """Whether absence from the root zone held is absence from the overlay (DESIGN 3.8)."""
        if self.head_issued is None:
            return False
        age = self.at - self.head_issued
        return -limits.FUTURE <= age <= HEAD_PROVES or (self.peers == 0 and -limits.FUTURE <= age <= COPY_PROVES)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the decision stands on."""

    policy: str
    tld: Name
    zone: Name
    held: Collection[Labels] = frozenset()  # paths of zones held; the root is ()
    cuts: Collection[Labels] = frozenset()  # paths of all zones that those held delegate to
    second_level: Collection[bytes] = frozenset()  # labels at which the root zone has anything, at or below
    proves: bool = False  # see Evidence

    @property
    def joined(self) -> bool:
        """Whether the root zone is held."""
        return () in self.held


NOT_JOINED: Final = Refuse(codes.SERVFAIL, codes.EDE_NOT_READY, "not joined: overlay up, or overlay dns uninstall")
NO_PROOF: Final = Refuse(
    codes.SERVFAIL, codes.EDE_NOT_READY, "not held by the overlay as far as known; the root zone here is too old for proof: overlay status",
)


def below(name: Name, suffix: Name) -> Labels | None:
    """The labels of ``name`` below ``suffix``, root first; None where it does not stand at or below it."""
    depth = len(name) - len(suffix)
    if depth < 0 or not suffix or name[depth:] != suffix:
        return None
    return name[:depth][::-1]


def decide(name: Name, rtype: int, world: World) -> Decision:
    """Whose is ``name`` (lower case)? Pure; the same question in the same world is decided alike."""
    suffix = world.zone if world.policy == "suffix-only" else world.tld
    path = below(name, suffix)
    if path is None:
        return Public()
    if world.policy == "public-first":
        return Public(else_local=True)
    if not world.joined:
        return NOT_JOINED
    if world.policy == "overlay-first" and path and not holds(path[0], world):
        return Public() if world.proves else NO_PROOF
    return local(path, rtype, world, suffix)


def local(path: Labels, rtype: int, world: World, suffix: Name) -> Local | Wait | Refuse:
    """A name that is the overlay's: answered from what is held, after fetching the zone that it stands in."""
    if not world.joined:
        return NOT_JOINED
    for end in range(1, len(path) + 1):
        if path[:end] in world.cuts and path[:end] not in world.held:
            if rtype == codes.DS and end == len(path):
                break  # the parent answers for DS (RFC 4035, 3.1.4.1)
            return Wait(Path(tuple(label.decode() for label in path[:end])))
    return Local(suffix, path)


def holds(label: bytes, world: World) -> bool:
    """Whether the overlay holds that second-level label: by a name, a zone, a wildcard, or for itself."""
    return label in world.second_level or b"*" in world.second_level or is_reserved(label)


def unreachable(path: Path) -> Refuse:
    """What to say where the zone at ``path`` could not be fetched."""
    return Refuse(codes.SERVFAIL, codes.EDE_NO_REACHABLE_AUTHORITY, f"nobody who holds {path} could be reached: overlay clusters")

