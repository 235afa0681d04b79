"""Named actors for tests: an overlay founded with fixed seeds, and the people in it by their ways of joining.

    overlay = found()                       # cloud.example.org, TLD cloud, one root key, open admission
    overlay = found(keys=3, threshold=2)    # root keys 2 of 3
    overlay.founder                         # own, grant, sign, operate, attest on the root; node hq/founder
    overlay.first                           # first of eu/home: own, grant, sign, speak, attest there; node eu/home/first
    overlay.member                          # member, carry, speak on eu/home (invited); node eu/home/member
    overlay.own_only                        # `own` on its own name only (joined openly): eu/home/own-only
    overlay.stranger                        # keys, no grants
    record = overlay.data(overlay.member, "eu/home/member", "TXT", "hello")
    overlay.trust().judge(record, AT, overlay.lookup)

Everything is a function of its seeds: the same calls give the same bytes. Times are UTC seconds around ``AT``.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from overlay.errors import OverlayError, TrustError
from overlay.founding import Plan, founder_grants, founding_record
from overlay.identity.keys import Identity, Signer
from overlay.name import ROOT, Path, parse_path
from overlay.records import passport, rights
from overlay.records.kinds import KINDS, Bind, Carry, Cluster, Data, Grant, Head, Host, Invite, Root, version_item
from overlay.records.record import NEVER, Draft, Record, sign
from overlay.records.rights import TABLE, Joining
from overlay.records.trust import Trust, chain_of, since
from overlay.units import DAY
from overlay.wire.address import Address

AT = 1_795_000_000  # UTC seconds: "now" in tests that do not say otherwise
ADDRESS = Address("203.0.113.10", 7653)


def seed(text: str) -> bytes:
    """32 octets that are a function of ``text``: the dice of the tests."""
    return hashlib.sha256(f"actors: {text}".encode()).digest()


def path(name: Path | str) -> Path:
    """A path as it stands, or written as ``eu/home``."""
    return name if isinstance(name, Path) else parse_path(name)


@dataclass(eq=False)
class Actor:
    """Somebody with keys. ``grants`` are those it was given, in order; ``name`` is its node's name, where it has one."""

    label: str
    identity: Identity
    name: Path | None = None
    grants: list[Record] = field(default_factory=list)

    @property
    def signer(self) -> Signer:
        return self.identity.signer

    @property
    def node_id(self) -> bytes:
        return self.identity.node_id

    def holds(self, right: str, name: Path | str = ROOT) -> Record:
        """Its latest grant that gives ``right`` and covers ``name`` (own names count last)."""
        found = [g for g in self.grants if right in g.body[1] and g.name.covers(path(name))]
        assert found, f"{self.label} holds no {right} over {name}"
        return max(found, key=lambda g: (len(g.body[1]) > 1, len(g.name), g.seq))

    @property
    def own(self) -> Record:
        """The grant of its own name: the leaf of its passport."""
        assert self.name is not None
        return next(g for g in reversed(self.grants) if g.name == self.name and g.body[1] == [rights.OWN])


def actor(label: str) -> Actor:
    """A stranger with keys of its own."""
    return Actor(label, Identity.from_secret(seed(label)))


def root_key(number: int) -> Signer:
    """The signing key number 0, 1, 2 ... of a founding ceremony."""
    return Signer.from_seed(seed(f"root key {number}"))


@dataclass(eq=False)
class Overlay:
    """A founded overlay and all that was signed in it so far."""

    keys: tuple[Signer, ...]
    threshold: int
    root: Record
    founder: Actor
    at: int = AT
    records: dict[bytes, Record] = field(default_factory=dict)  # every grant signed here, by digest
    cast: dict[str, Actor] = field(default_factory=dict)
    _seq: Iterator[int] = field(default_factory=itertools.count)

    @property
    def overlay_id(self) -> bytes:
        return self.root.digest

    def trust(self) -> Trust:
        """A fresh judge that has adopted the founding record."""
        judge = Trust(self.overlay_id)
        judge.judge(self.root, self.at, self.lookup)
        judge.adopt_root(self.root)
        return judge

    def lookup(self, digest: bytes) -> Record | None:
        """A grant by its digest: what ``Trust.judge`` asks."""
        return self.records.get(digest)

    def chain(self, record: Record) -> list[Record]:
        """The grants above ``record``, nearest first."""
        return chain_of(record, self.lookup)

    # -- who

    def actor(self, label: str) -> Actor:
        """The actor of that label; a stranger where it is new."""
        return self.cast.setdefault(label, actor(label))

    def join(self, label: str, cluster: Path | str, how: Joining, *, by: Actor | None = None, name: str = "") -> Actor:
        """Let somebody in as the registrar does (the name grant first, then the cluster's); the table of rights decides."""
        by, cluster, entitlement = by or self.founder, path(cluster), TABLE[how]
        who = self.actor(label)
        who.name = cluster / (name or label)
        self.grant(by, who, who.name, {rights.OWN}, life=entitlement.life)
        if entitlement.rights:
            self.grant(by, who, cluster, entitlement.rights, life=entitlement.life)
        return who

    @property
    def first(self) -> Actor:
        """First of the path eu/home: joined openly, let in by the founder."""
        return self.cast.get("first") or self.join("first", "eu/home", Joining.FIRST)

    @property
    def member(self) -> Actor:
        """Invited into eu/home by its first node."""
        return self.cast.get("member") or self.join("member", "eu/home", Joining.INVITED, by=self.first)

    @property
    def own_only(self) -> Actor:
        """Joined openly into eu/home when it was taken: `own` on its own name and nothing else."""
        return self.cast.get("own-only") or self.join("own-only", "eu/home", Joining.OPEN_TAKEN, by=self.first)

    @property
    def stranger(self) -> Actor:
        """Keys, and no grants."""
        return self.actor("stranger")

    # -- what they sign

    def statement(
        self,
        signers: Actor | Sequence[Signer],
        kind: str,
        name: Path | str,
        body: dict[int, Any],
        *,
        item: bytes = b"",
        via: Record | None = None,
        at: float | None = None,
        life: int | None = None,
        seq: int | None = None,
        overlay_id: bytes | None = None,
    ) -> Record:
        """Any record, rightful or not. ``life`` defaults to the longest of the kind; ``at`` to the overlay's time."""
        issued = int(self.at if at is None else at)
        draft = Draft(
            name=path(name),
            kind=kind,
            item=item,
            seq=next(self._seq) + issued * 1000 if seq is None else seq,
            issued=issued,
            expires=NEVER if kind == "root" else issued + (KINDS[kind].life if life is None else life),
            via=via.digest if via else b"",
            body=body,
        )
        record = sign(
            draft, [signers.signer] if isinstance(signers, Actor) else signers, self.overlay_id if overlay_id is None else overlay_id
        )
        if kind in ("grant", "channel"):
            self.records[record.digest] = record
        return record

    def grant(
        self,
        issuer: Actor,
        subject: Actor,
        name: Path | str,
        given: Iterable[str],
        *,
        via: Record | None = None,
        at: float | None = None,
        life: int | None = None,
        seq: int | None = None,
        clip: bool = True,
    ) -> Record:
        """A grant, rightful or not, handed to its subject. ``via`` defaults to the issuer's nearest grant with `grant`.

        It lives 30 days or ``life`` seconds, cut to the life of the issuer's grant unless ``clip`` is false.
        """
        via = via or issuer.holds(rights.GRANT, name)
        issued = int(self.at if at is None else at)
        lasts = min(30 * DAY if life is None else life, via.expires - issued) if clip else life
        record = self.statement(
            issuer, "grant", name, Grant(rights=frozenset(given)).body(), item=subject.node_id, via=via, at=at, life=lasts, seq=seq
        )
        subject.grants.append(record)
        return record

    def root_grant(
        self,
        subject: Actor,
        name: Path | str,
        given: Iterable[str],
        *,
        keys: Sequence[Signer] | None = None,
        at: float | None = None,
        life: int = 365 * DAY,
    ) -> Record:
        """A grant by the root keys (as many as the threshold, where ``keys`` does not say otherwise)."""
        signers = self.keys[: self.threshold] if keys is None else keys
        record = self.statement(signers, "grant", name, Grant(rights=frozenset(given)).body(), item=subject.node_id, at=at, life=life)
        subject.grants.append(record)
        return record

    def renew(
        self, by: Actor, grant: Record, *, via: Record | None = None, at: float | None = None, life: int | None = None, **changed: Any,
    ) -> Record:
        """The same grant again, by a holder of `speak` (R21), rightful or not. ``changed`` are fields of the body."""
        first = Grant.read(grant)
        body = Grant(**{"rights": first.rights, "shadow": first.shadow, "renews": grant.digest, "since": since(grant), **changed}).body()
        via = via or by.holds(rights.SPEAK, grant.name)
        life = grant.expires - grant.issued if life is None else life
        return self.statement(by, "grant", grant.name, body, item=grant.item, via=via, at=at, life=life)

    def claim(self, member: Actor, name: Path | str, *, at: float | None = None) -> Record:
        """A member takes a name for itself."""
        return self.grant(member, member, name, {rights.OWN}, via=member.holds(rights.MEMBER, name), at=at)

    def revoke(self, who: Actor | Sequence[Signer], grant: Record, *, at: float | None = None, name: Path | str | None = None) -> Record:
        """A revocation of ``grant``, rightful or not."""
        return self.statement(who, "revoke", grant.name if name is None else name, {}, item=grant.digest, at=at)

    def data(
        self,
        who: Actor,
        name: Path | str,
        rtype: str,
        *values: str,
        via: Record | None = None,
        at: float | None = None,
        seq: int | None = None,
    ) -> Record:
        """Plain DNS data; without values a tombstone."""
        via = via or who.holds(rights.OWN, name)
        return self.statement(who, "data", name, Data(values=values).body(), item=rtype.encode(), via=via, at=at, seq=seq)

    def host(self, who: Actor, *, addresses: tuple[Address, ...] = (ADDRESS,), at: float | None = None) -> Record:
        """The host record of a node."""
        assert who.name is not None
        return self.statement(
            who, "host", who.name, Host(exchange=who.identity.exchange_public, addresses=addresses).body(), via=who.own, at=at
        )

    def cluster(self, who: Actor, *, addresses: tuple[Address, ...] = (ADDRESS,), at: float | None = None) -> Record:
        """The cluster record of a gateway."""
        assert who.name is not None
        body = Cluster(exchange=who.identity.exchange_public, addresses=addresses, node=who.name).body()
        return self.statement(who, "cluster", who.name.parent, body, via=who.holds(rights.SPEAK, who.name.parent), at=at)

    def carry(self, who: Actor, name: Path | str, port: int = 8000, *, via: Record | None = None, at: float | None = None) -> Record:
        """The carrying of a TCP service."""
        assert who.name is not None
        body = Carry(port=port, node=who.name, addresses=(ADDRESS.host,)).body()
        return self.statement(who, "carry", name, body, item=b"tcp", via=via or who.holds(rights.CARRY, name), at=at)

    def head(self, who: Actor, name: Path | str, *, via: Record | None = None, at: float | None = None) -> Record:
        """The head of a zone."""
        body = Head(serial=int(self.at), digest=seed("zone"), count=1).body()
        return self.statement(who, "head", name, body, via=via or who.holds(rights.SIGN, name), at=at)

    def invite(
        self, who: Actor, name: Path | str, *, uses: int = 1, via: Record | None = None, at: float | None = None, life: int = DAY
    ) -> Record:
        """An invite with one redeemer: its issuer. Its seed is ``seed("invite")``."""
        body = Invite(uses=uses, redeemers=(who.node_id,)).body()
        item = Signer.from_seed(seed("invite")).public
        return self.statement(who, "invite", name, body, item=item, via=via or who.holds(rights.GRANT, name), at=at, life=life)

    def binding(self, who: Actor, *, exchange: bytes | None = None, at: float | None = None) -> Record:
        """The binding of a node's exchange key."""
        return self.statement(who, "bind", ROOT, Bind(exchange=exchange or who.identity.exchange_public).body(), at=at)

    def passport(self, who: Actor) -> list[bytes]:
        """A passport's pages, as a session fetches them."""
        return [record.raw for record in passport.assemble(self.binding(who), [who.own, *self.chain(who.own)], [self.root])]

    def next_root(
        self, *, keys: Sequence[Signer], threshold: int, signers: Sequence[Signer], previous: Record | None = None, **changed: Any
    ) -> Record:
        """A root version after ``previous`` (the founding record), with other keys, signed by ``signers``."""
        previous = previous or self.root
        old = Root.read(previous)
        body = Root(
            version=changed.get("version", old.version + 1),
            zone=old.zone,
            tld=old.tld,
            keys=tuple(sorted(key.public for key in keys)),
            threshold=threshold,
            admission=changed.get("admission", old.admission),
            previous=changed.get("names", previous.digest),
        ).body()
        version = body[1]
        return self.statement(signers, "root", ROOT, body, item=version_item(version), seq=version, overlay_id=changed.get("overlay_id"))


def found(keys: int = 1, threshold: int = 1, admission: str = "open", *, at: int = AT, ceremony: str = "") -> Overlay:
    """A founding ceremony: root keys, the founding record, the founder with its three grants. ``ceremony`` makes another overlay."""
    signers = tuple(Signer.from_seed(seed(f"{ceremony}root key {number}")) for number in range(keys))
    plan = Plan.checked(zone="cloud.example.org", tld="cloud", admission=admission, name=parse_path("hq/founder"), threshold=threshold)
    root = founding_record(plan, signers, at)
    founder = actor(f"{ceremony}founder")
    founder.name = plan.name
    founder.grants = founder_grants(plan, root, signers[:threshold], founder.identity, at)
    overlay = Overlay(keys=signers, threshold=threshold, root=root, founder=founder, at=at)
    overlay.cast["founder"] = founder
    overlay.records.update((grant.digest, grant) for grant in founder.grants)
    return overlay


@contextmanager
def refused(rule: str, error: type[OverlayError] = TrustError) -> Iterator[None]:
    """What happens inside is refused, by exactly that rule."""
    with pytest.raises(error) as caught:
        yield
    assert caught.value.rule == rule, f"refused by {caught.value.rule} ({caught.value}), not by {rule}"
