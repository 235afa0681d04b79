"""What a node raises: facts for whoever plugged in (names, control, the way in, the lab). Each is durable by the time it is told."""

from __future__ import annotations

from dataclasses import dataclass

from overlay.errors import OverlayError
from overlay.name import Path
from overlay.session.events import Closed, StreamEvent


@dataclass(frozen=True, slots=True)
class Joined:
    """This node got its name (raised once, durable by then)."""

    name: Path


@dataclass(frozen=True, slots=True)
class JoinRefused:
    """The overlay said no."""

    error: OverlayError


@dataclass(frozen=True, slots=True)
class AdmissionAsked:
    """This node waits until somebody types `overlay admit CODE` on the node called ``where``."""

    code: str
    where: Path


@dataclass(frozen=True, slots=True)
class AskPublic:
    """Does this label exist below the TLD in the public DNS? The answer goes to ``Node.public``."""

    label: str


@dataclass(frozen=True, slots=True)
class ZonesChanged:
    """Views of these units are out of date (`table` or `zone:PATH`)."""

    units: frozenset[str]


@dataclass(frozen=True, slots=True)
class ReleasesChanged:
    """Something was said of a channel: its keys, a release, its freshness, a halt, a mirror."""

    channel: str


@dataclass(frozen=True, slots=True)
class OperateAsked:
    """Somebody wants this node to take what is newest of a channel (empty: of all); ``rightful``: it may. Whoever sees to it answers the call."""

    session: int
    ticket: int
    asker: Path
    channel: str
    urged: bool
    rightful: bool


@dataclass(frozen=True, slots=True)
class Streamed:
    """What happened to a stream, or to the session that carried it."""

    event: StreamEvent | Closed


@dataclass(frozen=True, slots=True)
class PeerChanged:
    """A session was admitted (``up``) or ended."""

    node_id: bytes
    name: Path
    up: bool


@dataclass(frozen=True, slots=True)
class PassportGood:
    """The holder of that exchange key belongs to this overlay."""

    exchange: bytes
    node_id: bytes


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session ended, admitted or not."""

    exchange: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class DialEnded:
    """No session came of a dial."""

    exchange: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Pong:
    """A ping came back after ``rtt`` seconds, or did not (None). ``peer_at``: UTC seconds by the clock of who holds that key."""

    ticket: int
    rtt: float | None
    peer_at: int = 0
    exchange: bytes = b""
