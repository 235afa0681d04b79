"""One conversation with a router's UPnP gateway: its description once, then one action after the other (WANIPConnection).

It decides which action comes next, and which external port is asked for. Before a port is taken it is looked at: routers
of version 1 let one machine write over another's mapping, and a second node behind the router must not steal the first
one's. Whoever holds it keeps it; we ask for another port. Nothing is deleted either that does not lead to us.

It refuses to know when a mapping is renewed. ``take`` gives the requests, at most one of which is under way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Entropy
from overlay.nat import upnp
from overlay.nat.outputs import Fetch
from overlay.nat.speakers import ABSENT, GRANTED, REFUSED, ROUTER, SILENT, Port, Said
from overlay.wire.address import Address

PATIENCE: Final = 6.0  # seconds for one request: the driver gives up after 4
DESCRIPTIONS: Final = 4  # looked at in one round: a router is one device, some answer for several

MAP: Final = "map"
CHECK: Final = "check"  # as map, but what stands there already is left alone
UNMAP: Final = "unmap"


@dataclass(slots=True)
class _Job:
    kind: str
    port: Port
    external: int
    life: int
    step: str = ""
    tried: list[int] = field(default_factory=list)
    service: int = 0
    host: str = ""


class Igd:
    """UPnP towards one router, from one address of ours."""

    word: Final = "upnp"

    def __init__(self, own: str, router: str, entropy: Entropy, counters: Counter[str]) -> None:
        self._own, self._router, self._entropy, self.counters = own, router, entropy, counters
        self._services: list[upnp.Service] = []
        self._service = 0  # of those, the one that has an address
        self._permanent = False  # the router takes no mapping that ends by itself
        self._tried: set[str] = set()  # descriptions, this round
        self._describing = ""
        self._jobs: dict[Port, _Job] = {}
        self._job: _Job | None = None
        self._ticket = 0
        self._until: float | None = None  # when the request under way is given up
        self._out: list[Fetch] = []

    @property
    def known(self) -> bool:
        """Whether there is a service that can be asked."""
        return bool(self._services)

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._until is not None

    @property
    def wake_at(self) -> float | None:
        return self._until

    def take(self) -> list[Fetch]:
        out, self._out = self._out, []
        return out

    def searches(self) -> tuple[tuple[Address, bytes], ...]:
        """The datagrams of a round of search, to the router alone and to the group."""
        alone = Address(self._router, upnp.PORT)
        return (alone, upnp.search(alone)), (upnp.GROUP, upnp.search(upnp.GROUP))

    def forget(self) -> None:
        """The router is looked for anew: nothing that was learnt of it holds."""
        self._services, self._service, self._tried, self._describing, self._until = [], 0, set(), "", None
        self._job, self._jobs = None, {}
        self._ticket += 1  # what is under way answers nothing any more
        self._out.clear()

    def found(self, data: bytes, now: float) -> None:
        """An answer to a search; ``Malformed`` if it is none, or leads elsewhere."""
        url = upnp.read_found(data, self._router)
        if not self._services and not self.busy and url not in self._tried and len(self._tried) < DESCRIPTIONS:
            self._tried.add(url)
            self._describing = url
            self._fetch(Fetch(self._next(), url, "GET"), now)

    def ask(self, kind: str, port: Port, external: int, life: int, now: float) -> None:
        """Map, check or unmap a port; a later request about the same port takes the place of one that waits."""
        if self._job is not None and self._job.port == port and self._job.kind == kind:
            return
        self._jobs[port] = _Job(kind, port, external or port.number, life)
        self._go_on(now)

    def late(self, now: float) -> list[Said]:
        """What there is to say once the request under way has had its time."""
        return self.done(self._ticket, 0, b"", now) if self._until is not None and now >= self._until else []

    def done(self, ticket: int, status: int, body: bytes, now: float) -> list[Said]:
        """The answer to a ``Fetch``; status 0 where there was none."""
        if ticket != self._ticket or self._until is None:
            self.counters["drop:portmap-unasked"] += 1
            return []
        self._until = None
        if self._describing:
            return self._described(status, body)
        job = self._job
        assert job is not None
        try:
            reply = upnp.read_reply(status, body, job.step)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            self.forget()
            return [Said(job.port, SILENT)]
        said = self._step(job, reply, now)
        if said is not None:
            self._job = None
            self._go_on(now)
        return [said] if said is not None else []

    def _described(self, status: int, body: bytes) -> list[Said]:
        url, self._describing = self._describing, ""
        try:
            if status != 200:
                raise Malformed("no description", rule="upnp-answer")
            self._services = upnp.read_description(body, url, self._router)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            return []  # another answer to the search may lead to a better one
        return [Said(ROUTER, GRANTED if self._services else ABSENT)]

    def _go_on(self, now: float) -> None:
        if self._job is None and self._jobs and not self.busy and self._services:
            self._job = self._jobs.pop(next(iter(self._jobs)))
            unmap = self._job.kind == UNMAP
            self._job.service = self._service if unmap else 0
            self._act(self._job, "GetSpecificPortMappingEntry" if unmap else "GetExternalIPAddress", now)

    def _step(self, job: _Job, reply: upnp.Reply, now: float) -> Said | None:
        """What follows from a reply: the next action, or what there is to say."""
        if job.step == "GetExternalIPAddress":
            job.host = reply.arguments.get("NewExternalIPAddress", "")
            if job.host in ("", "0.0.0.0"):
                job.service += 1
                if job.service >= len(self._services):
                    return Said(job.port, REFUSED)
                return self._act(job, job.step, now)
            self._service = job.service
            return self._act(job, "GetSpecificPortMappingEntry", now)
        if job.step == "GetSpecificPortMappingEntry":
            return self._looked(job, reply, now)
        if job.step == "DeletePortMapping":
            return Said(job.port, GRANTED)
        return self._added(job, reply, now)

    def _looked(self, job: _Job, reply: upnp.Reply, now: float) -> Said | None:
        given = reply.arguments
        ours = given.get("NewInternalClient") == self._own and given.get("NewInternalPort") == str(job.port.number)
        there = not reply.error and bool(given.get("NewInternalClient"))
        if job.kind == UNMAP:
            return self._act(job, "DeletePortMapping", now) if ours else Said(job.port, GRANTED)
        if there and not ours:
            return self._another(job, now)
        if ours and job.kind == CHECK:
            return Said(job.port, GRANTED, job.host, job.external, job.life, made=False)
        return self._act(job, "AddPortMapping", now)  # free, or ours to be renewed; some routers cannot say which

    def _added(self, job: _Job, reply: upnp.Reply, now: float) -> Said | None:
        if not reply.error:
            return Said(job.port, GRANTED, job.host, job.external, job.life, reboot=job.kind == CHECK)
        if reply.error in (upnp.ONLY_PERMANENT, upnp.INVALID_ARGS) and not self._permanent:
            self._permanent = True
            return self._act(job, job.step, now)
        if reply.error == upnp.CONFLICT:
            return self._another(job, now)
        if reply.error == upnp.SAME_PORTS and job.external != job.port.number and job.port.number not in job.tried:
            job.tried.append(job.external)
            job.external = job.port.number
            return self._act(job, "GetSpecificPortMappingEntry", now)
        return Said(job.port, REFUSED)

    def _another(self, job: _Job, now: float) -> Said | None:
        """That port is somebody else's: ask for one of the ports that nobody has a claim to."""
        job.tried.append(job.external)
        if len(job.tried) >= limits.PORTMAP_PORTS:
            self.counters["portmap_crowded"] += 1
            return Said(job.port, REFUSED)
        job.external = 20_000 + int.from_bytes(self._entropy(2), "big") % 40_000
        return self._act(job, "GetSpecificPortMappingEntry", now)

    def _act(self, job: _Job, name: str, now: float) -> Said | None:
        """Ask for the next action: there is nothing to say yet."""
        job.step = name
        named = [("NewRemoteHost", ""), ("NewExternalPort", str(job.external)), ("NewProtocol", upnp.PROTOCOLS[job.port.proto])]
        arguments = {
            "GetExternalIPAddress": [],
            "AddPortMapping": [
                *named, ("NewInternalPort", str(job.port.number)), ("NewInternalClient", self._own), ("NewEnabled", "1"),
                ("NewPortMappingDescription", "overlay"), ("NewLeaseDuration", "0" if self._permanent else str(job.life)),
            ],
        }.get(name, named)  # fmt: skip
        service = self._services[job.service]
        headers, body = upnp.action(service, name, arguments)
        self._fetch(Fetch(self._next(), service.url, "POST", headers, body), now)
        return None

    def _next(self) -> int:
        self._ticket += 1
        return self._ticket

    def _fetch(self, request: Fetch, now: float) -> None:
        self._until = now + PATIENCE
        self._out.append(request)
