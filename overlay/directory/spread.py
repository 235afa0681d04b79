"""When a table is too large for one node: the sizes of its parts, and what of it all hold nevertheless (decision 11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overlay import limits
from overlay.name import ROOT
from overlay.records.kinds import RELEASES
from overlay.records.record import Record

CORE: Final = "core"  # the unit that all compare even where the table is shared out


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the table is shared out."""

    whole: int = limits.WHOLE_TABLE  # up to so many public nodes everybody has the table
    near: int = 2 * limits.NEAREST  # nearest to its own id of whom a node keeps the records: a neighbour's 16 are among them
    bucket: int = limits.BUCKET  # contacts in each bucket of the others
    copies: int = limits.COPIES  # nodes that keep a zone
    again: float = 300.0  # seconds after which a search is done anew: half the life of a head (DESIGN 3.1)


def core(record: Record) -> bool:
    """Whether all hold it, however large the overlay is: it ends rights, says who may give them, or what is published."""
    return record.kind in ("root", "revoke") or record.kind in RELEASES or (record.kind == "grant" and record.name == ROOT)
