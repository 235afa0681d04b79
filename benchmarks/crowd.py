"""A crowd on disk: a home whose node knows of many clusters, each with one gateway (GOALS, "with 10,000 peers known").

Every record is a real one: granted, signed, stored as the node itself would have stored it. The registrars are several,
since a node keeps at most ``limits.PER_SIGNER`` records of one signer. It measures nothing: ``start.py`` does.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

from overlay import limits
from overlay.cli import membership as homes
from overlay.directory.book import RECORDS
from overlay.driver.clock import BUILT
from overlay.driver.store import Store
from overlay.founding import Plan
from overlay.identity.keys import Identity, Signer, digest
from overlay.machine import Store as Write
from overlay.name import ROOT
from overlay.name import Path as NamePath
from overlay.records import rights
from overlay.records.kinds import Cluster, Grant
from overlay.records.record import Draft, Record, parse, sign
from overlay.records.rights import TABLE, Joining
from overlay.units import DAY, HOUR
from overlay.wire.address import Address

ISSUED = 2_000  # records by one registrar: below limits.PER_SIGNER
LIFE = 30 * DAY


def founded(home: Path, host: str, count: int) -> None:
    """An overlay founded on that home (``bench.bench.cloud`` at ``host``), its founder knowing ``count`` clusters."""
    assert ISSUED < limits.PER_SIGNER
    at = int(max(time.time(), BUILT))
    plan = Plan.checked(zone="cloud.example.net", tld="cloud", admission="open", name=NamePath(("bench", "bench")))
    made = homes.found_overlay(home, plan, keys=1, root_out=None, advertised=(host,), at=at - 60)
    with Store.open(home / homes.STATE) as store:
        held = [parse(raw) for raw in store.load()[RECORDS].values()]
        founding = next(record for record in held if record.kind == "grant" and record.name == ROOT)
        known = crowd(made.identity.signer, founding, made.root.digest, at - 30, count)
        store.commit_now(Write(RECORDS, _key(record), record.raw) for record in known)


def crowd(founder: Signer, founding: Record, overlay_id: bytes, at: int, count: int) -> list[Record]:
    """Grants and cluster records of so many clusters, each with one gateway."""
    records: list[Record] = []
    numbers = iter(range(count))
    while some := list(islice(numbers, ISSUED)):
        registrar = identity(-1 - len(records))
        entrusted = _grant(ROOT, registrar, rights.FOUNDER, founder, founding, overlay_id, at)
        records.append(entrusted)
        for number in some:
            gateway, path = identity(number), NamePath((f"cluster{number}",))
            first = _grant(path, gateway, TABLE[Joining.FIRST].rights, registrar.signer, entrusted, overlay_id, at)
            address = Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 7653)
            body = Cluster(exchange=gateway.exchange_public, addresses=(address,), node=path / "gateway").body()
            draft = Draft(name=path, kind="cluster", seq=at * 1000, issued=at, expires=at + 2 * HOUR, via=first.digest, body=body)
            records += [first, sign(draft, [gateway.signer], overlay_id)]
    return records


def identity(number: int) -> Identity:
    """The gateway of cluster ``number``; a registrar where it is negative."""
    return Identity.from_secret(digest(b"crowd %d" % number))


def _grant(path: NamePath, subject: Identity, given: frozenset[str], issuer: Signer, via: Record, overlay_id: bytes, at: int) -> Record:
    body = Grant(rights=given).body()
    draft = Draft(name=path, kind="grant", item=subject.node_id, seq=at * 1000, issued=at, expires=at + LIFE, via=via.digest, body=body)
    return sign(draft, [issuer], overlay_id)


def _key(record: Record) -> bytes:
    return record.digest if record.kind == "grant" else record.key
