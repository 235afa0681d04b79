"""Commands that look: status, peers, clusters, ping, why, resolve, expand. Each asks the node once and shows the answer.

With ``--json`` the answer is printed as it came: its form is the contract's, made by the node (``overlay/reports.py``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from overlay.cli.client import PATIENCE, ask, put, put_json, say
from overlay.cli.grammar import Call
from overlay.cli.layout import pairs, shown, span, table
from overlay.errors import ReachError


def status(call: Call) -> None:
    """``overlay status``."""
    found = ask(call, "status", {})
    if call.json:
        put_json(found)
        return
    roles = [role for role in ("gateway", "standby") if found.get(role)]
    rows: list[tuple[str, object]] = [
        ("name", found.get("name")), ("node id", found.get("node_id")), ("zone", found.get("zone")),
        ("TLD", found.get("tld")), ("overlay id", found.get("overlay_id")), ("cluster", found.get("cluster")), ("role", roles or "member"),
        ("gateway", found.get("gateway_name")), ("public address", found.get("public_address")), ("NAT", found.get("nat")),
        ("up for", span(found.get("uptime_s"))), ("revision", found.get("revision")), ("incarnation", found.get("incarnation")),
        ("pid", found.get("pid")), ("peers", found.get("peers")), ("clusters", found.get("clusters")), ("records", found.get("records")),
        ("load", found.get("load")),
    ]  # fmt: skip
    rows += [(f"listens: {kind}", addresses or "off") for kind, addresses in (found.get("listen") or {}).items()]
    rows += [(f"rights on {grant.get('path') or '(root)'}", grant.get("rights")) for grant in found.get("grants") or []]
    rows += [("PROBLEM", line) for line in found.get("problems") or []]
    rows += [("WARNING", line) for line in found.get("warnings") or []]
    put(pairs(rows))


def peers(call: Call) -> None:
    """``overlay peers``."""
    heads = ("name", "cluster", "path", "address", "rtt ms", "revision", "since")
    keys = ("name", "cluster", "path", "address", "rtt_ms", "revision", "since_s")
    _rows(call, ask(call, "peers", {}), heads, keys, "no sessions with other nodes")


def clusters(call: Call) -> None:
    """``overlay clusters [PATH]``."""
    if call.values["path"] is not None:
        found = ask(call, "clusters", {"path": call.values["path"]})
        _rows(call, found, ("name", "node id", "revision"), ("name", "node_id", "revision"), "no nodes of it are known")
        return
    heads = ("cluster", "nodes", "gateways", "public addresses", "revision", "stable", "load", "seen")
    keys = ("cluster", "nodes", "gateways", "public_addresses", "revision", "stable", "load", "seen_s")
    _rows(call, ask(call, "clusters", {}), heads, keys, "no clusters are known")


def ping(call: Call) -> None:
    """``overlay ping NODE``. Raises ``ReachError`` (exit 5) where nothing came back."""
    node, count = call.values["node"], call.values["count"]
    found = ask(call, "ping", {"node": node, "count": count}, PATIENCE + 2.0 * count)
    sent, received, times = found.get("sent"), found.get("received"), [rtt for rtt in found.get("rtt_ms") or [] if rtt is not None]
    if call.json:
        put_json(found)
    else:
        for place, rtt in enumerate(times, 1):
            put(f"{shown(found.get('name'))}  {shown(found.get('path'))}  {place}  {rtt:.3f} ms")
        least, mean, most = (min(times), sum(times) / len(times), max(times)) if times else (0.0, 0.0, 0.0)
        say(f"{sent} sent, {received} received" + (f"; min/mean/max {least:.3f}/{mean:.3f}/{most:.3f} ms" if times else ""))
    if not received:
        raise ReachError(f"{node} does not answer", "see `overlay peers`; is it up?", rule="unreachable")


def why(call: Call) -> None:
    """``overlay why NODE``: every path to it that was tried, when, and what came of it."""
    found = ask(call, "why", {"node": call.values["node"]})
    if call.json or not found:
        _rows(call, found, (), (), "nothing was tried yet: `overlay ping` it")
        return
    rows = [[row["path"], row["address"], _clock(row["at"]), row["outcome"], row["reason"]] for row in found]
    put(table(rows, ("path", "address", "at", "outcome", "reason")))


def netcheck(call: Call) -> None:
    """``overlay netcheck``: what gets through to the world from here."""
    found = ask(call, "netcheck", {}, PATIENCE + 10.0)
    if call.json:
        put_json(found)
        return
    said = {None: "not checked", True: "yes", False: "no"}
    put(pairs([(head, said.get(found.get(key), found.get(key))) for key, head in NETCHECK]))


NETCHECK = (
    ("udp", "UDP"), ("tcp", "TCP"), ("tls443", "TLS on port 443"), ("public_v4", "public IPv4"), ("public_v6", "public IPv6"),
    ("mapping", "NAT mapping"), ("filtering", "NAT filtering"), ("hairpin", "hairpin"), ("portmap", "port mapping"), ("witnesses", "witnesses"),
    ("captive_portal", "captive portal"),
)  # fmt: skip


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"


def resolve(call: Call) -> None:
    """``overlay resolve NAME [TYPE]``: the data on stdout, the why on stderr."""
    rtype = (call.values["type"] or "A").upper()
    found = ask(call, "resolve", {"name": call.values["name"], "type": rtype})
    if call.json:
        put_json(found)
        return
    for answer in found.get("answers") or []:
        put(shown(answer))
    rcode = shown(found.get("rcode"))
    reason = f": {found['reason']}" if found.get("reason") else ""
    say(f"{shown(found.get('name'))} {shown(found.get('type'))}: {rcode}, {shown(found.get('world'))}{shown(reason) if reason else ''}")


def expand(call: Call) -> None:
    """``overlay expand NAME``."""
    heads = ("name", "cluster", "addresses", "port", "healthy", "load", "distance ms")
    keys = ("name", "cluster", "addresses", "port", "healthy", "load", "distance_ms")
    _rows(call, ask(call, "expand", {"name": call.values["name"]}), heads, keys, "nobody carries it")


def _rows(call: Call, found: Any, heads: Sequence[str], keys: Sequence[str], none: str) -> None:
    if call.json:
        put_json(found)
    elif found:
        put(table([[span(row.get(key)) if key.endswith("_s") else row.get(key) for key in keys] for row in found], heads))
    else:
        say(none)
