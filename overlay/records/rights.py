"""Rights over name-paths, and what each way of joining gives (DESIGN 3.2). Tables, and the small functions that read them.

It decides what a right implies and what a newcomer gets; ``trust.py`` decides whether somebody holds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from overlay.errors import UsageError
from overlay.name import Path
from overlay.units import DAY

OWN, MEMBER, CARRY, SPEAK = "own", "member", "carry", "speak"
GRANT, SIGN, OPERATE, ATTEST = "grant", "sign", "operate", "attest"
RELEASE = "release:"  # with a channel behind it: say whose keys count in that channel

MEANING = {
    OWN: "speak about names at and below the path",
    MEMBER: "create free names below it, first come; never another key's name nor the path itself",
    CARRY: "be a carrier of a service",
    SPEAK: "be its gateway, and renew unchanged grants",
    GRANT: "pass on no more than one holds",
    SIGN: "zone signing; makes the path a zone of its own",
    OPERATE: "remote restart and upgrade",
    ATTEST: "testify to freshness and health of releases",
}
KNOWN = frozenset(MEANING)
_RELEASE = re.compile(r"release:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MAX_RIGHTS = 16

# Who owns a path may let others in below it. Implied rights can be passed on; to use `speak` one must hold it by name,
# so that an owner of nothing but its own name does not list itself in the table as a cluster (docs/decisions/0004).
_IMPLIED = {OWN: frozenset({MEMBER, CARRY, SPEAK})}

RESERVED = frozenset({"clusters", "download", "id", "whoami", "_dom", "_overlay", "_node"})  # CONTRACT, DNS
_NAME_SERVER = re.compile(r"ns[0-9]{1,3}")


def reserved(path: Path) -> bool:
    """Whether the path lies under a label that the root keeps for itself (``clusters``, ``ns1`` ...)."""
    return bool(path.labels) and (path.labels[0] in RESERVED or bool(_NAME_SERVER.fullmatch(path.labels[0])))


def legal(right: str) -> bool:
    """Whether ``right`` is a right of this version of the overlay."""
    return right in KNOWN or bool(_RELEASE.fullmatch(right))


def parse_rights(text: str) -> frozenset[str]:
    """``"member,carry"`` -> the set, or a ``UsageError`` that names the unknown one."""
    found = frozenset(word.strip() for word in text.split(",") if word.strip())
    wrong = sorted(word for word in found if not legal(word))
    if wrong or not found:
        raise UsageError(
            f"{', '.join(wrong)[:80] or 'nothing'} is not a right",
            f"choose from {', '.join(sorted(KNOWN))}, release:CHANNEL", rule="right",
        )
    return found


@lru_cache(maxsize=256)
def grantable(held: frozenset[str]) -> frozenset[str]:
    """All that a holder of ``held`` (with ``grant`` among it) may pass on."""
    return held.union(*(_IMPLIED.get(right, frozenset()) for right in held))


def gives(held: frozenset[str], path: Path, wanted: frozenset[str]) -> bool:
    """Whether a holder of ``held`` on ``path``, with ``grant`` among it, may pass ``wanted`` on. Who owns the root opens channels."""
    opened = {right for right in wanted if right.startswith(RELEASE)} if OWN in held and not path.labels else set()
    return wanted - opened <= grantable(held)


class Joining(Enum):
    """How somebody came in."""

    FOUNDING = "founding"
    FIRST = "first of a new path, openly"
    INVITED = "by invite or admit"
    INVITED_FIRST = "by invite or admit, into a path that nobody holds"
    LAN = "by presence on the LAN"
    OPEN_TAKEN = "openly, into a path that is taken"


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a newcomer gets on its cluster's path, for ``life`` seconds. On its own name it gets `own` in every case."""

    rights: frozenset[str]
    life: int


NAME_LIFE = 30 * DAY
FOUNDER = frozenset({OWN, GRANT, SIGN, OPERATE, ATTEST})  # on the root
_FIRST = frozenset({OWN, GRANT, SIGN, SPEAK, ATTEST})
_MEMBER = frozenset({MEMBER, CARRY, SPEAK})

TABLE: dict[Joining, Entitlement] = {
    Joining.FOUNDING: Entitlement(_FIRST, 365 * DAY),
    Joining.FIRST: Entitlement(_FIRST, 365 * DAY),
    Joining.INVITED: Entitlement(_MEMBER, 30 * DAY),
    Joining.INVITED_FIRST: Entitlement(_MEMBER | _FIRST, 365 * DAY),
    Joining.LAN: Entitlement(_MEMBER, 30 * DAY),
    Joining.OPEN_TAKEN: Entitlement(frozenset(), 30 * DAY),
}
