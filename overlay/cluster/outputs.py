"""What the machines of a cluster want done, and what they tell."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from overlay.wire.codec import Value
from overlay.wire.messages import Note


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this to a member, best effort: the node opens a session to it first where there is none."""

    to: bytes  # node id
    note: Note
    body: Value


class Life(StrEnum):
    """What is known about a member."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """A member is known to be alive, suspected, dead or gone from now on; ``by`` is the member that said so (us: first hand)."""

    node_id: bytes
    life: Life
    by: bytes


class Role(StrEnum):
    """What this node is in its cluster."""

    MEMBER = "member"
    STANDBY = "standby"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """Who speaks for the cluster from now on, as this node knows it."""

    role: Role
    gateway: bytes | None  # node ids
    standby: bytes | None
    number: int  # of the gateway's term
