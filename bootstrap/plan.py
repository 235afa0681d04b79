"""Which way into the overlay to try next: a machine that asks, fetches, knocks, waits and repeats (DESIGN 3.7; CONTRACT, DNS).

It decides the order of sources and what an answer means for trust; lookups, fetches and sessions are other people's.
Rounds repeat for ever with growing pauses, and each goes through stages, the next one beginning when nothing is under
way any more or after a few seconds of patience, so that a slow source never keeps a good one waiting:

1. known ways: remembered peers, then the token's;
2. the place: a domain's TXT records, or ``/.well-known/overlay`` at a listener;
3. a domain's A and AAAA addresses, asked the same over HTTP;
4. its name servers' addresses likewise.

Beside all of these neighbours on the LAN are asked from the beginning, and dialled at once where their beacons are of the
overlay that is meant. Where the place is the LAN itself and no overlay was named, all that answer within a moment are
compared; several are the person's choice.

The overlay's id is pinned by the caller or by the first contact. Whoever names another one is not followed; where the
place names only another and nobody of the pinned overlay lets us in, the plan gives up (``TrustError``, exit 4), except
a steadfast one (``overlay up``), which goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bootstrap.domain import NODE_LABEL, OVERLAY_LABEL, read_overlays, read_ways
from bootstrap.entrance import HTTP_FALLBACK, HTTP_PORT, OVERLAY_PORT, Domain, Entrance, Lan, Listener, WayIn, alternate, reachable
from bootstrap.goal import Ask, Effect, Fetch, GiveUp, Goal, Listen, Tell, Try
from bootstrap.lan import Choice, Sender
from bootstrap.mirror import WELL_KNOWN, read_way_in
from bootstrap.race import Race
from overlay import limits
from overlay.cluster.beacon import Tags
from overlay.errors import Malformed, OverlayError, ReachError, TrustError
from overlay.machine import Entropy
from overlay.units import b64
from overlay.wire.address import Address, routable

HEAD_START = 1.0  # seconds that known ways have before others are asked; guess: a handshake over a slow link and its repeat
PATIENCE = 3.0  # seconds that a stage has before the next begins beside it; guess
PAUSE = (1.0, 30.0)  # seconds between rounds: first, doubling to the last (CONTRACT, join: "repeats until answered")
LAN_HEAD_START = 0.2  # seconds that neighbours have before others are knocked at, where the cluster may be theirs; guess
RESOLUTION_DELAY = 0.05  # seconds that A waits for AAAA (RFC 8305, 3)
MAX_SERVERS = 4  # name servers whose addresses are looked up
MAX_TOLD = 256  # distinct lines remembered as told


@dataclass(slots=True)
class _Host:
    """A host name being resolved: its addresses so far, the types still asked, when to go on without them."""

    waits: set[str]
    found: list[str] = field(default_factory=list)
    due: float = float("inf")


class Plan:
    """One attempt to get in. Inputs take ``now`` (monotonic seconds); :meth:`take` gives what is wanted since last asked."""

    def __init__(self, goal: Goal, entropy: Entropy, counters: Counter[str] | None = None) -> None:
        self.goal = goal
        self.overlay_id = goal.overlay_id
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._entropy = entropy
        self._out: list[Effect] = []
        self._asks: set[Ask] = set()
        self._dials: Race[WayIn] = Race(self.counters)
        self._near: Race[WayIn] = Race(self.counters)  # neighbours on the LAN: not queued behind others
        self._fetches: Race[Address] = Race(self.counters)
        self._senders: dict[Address, tuple[Sender, float]] = {}  # who was heard on the LAN, and when (UTC seconds)
        self._choice: Choice | None = None
        self._hold = float("-inf")  # until when others than neighbours wait
        self._listening = False
        self._texts: dict[Ask, tuple[bytes, ...]] = {}
        self._hosts: dict[str, _Host] = {}
        self._stages: tuple[Callable[[], None], ...] = ()
        self._patience = 0.0
        self._retry_at: float | None = None
        self._pause = PAUSE[0]
        self._foreign: tuple[str, bytes] | None = None  # who named another overlay in this round, and which
        self._right = False  # whether the place led to our overlay in this round
        self._why: dict[str, str] = {}  # source -> why it did not let us in
        self._told: set[str] = set()
        self._over = False

    # -- inputs

    def start(self, now: float) -> None:
        """Begin a round."""
        place: tuple[Callable[[], None], ...] = ()
        if isinstance(self.goal.place, Domain):
            place = (self._ask_texts, self._ask_zone, self._ask_servers)
        elif isinstance(self.goal.place, Listener):
            place = (self._ask_listener,)
        elif isinstance(self.goal.place, Lan):
            self._choice = Choice(now)
        if self.goal.lan and not self._listening:
            self._listening = True
            self._hold = now + LAN_HEAD_START if self.goal.lan_first else now
            self._out.append(Listen())
        self._stages = (self._knock_known, *place)
        self._retry_at, self._foreign, self._right = None, None, False
        self._texts.clear()
        for race in (self._dials, self._near, self._fetches):
            race.again()
        for sender, at in list(self._senders.values()):
            self._weigh(sender, at)
        self._advance(now)

    def hurry(self, now: float) -> None:
        """The network changed: pauses begin anew, and a pause under way ends."""
        self._pause = PAUSE[0]
        if self._retry_at is not None and not self._over:
            self.start(now)

    def answered(self, ask: Ask, values: tuple[bytes, ...] | tuple[str, ...], now: float) -> None:
        """The DNS said this (nothing, where the name or the type is not there)."""
        if ask not in self._asks:
            return
        self._asks.remove(ask)
        if ask.rtype == "TXT":
            self._text(ask, tuple(value for value in values if isinstance(value, bytes)))
        else:
            names = tuple(value for value in values if isinstance(value, str))
            if ask.rtype == "NS":
                self._look_up(names[:MAX_SERVERS])
            else:
                self._resolved(ask, names, now)
        self._advance(now)

    def fetched(self, fetch: Fetch, body: bytes, now: float) -> None:
        """A web server answered with this body (status 200)."""
        if not self._fetches.ended(fetch.address, now):
            return
        source = str(fetch.address)
        try:
            entrance = read_way_in(body, fetch.address)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
            self._failed(source, f"{source} answers, but not as a node ({why.what})")
        else:
            assert entrance.overlay_id is not None
            if isinstance(self.goal.place, Lan):
                self._offered(entrance)
            elif self._accept(entrance.overlay_id, source):
                self._fetches.forget(lambda other: other.host == fetch.address.host)
                self._dials.add(entrance.ways)
        self._advance(now)

    def heard(self, sender: Sender, now: float, at: float) -> None:
        """A neighbour on the LAN sent a beacon, at that UTC time."""
        held, _ = self._senders.get(sender.address, (None, at))
        if self._over or held == sender:
            return
        if len(self._senders) >= limits.LAN_SENDERS:
            del self._senders[next(iter(self._senders))]
        self._senders[sender.address] = (sender, at)
        if self._retry_at is not None and (isinstance(self.goal.place, Lan) or self._ours(sender, at)):
            self.start(now)  # it is news: the pause ends
        else:
            self._weigh(sender, at)
            self._advance(now)

    def entered(self) -> None:
        """A way let us in: the plan is fulfilled."""
        self.stop()

    def failed(self, effect: Ask | Fetch | Try, reason: str, now: float) -> None:
        """It did not work, for that reason (a few words)."""
        if isinstance(effect, Ask):
            if effect not in self._asks:
                return
            self._failed(f"DNS {effect.rtype}", f"the DNS does not tell {effect.name} {effect.rtype}: {reason}")
            self.answered(effect, (), now)
            return
        if isinstance(effect, Fetch):
            if self._fetches.ended(effect.address, now):
                self._failed(str(effect.address), f"{effect.address} does not say the way in: {reason}")
        elif isinstance(effect, Try) and (self._dials.ended(effect.way, now) | self._near.ended(effect.way, now)):
            self._failed(str(effect.way), f"{effect.way} does not let us in: {reason}")
        self._advance(now)

    def wake(self, now: float) -> None:
        """Time has passed."""
        if self._over:
            return
        if self._retry_at is not None and now >= self._retry_at:
            self.start(now)
            return
        for name, host in list(self._hosts.items()):
            if now >= host.due:
                self._knock_host(name)
        self._advance(now)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._over = True
        self._out.clear()

    # -- outputs

    def wake_at(self) -> float | None:
        """When :meth:`wake` is wanted, or None."""
        if self._over:
            return None
        if self._retry_at is not None:
            return self._retry_at
        dials = self._dials.wake_at()
        due = [at for at in (self._near.wake_at(), self._fetches.wake_at()) if at is not None]
        due += [max(dials, self._hold)] if dials is not None else []
        due += [self._choice.due_at(self._fetches.idle)] if self._choice is not None else []
        due += [host.due for host in self._hosts.values() if host.due != float("inf")]
        if self._stages:
            due.append(self._patience)
        return min(due, default=None)

    def take(self) -> list[Effect]:
        """What is wanted since last asked."""
        out, self._out = self._out, []
        return out

    def unreached(self) -> ReachError:
        """What to tell where time is up before anybody let us in."""
        reasons: dict[tuple[str, str], str] = {}
        for source, line in self._why.items():
            whose = "DNS" if source.startswith("DNS ") else source.rpartition(":")[0]
            reasons.setdefault((whose, line.rpartition(": ")[2]), line)  # one host's ports that fail alike are told once
        told = list(reasons.values())[-3:] or ["nobody answered yet"]
        return ReachError(
            f"no way into the overlay was found: {'; '.join(told)}",
            "check that this machine is online and that a node is up; try overlay join IP:port of a node, or a token with ways in",
            rule="no-way-in",
        )

    # -- stages

    def _knock_known(self) -> None:
        self._dials.add(self.goal.known)

    def _ask_texts(self) -> None:
        self._tell(f"asking the DNS for ways into {self.goal.place}")
        for label in (OVERLAY_LABEL, NODE_LABEL):
            self._ask(f"{label}.{self.goal.place}", "TXT")

    def _ask_zone(self) -> None:
        if self._foreign is None:
            self._look_up((str(self.goal.place),))

    def _ask_servers(self) -> None:
        if self._foreign is None:
            self._ask(str(self.goal.place), "NS")

    def _ask_listener(self) -> None:
        assert isinstance(self.goal.place, Listener)
        self._fetches.add(self.goal.place.addresses)

    def _advance(self, now: float) -> None:
        """Start what is due; where nothing is under way, or patience ends, the next stage; behind the last, a pause."""
        while not self._over and self._retry_at is None:
            self._choose(now)
            for way in (*self._near.start(now), *(self._dials.start(now) if now >= self._hold else ())):
                assert self.overlay_id is not None
                self._tell(f"knocking at {way}")
                self._out.append(Try(way, self.overlay_id))
            for address in self._fetches.start(now):
                self._tell(f"asking {address} for the way in")
                self._out.append(Fetch(address, WELL_KNOWN))
            idle = not self._asks and not self._hosts and self._dials.idle and self._near.idle and self._fetches.idle and self._choice is None
            if self._stages and (idle or now >= self._patience):
                stage, *rest = self._stages
                self._stages = tuple(rest)
                self._patience = now + (HEAD_START if stage == self._knock_known else PATIENCE)
                stage()
            elif idle:
                self._end_round(now)
            else:
                return

    def _end_round(self, now: float) -> None:
        if self._foreign is not None and not self._right and not self.goal.steadfast:
            source, other = self._foreign
            self._give_up(TrustError(
                f"{source} now points to another overlay, {b64(other)}, not to {b64(self.overlay_id or b'')}",
                "if that is meant: overlay leave, or another --home, then join anew; else do not trust it",
                rule="overlay-id",
            ))
            return
        pause = self._pause * (0.75 + self._entropy(1)[0] / 510)  # 0.75 to 1.25: a crowd that lost its peer spreads out
        self._pause = min(2 * self._pause, PAUSE[1])
        self._retry_at = now + pause
        self._out.append(Tell(f"no way in yet, trying again in {pause:.0f} s"))

    # -- neighbours on the LAN

    def _ours(self, sender: Sender, at: float) -> bool:
        return self.overlay_id is not None and Tags(self.overlay_id).knows(sender.tag, at)

    def _weigh(self, sender: Sender, at: float) -> None:
        """A neighbour of the overlay that is meant is dialled; where the place is the LAN the others are asked whose they are."""
        if self._ours(sender, at):
            self._near.add([sender.way])
        elif isinstance(self.goal.place, Lan):
            self._fetches.add([sender.address])

    def _offered(self, entrance: Entrance) -> None:
        """A neighbour says of which overlay it is. Another than the one that is meant is no reason to give up: both live here."""
        assert entrance.overlay_id is not None
        if entrance.overlay_id == self.overlay_id:
            self._near.add(entrance.ways)
        elif self._choice is not None and self.overlay_id is None:
            self._choice.add(entrance)
        elif self.overlay_id is not None:
            self._failed(entrance.source, f"{entrance.source} belongs to another overlay, {b64(entrance.overlay_id)}: not followed")

    def _choose(self, now: float) -> None:
        """Time to choose, where none is meant: one overlay that answers is taken, of several a person has to name one."""
        choice = self._choice
        if choice is None or now < choice.due_at(self._fetches.idle):
            return
        self._choice = None
        several = choice.several()
        if several is not None:
            self._give_up(several)
        for overlay_id, (tld, found) in choice.offers.items() if several is None else ():  # one, or none
            self.overlay_id = overlay_id
            ways = sorted(found, key=lambda way: not routable(way.addresses[0].host))  # over a link-local one no address is proved
            self._tell(f"{ways[0].addresses[0]} belongs to overlay {b64(overlay_id)} ({tld}); first contact, pinned from now on")
            self._fetches.forget(lambda address: True)
            self._near.add(ways)
        if not self._senders:
            self._failed("LAN", "no node of an overlay answers on this LAN")

    # -- what answers mean

    def _text(self, ask: Ask, texts: tuple[bytes, ...]) -> None:
        self._texts[ask] = texts
        if len(self._texts) < 2:  # both or none: the ways mean nothing without the id
            return
        zone = str(self.goal.place)
        overlays = read_overlays(self._texts[Ask(f"{OVERLAY_LABEL}.{zone}", "TXT")], self.counters)
        ways = read_ways(self._texts[Ask(f"{NODE_LABEL}.{zone}", "TXT")], self.counters)
        ids = tuple(dict.fromkeys(overlay.overlay_id for overlay in overlays))
        if self.overlay_id is None and len(ids) > 1:
            self._give_up(OverlayError(
                f"{zone} leads to {len(ids)} overlays: {', '.join(map(b64, ids))}", "choose one: overlay join --id OVERLAY_ID",
                rule="overlay-id",
            ))
            return
        if ids and not self._accept(self.overlay_id if self.overlay_id in ids else ids[0], zone):
            return
        if self.overlay_id is None:
            self._failed(zone, f"{zone} has no {OVERLAY_LABEL} record")
            return
        if not ways:
            self._failed(zone, f"{zone} has no {NODE_LABEL} record that names a way in")
        self._dials.add(ways)

    def _accept(self, overlay_id: bytes | None, source: str) -> bool:
        """Whether the overlay is ours: the pinned one, or the first we meet, pinned from now on."""
        assert overlay_id is not None
        if self.overlay_id is None:
            self.overlay_id = overlay_id
            self._tell(f"{source} belongs to overlay {b64(overlay_id)}; first contact, pinned from now on")
            for sender, at in self._senders.values():
                self._weigh(sender, at)
        if overlay_id == self.overlay_id:
            self._right = True
            return True
        self.counters["drop:other-overlay"] += 1
        self._foreign = (source if isinstance(self.goal.place, Listener) else str(self.goal.place), overlay_id)
        self._failed(source, f"{source} belongs to another overlay, {b64(overlay_id)}: not followed")
        return False

    def _look_up(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self._hosts:
                self._hosts[name] = _Host({"AAAA", "A"})
                for rtype in ("AAAA", "A"):
                    self._ask(name, rtype)

    def _resolved(self, ask: Ask, hosts: tuple[str, ...], now: float) -> None:
        host = self._hosts.get(ask.name)
        late = host is None  # AAAA came after its time: still worth a knock
        host = host or _Host(set())
        host.found.extend(text for text in hosts[: limits.WAY_ADDRESSES] if reachable(text))
        host.waits.discard(ask.rtype)
        if late or not host.waits:
            self._hosts[ask.name] = host
            self._knock_host(ask.name)
        elif ask.rtype == "A" and host.found:
            host.due = now + RESOLUTION_DELAY

    def _knock_host(self, name: str) -> None:
        hosts = alternate(Address(host, HTTP_PORT) for host in self._hosts.pop(name).found)
        for port in (HTTP_PORT, OVERLAY_PORT, HTTP_FALLBACK):
            self._fetches.add(Address(address.host, port) for address in hosts)

    # -- words

    def _ask(self, name: str, rtype: str) -> None:
        ask = Ask(name, rtype)
        self._asks.add(ask)
        self._out.append(ask)

    def _give_up(self, error: OverlayError) -> None:
        self._out.append(GiveUp(error))
        self._over = True

    def _failed(self, source: str, line: str) -> None:
        self.counters["ways_failed"] += 1
        self._why.pop(source, None)
        self._why[source] = line
        while len(self._why) > limits.WAYS_IN:
            del self._why[next(iter(self._why))]
        self._tell(line)

    def _tell(self, line: str) -> None:
        """A line per step, once: the same failure in the next round is no news."""
        if line in self._told:
            return
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.add(line)
        self._out.append(Tell(line))
