"""What this node says about itself and its names: drafted, entitled, signed, renewed in time (DESIGN 3.1, 3.5).

It decides when a statement of this node's own is due and by which grant it is entitled, and signs it. Whether others
believe it is the business of ``records/trust.py``. Statements are renewed at half of their life; a change of what they
say replaces them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from overlay import limits
from overlay.directory.book import Book
from overlay.errors import Malformed, TrustError, UsageError
from overlay.identity.keys import Identity, Signer
from overlay.machine import Store
from overlay.name import Path
from overlay.records import kinds, rights
from overlay.records.claims import holders, owners
from overlay.records.kinds import Carry, Data, Grant, Host
from overlay.records.record import Draft, Record, sign
from overlay.wire.address import Address, parse_address
from overlay.wire.codec import Fields, decode, encode, ordered

TWINS = 256  # statements of another holder of this identity that are remembered
TWIN_PAUSE = 60.0  # seconds before this node contradicts it: two clones must not fill the overlay with their quarrel
HEALTH = 255  # octets of a service's health check: what leaves room for the longest names in its record
SERVICES = "services"  # where the services that a person asked for lie in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that this node carries, as a person asked for it."""

    name: Path
    proto: str
    port: int
    addresses: tuple[str, ...] = ()
    health: str = "none"
    weight: int = 10
    healthy: bool = True

    def __post_init__(self) -> None:
        """Whatever is one can be said: with the longest names its record has 963 octets."""
        if self.proto not in ("tcp", "udp"):
            raise UsageError(f"{self.proto[:40]!r} is not a protocol", "choose tcp or udp")
        if not 1 <= self.port <= kinds.MAX_PORT or not 0 <= self.weight <= kinds.MAX_PORT:
            raise UsageError("a port is 1 to 65,535, a weight 0 to 65,535", "see --help", rule="number")
        if len(self.addresses) > kinds.MAX_ADDRESSES:
            raise UsageError(f"{len(self.addresses)} addresses", f"name at most {kinds.MAX_ADDRESSES} of them", rule="addresses")
        if len(self.health.encode(errors="replace")) > HEALTH or not self.health.isprintable():
            raise UsageError(f"{self.health[:60]!r} is not a health check", f"write at most {HEALTH} octets on one line", rule="health")
        for host in self.addresses:
            parse_address(host, 1)

    @property
    def key(self) -> bytes:
        """Under which it lies in the store."""
        return f"{self.name}|{self.proto}".encode()

    def to_store(self) -> Store:
        """Make it last."""
        value = encode(ordered({1: self.port, 2: list(self.addresses), 3: self.health, 4: self.weight}))
        return Store(SERVICES, self.key, value)

    @classmethod
    def from_store(cls, key: bytes, value: bytes) -> Service:
        """The inverse of :meth:`to_store`; ``Malformed`` where the store is damaged."""
        name, _, proto = key.decode(errors="replace").rpartition("|")
        fields = Fields(decode(value), "stored service")
        addresses = fields.items(2, kinds.MAX_ADDRESSES)
        try:
            if any(type(host) is not str for host in addresses):
                raise UsageError("an address is text", rule="address")
            return cls(
                name=Path(tuple(name.split("/"))), proto=proto, port=fields.integer(1, 1, kinds.MAX_PORT), addresses=tuple(addresses),
                health=fields.text(3, HEALTH), weight=fields.integer(4, 0, kinds.MAX_PORT),
            )
        except UsageError as why:
            raise Malformed(f"stored service: {why.what}", rule="stored-service") from None


class Statements:
    """This node's signing desk."""

    def __init__(self, *, identity: Identity, overlay_id: bytes, book: Book) -> None:
        self.identity = identity
        self.services: dict[tuple[Path, str], Service] = {}
        self._overlay_id = overlay_id
        self._book = book
        self._last_seq = 0
        self._twins: dict[bytes, None] = {}  # digests of what another holder of this identity said

    def load(self, rows: Mapping[bytes, bytes]) -> int:
        """Take back the services that a person asked for; the number of rows that did not read."""
        damaged = 0
        for key, value in rows.items():
            try:
                service = Service.from_store(key, value)
                self.services[service.name, service.proto] = service
            except Malformed:
                damaged += 1
        return damaged

    def sign(
        self, name: Path, kind: str, body: dict[int, Any], at: float, *, item: bytes = b"", life: int | None = None, via: Record | None = None,
        signer: Signer | None = None, clip: bool = True,
    ) -> Record:
        """Sign one statement. ``via`` is looked up by the kind's rights where not given; its absence is a TrustError.

        A grant is cut to the life of the grant that entitles to it, unless ``clip`` says otherwise (R21 has another bound).
        """
        signer = signer or self.identity.signer
        rule = kinds.KINDS[kind]
        if via is None and kind not in ("bind", "revoke"):
            via = self.entitling(name, rule.needs, at)
        self._last_seq = max(self._last_seq + 1, self._book.highest_seq[signer.public] + 1, int(at * 1000))
        expires = int(at) + (life or rule.life)
        if kind == "grant" and via is not None and clip:
            expires = min(expires, via.expires)
        draft = Draft(name=name, kind=kind, item=item, seq=self._last_seq, issued=int(at), expires=expires, via=via.digest if via else b"", body=body)
        return sign(draft, [signer], self._overlay_id)

    def entitling(self, name: Path, needs: frozenset[str], at: float) -> Record:
        """The grant by which this node may make such a statement: the nearest, then the longest-lived."""
        found = [g for g in self._book.grants_of(self.identity.node_id, at - limits.LAPSED) if g.name.covers(name) and needs & set(g.body[1])]
        live = [g for g in found if at < g.expires] or found
        if not live:
            raise TrustError(
                f"this node has no right to {name.dotted or 'the root'} (it takes {' or '.join(sorted(needs))})",
                "take a name below your own, or have somebody with `grant` there grant it to you", rule="R07",
            )
        return max(live, key=lambda g: (len(g.name), g.expires, g.digest))

    def claim(self, name: Path, at: float) -> list[Record]:
        """The records that make this node rightful at ``name``: none where it is, a claim where it may take a free one."""
        owner = holders(self._book.grants_on(name, at), self._book.grants.get).get(name)
        if owner is not None and owner.item == self.identity.node_id:
            return []
        try:
            self.entitling(name, frozenset({rights.OWN}), at)
            return []
        except TrustError as no_right:
            mine = self._book.grants_of(self.identity.node_id, at)
            member = [g for g in mine if rights.MEMBER in g.body[1] and g.name.covers(name) and g.name != name]
            if not member:
                raise no_right from None
        via = max(member, key=lambda g: (len(g.name), g.expires))
        for above in name.ancestors():
            if above == via.name:
                break
            grants = self._book.grants_on(above, at)
            other = holders(grants, self._book.grants.get).get(above)
            owned = owners(grants).get(above)
            if (other is not None and other.item != self.identity.node_id) or (owned and self.identity.node_id not in owned):
                raise TrustError(f"the name {above.dotted} is another node's", "choose another name", rule="R20")
        own = Grant(rights=frozenset({rights.OWN})).body()
        return [self.sign(name, "grant", own, at, item=self.identity.node_id, life=rights.NAME_LIFE, via=via)]

    def twin(self, record: Record) -> None:
        """Somebody else said this with our key."""
        self._twins[record.digest] = None
        while len(self._twins) > TWINS:
            del self._twins[next(iter(self._twins))]

    def due(self, record: Record | None, body: dict[int, Any], at: float) -> bool:
        """Whether what should be said is not said yet, or half of its life is over. Another holder of this identity is not shouted down."""
        if record is not None and record.digest in self._twins and at < record.issued + TWIN_PAUSE:
            return False
        return record is None or record.body != body or at >= (record.issued + record.expires) / 2

    def held(self, name: Path, kind: str, item: bytes = b"") -> Record | None:
        """This node's own statement of that identity."""
        return self._book.records.get((name, kind, item, self.identity.node_id))

    def host(self, name: Path, addresses: tuple[Address, ...], at: float, relays: tuple[bytes, ...] = ()) -> list[Record]:
        """The host record, where it is due."""
        body = Host(exchange=self.identity.exchange_public, addresses=addresses[: kinds.MAX_ADDRESSES], relays=relays).body()
        return [self.sign(name, "host", body, at)] if self.due(self.held(name, "host"), body, at) else []

    def carries(self, node: Path, addresses: tuple[Address, ...], at: float) -> list[Record]:
        """The carry records that are due."""
        records = []
        for service in self.services.values():
            reach = service.addresses or tuple(dict.fromkeys(address.host for address in addresses))[: kinds.MAX_ADDRESSES]
            body = Carry(port=service.port, node=node, addresses=reach, weight=service.weight, healthy=service.healthy, health=service.health).body()
            if self.due(self.held(service.name, "carry", service.proto.encode()), body, at):
                records.append(self.sign(service.name, "carry", body, at, item=service.proto.encode()))
        return records

    def withdrawal(self, held: Record, at: float) -> Record:
        """Take back a statement of this node's own: buried for as long as it would have lived."""
        body = {**held.body, 7: True}
        life = max(1, held.expires - int(at))
        return self.sign(held.name, held.kind, {key: body[key] for key in sorted(body)}, at, item=held.item, life=life)

    def renewals(self, at: float) -> list[Record]:
        """Own plain data past half of its life, said again."""
        mine = [r for r in self._book.records.values() if r.kind == "data" and r.signer == self.identity.node_id]
        return [self.sign(r.name, "data", r.body, at, item=r.item) for r in mine if r.body.get(1) and self.due(r, r.body, at)]

    def data(self, name: Path, rtype: str, values: tuple[str, ...], ttl: int, at: float) -> list[Record]:
        """Say (or, without values, bury) one set of plain data, claiming the name where that is needed and possible."""
        claims = self.claim(name, at)
        via = claims[0] if claims else None
        return [*claims, self.sign(name, "data", Data(values=values, ttl=ttl).body(), at, item=rtype.encode(), via=via)]

    def carry_claim(self, service: Service, at: float) -> list[Record]:
        """Check (and claim, where needed) the right to carry a service; TrustError where there is none."""
        try:
            self.entitling(service.name, kinds.KINDS["carry"].needs, at)
            return []
        except TrustError:
            return self.claim(service.name, at)

    def health(self, name: Path, proto: str, healthy: bool) -> bool:
        """A health check's result. True where it is news."""
        service = self.services.get((name, proto))
        if service is None or service.healthy == healthy:
            return False
        self.services[name, proto] = replace(service, healthy=healthy)
        return True
