"""From the book to views: which statements about a zone count, merged over signers (DESIGN 3.1, 3.2 R20).

Pure: same records, same view. `host`, `cluster` and `carry` are unions over signers; `data` is, per name and type, the
highest seq of any rightful signer, a tombstone burying what it outranks; a name with two claims belongs to the earlier.
"""

from __future__ import annotations

import hashlib
from ipaddress import ip_address

from overlay.directory.book import Book, zone_unit
from overlay.directory.view import CarryEntry, DataEntry, GatewayEntry, HostEntry, ZoneView
from overlay.name import ROOT, Path
from overlay.records import rights
from overlay.records.claims import given, holders, outranked
from overlay.records.kinds import ZONE_KEYS, Carry, Data, Host
from overlay.records.record import Record


def gateways(book: Book) -> list[GatewayEntry]:
    """All cluster records of the table whose signer is who it says, ordered by path and node id."""
    return book.outline.gateways()


def view(book: Book, path: Path) -> ZoneView:
    """The zone at ``path`` as this node knows it."""
    unit = zone_unit(path)
    records = sorted(book.members(unit), key=lambda r: (r.name, r.kind, r.item, r.signer))
    held = holders((r for r in records if r.kind == "grant"), book.grants.get)
    owned = book.outline.owned
    hosts: dict[bytes, HostEntry] = {}
    carries: list[tuple[Record, Carry]] = []
    data: dict[tuple[Path, bytes], Record] = {}
    serial = 0
    for record in records:
        if record.kind in ZONE_KEYS:
            continue
        serial = max(serial, record.issued)
        via = book.grants.get(record.via)
        if via is not None and record.kind != "grant" and frozenset(via.body.get(1, ())) == {rights.OWN}:
            if outranked(via, held, book.grants.get(via.via), owned, name=record.name, grants=book.grants.get):
                continue
        body = book.body(record)
        if isinstance(body, Host | Carry) and body.withdrawn:
            continue
        if isinstance(body, Host):
            hosts[record.signer] = HostEntry(name=record.name, node_id=record.signer, host=body)
        elif isinstance(body, Carry):
            if not _anothers(record, held, book):
                carries.append((record, body))
        elif isinstance(body, Data):
            rival = data.get((record.name, record.item))
            if rival is None or record.order > rival.order:
                data[record.name, record.item] = record
    cuts = book.outline.below(path)
    listed = gateways(book) if path == ROOT else book.outline.gateways_of({path, *cuts})
    newest, marks = book.outline.shown(listed)
    fingerprint = hashlib.blake2s(book.units[unit].sums() if unit in book.units else b"")
    fingerprint.update(marks)
    ordered = tuple(sorted(cuts, key=lambda cut: cut.labels))
    for cut in ordered:
        fingerprint.update(str(cut).encode())
    return ZoneView(
        path=path, serial=max(serial, newest, book.outline.issued(cuts)) % 2**32, digest=fingerprint.digest(), hosts=tuple(hosts.values()),
        carries=tuple(_carry(record, body, hosts) for record, body in carries if _carrier(book, record.signer, body.node, hosts)),
        data=tuple(_data(record, book) for record in data.values() if record.body.get(1)),
        cuts=ordered, gateways=tuple(listed), head_issued=book.outline.head_issued(path),
    )


def _anothers(record: Record, held: dict[Path, Record], book: Book) -> bool:
    """Whether a carry record stands at or below the name of a node that is not its signer, by a right from above that name.

    What members took for their services may be carried by others as well.
    """
    via = book.grants.get(record.via)
    for above in record.name.ancestors():
        if via is None or len(above) <= len(via.name):
            return False
        holder = held.get(above)
        if holder is not None and holder.item != record.signer and given(holder, book.grants.get):
            return True
    return False


def _carrier(book: Book, node_id: bytes, said: Path, hosts: dict[bytes, HostEntry]) -> bool:
    """Whether a carrier may call itself ``said``: as its host record does; of a node of another zone, no other key's name."""
    if node_id in hosts:
        return said == hosts[node_id].name
    holder = holders(book.grants_on(said), book.grants.get).get(said)
    return said != ROOT and said.leaf != "*" and (holder is None or holder.item == node_id)


def _carry(record: Record, body: Carry, hosts: dict[bytes, HostEntry]) -> CarryEntry:
    host = hosts.get(record.signer)
    reach = body.addresses or tuple(dict.fromkeys(address.host for address in (host.host.addresses if host else ())))
    return CarryEntry(
        name=record.name, node_id=record.signer, proto=record.item.decode(), carry=body,
        reach=tuple(sorted(reach, key=lambda text: (ip_address(text).version, ip_address(text).packed))),
    )


def _data(record: Record, book: Book) -> DataEntry:
    body = book.body(record)
    assert isinstance(body, Data)
    return DataEntry(name=record.name, rtype=record.item.decode(), data=body, signer=record.signer, expires=record.expires)
