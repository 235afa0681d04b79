"""What a person is told about a name: which world, which records, which zones, why (CONTRACT, ``resolve`` and ``expand``).

Pure reading of what :class:`tld.names.Names` holds; decides nothing about answers. Names in here are full under the TLD
and without final dot, clusters are paths, keys base64url (CONTRACT, "the manners").
"""

from __future__ import annotations

from typing import Any

from overlay.errors import Absent
from overlay.name import ROOT, Path, parse_name, parse_path
from overlay.units import b64
from tld import codes, rdata
from tld.delegation import labels
from tld.label import Name, from_text, to_text, under
from tld.names import Names, end_of
from tld.reply import Reply
from tld.stub import Local, Public, Refuse, Wait, below, decide


def full_name(text: str, names: Names) -> Name:
    """What a person writes -> the DNS name asked for. A final dot means absolute; else the zone, or the TLD, may be left out."""
    text = text.strip()
    if "/" in text:
        return labels(parse_path(text.strip("/").lower()), names.tld)
    name = from_text(text or ".")
    if text.endswith(".") or under(name, names.tld):
        return name
    return (name[: -len(names.zone)] if under(name, names.zone) else name) + names.tld


def explain(names: Names, name: Name, rtype: int) -> dict[str, Any]:
    """What the stub would answer from memory. For public names, and zones not held, ``rcode`` is None: somebody must be asked."""
    decision = decide(name, rtype, names.world)
    path = below(name, names.tld)
    told: dict[str, Any] = {
        "name": _plain(name), "type": codes.type_name(rtype), "rcode": None,
        "world": "public" if isinstance(decision, Public) else "overlay",
        "answers": [], "records": [], "chain": [], "reason": "",
    }  # fmt: skip
    if isinstance(decision, Public):
        told["reason"] = "not below the TLD" if path is None else _why_public(names)
        return told
    told["chain"] = _chain(names, path or ())
    if isinstance(decision, Wait):
        told["reason"] = f"the zone {decision.path} is known and not held here"
    elif isinstance(decision, Refuse):
        told["rcode"], told["reason"] = codes.rcode_name(decision.rcode), decision.text
    elif isinstance(decision, Local):
        _from_memory(names, name, rtype, told)
    return told


def outcome(told: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """The fields of ``told`` that the reply decides."""
    answers = [rdata.to_text(rrset.type, wire) for rrset in reply.answer for wire in rrset.rdatas]
    reason = reply.ede[1] if reply.ede is not None and reply.ede[1] else told["reason"]
    return {"rcode": codes.rcode_name(reply.rcode), "answers": answers, "reason": reason}


def expand(names: Names, text: str) -> list[dict[str, Any]]:
    """Who carries NAME: its carriers, or the node itself where it is a node's name. ``Absent`` where nothing is known of it."""
    name = parse_name(text, zone=_plain(names.zone), tld=_plain(names.tld))
    found = [
        _carrier(names, entry.carry.node, entry.node_id, entry.reach, entry.carry.port, entry.carry.healthy and bool(entry.reach))
        for view in names.views.values() for entry in view.carries if entry.name == name
    ]  # fmt: skip
    found = found or [
        _carrier(names, entry.name, entry.node_id, tuple(a.host for a in entry.host.addresses), None, bool(entry.host.addresses))
        for view in names.views.values() for entry in view.hosts if entry.name == name
    ]  # fmt: skip
    if not found:
        raise Absent(f"nobody carries {name.fqdn(_plain(names.tld))}", "overlay name tree shows the names there are", rule="absent")
    return sorted(found, key=lambda row: (not row["healthy"], row["name"]))


def _carrier(names: Names, node: Path, node_id: bytes, reach: tuple[str, ...], port: int | None, healthy: bool) -> dict[str, Any]:
    cluster, load = _cluster(names, node)
    return {
        "name": node.fqdn(_plain(names.tld)), "node_id": b64(node_id), "cluster": str(cluster), "addresses": list(dict.fromkeys(reach)),
        "port": port, "healthy": healthy, "load": load, "distance_ms": None,
    }  # fmt: skip


def _cluster(names: Names, node: Path) -> tuple[Path, float | None]:
    """The cluster of a node: the deepest one in the table that its name stands in, else the path above the name."""
    listed = {gateway.path: gateway.cluster.load for view in names.views.values() for gateway in view.gateways}
    for path in node.parent.ancestors():
        if path in listed:
            return path, listed[path] / 1000
    return node.parent, None


def _from_memory(names: Names, name: Name, rtype: int, told: dict[str, Any]) -> None:
    answer = names.memory(name, rtype)
    told["rcode"] = codes.rcode_name(answer.rcode)
    told["answers"] = [rdata.to_text(rrset.type, wire) for rrset in answer.answer for wire in rrset.rdatas]
    told["records"] = [row for owner in dict.fromkeys([name, *(rrset.name for rrset in answer.answer)]) for row in _records(names, owner)]
    end = end_of(answer, rtype)
    zone = names.own.find(name)
    told["reason"] = (answer.ede[1] if answer.ede else "") or (
        f"an alias of {_plain(end)}" if end is not None
        else "answered from the zones held" if answer.answer
        else f"the zone {_plain(zone.origin)}, held here, has no such {'name' if answer.rcode else 'type at that name'}" if zone is not None
        else "no zone held"
    )  # fmt: skip


def _records(names: Names, name: Name) -> list[dict[str, Any]]:
    """The statements that a name's data come from."""
    rows: list[dict[str, Any]] = []
    for view in names.views.values():
        for host in view.hosts:
            if labels(host.name, names.tld) == name:
                rows.append({"kind": "host", "item": "", "signer": b64(host.node_id)})
        for carrier in view.carries:
            if labels(carrier.name, names.tld) == name:
                rows.append({"kind": "carry", "item": carrier.proto, "signer": b64(carrier.node_id)})
        for plain in view.data:
            if labels(plain.name, names.tld) == name:
                rows.append({"kind": "data", "item": plain.rtype, "signer": b64(plain.signer), "expires": plain.expires})
    return [{"name": _plain(name), **row} for row in rows]


def _chain(names: Names, path: tuple[bytes, ...]) -> list[dict[str, Any]]:
    """The zones from the root down to the name, and whether they are held."""
    zones = []
    for end in range(len(path) + 1):
        part = path[:end]
        if part in names.world.held or part in names.world.cuts or not part:
            here = Path(tuple(label.decode("ascii", "replace") for label in part)) if part else ROOT
            view = names.views.get(here)
            zones.append({"zone": str(here), "held": view is not None, "serial": view.serial if view else None})
    return zones


def _why_public(names: Names) -> str:
    policy = names.world.policy
    return "the overlay provably has no such second-level name" if policy == "overlay-first" else f"policy {policy}"


def _plain(name: Name) -> str:
    return to_text(name).rstrip(".") or "."
