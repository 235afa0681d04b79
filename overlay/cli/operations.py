"""What a running node does for the commands that change something: one handler a command (CONTRACT).

It turns arguments as typed into acts on the node. Rights and names are judged below; here only words become values.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import trio

from bootstrap.entrance import WayIn
from bootstrap.invite import Token, decode_token, encode_token
from overlay import acts, limits
from overlay.admission.shadows import Public, shadowed
from overlay.admission.waiting import read_code
from overlay.cli.health import target
from overlay.cli.words import number, optional, text, texts
from overlay.driver.control import Args, Handler
from overlay.driver.run import Engine
from overlay.errors import Absent, UsageError
from overlay.identity.keys import DIGEST, Signer
from overlay.name import ROOT, Path, parse_name, parse_path
from overlay.node import Node
from overlay.records import rights
from overlay.records.record import parse
from overlay.reports import Reports
from overlay.statements import Service
from overlay.units import b64, unb64
from overlay.wire.address import parse_address
from tld import codes, rdata
from tld.delegation import GENERATED_ONLY, text_rdata
from tld.driver.stub import Stub

MAX_TTL: Final = 604_800  # seconds; RFC 8767 4 advises caches to cap there
HEALTHS: Final = ("tcp", "http://", "cmd:", "none")
GRANT_ID: Final = 43  # characters of a grant's id; a token has far more
LEAVING: Final = 0.5  # seconds for withdrawals to be on their way: pushed at once, answered within a round trip


@dataclass(slots=True)
class Operations:
    """The desk of one running node. ``stop`` ends the run; ``forget`` too, and lets go of the overlay."""

    engine: Engine
    stub: Stub
    reports: Reports
    stop: Callable[[], None]
    forget: Callable[[], None]
    public: Callable[[str], Awaitable[bool | None]]

    @property
    def node(self) -> Node:
        """The node."""
        return self.engine.node

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler."""
        commands = {
            "service.add": self.service_add, "service.remove": self.service_remove, "name.set": self.name_set, "name.remove": self.name_remove,
            "grant": self.grant, "revoke": self.revoke, "admit": self.admit, "root.publish": self.root_publish, "invite": self.invite,
            "down": self.down, "leave": self.leave,
        }
        return {name: Handler(run) for name, run in commands.items()}

    # -- names and services

    def _name(self, written: str) -> Path:
        return parse_name(written, zone=self.reports.zone, tld=self.reports.tld)

    def _claimable(self, written: str) -> Path:
        name = self._name(written)
        if name == ROOT or rights.reserved(name):
            raise UsageError(f"{written!r} is reserved", "choose a name below your cluster, such as www.home.eu", rule="reserved")
        return name

    async def _shadow(self, args: Args, name: Path) -> dict[str, Any]:
        """Refuse to claim a second-level name that exists publicly, unless that is what the person wants; what to warn of."""
        registrar, root = self.node.registrar, self.node.trust.root
        if name == ROOT or registrar is None or root is None or args.get("shadow") is True:
            return {}
        label, at = name.labels[0], self.engine.clock.at()
        state = registrar.public(label, at)
        if state is Public.ASKING:
            exists = await self.public(label)
            self.node.public(label, exists, self.engine.clock.now(), self.engine.clock.at())
            if exists is None:
                return {"warning": f"the public DNS could not be asked whether {label}.{root.tld} exists there"}
            state = Public.TAKEN if exists else Public.FREE
        if state is Public.TAKEN:
            raise shadowed(label, root.tld)
        return {}

    async def _done(self) -> dict[str, Any]:
        self.engine.step()
        await self.engine.settled()
        return {"ok": True}

    async def service_add(self, args: Args) -> object:
        """`overlay service add NAME --port N`."""
        name = self._claimable(text(args, "name"))
        proto, health = text(args, "proto", "tcp"), text(args, "health", "none")
        if not health.startswith(HEALTHS):
            raise UsageError(f"{health[:60]!r} is not a health check", "choose tcp, http://..., cmd:... or none")
        if health.startswith("http://"):
            target(health, "127.0.0.1", 1)
        addresses = tuple(parse_address(one, 1).host for one in texts(args, "address"))
        service = Service(
            name=name, proto=proto, port=number(args, "port", 0, 1, 65_535), addresses=addresses, health=health,
            weight=number(args, "weight", 10, 0, 65_535), healthy=health == "none",
        )
        warning = await self._shadow(args, name)
        self.engine.act(acts.add_service, service, self.engine.clock.at())
        return {**await self._done(), **warning}

    async def service_remove(self, args: Args) -> object:
        """`overlay service remove NAME`."""
        name = self._name(text(args, "name"))
        carried = [service for service in self.node.statements.services.values() if service.name == name]
        if not carried:
            raise Absent(f"this node does not carry {name.dotted}", "overlay service list shows who carries what", rule="unknown-service")
        for service in carried:
            self.engine.act(acts.remove_service, service, self.engine.clock.at())
        return await self._done()

    async def name_set(self, args: Args) -> object:
        """`overlay name set NAME TYPE VALUE...`."""
        name = self._claimable(text(args, "name"))
        rtype = codes.type_name(codes.type_number(text(args, "type")))
        values = texts(args, "values")
        if not values:
            raise UsageError("a value is missing", "overlay name remove takes a name away", rule="values")
        self._check_values(rtype, values)
        warning = await self._shadow(args, name)
        self.engine.act(acts.set_data, name, rtype, values, number(args, "ttl", 30, 0, MAX_TTL), self.engine.clock.at())
        return {**await self._done(), **warning}

    def _check_values(self, rtype: str, values: tuple[str, ...]) -> None:
        code = codes.type_number(rtype)
        if code in GENERATED_ONLY or code in (0, codes.NS, codes.DS) or 128 <= code <= 255:
            raise UsageError(
                f"{rtype} is made by the overlay itself", "set A, AAAA, SRV, SVCB, HTTPS, TXT, CNAME, DNAME, MX, PTR or CAA", rule="rtype",
            )
        if code in (codes.CNAME, codes.DNAME) and len(values) > 1:
            raise UsageError(f"a name has one {rtype}", "give one value", rule="values")
        for value in values:
            if code == codes.TXT:
                text_rdata(value)
            else:
                rdata.to_wire(code, value, self.stub.names.tld)

    async def name_remove(self, args: Args) -> object:
        """`overlay name remove NAME [TYPE]`."""
        name, wanted = self._name(text(args, "name")), optional(args, "type")
        rtype = None if wanted is None else codes.type_name(codes.type_number(wanted))
        held = [row for row in self.reports.names(name) if row["name"] == self.reports.full(name) and rtype in (None, row["type"])]
        if not held:
            raise Absent(f"{name.dotted} has no such data", "overlay name list shows what there is", rule="unknown-name")
        for row in held:
            self.engine.act(acts.set_data, name, row["type"], (), 0, self.engine.clock.at())
        return await self._done()

    # -- letting in, going away

    async def invite(self, args: Args) -> object:
        """`overlay invite [PATH]`."""
        wanted = optional(args, "path")
        path = self._name(wanted) if wanted else None
        uses, life = number(args, "uses", 1, 1, 1_000_000), number(args, "expires_s", 86_400, 1, 366 * 86_400)
        seed = secrets.token_bytes(32)
        warning = await self._shadow(args, path) if path is not None else {}
        at = self.engine.clock.at()
        record = self.engine.act(acts.invite, path, uses, life, Signer.from_seed(seed).public, at)
        await self._done()
        token = Token(
            overlay_id=self.node.setup.overlay_id, zone=self.reports.zone, tld=self.reports.tld, path=record.name, seed=seed, expires=record.expires,
            ways=self._ways_in(), redeemers=(self.node.identity.node_id,),
            exchange=self.node.identity.exchange_public,
        )
        return {"token": encode_token(token), "expires": record.expires, "uses": uses, "path": str(record.name), **warning}

    def _ways_in(self) -> tuple[WayIn, ...]:
        """Where a token's holder knocks: here, and at public nodes that lead here, since this one may be away or behind a NAT."""
        presence, directory, me = self.node.presence, self.node.directory, self.node.identity.exchange_public
        assert presence is not None and directory is not None
        own = [WayIn(presence.addresses[:8], me)] if presence.addresses else []
        others = sorted((n for n in directory.holdings.ring() if n.exchange != me), key=lambda n: n.exchange not in self.node.reach.relays)
        return tuple([*own, *(WayIn(n.addresses[:4], n.exchange) for n in others)][: limits.TOKEN_WAYS])

    async def grant(self, args: Args) -> object:
        """`overlay grant PATH --to KEY|NODE --rights R,...`."""
        path, life = self._name(text(args, "path")), args.get("expires_s")
        given = acts.Given(
            path=path, subject=self.reports.key_of(text(args, "to")), rights=rights.parse_rights(text(args, "rights")), final=life is not None,
            life=number(args, "expires_s", rights.NAME_LIFE, 60, 366 * 86_400), shadow=args.get("shadow") is True,
        )
        warning = await self._shadow(args, path)
        record = self.engine.act(acts.grant, given, self.engine.clock.at())
        await self._done()
        return {
            **warning,
            "grant": b64(record.digest), "path": str(record.name), "to": b64(record.item), "rights": list(record.body[1]), "expires": record.expires,
        }

    async def revoke(self, args: Args) -> object:
        """`overlay revoke GRANT`, or a token that is still about."""
        written = text(args, "grant")
        if len(written) > GRANT_ID:
            token = decode_token(written, 0)
            self.engine.act(acts.withdraw_invite, token.signer.public, self.engine.clock.at())
            await self._done()
            return {"revoked": [str(token.path)]}
        said = self.engine.act(acts.revoke, unb64(text(args, "grant"), DIGEST), self.engine.clock.at())
        await self._done()
        return {"revoked": [b64(record.item) for record in said]}

    async def admit(self, args: Args) -> object:
        """`overlay admit CODE`."""
        code, warning = read_code(text(args, "code")), {}
        waiting = next((row for row in self.reports.waiting(self.engine.clock.at()) if row["code"] == code), None)
        if waiting is not None:
            warning = await self._shadow(args, parse_path(waiting["cluster"] or waiting["name"]))
        name = self.engine.act(acts.admit, code, self.engine.clock.at())
        await self._done()
        return {"name": self.reports.full(name), "cluster": str(name.parent), **warning}

    async def root_publish(self, args: Args) -> object:
        """What the root keys signed, from `overlay root`."""
        self.engine.act(acts.take_root, parse(unb64(text(args, "record"))), self.engine.clock.at())
        return await self._done()

    async def down(self, args: Args) -> object:
        """`overlay down`."""
        self.stop()
        return {"ok": True}

    async def leave(self, args: Args) -> object:
        """`overlay leave`."""
        self.engine.act(acts.leave, self.engine.clock.at())
        await self._done()
        await trio.sleep(LEAVING)
        self.forget()
        return {"ok": True}
