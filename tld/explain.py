"""What a person is told about a name: which world, which records, which zones, why (CONTRACT, ``resolve`` and ``expand``).

Pure reading of what :class:`tld.names.Names` holds; decides nothing about answers. Names in here are full under the TLD
and without final dot, clusters are paths, keys base64url (CONTRACT, "the manners").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from overlay.errors import Absent
from overlay.name import ROOT, Path, parse_name, parse_path
from overlay.units import b64
from tld import codes, rdata
from tld.delegation import labels
from tld.engine import Answer
from tld.label import Name, from_text, to_text, under
from tld.names import Names, end_of
from tld.reply import Reply
from tld.reserved import ID, WHOAMI
from tld.stub import Local, Public, Refuse, Wait, below, decide, local
from tld.zone import Zone

SHOWN: Final = 3  # nodes that a reason names


def full_name(text: str, names: Names) -> Name:
    """What a person writes -> the DNS name asked for. A final dot means absolute; else the zone, or the TLD, may be left out."""
    text = text.strip()
    if "/" in text:
        return labels(parse_path(text.strip("/").lower()), names.tld)
    name = from_text(text or ".")
    if text.endswith(".") or under(name, names.tld):
        return name
    return (name[: -len(names.zone)] if under(name, names.zone) else name) + names.tld


def explain(names: Names, name: Name, rtype: int, *, ours: bool = False) -> dict[str, Any]:
    """What the stub would answer from memory. For public names, and zones not held, ``rcode`` is None: somebody must be asked.

    ``ours``: the public DNS was asked and has no such name, so the overlay's counts (public-first).
    """
    decision = decide(name, rtype, names.world)
    path = below(name, names.tld)
    if ours and path is not None:
        decision = local(path, rtype, names.world, names.tld)
    told: dict[str, Any] = {
        "name": _plain(name), "type": codes.type_name(rtype), "rcode": None,
        "world": "public" if isinstance(decision, Public) else "overlay",
        "answers": [], "records": [], "chain": [], "reason": "",
    }  # fmt: skip
    if isinstance(decision, Public):
        told["reason"] = _why_public(names, name)
        return told
    told["chain"] = _chain(names, path or ())
    if isinstance(decision, Wait):
        told["reason"] = f"it stands in the zone {decision.path}, which is known and not held here"
    elif isinstance(decision, Refuse):
        told["rcode"], told["reason"] = codes.rcode_name(decision.rcode), decision.text
    elif isinstance(decision, Local):
        _from_memory(names, name, rtype, told)
        if ours:
            told["reason"] = f"the public DNS has no such name, so the overlay's counts: {told['reason']}"
    return told


def outcome(told: dict[str, Any], reply: Reply | None, asked: Collection[str]) -> dict[str, Any]:
    """``told``, with what the reply decides: None where there was none. ``asked``: whom public names are passed on to."""
    reason = told["reason"]
    if told["world"] == "public":
        reason += f": passed on to {', '.join(asked) or 'nobody, for no resolver is known'}"
    if reply is None:
        return {**told, "rcode": told["rcode"] or "SERVFAIL", "reason": f"{reason}, and not answered: too much is being asked just now"}
    if reply.ede is not None and reply.ede[1] and reply.ede[1] not in reason:
        reason += f"; {reply.ede[1]}"
    answers = [rdata.to_text(rrset.type, wire) for rrset in reply.answer for wire in rrset.rdatas]
    return {**told, "rcode": codes.rcode_name(reply.rcode), "answers": answers, "reason": reason}


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
    zone = names.own.find(name)
    told["rcode"] = codes.rcode_name(answer.rcode)
    told["answers"] = [rdata.to_text(rrset.type, wire) for rrset in answer.answer for wire in rrset.rdatas]
    owners = dict.fromkeys([name, *(rrset.name for rrset in answer.answer)])
    told["records"] = [row for owner in owners for row in _records(names, owner) or _records(names, _wildcard(zone, owner))]
    told["reason"] = _reason(names, name, rtype, answer, zone, told["records"]) if zone is not None else "no zone is held here that could say"


def _reason(names: Names, name: Name, rtype: int, answer: Answer, zone: Zone, records: Sequence[Mapping[str, Any]]) -> str:
    """Why the zones held give that answer: which zone, what it has, which nodes said it."""
    where = f"the zone {_plain(zone.origin)} (serial {zone.serial}), held here,"
    end, first = end_of(answer, rtype), (below(name, names.tld) or (b"",))[:1]
    if first == (WHOAMI,):
        return "this node's own public address" if answer.answer else "this node has no public address of that kind, as far as it knows"
    if first == (ID,) and answer.answer:
        return "the self-certifying name of a node that is known here"
    if end is not None:
        return f"an alias of {_plain(end)}, which {where} has{_said(records)}"
    if answer.answer:
        return f"{where} has it{_said(records) or ': the overlay itself makes it'}"
    if answer.rcode == codes.NXDOMAIN:
        return f"{where} has no such name"
    if answer.rcode != codes.NOERROR:
        return f"{where} does not answer that: {codes.rcode_name(answer.rcode)}"
    return f"{where} {_nothing_there(names, name, rtype, answer, zone)}"


def _nothing_there(names: Names, name: Name, rtype: int, answer: Answer, zone: Zone) -> str:
    """NODATA: the name exists, and nothing of that type at it."""
    wanted = codes.type_name(rtype)
    carriers = [carrier for view in names.views.values() for carrier in view.carries if labels(carrier.name, names.tld) == name]
    if answer.ede is not None and carriers:
        states = [f"{_by(names, c.node_id)} {'has no address' if c.carry.healthy else 'fails its check'}" for c in carriers[:SHOWN]]
        return f"has the name, and {answer.ede[1]}: {', '.join(states)}"
    if any(labels(host.name, names.tld) == name for view in names.views.values() for host in view.hosts) and rtype in (codes.A, codes.AAAA):
        return f"has the node, which has no proved {'IPv4' if rtype == codes.A else 'IPv6'} address"
    types = sorted(codes.type_name(there) for there in zone.nodes.get(name, {}))
    return f"has that name with {', '.join(types)}, and no {wanted}" if types else f"has names below that one, and no {wanted} at itself"


def _said(records: Sequence[Mapping[str, Any]]) -> str:
    """Which nodes said it, each once."""
    sayers = list(dict.fromkeys(f"{row['by']} ({row['kind']})" for row in records))
    more = f" and {len(sayers) - SHOWN} more" if len(sayers) > SHOWN else ""
    return f"; said by {', '.join(sayers[:SHOWN])}{more}" if sayers else ""


def _wildcard(zone: Zone | None, name: Name) -> Name:
    """The wildcard that may stand for a name which is not there (RFC 4592); the name itself where there is none."""
    depth = len(name) - len(zone.origin) if zone is not None else 0
    stars = ((b"*", *name[above:]) for above in range(1, depth + 1))
    return next((star for star in stars if zone is not None and star in zone.nodes), name)


def _records(names: Names, name: Name) -> list[dict[str, Any]]:
    """The statements that a name's data come from."""
    rows: list[dict[str, Any]] = []
    for view in names.views.values():
        for host in view.hosts:
            if labels(host.name, names.tld) == name:
                rows.append({"kind": "host", "item": "", "signer": b64(host.node_id), "by": _by(names, host.node_id)})
        for carrier in view.carries:
            if labels(carrier.name, names.tld) == name:
                rows.append({"kind": "carry", "item": carrier.proto, "signer": b64(carrier.node_id), "by": _by(names, carrier.node_id)})
        for plain in view.data:
            if labels(plain.name, names.tld) == name:
                row = {"kind": "data", "item": plain.rtype, "signer": b64(plain.signer), "by": _by(names, plain.signer), "expires": plain.expires}
                rows.append(row)
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


def _by(names: Names, node_id: bytes) -> str:
    """A node's name, where it is known here; else its id."""
    hosts = (entry.name for view in names.views.values() for entry in view.hosts if entry.node_id == node_id)
    gateways = (entry.cluster.node for view in names.views.values() for entry in view.gateways if entry.node_id == node_id)
    found = next(hosts, None) or next(gateways, None)
    return found.fqdn(_plain(names.tld)) if found is not None else b64(node_id)


def _why_public(names: Names, name: Name) -> str:
    policy, tld = names.world.policy, _plain(names.tld)
    path = below(name, names.tld)
    if path is None:
        return f"not below {tld}"
    if policy == "overlay-first":
        label = path[0].decode("ascii", "replace") if path else ""
        return f"the overlay has no {label}.{tld}, by a root zone that is fresh enough to prove it"
    return f"policy {policy}" + (": the public DNS comes first" if policy == "public-first" else f": {tld} is not looked at")


def _plain(name: Name) -> str:
    return to_text(name).rstrip(".") or "."
