"""The one place where trust is decided (DESIGN 3.1, 3.2, foundation). No I/O; every rule has a number and a test.

It decides whether a record counts: form, dates, signatures, and the chain of grants from its signer up to the root
keys. It knows records by their bytes only, and asks for grants by digest; who fetches those it does not know.

Only verdicts of signatures are remembered (Ed25519 verification is the scarcest resource of a node); dates,
containment and revocations are looked at each time, so a revocation or a lapse counts from the moment it is known.

| rule | says |
|---|---|
| R01 | every signature holds over domain, overlay id and content |
| R02 | neither issued nor numbered (seq, UTC milliseconds) more than 300 s ahead of trusted time |
| R03 | not past its own date; a grant stays known while a renewal may stand on it |
| R04 | what is no root, bind, or grant by the root keys names the grant that entitles it |
| R05 | that grant is a grant, and its subject is the signer |
| R06 | its path covers the record's name |
| R07 | it gives one of the rights that the kind takes |
| R08 | at most 4 grants lead to the root keys, and at most 7 where renewals stand on more |
| R09 | a grant passes on no more than its issuer holds, and its issuer holds `grant` |
| R10 | a grant lives no longer than its issuer's |
| R11 | the chain ends at a threshold of one root version's keys, nobody else signing, issued while that version was the newest |
| R12 | neither it nor a grant of its chain is revoked, nor a later version of one |
| R13 | a lapsed grant keeps what was said before, and what keeps names served, for 30 days; nothing new |
| R14 | nothing is issued before the grant that entitles it |
| R15 | a member takes a free name for itself only: `own`, strictly below its path |
| R16 | a revocation comes from the issuer, a signer above it, the subject, or a threshold of the newest root keys, and outlives the grant |
| R17 | root version v+1 has the thresholds of v and v+1, nobody else signing, and names v; the first heard stays; the overlay id is version 1's |
| R18 | labels reserved for the root are granted to nobody |
| R19 | a session's exchange key is bound by the signing key of its passport, whose name somebody with `grant` gave |
| R20 | of two claims to one name, or one above the other, what a holder of `grant` gave stands above what a member took, then the earlier holds |
| R21 | a holder of `speak` or `grant` renews for another, unchanged, what was given by `grant`: for no longer than that, nor than its giver's right |
| R22 | a channel is declared by a holder of `release:CHANNEL`, or `own`, on the root and a threshold of its own keys, for no longer than that right |
| R23 | a release, and what lifts a halt, has a threshold of its channel's keys and nobody else; a halt has one of them |
| R24 | what is said in a channel names a version of it that is live |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

from overlay import limits
from overlay.errors import TrustError
from overlay.identity.keys import verify
from overlay.records import channels, kinds, rights
from overlay.records.kinds import Body, Grant, Root
from overlay.records.record import NO_OVERLAY, Identity, Record
from overlay.records.releases import Channel, Halt, Release

PASSED = 512  # links of chains that are remembered as good: 1 MiB with their records
Verifier = Callable[[bytes, bytes, bytes], bool]
Grants = Callable[[bytes], Record | None]  # digest -> the grant (or revoked grant) with it, where known


AGAIN = frozenset({"grant", "root", "bind"})  # kinds that are judged again with what stands on them


class MissingGrant(TrustError):
    """The chain names a grant that is not known here: fetch it from who served the record, then judge again."""

    def __init__(self, wanted: bytes) -> None:
        super().__init__("a grant of the chain is not known here", "fetch it and judge again", rule="R04")
        self.wanted = wanted


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found good: the body as a value, and the grants that entitle it, nearest first."""

    body: Body
    chain: tuple[Record, ...] = ()


def _no(rule: str, what: str, todo: str = "ask its signer for a new one, or whoever granted it the right") -> TrustError:
    return TrustError(f"{what} ({rule})", todo, rule=rule)


class Trust:
    """The judge of one overlay. Holds root versions, revocations and remembered signature verdicts.

    ``verifier`` checks one signature (key, signature, message): an argument, so that the lab's many nodes share the work.
    """

    def __init__(self, overlay_id: bytes, verifier: Verifier = verify) -> None:
        self.overlay_id = overlay_id
        self._verify = verifier
        self.roots: list[Record] = []
        self.rivals: dict[int, Record] = {}  # by number: a second version, as well signed as ours, that was shown and refused
        self.revoked: dict[bytes, Record] = {}  # digest of the grant -> its revocation
        self._ended: dict[Identity, int] = {}  # a grant's identity -> the highest seq of it that was revoked
        self._versions: list[Root] = []
        self._verdicts: dict[bytes, None] = {}  # digests of whole records whose signatures hold, oldest first: grants, roots
        self._vouched: set[bytes] = set()  # the same of what was stored here, until it is judged
        self._lately: dict[bytes, None] = {}  # the same of what nothing stands on
        self.verified = 0  # signatures really checked: what CPU went into
        self.counters: Counter[str] = Counter()

    @property
    def root(self) -> Root | None:
        """The newest root version known."""
        return self._versions[-1] if self._versions else None

    def judge(self, record: Record, at: float, grants: Grants) -> Verdict:
        """Whether ``record`` counts at ``at``: a Verdict, or ``Malformed``, ``TrustError``, ``MissingGrant``."""
        body = kinds.read(record)
        if record.issued > at + limits.FUTURE:
            raise _no("R02", f"a {record.kind} dated {int(record.issued - at)} s ahead of our clock", "check both clocks")
        if record.seq >= (at + limits.FUTURE + 1) * 1000 and record.kind != "root":
            raise _no("R02", f"a {record.kind} numbered {int(record.seq / 1000 - at)} s ahead of our clock", "check both clocks")
        if record.expired(at) and not (record.kind == "grant" and at < kept_until(record)):
            raise _no("R03", f"a {record.kind} that expired {int(at - record.expires)} s ago")
        if isinstance(body, Root):
            self._judge_root(record, body)
            return Verdict(body)
        if isinstance(body, Channel | Release | Halt):
            return Verdict(body, self._judge_spoken(record, body, at, grants))
        self._check_signers(record)
        if record.kind == "bind":
            return Verdict(body)
        if record.kind == "revoke":
            return Verdict(body, self._judge_revoke(record, at, grants))
        if record.kind == "grant" and rights.reserved(record.name):
            raise _no("R18", f"{record.name.dotted} is a reserved name", "choose another name")
        return Verdict(body, self._climb(record, at, grants))

    def adopt_root(self, record: Record) -> bool:
        """Take a judged root version into account. True where it is news."""
        body = kinds.read(record)
        assert isinstance(body, Root)
        if any(known.digest == record.digest for known in self.roots):
            return False
        self.roots.append(record)
        self._versions.append(body)
        return True

    def adopt_revoke(self, record: Record, grant: Record | None = None) -> bool:
        """Take a judged revocation of ``grant`` into account, and with it the versions before. True where it is news."""
        if record.item in self.revoked:
            return False
        self.revoked[record.item] = record
        if grant is not None:
            self._ended[grant.identity] = max(grant.seq, self._ended.get(grant.identity, 0))
        return True

    def ended(self, grant: Record) -> bool:
        """Whether the grant itself, or a later version of it, is revoked (R12)."""
        return grant.digest in self.revoked or (grant.kind == "grant" and grant.seq <= self._ended.get(grant.identity, 0))

    def vouch(self, record: Record) -> None:
        """Remember that the signatures of a record held when this node stored it."""
        self._vouched.add(record.seal)

    def forget(self, record: Record) -> None:
        """It is held no more: should it come again, it is checked again."""
        self._verdicts.pop(record.seal, None)
        self._lately.pop(record.seal, None)

    # -- the rules

    def _judge_root(self, record: Record, body: Root) -> None:
        """R17. Of two versions of one number the first stays, whatever the digests: who got hold of keys that were rotated away
        could make a second at leisure, with any digest. Nodes that heard another one first are told apart by ``rivals``.
        """
        place = next((number for number, known in enumerate(self.roots) if known.digest == record.digest), len(self.roots))
        rival = place == len(self.roots) and 1 < body.version <= place
        if rival:
            place = body.version - 1
        if place == 0 and (body.version != 1 or record.digest != self.overlay_id):
            raise _no("R17", "the founding record is not the one that this overlay's id names", "check the overlay id")
        if place > 0 and (body.version != place + 1 or body.previous != self.roots[place - 1].digest):
            raise _no("R17", f"root version {body.version} does not follow version {place}")
        rulers = [*self._versions[place - 1 : place], body]
        keys = {key for key, _ in record.sigs}
        entitled = {key for ruler in rulers for key in ruler.keys}
        if not keys <= entitled or any(len(keys & set(ruler.keys)) < ruler.threshold for ruler in rulers):
            raise _no("R17", f"root version {body.version} is not signed by the thresholds of its keys and those before, and nobody else")
        self._check_signatures(record, self.overlay_id if place else NO_OVERLAY)
        if rival:
            self.rivals.setdefault(body.version, record)
            raise _no("R17", f"another root version {body.version} than the one that is held", "overlay doctor says what to do")

    def _by_root(self, record: Record, *, newest: bool = False) -> bool:
        """Whether those who signed are a threshold of one root version's keys, and that version was the newest then."""
        keys = {key for key, _ in record.sigs}
        for number, root in enumerate(self._versions, start=1):
            last = number == len(self._versions)
            current = last if newest else last or record.issued <= self.roots[number].issued + limits.FUTURE
            if current and keys <= set(root.keys) and len(keys) >= root.threshold:
                return True
        return False

    def _check_signers(self, record: Record) -> None:
        """R01, R05, R11, R16: who signed is looked at before the signatures are paid for.

        A digest is over content alone, so whoever adds a signature makes another record of the same digest: only those
        whose word is needed may sign.
        """
        if record.kind == "grant" and not record.via:
            if not self._by_root(record):
                raise _no("R11", "the chain does not end at a threshold of the root keys, and at them alone")
        elif record.kind == "revoke" and len(record.sigs) > 1:
            if not self._by_root(record, newest=True):
                raise _no("R16", "a revocation signed by several who are not the root keys")
        elif len(record.sigs) > 1:
            raise _no("R05", "the grant named is one signer's, and others signed")
        self._check_signatures(record, self.overlay_id)

    def _check_signatures(self, record: Record, overlay_id: bytes) -> None:
        key = record.seal
        if key in self._verdicts or key in self._lately:
            return
        if key in self._vouched:
            self._vouched.discard(key)
            self._remember(record, key)
            return
        message = record.message(overlay_id)
        for public, signature in record.sigs:
            self.verified += 1
            if not self._verify(public, signature, message):
                raise _no("R01", f"a {record.kind} whose signature does not hold", "do not trust who sent it")
        self._remember(record, key)

    def _remember(self, record: Record, key: bytes) -> None:
        """Only what holds is remembered, so junk pushes nothing out; at the bound the oldest goes.

        What stands on others' words is asked for again with each of them; the rest is judged once or twice, soon.
        """
        verdicts, most = (self._verdicts, limits.VERDICTS) if record.kind in AGAIN else (self._lately, limits.VERDICTS_LATELY)
        if len(verdicts) >= most:
            del verdicts[next(iter(verdicts))]
            self.counters["verdicts_forgotten"] += 1
        verdicts[key] = None

    def _climb(self, record: Record, at: float, grants: Grants) -> tuple[Record, ...]:
        """The grants that ``record`` stands on, up to the root keys, nearest first (R04 to R15, R21)."""
        chain: dict[bytes, Record] = {}
        self._links(record, at, grants, chain, limits.PASSPORT_GRANTS - (record.kind == "grant"))
        return tuple(chain.values())

    def _links(self, record: Record, at: float, grants: Grants, chain: dict[bytes, Record], most: int, *, given: bool = False) -> None:
        """Put the grants above ``record`` into ``chain``: ``most`` of them, what renewals stand on among them (R08).

        With ``given`` it must have been given by somebody with `grant`: what a renewal stands on is no renewal itself.
        """
        if self.ended(record):
            raise _no("R12", "the grant is revoked")
        current, steps = record, 0
        while not (current.kind == "grant" and not current.via):
            if not current.via:
                raise _no("R04", f"a {current.kind} that names no grant")
            via = _known(current.via, grants)
            chain[via.digest] = via
            self._entitles(via, current)
            if renewal(current):
                if given:
                    raise _no("R21", "a renewal stands on a renewal")
                _bounded(chain, most)
                origin = self._renewed(via, current, grants)
                self._links(via, at, grants, chain, most, given=True)
                chain.setdefault(origin.digest, origin)
                current = origin  # which the renewal stands for: as near to the root keys
                continue
            steps += 1
            if steps + (record.kind == "grant") > limits.CHAIN:
                raise _no("R08", f"more than {limits.CHAIN} grants to the root keys")
            _bounded(chain, most)
            new = record.issued >= via.expires and not kinds.KINDS[record.kind].keeps
            if via.expires <= at and (new or at >= via.expires + limits.LAPSED):
                raise _no("R13", "the right to say so has lapsed", "renew the grant: overlay grants shows it")
            current, given = via, False

    def _entitles(self, via: Record, current: Record) -> None:
        held = kinds.read(via)
        if not isinstance(held, Grant) or via.item != current.signer or len(current.sigs) != 1:
            raise _no("R05", "the grant named is not the signer's")
        if self.ended(via):
            raise _no("R12", "a grant of the chain is revoked")
        self._check_signers(via)
        _passes(via, current)

    def _renewed(self, via: Record, current: Record, grants: Grants) -> Record:
        """R21: the grant that ``current``, by a holder of `speak` or `grant` (``via``), says again."""
        origin = _known(current.body[2], grants)
        renewer, first, again = kinds.read(via), kinds.read(origin), kinds.read(current)
        assert isinstance(renewer, Grant) and isinstance(again, Grant)
        if not isinstance(first, Grant) or not origin.via:
            raise _no("R21", "what is renewed was not given by a grant")
        if self.ended(origin):
            raise _no("R12", "the grant renewed is revoked")
        self._check_signers(origin)
        giver = _known(origin.via, grants)
        if not renewer.rights & {rights.SPEAK, rights.GRANT} or (renewer.final and current.issued >= via.expires):
            raise _no("R21", "who renews a grant holds `speak` or `grant`")
        if current.item == via.item:
            raise _no("R21", "nobody renews for itself")
        same = (origin.name, origin.item, first.rights, first.shadow, since(origin)) == (
            current.name, current.item, again.rights, again.shadow, since(current))
        if not same or first.final or first.renews or rights.GRANT not in giver.body.get(1, ()):
            raise _no("R21", "a renewal changes the grant, or renews what nobody with `grant` gave to be renewed")
        if current.expires - current.issued > origin.expires - origin.issued or current.issued < origin.issued or current.expires > giver.expires:
            raise _no("R21", "a renewal lives longer than what it renews, or than its giver's right")
        return origin

    def _judge_spoken(self, record: Record, body: Channel | Release | Halt, at: float, grants: Grants) -> tuple[Record, ...]:
        """R22 to R24: a channel hangs on a grant, what is said in it on the channel."""
        via = _known(record.via, grants) if record.via else record
        channels.stands(record, body, via, kinds.read(via), at)
        chain = {via.digest: via}
        if isinstance(body, Channel):
            self._check_signers(via)
            self._links(via, at, grants, chain, limits.PASSPORT_GRANTS - 1)
        self._check_signatures(record, self.overlay_id)
        return tuple(chain.values())

    def _judge_revoke(self, record: Record, at: float, grants: Grants) -> tuple[Record, ...]:
        grant = grants(record.item)
        if grant is None or grant.kind != "grant":
            raise MissingGrant(record.item)
        lasting = min(kept_until(grant), record.issued + kinds.KINDS["revoke"].life)
        if grant.name != record.name or record.expires < lasting:
            raise _no("R16", "a revocation names another path, or ends before what it revokes")
        if not self.may_end(record, grant, grants):
            raise _no("R16", "a revocation by somebody who may not")
        return ()

    def may_end(self, revocation: Record, grant: Record, grants: Grants) -> bool:
        """R16: whether who signed ``revocation`` may end ``grant``. A TrustError where that stands on what is revoked: it has ended."""
        allowed = {grant.item}
        current = grant
        while current.via:
            allowed.add(current.signer)
            above = grants(current.via)
            if above is None:
                raise MissingGrant(current.via)
            if self.ended(above) or current.body.get(2) in self.revoked:
                raise _no("R12", "what it revokes stands on a revoked grant")
            current = above
        return revocation.signer in allowed or self._by_root(revocation, newest=True)


@lru_cache(maxsize=PASSED)  # the upper links of a chain come again with every record that stands on it
def _passes(via: Record, current: Record) -> None:
    """R06, R07, R09, R10, R14, R15: what ``via`` gives, and gives on, whatever the date and whoever was revoked."""
    held = kinds.read(via)
    assert isinstance(held, Grant)
    if not via.name.covers(current.name):
        raise _no("R06", f"the grant covers {via.name.dotted or 'the root'}, not {current.name.dotted or 'the root'}")
    if current.issued + limits.FUTURE < via.issued:
        raise _no("R14", "issued before the grant that entitles it")
    if current.kind != "grant":
        needs = kinds.KINDS[current.kind].needs
        if not needs & held.rights:
            raise _no("R07", f"a {current.kind} takes {' or '.join(sorted(needs))}")
        return
    passed = kinds.read(current)
    assert isinstance(passed, Grant)
    if renewal(current):
        return  # R21 asks for what it renews
    if current.expires > via.expires:
        raise _no("R10", "a grant outlives its issuer's")
    if rights.GRANT in held.rights and rights.gives(held.rights, via.name, passed.rights):
        return
    if rights.MEMBER in held.rights and passed.rights == {rights.OWN}:
        if current.item != via.item or current.name == via.name:
            raise _no("R15", "a member takes free names below its path for itself only")
        return
    raise _no("R09", "a grant passes on more than its issuer holds" if rights.GRANT in held.rights else "the issuer may not grant")


def _bounded(chain: Collection[bytes], most: int) -> None:
    """R08 where renewals stand on renewed rights, and those on renewed rights again."""
    if len(chain) > most:
        raise _no("R08", f"more than {limits.PASSPORT_GRANTS} grants to the root keys and to what was renewed")


def _known(wanted: bytes, grants: Grants) -> Record:
    found = grants(wanted)
    if found is None:
        raise MissingGrant(wanted)
    return found


def renewal(grant: Record) -> bool:
    """Whether ``grant`` says again what somebody else gave (R21)."""
    return grant.kind == "grant" and bool(grant.body.get(2))


def kept_until(grant: Record) -> float:
    """Until when (UTC seconds) a grant is worth knowing: its lapse, or what renewals of it may still stand on it (R03)."""
    return max(grant.expires, grant.issued + kinds.KINDS["grant"].life) + limits.LAPSED


def since(grant: Record) -> int:
    """When the subject first got what the grant says (UTC seconds)."""
    return int(grant.body.get(4, grant.issued))


def chain_of(record: Record, grants: Grants) -> list[Record]:
    """The grants that a record stands on, as far as they are known: what :meth:`Trust.judge` finds, in the same order."""
    chain: dict[bytes, Record] = {}
    _follow(record, grants, chain)
    return list(chain.values())


def _follow(record: Record, grants: Grants, chain: dict[bytes, Record]) -> None:
    current = record
    while len(chain) < limits.PASSPORT_GRANTS:
        via = grants(current.via) if current.via else None
        if via is None:
            return
        chain.setdefault(via.digest, via)
        if not renewal(current):
            current = via
            continue
        _follow(via, grants, chain)
        origin = grants(current.body[2])
        if origin is None:
            return
        chain.setdefault(origin.digest, origin)
        current = origin
