"""What a running node says of itself to ``overlay doctor``, and in short to ``overlay status`` and ``/metrics``.

It decides nothing that ``overlay/findings.py`` does not; here are the listeners as bound against the configuration, what the
engine found wrong, and the bootstrap zone with each way in proved by a session and its passport.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bootstrap.driver.lookup import Lookup
from bootstrap.entrance import WayIn
from overlay import findings
from overlay.cli import machine_checks
from overlay.cli.zone_check import ask_listener, zone_findings
from overlay.config import Listen
from overlay.driver.control import Args, Handler
from overlay.driver.run import Engine
from overlay.errors import PeerError
from overlay.findings import FAILED, Finding
from overlay.reports import Reports
from overlay.wire.address import Address, parse_address

COUNT_EVERY: Final = 60.0  # seconds between counts of what is warned of
BUILT: Final = ("overlay", "http", "dns", "stub")  # kinds of listeners that this version opens


@dataclass(slots=True)
class NodeChecks:
    """The checks of one running node. ``reach`` opens a session and looks at the passport (``Plugged.reach``)."""

    engine: Engine
    reports: Reports
    listen: Listen
    upstream: tuple[str, ...]
    began: float
    reach: Callable[[bytes, tuple[Address, ...]], Awaitable[bytes]]
    ports: Callable[[], list[Finding]] = list  # of the ports mapped at the router
    zones: Callable[[float], list[Finding]] | None = None  # of signed zones, by the uptime in seconds
    above: Callable[[str, Lookup], Awaitable[list[Finding]]] | None = None  # of what stands above the bootstrap zone
    _count: int = 0
    _count_at: float = 0.0

    def handlers(self) -> Mapping[str, Handler]:
        """Command -> handler."""
        return {"doctor": Handler(self.doctor, reading=True)}

    def own(self) -> list[Finding]:
        """All that needs nobody to be asked."""
        clock = self.engine.clock
        found = findings.of_node(self.reports, at=clock.at(), system=time.time(), uptime=clock.now() - self.began)
        belonging = self.reports.node.belonging
        if belonging is not None:
            found.insert(1, findings.gateway(self.reports, belonging.unled(clock.now())))
        problems = [Finding(about, FAILED, line, "see overlay log") for about, line in self.engine.problems.items()]
        wanted = {kind: tuple(texts) for kind, texts in dataclasses.asdict(self.listen).items() if kind in BUILT}
        found = [one for one in found if one.check not in self.engine.problems]
        zones = self.zones(clock.now() - self.began) if self.zones is not None else []
        return [*found, *findings.listeners(wanted, self.engine.listeners.bound()), *self.ports(), *zones, *problems]

    def warnings(self) -> list[str]:
        """What `overlay status` warns of; the engine's problems stand there by themselves."""
        return [one.line for one in self.own() if one.alarming and one.check not in self.engine.problems]

    def alarms(self) -> int:
        """How many warnings and problems there are; looked at once a minute, for among 10,000 clusters a look takes 0.1 s."""
        now = self.engine.clock.now()
        if now >= self._count_at:
            self._count, self._count_at = len(self.warnings()), now + COUNT_EVERY
        return self._count + len(self.engine.problems)

    async def doctor(self, args: Args) -> object:
        """`overlay doctor`: what the node finds of itself and of the bootstrap zone."""
        lookup = Lookup([parse_address(text, 53) for text in self.upstream] if self.upstream else None)
        zone = await zone_findings(self.reports.zone, self.reports.tld, self.reports.node.setup.overlay_id, lookup, self._prove)
        above = await self.above(self.reports.zone, lookup) if self.above is not None else []
        return [one.plain() for one in (machine_checks.user(os.geteuid()), *self.own(), *zone, *above)]

    async def _prove(self, way: WayIn) -> str:
        node = self.reports.node
        if way.key == node.identity.exchange_public:
            own = node.presence.addresses if node.presence is not None else ()
            if not set(own) & set(way.addresses):
                raise PeerError(f"this node, which is not there any more but at {', '.join(map(str, own)) or 'no proved address'}")
            return "this node"
        peer = node.peers.by_exchange(way.key)
        if peer is None or peer.passport is None:
            await self.reach(way.key, way.addresses)
            peer = node.peers.by_exchange(way.key)
        elif peer.way.remote.host not in {address.host for address in way.addresses}:
            await ask_listener(way.addresses, node.setup.overlay_id, way.key)
        return self.reports.full(peer.passport.name) if peer is not None and peer.passport is not None else "a node of this overlay"
