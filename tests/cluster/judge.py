"""The judge of the election: looks at a whole LAN after each step of anybody, with the one true clock, and knows the promises.

It sees what no host can see: who acts as gateway at this instant, in which part of the LAN, and what has happened to
whom. Whatever breaks a promise of ``overlay/cluster/lease.py`` goes into ``faults``; how long things took, into ``figures``.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overlay.cluster.outputs import Role, RoleChanged, Tell
from overlay.cluster.terms import Hand, Renew, read

if TYPE_CHECKING:
    from tests.cluster.lan import Host, Lan

NONE = 4.0  # seconds without a gateway after a crash (DESIGN 3.6)
TWO = 3.0  # with two after a stall
HEALED = 2.0  # with two after healing
HANDED = 0.3  # a planned hand-over takes
MINUTE = 60 * 0.99  # by the fastest clock
JUST_NOW = 1.0  # a successor that has told of its term and crashed at once: its predecessor has stepped down meanwhile
NOTICED = 6.0  # after so long everybody knows what has happened to whom
CALM = 8.0
LEASE, DRIFT = 3.0, 0.01
NEVER = float("-inf")


@dataclass(slots=True)
class Part:
    """What is known of one part of the LAN."""

    none: float | None = None  # since when there is no gateway though somebody might be
    kind: str = "start"
    mixed: bool = False
    two: float | None = None  # since when two know of each other and both act
    two_kind: str = ""
    happened: float = NEVER  # when it was last disturbed, and how
    how: str = "start"
    left: float = NEVER
    handed: float = NEVER
    apart: float | None = None  # since when members do not agree
    acting: frozenset[bytes] = frozenset()


@dataclass(slots=True)
class Episode:
    """A hand-over under way."""

    since: float
    clean: bool
    to: bytes = b""  # for the sake of rank


@dataclass(slots=True)
class Judge:
    """``lan`` is what it looks at."""

    lan: Lan
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: list[str] = field(default_factory=list)
    parts: dict[int, Part] = field(default_factory=lambda: defaultdict(Part))
    terms: dict[tuple[int, bytes], int] = field(default_factory=dict)  # -> incarnation that told of it
    highest: dict[bytes, int] = field(default_factory=dict)
    since: dict[bytes, float] = field(default_factory=dict)  # up and not stalled
    handing: dict[bytes, Episode] = field(default_factory=dict)
    merits: dict[bytes, list[tuple[float, int, int]]] = field(default_factory=lambda: defaultdict(list))
    last_hand: float = NEVER  # for the sake of rank
    regrouped_at: float = NEVER
    healing: bool = False

    def fault(self, what: str) -> None:
        self.faults.append(f"{self.lan.now:.3f} {what}")

    # -- what happens to the LAN

    def fresh(self, host: Host) -> None:
        self.since[host.node_id] = self.lan.now
        part = self.parts[host.part]
        part.happened, part.how = self.lan.now, "return"
        self.look()

    def disturbed(self, part_number: int, how: str, host: Host) -> None:
        part = self.parts[part_number]
        part.mixed = part.none is not None
        acted = host.node_id in part.acting
        if how == "left":
            part.left = self.lan.now
        else:
            part.happened, part.how = self.lan.now, how
        if part.none is not None:
            part.none = max(part.none, self.lan.now)
        self.healing = False
        for episode in self.handing.values():
            episode.clean = False
        if acted and how != "left":
            self.handing.pop(host.node_id, None)
        self.look()

    def mistaken(self, part_number: int) -> None:
        part = self.parts[part_number]
        part.happened, part.how = self.lan.now, "mistake"
        for episode in self.handing.values():
            episode.clean = False

    def regrouped(self, how: str) -> None:
        left = max((part.left for part in self.parts.values()), default=NEVER)
        self.parts.clear()
        self.regrouped_at, self.healing = self.lan.now, how == "heal"
        for host in self.lan.hosts.values():
            part = self.parts[host.part]
            part.happened, part.how, part.left = self.lan.now, how, left
        for episode in self.handing.values():
            episode.clean = False
        self.look()

    def leaves(self, host: Host) -> None:
        part = self.parts[host.part]
        if host.node_id in part.acting:
            self.handing[host.node_id] = Episode(self.lan.now, self._calm(part))
        part.left = self.lan.now

    def woke(self, host: Host, seconds: float) -> None:
        """It has stalled for so long; it has not looked at anything yet."""
        if seconds > LEASE / (1 - DRIFT) and host.lease is not None and host.lease.holds(host.clock(self.lan.now)):
            self.fault("a stalled gateway acts after its lease has run out")
        self.fresh(host)

    def ranked(self, host: Host) -> None:
        self.merits[host.node_id].append((self.lan.now, 0 if host.liar else host.revision, host.reach))

    # -- what hosts tell

    def role(self, host: Host, told: RoleChanged) -> None:
        before = host.told
        if told.role is Role.GATEWAY and (before is None or before.role is not Role.GATEWAY or before.number != told.number):
            if told.number <= self.highest.get(host.node_id, 0):
                self.fault(f"term {told.number} is taken twice by one node")
            self.highest[host.node_id] = told.number
            for episode in self.handing.values():
                if episode.to == host.node_id and self.lan.now - episode.since < JUST_NOW:
                    episode.to = b""  # whatever further terms it takes
                    self._once_a_minute()
        if told.role is not Role.GATEWAY and (episode := self.handing.pop(host.node_id, None)) is not None:
            took = self.lan.now - episode.since
            if episode.clean:
                self.figures["hand-over"].append(took)
                if took > HANDED:
                    self.fault(f"a planned hand-over took {took:.3f} s")

    def tells(self, host: Host, tell: Tell) -> None:
        word = read(tell.body)
        if isinstance(word, Renew):
            if self.terms.setdefault((word.number, host.node_id), host.run) != host.run:
                self.fault(f"term {word.number} is held by two incarnations of one node")
            if int(host.disk.get(b"number", b"0")) < word.number:
                self.fault(f"term {word.number} is told before it is durable")
        elif isinstance(word, Hand):
            self.parts[host.part].handed = self.lan.now
            if host.node_id not in self.handing:
                self.handing[host.node_id] = Episode(self.lan.now, self._calm(self.parts[host.part]))
                if not host.leaving:
                    self.handing[host.node_id].to = tell.to
                    self._for_rank(host, tell.to)

    def _once_a_minute(self) -> None:
        """Somebody follows because of its rank. What was asked of somebody who already acts elsewhere, or who follows another, is healing."""
        since = self.lan.now - self.last_hand
        if since < MINUTE and self.regrouped_at < self.last_hand:
            self.fault(f"two hand-overs for rank within {since:.1f} s")
        self.last_hand = self.lan.now

    def _for_rank(self, host: Host, to: bytes) -> None:
        now = self.lan.now
        ours, theirs = self._said(host.node_id, now - 75.0), self._said(to, now - 12.0)
        if max(theirs) <= (min(revision for revision, _ in ours), min(reach for _, reach in ours)):
            self.fault("a hand-over to a node that is no better")

    def _said(self, node: bytes, after: float) -> list[tuple[int, int]]:
        """What the node has been since then: revision (of liars: none) and reachability."""
        said = self.merits[node]
        first = max((index for index, (when, _, _) in enumerate(said) if when <= after), default=0)
        return [(revision, reach) for _, revision, reach in said[first:]]

    # -- the look at it all

    def _calm(self, part: Part) -> bool:
        return self.lan.now - part.happened > NOTICED and self.lan.now - part.left > NOTICED

    def look(self) -> None:
        now = self.lan.now
        awake: dict[int, list[Host]] = {part: [] for part in self.parts}
        for host in self.lan.hosts.values():
            if host.up and host.stalled <= now:
                awake.setdefault(host.part, []).append(host)
        for number, hosts in awake.items():
            part = self.parts[number]
            acting = [host for host in hosts if host.lease is not None and host.lease.holds(host.clock(now))]
            eligible = [host for host in hosts if host.speaks and not host.leaving]
            self._none(part, acting, eligible)
            self._two(part, acting)
            self._agree(part, hosts, acting)
            part.acting = frozenset(host.node_id for host in acting)
        if self.healing:
            self._healed(awake[0])

    def _none(self, part: Part, acting: list[Host], eligible: list[Host]) -> None:
        now = self.lan.now
        if part.none is not None:
            latest = max(part.none, min((self.since[host.node_id] for host in eligible), default=now))
            if now - latest > NONE:
                self.fault(f"no gateway for {now - latest:.3f} s after {part.kind}")
                part.none = now
            if acting or not eligible:
                if acting and not part.mixed:
                    self.figures[f"none after {part.kind}"].append(now - latest)
                part.none = None
        elif not acting and eligible:
            part.none, part.mixed = now, False
            part.kind = part.how if now - part.happened < NOTICED else "nothing"
            started = not part.acting
            if not started and now - part.happened > JUST_NOW and not (now - part.left < NOTICED and now - part.happened < 2 * NOTICED):
                self.fault("no gateway, for no reason")

    def _two(self, part: Part, acting: list[Host]) -> None:
        now = self.lan.now
        met = NEVER
        if len(acting) > 1:
            known = [max(a.knows[b.node_id], b.knows[a.node_id]) for a in acting for b in acting if b.node_id in a.knows and a.node_id in b.knows]
            met = min(known, default=NEVER)
        if met == NEVER:
            if part.two is not None:
                self.figures[f"two after {part.two_kind}"].append(now - part.two)
                part.two = None
            return
        if part.two is None:
            part.two = now
            part.two_kind = "hand-over" if now - part.handed < JUST_NOW else part.how if now - part.happened < CALM else "loss"
            if part.two_kind == "loss" and not self.lan.loss:
                self.fault("two gateways, for no reason")
        if now - part.two > (HEALED if part.two_kind == "heal" else HANDED if part.two_kind == "hand-over" else TWO):
            self.fault(f"two gateways for {now - part.two:.3f} s after {part.two_kind}")
            part.two = now

    def _agree(self, part: Part, hosts: list[Host], acting: list[Host]) -> None:
        """In calm weather all know the one gateway; under loss a few renewals later."""
        now = self.lan.now
        names = {host.lease.gateway for host in hosts if host.lease is not None}
        if len(names) < 2 or now - part.happened < CALM or now - part.left < CALM:
            part.apart = None
        elif part.apart is None:
            part.apart = now
        elif now - part.apart > NONE:
            self.fault(f"members do not agree for {now - part.apart:.3f} s")
            part.apart = now

    def _healed(self, hosts: list[Host]) -> None:
        now = self.lan.now
        met = [a.knows.get(b.node_id) for a in hosts for b in hosts if a is not b]
        acting = sum(host.lease is not None and host.lease.holds(host.clock(now)) for host in hosts)
        if None in met or not acting:
            return
        took = now - max(self.regrouped_at, *(self.since[host.node_id] for host in hosts), *(when for when in met if when is not None))
        if acting == 1 and len({host.lease.gateway for host in hosts if host.lease is not None}) == 1:
            self.figures["healing, all agree"].append(took)
            self.healing = False
