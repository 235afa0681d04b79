"""The registrar: answers newcomers with grants, or says why not (DESIGN 3.2, 3.3; table in ``records/rights.py``).

It decides which way of joining applies and which name is free. Openly, a free path makes its first node owner; a path
that is taken gives an own name only, and the consent of its gateway *is* the gateway's signature: the registrar sends
the newcomer there. Whoever stands on a LAN of ours, and names no other cluster, belongs to this one. With an invite the count
of uses is durable before the grant is given; one redeemer owns it. Asking again with the same key
gets the same answer: a newcomer that missed it does not get a second name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from overlay import limits
from overlay.admission.request import ASKING, ELSEWHERE, GRANTED, LATER, REFUSED, TAKEN, WAITING, Reply, Request, records_of
from overlay.admission.shadows import Public, Shadows, shadowed
from overlay.admission.waiting import Quota, WaitingRoom
from overlay.directory import views
from overlay.directory.machine import Directory
from overlay.errors import Absent, OverlayError, TrustError, UsageError
from overlay.machine import Store
from overlay.name import ROOT, Path
from overlay.records import kinds, rights
from overlay.records.kinds import Grant, Invite
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.statements import Statements
from overlay.wire.address import Address

USES = "invites"  # seed's public key -> uses given, as decimal text
SETTLING = 30.0  # seconds: an owner that is that new may not have listed itself yet
GIVEN = 4  # grants on its cluster that are told again to somebody who asks twice
SUFFIXES = 99  # alice, alice-2 .. alice-99


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Where a request came from: the session's hash, the address at its other end (empty where nobody counts), whether that
    stands on a LAN of ours: proved by the session's way.
    """

    session_hash: bytes = bytes(32)
    host: str = ""
    near: bool = False


@dataclass(slots=True)
class Registrar:
    """One node's desk for newcomers. What it gives is in the directory when :meth:`ask` returns."""

    directory: Directory
    statements: Statements
    uses: dict[bytes, int] = field(default_factory=dict)
    keeps: bool = True  # whether what it counts becomes durable: else it gives nothing
    counters: Counter[str] = field(default_factory=Counter)
    shadows: Shadows = field(default_factory=Shadows)
    lan_admit: bool = False  # whether presence on the LAN is enough in an invite overlay (`[lan] admit`)
    mates: Callable[[], Mapping[bytes, tuple[Address, ...]]] = dict  # where members of this cluster are on its LAN, by node id
    room: WaitingRoom = field(init=False)
    quota: Quota = field(init=False)
    lan_quota: Quota = field(init=False)

    def __post_init__(self) -> None:
        self.room, self.quota = WaitingRoom(self.counters), Quota(self.counters)
        self.lan_quota = Quota(self.counters, limits.NAMES_PER_LAN, lambda host: "the own LAN")
        self.shadows.counters = self.counters

    def ask(self, request: Request, at: float, asker: Asker = Asker()) -> tuple[Reply, list[Store]]:
        """(the answer, what must be durable first). The answer says why not, where it is no."""
        try:
            return self._decide(request, at, asker)
        except (UsageError, TrustError) as why:
            return Reply(code=REFUSED, what=why.what, todo=why.todo), []

    def _decide(self, request: Request, at: float, asker: Asker) -> tuple[Reply, list[Store]]:
        root = self.directory.book.trust.root
        if root is None:
            raise TrustError("this node does not hold the founding record yet", "try again in a moment")
        invite = self._invite(request, at) if request.seed else None
        cluster, near = self._meant(request, invite, asker, at)
        if invite is not None and not invite.name.covers(cluster):
            raise TrustError(f"the token is for {invite.name.dotted}, not {cluster.dotted}", "leave out --cluster, or ask for a token for that path")
        if cluster == ROOT:
            raise UsageError("a node needs a cluster below the root", "give --cluster, such as eu/home")
        before = self._granted(request.node_id, cluster, at)
        if before is not None:
            return self._granting(before), []
        if near and not self._may(cluster, Joining.LAN, at):
            return self._to_mates(at), []
        if not self.keeps:
            return Reply(code=LATER, what="the disk of the node that was asked takes nothing now"), []
        if invite is None and root.admission != "open" and not (near and self.lan_admit):
            return self._wait(replace(request, cluster=cluster) if near else request, cluster, asker, at)
        if invite is not None:
            self._unspent(invite)
        taken_by = self._taken(cluster, request.node_id, at)
        how = Joining.LAN if near else self._joining(invite is not None, taken_by is not None)
        if taken_by is None and not near:
            self._nothing_below(cluster, request.node_id, at, invited=invite is not None)
        if how is Joining.OPEN_TAKEN and taken_by is not None and not self._speaks_for(taken_by, at):
            return self._elsewhere(taken_by, at), []
        if invite is None and not self._may(cluster, how, at):
            return self._elsewhere(cluster, at, those=self._may_grant(cluster, at)), []
        quota = self.lan_quota if near else self.quota
        if invite is None and quota.spent(asker.host, at):
            self.counters["drop:enrol-rate"] += 1
            raise TrustError("too many names were given to your network in the last hour", "try again later, or ask for a token", rule="enrol-rate")
        label = self._free_label(request, cluster, at)
        if label is None:
            free = self._next_free(request.label, cluster, at)
            name = (cluster / request.label).dotted
            return Reply(code=TAKEN, what=f"the name {name} is taken", todo=f"choose another: {free} is free"), []
        public = Public.FREE if request.shadow else self.public(cluster.labels[0], at)
        if public is Public.ASKING:
            return Reply(code=ASKING, what=cluster.labels[0]), []
        if public is Public.TAKEN:
            raise shadowed(cluster.labels[0], root.tld)
        grants = self._grant(request, cluster, label, how, at, invite)
        if invite is None:
            quota.count(asker.host, at)
            return self._granting(grants), []
        self.uses[invite.item] = self.uses.get(invite.item, 0) + 1
        return self._granting(grants), [Store(USES, invite.item, str(self.uses[invite.item]).encode())]

    def _meant(self, request: Request, invite: Record | None, asker: Asker, at: float) -> tuple[Path, bool]:
        """The cluster that a newcomer is for, and whether it is ours by presence on our LAN: the invite's, else a LAN neighbour's,
        else a new one named after it. Presence counts where somebody of this cluster may give what it gives.
        """
        if invite is not None:
            return request.cluster if request.cluster is not None else self._default_cluster(invite), False
        ours = self.directory.cluster
        if asker.near and request.cluster in (None, ours):
            if self._may(ours, Joining.LAN, at) or self._mates(at) or self._settling(at):
                return ours, True
        if request.cluster is not None:
            return request.cluster, False
        return (ours if self._granted(request.node_id, ours, at) else Path((request.label,))), False

    def _mates(self, at: float) -> tuple[tuple[bytes, tuple[Address, ...]], ...]:
        """Ways to the other nodes of this cluster that may let newcomers into it: all are in its zone, in the table is its gateway alone."""
        able = self._may_grant(self.directory.cluster, at) - {self.directory.me}
        hosts = [one for one in self.directory.holdings.view(self.directory.cluster).hosts if one.node_id in able]
        ways = [(one.host.exchange, self.mates().get(one.node_id) or one.host.addresses) for one in hosts]
        return tuple((exchange, addresses) for exchange, addresses in ways if addresses)[:4]

    def _settling(self, at: float) -> bool:
        """Whether this node is new in its cluster, and may not know yet who lets newcomers in."""
        held = self.directory.book.grants_of(self.statements.identity.node_id, at)
        return any(at < g.issued + SETTLING for g in held if g.name == self.directory.cluster)

    def _to_mates(self, at: float) -> Reply:
        """A newcomer on our LAN is sent to who may let it into our cluster."""
        mates = self._mates(at)
        if not mates:
            return Reply(code=LATER, what="who lets newcomers in is not known here yet")
        return Reply(code=ELSEWHERE, what=f"others decide about {self.directory.cluster.dotted}", elsewhere=mates)

    def public(self, label: str, at: float) -> Public:
        """Whether a second-level label would hide a public name: not one that the overlay has already."""
        return Public.FREE if label in self._held_labels(ROOT, b"", at) else self.shadows.state(label, at)

    # -- a person's yes

    def _wait(self, request: Request, cluster: Path, asker: Asker, at: float) -> tuple[Reply, list[Store]]:
        """A newcomer without a token, where one is needed: it waits for `overlay admit` here, or where somebody may."""
        if not self._may(cluster, None, at):
            return self._to_mates(at) if asker.near and self._mates(at) else self._elsewhere(cluster, at, those=self._may_grant(cluster, at)), []
        waiting = self.room.enter(request, asker.session_hash, asker.host, at)
        if waiting is None:
            self.counters["drop:waiting-full"] += 1
            return Reply(code=LATER, what="too many are waiting to be admitted"), []
        return Reply(code=WAITING, what=waiting.code), []

    def _may(self, cluster: Path, how: Joining | None, at: float) -> bool:
        """Whether this node itself may give a name there, and what comes with that way of joining."""
        try:
            self.granting_right(cluster, (rights.TABLE[how].rights if how is not None else frozenset()) | {rights.OWN}, at)
        except TrustError:
            return False
        return True

    def _may_grant(self, cluster: Path, at: float) -> frozenset[bytes]:
        book = self.directory.book
        return frozenset(g.item for path in cluster.ancestors() for g in book.grants_on(path, at) if rights.GRANT in g.body[1])

    def admit(self, code: str, at: float) -> Path:
        """A person says yes to the newcomer of that code: its name. ``Absent``, or a TrustError where this node may not."""
        waiting = next((w for w in self.room.listed(at) if w.code == code), None)
        if waiting is None:
            raise Absent(
                f"nobody with the code {code} waits at this node", "overlay admit list shows who does; run it on the node that the newcomer names",
                rule="unknown-code",
            )
        request = waiting.request
        cluster = request.cluster if request.cluster is not None else Path((request.label,))
        taken = self._taken(cluster, request.node_id, at) is not None
        if not taken:
            self._nothing_below(cluster, request.node_id, at, invited=True)
        label = self._free_label(request, cluster, at)
        if label is None:
            raise TrustError(f"the name {(cluster / request.label).dotted} is taken", "have it ask again with another --name", rule="name-taken")
        self._grant(request, cluster, label, self._joining(invited=True, taken=taken), at)
        self.room.leave(request.node_id)
        return cluster / label

    @staticmethod
    def _joining(invited: bool, taken: bool) -> Joining:
        if invited:
            return Joining.INVITED if taken else Joining.INVITED_FIRST
        return Joining.OPEN_TAKEN if taken else Joining.FIRST

    def _grant(self, request: Request, cluster: Path, label: str, how: Joining, at: float, invite: Record | None = None) -> list[Record]:
        """Sign and publish what the table of rights gives; an invite gives no more than its issuer may."""
        entitlement = rights.TABLE[how]
        name = cluster / label
        wanted = entitlement.rights | {rights.OWN}
        via = self.granting_right(cluster, wanted, at)
        if invite is not None:
            self._issuer_may(invite, wanted, at)
        own = Grant(rights=frozenset({rights.OWN}), shadow=request.shadow).body()
        grants = [self.statements.sign(name, "grant", own, at, item=request.node_id, life=entitlement.life, via=via)]
        if entitlement.rights:
            body = Grant(rights=entitlement.rights, shadow=request.shadow).body()
            grants.append(self.statements.sign(cluster, "grant", body, at, item=request.node_id, life=entitlement.life, via=via))
        for grant in reversed(grants):  # the cluster's first: the name stands in its zone from the beginning, and is told to who keeps that
            self.directory.publish(grant, at)
        return grants

    def _granting(self, grants: list[Record]) -> Reply:
        return Reply(code=GRANTED, records=records_of(grants, [link for grant in grants for link in self.directory.book.chain_of(grant)]))

    # -- what is free, what is taken

    def granting_right(self, path: Path, wanted: frozenset[str], at: float) -> Record:
        """The grant of this node by which it may give these rights on that path, the longest-lived; TrustError without."""
        mine = self.directory.book.grants_of(self.statements.identity.node_id, at)
        able = [g for g in mine if rights.GRANT in g.body[1] and g.name.covers(path) and rights.gives(frozenset(g.body[1]), g.name, wanted)]
        if not able:
            raise TrustError(f"this node may not grant below {path.dotted}", "ask a node that holds `grant` there", rule="R09")
        return max(able, key=lambda g: (g.expires, -len(g.name), g.digest))

    def _granted(self, node_id: bytes, cluster: Path, at: float) -> list[Record] | None:
        """What that key already holds in that cluster, the name grant first: a repeated question."""
        held = self.directory.book.grants_of(node_id, at)
        names = [g for g in held if g.name.parent == cluster and g.body[1] == [rights.OWN] and g.signer != node_id]
        if not names:
            return None
        return [names[0], *[g for g in held if g.name == cluster][:GIVEN]]

    def _taken(self, cluster: Path, newcomer: bytes, at: float) -> Path | None:
        """The nearest path at or above ``cluster`` that somebody else owns (the root does not count)."""
        for path in cluster.ancestors():
            held = self.directory.book.grants_on(path, at - limits.LAPSED)
            if path != ROOT and any(rights.OWN in g.body[1] and g.item != newcomer for g in held):
                return path
        return None

    def _nothing_below(self, cluster: Path, newcomer: bytes, at: float, *, invited: bool) -> None:
        """Nobody becomes owner above what others own, nor, openly, of a cluster that has members and lost its owner."""
        book = self.directory.book
        since = at - limits.LAPSED
        if not invited and any(g.item != newcomer for g in book.grants_on(cluster, since)):
            raise TrustError(f"{cluster.dotted} has members and no owner", "ask for a token: overlay invite", rule="no-owner")
        under = (c for c in book.cuts if c != cluster and cluster.covers(c))
        below = next((c for c in under if any(g.item != newcomer for g in book.grants_on(c, since))), None)
        if below is not None:
            raise TrustError(
                f"{cluster.dotted} lies above {below.dotted}, which has an owner", "choose a cluster beside or below it", rule="above-others",
            )

    def _speaks_for(self, path: Path, at: float) -> bool:
        """Whether this node itself may consent for the path: it holds `grant` there by more than the root's right."""
        mine = self.directory.book.grants_of(self.statements.identity.node_id, at)
        return any(rights.GRANT in g.body[1] and g.name == path for g in mine)

    def _elsewhere(self, path: Path, at: float, those: frozenset[bytes] | None = None) -> Reply:
        """Where to ask instead: the gateways of the path, or ``those`` nodes."""
        ring = [n for n in self.directory.holdings.ring() if n.node_id != self.directory.me]
        able = [n for n in ring if (path.covers(n.cluster) if those is None else n.node_id in those)]
        hidden = [
            g for g in views.gateways(self.directory.book) if not g.cluster.addresses and g.cluster.relays and g.node_id != self.directory.me
        ]  # behind a NAT: whom a newcomer reaches by way of us
        hidden = [g for g in hidden if (path.covers(g.path) if those is None else g.node_id in those)]
        ways = (*((n.exchange, n.addresses) for n in able), *((g.cluster.exchange, ()) for g in hidden))[:4]
        if those is not None and not ways:
            raise TrustError(
                f"nobody who may let newcomers in below {path.dotted} can be asked now",
                "ask for a token: overlay invite, then overlay join --invite TOKEN", rule="admission",
            )
        if not ways and any(at < g.issued + SETTLING for g in self.directory.book.grants_on(path, at) if rights.GRANT in g.body[1]):
            return Reply(code=LATER, what=f"{path.dotted} is being set up")
        if not ways:
            raise TrustError(
                f"{path.dotted} is taken and none of its gateways can be asked", "join under another cluster, or with a token from one of its nodes",
                rule="consent",
            )
        return Reply(code=ELSEWHERE, what=f"others decide about {path.dotted}", elsewhere=ways)

    def _held_labels(self, cluster: Path, newcomer: bytes, at: float) -> set[str]:
        """Labels in the cluster where, at or below them, somebody else holds something; what lapsed is held for 30 days."""
        book, depth, since = self.directory.book, len(cluster), at - limits.LAPSED
        grants = (g for g in book.standing() if g.item != newcomer and since < g.expires)
        said = (r for r in book.records.values() if r.kind in ("data", "carry") and r.signer != newcomer and r.body)
        names = [*(record.name for record in (*grants, *said)), *book.cuts]
        return {name.labels[depth] for name in names if len(name) > depth and cluster.covers(name)}

    def _free_label(self, request: Request, cluster: Path, at: float) -> str | None:
        held = self._held_labels(cluster, request.node_id, at)
        if request.label not in held and not rights.reserved(cluster / request.label):
            return request.label
        return None if request.exact else self._next_free(request.label, cluster, at)

    def _next_free(self, label: str, cluster: Path, at: float) -> str:
        held = self._held_labels(cluster, b"", at)
        for number in range(2, SUFFIXES + 1):
            suffix = f"-{number}"
            candidate = label[: 63 - len(suffix)] + suffix
            if candidate not in held and not rights.reserved(cluster / candidate):
                return candidate
        raise TrustError(f"{label} and its numbered forms are all taken in {cluster.dotted}", "choose another name with --name", rule="name-taken")

    # -- invites

    def _invite(self, request: Request, at: float) -> Record:
        """The invite of that seed. Anybody may write the same item into an invite of its own: this node's own counts first."""
        me = self.statements.identity.node_id
        told = [r for r in self.directory.book.records.values() if r.kind == "invite" and r.item == request.seed and not r.expired(at)]
        if not told:
            raise TrustError("the token has expired, or is of another overlay", "ask for a new one: overlay invite", rule="invite-unknown")
        ours = [r for r in told if me in r.body[2]]
        if not ours:
            raise TrustError("this node does not redeem that token", "join through the node that issued it", rule="invite-redeemer")
        return min(ours, key=lambda r: (r.signer != me, r.issued, r.digest))

    def _issuer_may(self, invite: Record, wanted: frozenset[str], at: float) -> None:
        """A redeemer gives in the issuer's name: no more than the issuer may, and nothing after its right has ended."""
        book = self.directory.book
        via = book.grants.get(invite.via)
        ended = via is None or at >= via.expires or book.trust.ended(via)
        if via is None or ended or not wanted <= rights.grantable(frozenset(via.body[1])):
            raise TrustError("who issued the token may no longer let anybody in there", "ask for a new one: overlay invite", rule="invite-issuer")

    def _unspent(self, invite: Record) -> None:
        body = kinds.read(invite)
        assert isinstance(body, Invite)
        if self.uses.get(invite.item, 0) >= body.uses:
            raise TrustError("the token is spent", "ask for a new one: overlay invite", rule="invite-spent")

    def _default_cluster(self, invite: Record) -> Path:
        return invite.name if invite.name != ROOT else self.directory.cluster

    def issue(self, path: Path | None, uses: int, life: int, seed: bytes, at: float) -> Record:
        """An invite record: for ``path``, or, without one, for this node's cluster and all else that it may grant."""
        mine = [g for g in self.directory.book.grants_of(self.statements.identity.node_id, at) if rights.GRANT in g.body[1]]
        wanted = rights.TABLE[Joining.INVITED].rights
        target = path if path is not None else min((g.name for g in mine), key=len, default=self.directory.cluster)
        if rights.reserved(target):
            raise UsageError(f"{target.dotted} is a reserved name", "choose another path")
        via = self.granting_right(target, wanted, at)
        body = Invite(uses=uses, redeemers=(self.statements.identity.node_id,)).body()
        return self.statements.sign(target, "invite", body, at, item=seed, life=life, via=via)


def refusal(reply: Reply) -> OverlayError:
    """What a newcomer raises for an answer that is no grant."""
    return TrustError(reply.what or "the registrar refused", reply.todo or "ask whoever runs the overlay", rule=reply.code)
