"""The registrar: answers newcomers with grants, or says why not (DESIGN 3.2, 3.3; table in ``records/rights.py``).

It decides which way of joining applies and which name is free. Openly, a free path makes its first node owner; a path
that is taken gives an own name only, and the consent of its gateway *is* the gateway's signature: the registrar sends
the newcomer there. With an invite the count of uses is durable before the grant is given; one redeemer owns it.
Asking again with the same key gets the same answer: a newcomer that missed it does not get a second name.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay.admission.request import ELSEWHERE, GRANTED, LATER, REFUSED, TAKEN, Reply, Request, records_of
from overlay.directory.machine import Directory
from overlay.errors import OverlayError, TrustError, UsageError
from overlay.machine import Store
from overlay.name import ROOT, Path
from overlay.records import kinds, rights
from overlay.records.kinds import Grant, Invite
from overlay.records.record import Record
from overlay.records.rights import Joining
from overlay.records.trust import holders
from overlay.statements import Statements

USES = "invites"  # seed's public key -> uses given, as decimal text
SETTLING = 30.0  # seconds: an owner that is that new may not have listed itself yet
SUFFIXES = 99  # alice, alice-2 .. alice-99


@dataclass(slots=True)
class Registrar:
    """One node's desk for newcomers."""

    directory: Directory
    statements: Statements
    uses: dict[bytes, int] = field(default_factory=dict)

    def ask(self, request: Request, at: float) -> tuple[Reply, list[Record], list[Store]]:
        """(the answer, the new grants to publish, what must be durable first)."""
        try:
            return self._decide(request, at)
        except UsageError as why:
            return Reply(code=REFUSED, what=why.what, todo=why.todo), [], []
        except TrustError as why:
            return Reply(code=REFUSED, what=why.what, todo=why.todo), [], []

    def _decide(self, request: Request, at: float) -> tuple[Reply, list[Record], list[Store]]:
        book = self.directory.book
        root = book.trust.root
        if root is None:
            raise TrustError("this node does not hold the founding record yet", "try again in a moment")
        invite = self._invite(request, at) if request.seed else None
        if invite is None and root.admission != "open":
            raise TrustError(
                "this overlay takes newcomers by invite only", "ask for a token: overlay invite, then overlay join --invite TOKEN", rule="admission",
            )
        cluster = request.cluster
        if cluster is None:
            cluster = self._default_cluster(invite) if invite is not None else Path((request.label,))
        if invite is not None and not invite.name.covers(cluster):
            raise TrustError(f"the token is for {invite.name.dotted}, not {cluster.dotted}", "leave out --cluster, or ask for a token for that path")
        if cluster == ROOT:
            raise UsageError("a node needs a cluster below the root", "give --cluster, such as eu/home")
        before = self._granted(request.node_id, cluster, at)
        if before is not None:
            return self._granting(before, []), [], []
        if invite is not None:
            self._unspent(invite)
        taken_by = self._taken(cluster, request.node_id, at)
        if invite is None and taken_by is None:
            self._nothing_below(cluster, request.node_id, at)
        if invite is None and taken_by is not None and not self._speaks_for(taken_by, at):
            return self._elsewhere(taken_by, at), [], []
        label = self._free_label(request, cluster, at)
        if label is None:
            free = self._next_free(request.label, cluster, at)
            name = (cluster / request.label).dotted
            return Reply(code=TAKEN, what=f"the name {name} is taken", todo=f"choose another: {free} is free"), [], []
        how = self._joining(invite is not None, taken_by is not None)
        return self._grant(request, cluster, label, how, invite, at)

    @staticmethod
    def _joining(invited: bool, taken: bool) -> Joining:
        if invited:
            return Joining.INVITED if taken else Joining.INVITED_FIRST
        return Joining.OPEN_TAKEN if taken else Joining.FIRST

    def _grant(
        self, request: Request, cluster: Path, label: str, how: Joining, invite: Record | None, at: float,
    ) -> tuple[Reply, list[Record], list[Store]]:
        entitlement = rights.TABLE[how]
        name = cluster / label
        wanted = entitlement.rights | {rights.OWN}
        via = self._granting_right(cluster, wanted, at)
        own = Grant(rights=frozenset({rights.OWN}), shadow=request.shadow).body()
        grants = [self.statements.sign(name, "grant", own, at, item=request.node_id, life=entitlement.life, via=via)]
        if entitlement.rights:
            body = Grant(rights=entitlement.rights, shadow=request.shadow).body()
            grants.append(self.statements.sign(cluster, "grant", body, at, item=request.node_id, life=entitlement.life, via=via))
        stores = []
        if invite is not None:
            self.uses[invite.item] = self.uses.get(invite.item, 0) + 1
            stores.append(Store(USES, invite.item, str(self.uses[invite.item]).encode()))
        return self._granting(grants, [via, *self.directory.book.chain_of(via)]), grants, stores

    def _granting(self, grants: list[Record], chain: list[Record]) -> Reply:
        chains = chain or [link for grant in grants for link in self.directory.book.chain_of(grant)]
        return Reply(code=GRANTED, records=records_of(grants, chains))

    # -- what is free, what is taken

    def _granting_right(self, path: Path, wanted: frozenset[str], at: float) -> Record:
        mine = self.directory.book.grants_of(self.statements.identity.node_id, at)
        able = [g for g in mine if rights.GRANT in g.body[1] and g.name.covers(path) and wanted <= rights.grantable(frozenset(g.body[1]))]
        if not able:
            raise TrustError(f"this node may not grant below {path.dotted}", "ask a node that holds `grant` there", rule="R09")
        return max(able, key=lambda g: (g.expires, -len(g.name), g.digest))

    def _granted(self, node_id: bytes, cluster: Path, at: float) -> list[Record] | None:
        """What that key already holds in that cluster, the name grant first: a repeated question."""
        held = self.directory.book.grants_of(node_id, at)
        names = [g for g in held if g.name.parent == cluster and g.body[1] == [rights.OWN] and g.signer != node_id]
        if not names:
            return None
        return [names[0], *(g for g in held if g.name == cluster)]

    def _taken(self, cluster: Path, newcomer: bytes, at: float) -> Path | None:
        """The nearest path at or above ``cluster`` that somebody else owns (the root does not count)."""
        for path in cluster.ancestors():
            if path != ROOT and any(rights.OWN in g.body[1] and g.item != newcomer for g in self.directory.book.grants_on(path, at)):
                return path
        return None

    def _nothing_below(self, cluster: Path, newcomer: bytes, at: float) -> None:
        """Openly nobody becomes owner above what others own."""
        book = self.directory.book
        below = next((c for c in book.cuts if cluster.covers(c) and any(g.item != newcomer for g in book.grants_on(c, at))), None)
        if below is not None:
            raise TrustError(
                f"{cluster.dotted} lies above {below.dotted}, which has an owner", "choose a cluster beside or below it", rule="above-others",
            )

    def _speaks_for(self, path: Path, at: float) -> bool:
        """Whether this node itself may consent for the path: it holds `grant` there by more than the root's right."""
        mine = self.directory.book.grants_of(self.statements.identity.node_id, at)
        return any(rights.GRANT in g.body[1] and g.name == path for g in mine)

    def _elsewhere(self, path: Path, at: float) -> Reply:
        ring = self.directory.holdings.ring()
        ways = tuple((n.exchange, n.addresses) for n in ring if path.covers(n.cluster) and n.node_id != self.directory.me)[:4]
        if not ways and any(at < g.issued + SETTLING for g in self.directory.book.grants_on(path, at) if rights.GRANT in g.body[1]):
            return Reply(code=LATER, what=f"{path.dotted} is being set up")
        if not ways:
            raise TrustError(
                f"{path.dotted} is taken and none of its gateways can be asked", "join under another cluster, or with a token from one of its nodes",
                rule="consent",
            )
        return Reply(code=ELSEWHERE, what=f"{path.dotted} is taken; its gateway decides", elsewhere=ways)

    def _name_free(self, name: Path, newcomer: bytes, at: float) -> bool:
        book = self.directory.book
        holder = holders(book.grants_on(name, at), book.grants.get).get(name)
        if (holder is not None and holder.item != newcomer) or name in book.cuts or rights.reserved(name):
            return False
        return not any(r.name == name and r.kind in ("data", "carry") and r.signer != newcomer and r.body for r in book.records.values())

    def _free_label(self, request: Request, cluster: Path, at: float) -> str | None:
        if self._name_free(cluster / request.label, request.node_id, at):
            return request.label
        return None if request.exact else self._next_free(request.label, cluster, at)

    def _next_free(self, label: str, cluster: Path, at: float) -> str:
        for number in range(2, SUFFIXES + 1):
            suffix = f"-{number}"
            candidate = label[: 63 - len(suffix)] + suffix
            if self._name_free(cluster / candidate, b"", at):
                return candidate
        raise TrustError(f"{label} and its numbered forms are all taken in {cluster.dotted}", "choose another name with --name", rule="name-taken")

    # -- invites

    def _invite(self, request: Request, at: float) -> Record:
        book = self.directory.book
        invite = next((r for r in book.records.values() if r.kind == "invite" and r.item == request.seed), None)
        if invite is None or invite.expired(at):
            raise TrustError("the token has expired, or is of another overlay", "ask for a new one: overlay invite", rule="invite-unknown")
        body = kinds.read(invite)
        assert isinstance(body, Invite)
        if self.statements.identity.node_id not in body.redeemers:
            raise TrustError("this node does not redeem that token", "join through the node that issued it", rule="invite-redeemer")
        return invite

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
        via = self._granting_right(target, wanted, at)
        body = Invite(uses=uses, redeemers=(self.statements.identity.node_id,)).body()
        return self.statements.sign(target, "invite", body, at, item=seed, life=life, via=via)


def refusal(reply: Reply) -> OverlayError:
    """What a newcomer raises for an answer that is no grant."""
    return TrustError(reply.what or "the registrar refused", reply.todo or "ask whoever runs the overlay", rule=reply.code)
