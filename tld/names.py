"""The plug of names in a node: views in, answers out, on two listeners (DESIGN 3.8, CONTRACT "DNS").

It decides which zones are held, what depends on the asker (``whoami``) or on more than one zone (``<id>.id``), and what a
stub's query needs beside memory. *Authoritative*: answers for the zones held, in both trees, REFUSED elsewhere, never
passes on. *Stub*: RA set, answers from memory, or says who must be waited for (:class:`Pass`, :class:`Fetch`,
:class:`Chase`); ``driver/stub.py`` does the waiting. It refuses to know sockets, clocks and where views come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from overlay import limits
from overlay.directory.view import ZoneView
from overlay.errors import Malformed
from overlay.name import ROOT, Path
from overlay.units import unb32
from overlay.wire.address import Address
from tld import codes, download
from tld.authority import Authority, Source
from tld.delegation import HOST_TTL, Bootstrap, amend, build, difference, labels, text_rdata
from tld.dnssec.pieces import Copy
from tld.dnssec.secure import Secure, Status
from tld.engine import Answer, led_by, lookup
from tld.label import Name, from_text, from_wire, to_wire
from tld.query import Query, ask, parse
from tld.render import refuse, render
from tld.reply import read
from tld.reserved import DOWNLOAD, ID, WHOAMI
from tld.stub import Evidence, Local, Public, Refuse, Wait, World, below, decide, local, unreachable
from tld.zone import RRset, Zone, Zones

MAX_CHAIN: Final = 8  # zones fetched for one query, one after the other
_EDE_OTHER: Final = 0
_PROOF: Final = frozenset({codes.DS, codes.RRSIG, codes.NSEC, codes.DNSKEY, codes.CDS, codes.CDNSKEY})
UNCARRIED: Final = "nobody reachable and healthy carries this service"
BOGUS: Final = (codes.EDE_BOGUS, "what signs this name does not hold: overlay doctor")
EXPIRED: Final = (codes.EDE_EXPIRED, "signatures have ended and nobody renewed them: overlay doctor")
STALE: Final = (codes.EDE_STALE, "as last heard: nobody has vouched for the root zone of late")
HIDDEN: Final = "this node stands behind a NAT and has no address of its own: overlay ping reaches it"


@dataclass(frozen=True, slots=True)
class Pass:
    """Pass the query on as it is. ``else_local``: where the answer is NXDOMAIN, :meth:`Names.instead` counts."""

    query: Query
    else_local: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch the zone at ``path`` and ask :meth:`Names.again`."""

    query: Query
    path: Path


@dataclass(frozen=True, slots=True)
class Chase:
    """The name is an alias (``chain``) of a public one: ask ``question`` upstream, give the reply to :meth:`Names.chased`."""

    query: Query
    chain: tuple[RRset, ...]
    question: bytes


MAX_ALIASES = 16  # links of a foreign chain that are followed; resolvers give up between 8 and 16
Later = Pass | Fetch | Chase
Host = tuple[Path, tuple[str, ...]]  # a node's name, its addresses


class Names:
    """All that a node knows of names. ``zone`` and ``tld`` are written without final dot; ``nsid`` is the node's label.

    ``authoritative`` is a backend of ``driver/server.py``; :meth:`stub` is the synchronous half of the other.
    """

    def __init__(self, *, tld: str, zone: str, policy: str = "overlay-first", overlay_id: bytes = b"", nsid: bytes = b"") -> None:
        self.tld: Name = from_text(tld)
        self.zone: Name = from_text(zone)
        self.zones = Zones()  # both trees: what the authoritative side answers from
        self.own = Zones()  # the stub's: aliases into the other tree are a public matter
        self.views: dict[Path, ZoneView] = {}
        self.world = World(policy=policy, tld=self.tld, zone=self.zone)
        self.counters: Counter[str] = Counter()  # what building zones left out
        self._suffix = self.zone if policy == "suffix-only" else self.tld
        self.secure = Secure((self.tld, self.zone), self.zones, self.counters, stub=self._suffix)
        self.authoritative = Authority(self.zones, special=self._for_asker, finder=self._provable, nsid=nsid)
        self.resolving = Authority(self.own, special=self._for_ourselves, finder=self._resolved, ra=True)
        self._remembers = policy != "public-first"  # there the public DNS is asked each time
        self._bootstrap = Bootstrap(overlay_id=overlay_id, tld=tld)
        self.holders: download.Holders = download.nobody  # who gives away releases
        self._at = 0.0  # UTC seconds, as last told
        self._public: tuple[str, ...] = ()
        self._hosts: dict[Path, dict[bytes, Host]] = {}  # per zone: node id -> name, addresses
        self._gates: dict[bytes, Host] | None = None  # the same of the root's gateways, once somebody asks
        self._cuts: dict[Path, frozenset[tuple[bytes, ...]]] = {}  # per zone: the cuts below it
        self._second_level: frozenset[bytes] = frozenset()
        self._down: dict[Path, dict[Name, str]] = {}  # per zone: what exists and is to be reached nowhere, and why
        self._winding: set[Name] = set()  # origins of zones with aliases or delegations by data
        self._near: tuple[Path, Mapping[bytes, tuple[str, ...]]] = (ROOT, {})  # the own cluster: LAN addresses of its nodes

    # -- what the node tells

    def update(self, view: ZoneView) -> None:
        """Hold this version of a zone, in both trees. A view that says the same but is vouched for anew costs nothing."""
        old = self.views.get(view.path)
        if old is view:
            return
        self.views[view.path] = view
        if old is None or replace(old, head_issued=None) != replace(view, head_issued=None):
            self._build(view, old)
            self._look_around(view, old)

    def drop(self, path: Path) -> None:
        """Hold that zone no longer; no matter if it was not held."""
        if self.views.pop(path, None) is None:
            return
        for suffix in (self.tld, self.zone):
            self.zones.drop(labels(path, suffix))
            self.own.drop(labels(path, suffix))
            self._winding.discard(labels(path, suffix))
        self.secure.drop(path)
        self._down.pop(path, None)
        if path == ROOT:
            self._second_level, self._gates = frozenset(), None
        self._hosts.pop(path, None)
        self._cuts.pop(path, None)
        self._see()

    def sign(self, path: Path, keys: Copy | None, zone: Copy | None) -> None:
        """That signed version of a zone counts from now on for whoever asks for proof; None: there is none."""
        self.secure.put(path, keys, zone)
        self.zones.touch()
        self.own.touch()

    def set_public_address(self, *hosts: str) -> None:
        """This node's public addresses (``whoami`` through the stub), as they are known now; none: not known."""
        self._public = hosts

    def set_near(self, cluster: Path, lan: Mapping[bytes, tuple[str, ...]]) -> None:
        """The LAN addresses of the own cluster's nodes, by node id: what this machine's stub says of them, and nobody else is told."""
        if self._near == (cluster, lan):
            return
        self._near = (cluster, dict(lan))
        view = self.views.get(cluster)
        if view is not None:
            self._build(view, None)

    def memory(self, qname: Name, qtype: int) -> Answer:
        """What the zones held say to this node of a name that is the overlay's."""
        return self._special(qname, qtype, self._public, self.own) or lookup(self.own, qname, qtype)

    def evidence(self, *, at: float, peers: int) -> None:
        """Weigh anew whether absence from the root zone held proves anything: at least once a minute, at UTC ``at``."""
        self._at = at
        root = self.views.get(ROOT)
        proves = Evidence(at=at, head_issued=root.head_issued if root else None, peers=peers).proves
        if proves != self.world.proves:
            self.world = replace(self.world, proves=proves)
            self.own.touch()

    def _build(self, view: ZoneView, old: ZoneView | None) -> None:
        made = difference(old, view) if old is not None else None
        ours = self._as_seen_here(view)
        for suffix in (self.tld, self.zone):
            bootstrap = self._bootstrap if suffix == self.zone else None
            held = self.zones.get(labels(view.path, suffix))
            if made is not None and held is not None:
                zone = amend(held, made, suffix=suffix, bootstrap=bootstrap)
            else:
                counters = self.counters if suffix == self.tld else Counter[str]()
                zone = build(view, suffix=suffix, bootstrap=bootstrap, counters=counters)
                self._look_into(zone, view, suffix)
            self.zones.put(zone)
            if suffix == self._suffix:
                self.own.put(zone if ours is view else build(ours, suffix=suffix, bootstrap=bootstrap, counters=Counter()))
        self.secure.refresh(view.path)
        if made is not None and view.path == ROOT:
            self._second_level |= {cut.labels[0].encode() for cut in made.fresh}
        up = {carrier.name for carrier in ours.carries if carrier.carry.healthy and carrier.reach}
        down = {host.name: HIDDEN for host in ours.hosts if not host.host.addresses}
        down |= dict.fromkeys({carrier.name for carrier in view.carries} - up, UNCARRIED)
        self._down[view.path] = {labels(name, suffix): why for name, why in down.items() for suffix in (self.tld, self.zone)}

    def _as_seen_here(self, view: ZoneView) -> ZoneView:
        """The zone as its own LAN sees it: nodes, and services without addresses of their own, stand at LAN addresses."""
        cluster, lan = self._near
        if view.path != cluster or not lan:
            return view
        hosts = tuple(
            replace(one, host=replace(one.host, addresses=tuple(Address(host, 1) for host in lan[one.node_id]))) if lan.get(one.node_id) else one
            for one in view.hosts
        )
        carries = tuple(
            replace(one, reach=lan[one.node_id]) if lan.get(one.node_id) and not one.carry.addresses or not one.reach and lan.get(one.node_id)
            else one for one in view.carries
        )
        return replace(view, hosts=hosts, carries=carries)

    def _look_into(self, zone: Zone, view: ZoneView, suffix: Name) -> None:
        """What decisions need to know of a zone that was made anew: aliases and delegations by data, its second-level names."""
        cuts = {labels(cut, suffix) for cut in view.cuts}
        winds = bool(zone.redirects - cuts) or any(codes.CNAME in node for node in zone.nodes.values())
        (self._winding.add if winds else self._winding.discard)(zone.origin)
        if view.path == ROOT and suffix == self.tld:
            depth = len(suffix) + 1
            self._second_level = frozenset(name[-depth] for name in zone.nodes if len(name) >= depth)

    def _look_around(self, view: ZoneView, old: ZoneView | None) -> None:
        """What the decisions stand on, after a zone came or changed."""
        self._hosts[view.path] = {
            entry.node_id: (entry.name, tuple(dict.fromkeys(a.host for a in entry.host.addresses))) for entry in view.hosts
        }
        if view.path == ROOT:
            self._gates = None
        if old is None or old.cuts != view.cuts:
            self._cuts[view.path] = frozenset(_octets(cut) for cut in view.cuts)
        self._see()

    def _see(self) -> None:
        cuts = frozenset[tuple[bytes, ...]]().union(*self._cuts.values())
        held = frozenset(_octets(path) for path in self.views)
        self.world = replace(self.world, held=held, cuts=cuts, second_level=self._second_level)

    def _host(self, node_id: bytes) -> Host | None:
        """A node's name and addresses: as its zone says, else as its cluster does."""
        for hosts in self._hosts.values():
            if node_id in hosts:
                return hosts[node_id]
        if self._gates is None:
            root = self.views.get(ROOT)
            gateways = root.gateways if root is not None else ()
            self._gates = {g.node_id: (g.cluster.node, tuple(a.host for a in g.cluster.addresses)) for g in gateways}
        return self._gates.get(node_id)

    # -- the stub

    def stub(self, data: bytes, source: Source, udp: bool) -> bytes | Later | None:
        """The reply from memory, or who must be waited for, or None where nothing must be said (counted)."""
        if udp and self._remembers and (reply := self.resolving.reply(data)) is not None:
            return reply
        try:
            query = parse(data)
        except Malformed as fault:
            self.resolving.counters[f"drop:{fault.rule}"] += 1
            return None
        return self.again(data, query, source, udp)

    def again(self, data: bytes, query: Query, source: Source, udp: bool) -> bytes | Later:
        """:meth:`stub` behind the parser; also after a zone was fetched."""
        if query.fault or query.qclass != codes.IN:
            return self.resolving.respond(query, source, udp)
        decision = decide(query.qname, query.qtype, self.world)
        if isinstance(decision, Local):
            return self._wind(data, query, source, udp)
        if isinstance(decision, Public):
            return Pass(query, decision.else_local)
        return self._not_now(query, decision)

    def instead(self, data: bytes, query: Query, source: Source, udp: bool) -> bytes | Later | None:
        """The overlay's answer where the public DNS says NXDOMAIN (public-first); None where it has none either."""
        path = below(query.qname, self.tld)
        decision = local(path, query.qtype, self.world, self.tld) if path is not None else None
        if isinstance(decision, Wait):
            return Fetch(query, decision.path)
        if not isinstance(decision, Local) or self.memory(query.qname, query.qtype).rcode != codes.NOERROR:
            return None
        return self._wind(data, query, source, udp)

    def chased(self, chase: Chase, reply: bytes | None, udp: bool) -> bytes:
        """The whole chain: ours, then what the public DNS said of its end. Without a reply, or a bad one: SERVFAIL."""
        try:
            found = read(reply) if reply is not None else None
        except Malformed:
            found = None
        if found is None:
            self.resolving.counters["dns_chase_failed"] += 1
            return self.failed(chase.query, (codes.EDE_NO_REACHABLE_AUTHORITY, "an alias of a public name that could not be asked for"))
        end = from_wire(chase.chain[-1].rdatas[0])[0]
        answer = Answer(rcode=found.rcode & 15, answer=chase.chain + along(end, chase.query.qtype, found.answer), ede=found.ede)
        return render(chase.query, answer, udp=udp, ra=True).reply(chase.query)

    def unfetched(self, query: Query, path: Path) -> bytes:
        """The reply where the zone at ``path`` could not be had."""
        decision = unreachable(path)
        return refuse(query, decision.rcode, (decision.ede, decision.text), ra=True)

    def failed(self, query: Query, reason: tuple[int, str]) -> bytes:
        """SERVFAIL with that reason."""
        return refuse(query, codes.SERVFAIL, reason, ra=True)

    def _not_now(self, query: Query, decision: Wait | Refuse) -> bytes | Later:
        if isinstance(decision, Wait):
            return Fetch(query, decision.path)
        self.resolving.counters["dns_refused_world"] += 1
        return refuse(query, decision.rcode, (decision.ede, decision.text), ra=True)

    def _wind(self, data: bytes, query: Query, source: Source, udp: bool) -> bytes | Later:
        """Answer from memory, unless an alias leads out of it: each end of a chain is a name with a world of its own."""
        zone = self.own.find(query.qname)
        if zone is None or zone.origin not in self._winding:
            return self.resolving.respond(query, source, udp)
        answer = lookup(self.own, query.qname, query.qtype)
        end = end_of(answer, query.qtype)
        if end is not None:
            decision = decide(end, query.qtype, self.world)
            if isinstance(decision, Public):
                edns = limits.EDNS if query.edns is not None else 0
                return Chase(query, answer.answer, ask(0, to_wire(end), query.qtype, edns=edns, flags=codes.RD))
            if not isinstance(decision, Local):
                return self._not_now(query, decision)
            if (special := self._special(end, query.qtype, self._public, self.own)) is not None:
                whole = replace(special, answer=answer.answer + special.answer)
                return render(query, whole, udp=udp, ra=True).reply(query)
        if any(rrset.type == codes.NS for rrset in answer.authority):
            return self.failed(query, (codes.EDE_NO_REACHABLE_AUTHORITY, "delegated to name servers outside of the overlay"))
        return self.resolving.respond(query, source, udp)

    # -- with proof, and without

    def _provable(self, query: Query) -> Answer:
        """For the world: the signed version where proof is asked for, else what is live."""
        if _of_proof(query):
            return led_by(lookup(self.secure.zones, query.qname, query.qtype, secure=query.secure), self.zones)
        return lookup(self.zones, query.qname, query.qtype)

    def _resolved(self, query: Query) -> Answer:
        """For this machine, as a validating resolver: AD where what is said was signed and the signatures hold (RFC 4035 3.2.3).

        Whoever does not ask for proof gets what is live, LAN addresses included; AD where that is what is signed.
        """
        if query.secure:
            answer = lookup(self.secure.own, query.qname, query.qtype, secure=True)
            status = self.secure.status(answer, self._at)
            if status is Status.BOGUS and not query.flags & codes.CD:
                self.resolving.counters["dns_bogus"] += 1
                return Answer(rcode=codes.SERVFAIL, ede=EXPIRED if self.secure.over else BOGUS)
            return replace(answer, ad=status is Status.SECURE)
        live = lookup(self.secure.own if _of_proof(query) else self.own, query.qname, query.qtype)
        if query.flags & codes.AD:
            proven = lookup(self.secure.own, query.qname, query.qtype, secure=True)
            if same(live, proven) and self.secure.status(proven, self._at) is Status.SECURE:
                return replace(live, ad=True)
        old = self._at > 0 and self.world.joined and not self.world.proves
        return replace(live, ede=STALE) if old and live.ede is None else live

    # -- what no zone holds

    def _for_asker(self, query: Query, source: Source) -> Answer | None:
        proof = _of_proof(query)
        return self._special(query.qname, query.qtype, (source[0],), self.secure.zones if proof else self.zones, secure=proof)

    def _for_ourselves(self, query: Query, source: Source) -> Answer | None:
        proof = _of_proof(query)
        return self._special(query.qname, query.qtype, self._public, self.secure.own if proof else self.own, secure=proof)

    def _special(self, qname: Name, qtype: int, who: Collection[str], zones: Zones, *, secure: bool = False) -> Answer | None:
        for suffix in (self.tld, self.zone):
            depth = len(qname) - len(suffix)
            if depth > 0 and qname[depth - 1] in (WHOAMI, ID, DOWNLOAD) and qname[depth:] == suffix:
                root = zones.get(suffix)
                if root is None:
                    return None
                if secure and codes.NS in root.nodes.get(qname[depth - 1 :], {}):  # a cut without DS: a zone of its own, unsigned
                    if depth == 1 and qtype == codes.DS:
                        return None
                    root = _cut(root, qname[depth - 1 :])
                    if depth == 1 and qtype in (codes.SOA, codes.NS):
                        return Answer(aa=True, answer=(root.negative if qtype == codes.SOA else root.nodes[qname][codes.NS],))
                    if depth == 1 and qname[0] == ID:
                        return Answer(aa=True, authority=(root.negative,))
                if qname[depth - 1] == DOWNLOAD:
                    return self._download(root, qname, qtype, depth)
                if qname[depth - 1] == WHOAMI:
                    return _made(root, qname, qtype, who, ttl=0) if depth == 1 else _nothing(root)
                return None if depth == 1 else self._by_id(root, qname, qtype, depth)
        for down in () if secure else self._down.values():  # who asks for proof gets the proof alone
            if qname in down:
                answer = lookup(zones, qname, qtype)
                return answer if answer.answer else replace(answer, ede=(_EDE_OTHER, down[qname]))
        return None

    def _download(self, root: Zone, qname: Name, qtype: int, depth: int) -> Answer:
        """``download``, ``CHANNEL.download``: who gives away the newest release now."""
        channel = download.channel_of(qname[: depth - 1])
        holders = self.holders(channel) if channel is not None else None
        if holders is None:
            return _nothing(root)
        hosts = download.hosts_of(holders)
        return download.busy() if hosts is None else _made(root, qname, qtype, hosts, ttl=download.TTL)

    def _by_id(self, root: Zone, qname: Name, qtype: int, depth: int) -> Answer:
        """``<id>.id``: a node under its self-certifying name, whichever zone it stands in."""
        node_id = unb32(qname[depth - 2].decode("ascii", "replace"))
        if node_id is None or len(node_id) != 32:
            return _nothing(root)
        host = self._host(node_id)
        if host is not None and depth == 2:
            text = text_rdata(f"name={host[0].fqdn(b'.'.join(root.origin).decode())}")
            return _made(root, qname, qtype, host[1], ttl=HOST_TTL, text=text)
        if host is None and not set(self.world.cuts) <= set(self.world.held):
            return Answer(rcode=codes.SERVFAIL, ede=(codes.EDE_NOT_READY, "not a node of any zone held here, and not all zones are held"))
        return _nothing(root)


def along(name: Name, qtype: int, sets: tuple[RRset, ...]) -> tuple[RRset, ...]:
    """Of a foreign answer what belongs to ``name``: its aliases, link by link, and the data at their end; nothing beside.

    Whoever answers for the end of an alias must not put a word in about any other name, least of all one of the overlay's.
    """
    by_name: dict[Name, list[RRset]] = {}
    for rrset in sets:
        by_name.setdefault(tuple(label.lower() for label in rrset.name), []).append(rrset)
    kept: list[RRset] = []
    name = tuple(label.lower() for label in name)
    for _ in range(MAX_ALIASES):
        here = by_name.pop(name, [])
        alias = next((rrset for rrset in here if rrset.type == codes.CNAME), None)
        if alias is not None:  # perhaps made of a DNAME above, which goes before it (RFC 6672 3.1)
            kept += [rrset for upper in range(1, len(name)) for rrset in by_name.get(name[upper:], ()) if rrset.type == codes.DNAME]
        kept += [rrset for rrset in here if rrset.type in (qtype, codes.CNAME) or qtype == codes.ANY]
        if alias is None or qtype == codes.CNAME:
            break
        name = tuple(label.lower() for label in from_wire(alias.rdatas[0])[0])
    return tuple(kept)


def _of_proof(query: Query) -> bool:
    """Whether the signed version is what is asked for: by the DO bit, or by a type that only it has."""
    return query.secure or query.qtype in _PROOF


def same(one: Answer, other: Answer) -> bool:
    """Whether two answers say the same: proofs and the order of records aside."""
    if one.rcode != other.rcode or one.aa != other.aa:
        return False
    said = [{(r.name, r.type, frozenset(r.rdatas)) for r in answer.answer if r.type != codes.RRSIG} for answer in (one, other)]
    return said[0] == said[1]


def _cut(root: Zone, name: Name) -> Zone:
    """The root as it stands above one of its unsigned cuts: what is not there is timed by a SOA of the cut's own."""
    return replace(root, negative=replace(root.negative, name=name))


def end_of(answer: Answer, qtype: int) -> Name | None:
    """Where a chain of aliases ends that did not come to data of that type; None where there is no such chain."""
    if not answer.answer or qtype in (codes.CNAME, codes.ANY) or answer.answer[-1].type != codes.CNAME:
        return None
    return from_wire(answer.answer[-1].rdatas[0])[0]


def _made(root: Zone, qname: Name, qtype: int, hosts: Collection[str], *, ttl: int, text: bytes = b"") -> Answer:
    """An answer from addresses that stand in no zone: A, AAAA, TXT; NODATA for other types."""
    packed = [ip_address(host.partition("%")[0]).packed for host in hosts]
    sets = {codes.A: [a for a in packed if len(a) == 4], codes.AAAA: [a for a in packed if len(a) == 16], codes.TXT: [text] if text else []}
    chosen = next((rtype for rtype, rdatas in sets.items() if rdatas), qtype) if qtype == codes.ANY else qtype
    rdatas = sets.get(chosen)
    if not rdatas:
        return Answer(aa=True, authority=(root.negative,))
    return Answer(aa=True, answer=(RRset(qname, chosen, ttl, tuple(rdatas)),))


def _nothing(root: Zone) -> Answer:
    return Answer(rcode=codes.NXDOMAIN, aa=True, authority=(root.negative,))


def _octets(path: Path) -> tuple[bytes, ...]:
    return tuple(label.encode() for label in path.labels)
