"""What is wrong with a running node, and what to do: findings as plain values, for ``doctor``, ``status`` and ``/metrics`` alike.

It decides when a fact deserves a person's time, by the dates of DESIGN 3.2 (rights), 3.13 (clocks) and 3.6 (peers). It changes
nothing and asks nobody; what needs sockets or files is found out elsewhere (``overlay/cli/doctor.py``). "Not checked" is an
outcome of its own: it is not "no".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from overlay import limits, summaries
from overlay.directory import views
from overlay.name import ROOT, Path
from overlay.node import Node
from overlay.records import rights
from overlay.records.record import Record
from overlay.records.trust import Trust
from overlay.reports import Json, Reports
from overlay.units import b64

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"
APART: Final = 60.0  # seconds between clocks: DESIGN 3.13, the dead band of the correction
OUTVOTED: Final = 3  # peers that correct a clock (DESIGN 3.13)
UNLED: Final = 10.0  # seconds without a gateway; an election takes 4 (GOALS), the start of a lone newcomer 5
ALONE: Final = 30.0  # seconds after the start in which nobody needs to be connected; guess
OVERDUE: Final = 7 / 8  # of a grant's life: renewals are said from 2/3 to 5/6 (overlay/renewal.py)
ENDING: Final = 2 / 3  # of the life of a grant that nobody renews by himself
BOTH: Final = frozenset({rights.GRANT, rights.SIGN})  # on the root, at two nodes in two clusters (DESIGN 3.2)
PASSED_ON: Final = (rights.OWN, rights.GRANT, rights.SIGN, rights.OPERATE, rights.ATTEST)  # to the next one, as far as held
SHOWN: Final = 16  # characters of a digest that people compare: 96 bits
LASTING: Final = "300d"  # by date, so that it outlives a founder who is away; its right ends with the giver's at the latest


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and how it came out, in words. ``todo`` is what a person can do where the outcome is not OK."""

    check: str
    outcome: str
    what: str
    todo: str = ""

    @property
    def alarming(self) -> bool:
        """Whether somebody should do something."""
        return self.outcome in (WARNING, FAILED)

    @property
    def line(self) -> str:
        """As one text."""
        return f"{self.what}. To do: {self.todo}" if self.todo else self.what

    def plain(self) -> Json:
        """As JSON has it."""
        return {"check": self.check, "outcome": self.outcome, "what": self.what, "todo": self.todo}


def of_node(reports: Reports, *, at: float, system: float, uptime: float) -> list[Finding]:
    """Peers, clock, rights, twins. ``at`` is trusted time, ``system`` the machine's own clock, both UTC seconds."""
    node = reports.node
    offsets = sorted(peer.offset + at - system for peer in node.peers.admitted() if peer.offset is not None)
    return [peers(reports, uptime), clock(offsets), *own_rights(reports, at), root(reports, at), *root_versions(node.trust), twins(node)]


def peers(reports: Reports, uptime: float) -> Finding:
    """Whether anybody is connected."""
    count = len(reports.node.peers.admitted())
    if count:
        return Finding("peers", OK, f"{count} session{'s' if count > 1 else ''} with other nodes")
    others = {host.node_id for host in reports.hosts()} - {reports.node.identity.node_id}
    if uptime < ALONE:
        return Finding("peers", SKIPPED, "the node has just started", "ask again in half a minute")
    if not others:
        return Finding("peers", WARNING, "no other node is known yet", "let one in: overlay invite")
    return Finding(
        "peers", FAILED, f"none of {len(others)} other node{'s' if len(others) > 1 else ''} is connected",
        "is the network up, and 7653/udp or 7653/tcp open outward? See overlay log",
    )  # fmt: skip


def gateway(reports: Reports, unled: float) -> Finding:
    """Who speaks for the own cluster, and who would follow; ``unled``: seconds since somebody did."""
    standing, node = reports.led(), reports.node
    if standing.gateway is None:
        if unled < UNLED:
            return Finding("gateway", SKIPPED, "the cluster is choosing its gateway", "ask again in ten seconds")
        told = f"nobody has spoken for this cluster for {unled:.0f} s"
        return Finding("gateway", FAILED, told, "does a node that may speak run here? overlay grants shows who may; see overlay log")
    first, second = (_member(reports, one) for one in (standing.gateway, standing.standby))
    told = "this node" if standing.gateway == node.identity.node_id else first
    return Finding("gateway", OK, f"{told} speaks for this cluster, {f'{second} stands by' if second else 'nobody stands by'}")


def _member(reports: Reports, node_id: bytes | None) -> str:
    """A member's name, or its id where it is not known."""
    if node_id is None:
        return ""
    name = summaries.name_of(reports.node, node_id)
    return reports.full(name) if name is not None else b64(node_id)


def clock(offsets: Sequence[float]) -> Finding:
    """Whether the machine's clock is right, by its peers': their clocks less ours in seconds, sorted."""
    if not offsets:
        return Finding("clock", SKIPPED, "no peer has told its time yet", "ask again when there are peers")
    median = (offsets[(len(offsets) - 1) // 2] + offsets[len(offsets) // 2]) / 2
    if abs(median) <= APART:
        return Finding("clock", OK, f"within {abs(median):.1f} s of {len(offsets)} peer{'s' if len(offsets) > 1 else ''}")
    told = f"the clock of this machine is {abs(median):.0f} s {'behind' if median > 0 else 'ahead of'} its peers"
    if len(offsets) >= OUTVOTED:
        return Finding("clock", WARNING, f"{told}; the node goes by theirs", "set the clock (NTP)")
    ahead = median < -limits.FUTURE
    return Finding("clock", FAILED if ahead else WARNING, told + ("; others refuse what it says" if ahead else ""), "set the clock (NTP)")


# -- rights


def own_rights(reports: Reports, at: float) -> list[Finding]:
    """Each right of this node that has lapsed or comes near its end without having been renewed; one line where all is well."""
    node = reports.node
    held = node.book.grants_of(node.identity.node_id, at - limits.LAPSED)
    newest: dict[tuple[object, ...], Record] = {}
    for grant in held:
        newest.setdefault((grant.name, tuple(grant.body[1])), grant)  # of one path the longest-lived comes first
    if not newest:
        return [Finding("rights", FAILED, "this node holds no right at all", "ask who runs the overlay; see overlay log")]
    needed = [grant for grant in newest.values() if not _said_better(grant, newest.values(), at)]
    found = [finding for grant in needed if (finding := _ending(grant, at, b64(node.identity.node_id))) is not None]
    return found or [Finding("rights", OK, f"{len(needed)} grant{'s' if len(needed) > 1 else ''} held, none near its end")]


def _said_better(grant: Record, others: Iterable[Record], at: float) -> bool:
    """Whether another grant on that very path gives the same and more for longer: a member that became owner."""
    return any(
        other is not grant and other.name == grant.name and other.expires > grant.expires and at < other.expires
        and set(grant.body[1]) <= rights.grantable(frozenset(other.body[1]))
        for other in others
    )  # fmt: skip


def _ending(grant: Record, at: float, me: str) -> Finding | None:
    """What is to be said of one grant, if anything."""
    life = grant.expires - grant.issued
    told = f"{','.join(grant.body[1])} on {grant.name.dotted or 'the root'}"
    again = f"overlay grant {grant.name or '/'} --to {me} --rights {','.join(grant.body[1])}"
    left = grant.expires - at
    if left <= 0:
        return Finding("rights", FAILED, f"{told} has lapsed {_days(-left)} ago", f"on a node that holds grant above: {again}")
    renewed = bool(grant.via) and not grant.body.get(3)
    if at < grant.issued + life * (OVERDUE if renewed else ENDING):
        return None
    if not grant.via:
        return Finding("rights", WARNING, f"{told} ends in {_days(left)}, by the root keys' word", "overlay root sign --key FILE, with the root keys")
    why = "and was not renewed" if renewed else "on the day that was chosen"
    return Finding("rights", WARNING, f"{told} ends in {_days(left)} {why}", f"on a node that holds grant above: {again}")


def _days(seconds: float) -> str:
    days = seconds / 86_400
    return f"{days:.0f} days" if days >= 2 else f"{seconds / 3_600:.0f} h" if seconds >= 7_200 else f"{max(1, seconds / 60):.0f} min"


def root(reports: Reports, at: float) -> Finding:
    """Whether the root survives the loss of one machine: two live nodes in two clusters that hold `grant` and `sign` there."""
    held = _on_root(reports.node, at)
    able = _live(reports, {node_id for node_id, mine in held.items() if mine >= BOTH})
    clusters = {name.parent for name in able.values()}
    if len(able) >= 2 and len(clusters) >= 2:
        return Finding("root", OK, f"{len(able)} live nodes in {len(clusters)} clusters hold grant and sign on the root")
    names = ", ".join(sorted(reports.full(name) for name in able.values()))
    what = f"only {names} hold{'' if len(able) > 1 else 's'} grant and sign on the root" if able else "no live node holds grant and sign on the root"
    what += "; without it nobody gets into a new cluster" if len(able) == 1 else ""
    return Finding("root", WARNING, what, _next_holder(reports, held, able))


def root_versions(trust: Trust) -> list[Finding]:
    """Whether the root keys have said two things under one number; nothing where they have not."""
    found = []
    for version, other in sorted(trust.rivals.items()):
        ours, theirs = (b64(record.digest)[:SHOWN] for record in (trust.roots[version - 1], other))
        found.append(Finding(
            "root", FAILED, f"there are two root versions {version}: this node holds {ours}, others hold {theirs}",
            "whoever has the root keys says which one stays; each node that holds the other: overlay leave, then overlay join",
        ))  # fmt: skip
    return found


def _on_root(node: Node, at: float) -> dict[bytes, frozenset[str]]:
    """Who holds which rights on the root."""
    held: dict[bytes, frozenset[str]] = {}
    for grant in node.book.grants_on(ROOT, at):
        held[grant.item] = held.get(grant.item, frozenset()) | frozenset(grant.body[1])
    return held


def _live(reports: Reports, wanted: Collection[bytes]) -> dict[bytes, Path]:
    """Those of them that are known to live, and their names: connected, listed in the table, or told of within two hours."""
    node = reports.node
    live = {host.node_id: host.name for host in reports.hosts() if host.node_id in wanted}
    live |= {gateway.node_id: gateway.cluster.node for gateway in views.gateways(node.book) if gateway.node_id in wanted}
    live |= {p.passport.node_id: p.passport.name for p in node.peers.admitted() if p.passport is not None and p.passport.node_id in wanted}
    if node.presence is not None and node.identity.node_id in wanted:
        live[node.identity.node_id] = node.presence.name
    return live


def _next_holder(reports: Reports, held: Mapping[bytes, frozenset[str]], able: Mapping[bytes, Path]) -> str:
    """The exact line that makes the next public node a holder, and where to type it."""
    if not able:
        return "start a node that holds them (overlay grants / shows which), or overlay root sign with the root keys"
    node, taken = reports.node, {name.parent for name in able.values()}
    connected = {peer.passport.node_id for peer in node.peers.admitted() if peer.passport is not None}
    free = [g for g in views.gateways(node.book) if g.node_id not in able and g.path not in taken and g.cluster.addresses]
    if not free:
        return "let a public node of another cluster in, then give it these rights: doctor shows the line"
    chosen = min([g for g in free if g.node_id in connected] or free, key=lambda g: (g.path, g.node_id))
    giver = node.identity.node_id if node.identity.node_id in able else min(able)
    passed = ",".join(right for right in PASSED_ON if right in held[giver])
    line = f"overlay grant / --to {reports.full(chosen.cluster.node)} --rights {passed} --expires {LASTING}"
    return line if giver == node.identity.node_id else f"on {reports.full(able[giver])} run: {line}"


def twins(node: Node) -> Finding:
    """Whether somebody else speaks with this identity."""
    signs = node.counters["twins"] + node.peers.counters["twins"]
    if not signs:
        return Finding("identity", OK, "no other machine was seen with this identity")
    return Finding(
        "identity", FAILED, "another machine uses this node's identity",
        "stop one of both, move its identity and state.db aside, and let it join under a name of its own",
    )  # fmt: skip


# -- listeners


def listeners(wanted: Mapping[str, Sequence[str]], bound: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Which listeners did not get what the configuration says; one line where all did. Both: kind -> ``IP:PORT``."""
    found = list(_fallbacks(wanted, bound))
    told = ", ".join(f"{kind} {len(bound.get(kind, ()))}" for kind in wanted if bound.get(kind))
    return found or [Finding("listeners", OK, f"bound as configured: {told or 'none'}")]


def _fallbacks(wanted: Mapping[str, Sequence[str]], bound: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for kind, texts in wanted.items():
        ports = {text.rpartition(":")[2] for text in texts if text != "off"} - {"0"}
        got = sorted({text.rpartition(":")[2] for text in bound.get(kind, ())})
        missing = sorted(ports - set(got))
        if not missing:
            continue
        where = f"{kind}: port {', '.join(missing)} is taken or not permitted"
        todo = f"end what holds it, let the program bind low ports (docs/operations.md), or choose another with [listen] {kind}"
        if got:
            yield Finding("listeners", WARNING, f"{where}; it listens on {', '.join(got)} instead", todo)
        else:
            yield Finding("listeners", WARNING, f"{where}; it is off", todo)
