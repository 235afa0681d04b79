"""What stands between this node and the world: its NAT's mapping and filtering, told by peers (DESIGN 3.7; RFC 4787).

Mapping is seen from outside: two peers that see one address or two. Filtering takes a dial-back: a peer is asked to knock
from a port that we never wrote to, and to have another node knock that we never wrote to either; which knocks arrive says
who is let in. Hairpin is a knock at our own outside address. Nothing is believed that did not arrive here: a knock carries
sixteen octets that only the asked could know.

The threat: knocks as a weapon. A peer knocks at the address that it has a proved path to, or, for a member, at one that
member names: three datagrams of 17 octets for a call of more, and no more than ``limits.DIAL_BACKS`` a second in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import CloseUdp, Entropy, Send
from overlay.peers import Peer, Peers
from overlay.reach import Reach
from overlay.session.relaying import SHORT
from overlay.wire.address import Address, Way, routable, unpack_address, worldwide
from overlay.wire.codec import Fields, Value, ordered
from overlay.wire.messages import Method, Packet

INDEPENDENT, BY_ADDRESS, BY_PORT = "endpoint-independent", "address-dependent", "address-and-port-dependent"
TOKEN: Final = 16  # octets
TIMES: Final = 3  # knocks of one kind, some may be lost
WAIT: Final = 1.0  # seconds that knocks may take
FIRST: Final = 2.0  # seconds after the start: by then peers are there
EVERY: Final = 600.0  # seconds between looks, and after the machine's addresses changed at once
RETRY: Final = 10.0  # seconds before a first "nobody gets in" is looked at again
NOBODY: Final = 60.0  # seconds, where nobody can be asked: who comes is asked sooner
SURE: Final = 2  # looks in a row before a node that let strangers in says that it does not any more
FRESH: Final = 1 << 24  # numbers of sockets for knocks begin here: guesses have those below
KNOCK: Final = bytes((Packet.KNOCK.value,))

Back = Callable[[Any, float, float], None]
NAT: Final = {INDEPENDENT: "full-cone", BY_ADDRESS: "restricted", BY_PORT: "port-restricted"}


@dataclass(frozen=True, slots=True)
class OutlookPorts:
    """What a node lends: calls with their answers, effects."""

    call: Callable[[int, Method, Value, Back, float], object]
    emit: Callable[[Send | CloseUdp], None]


@dataclass(slots=True)
class _Look:
    """One dial-back under way."""

    token: bytes
    mirror: bytes  # for the knock at ourselves
    judge: str  # the host of the peer that was asked
    until: float
    near: bool = False  # a knock from another port of that host came
    far: bool = False  # one from a host that we never wrote to
    asked_far: bool = False
    echoed: bool = False


@dataclass(slots=True)
class Outlook:
    """One node's picture of its NAT; None stands for "not checked"."""

    peers: Peers
    reach: Reach
    ports: OutlookPorts
    entropy: Entropy
    filtering: str | None = None
    hairpin: bool | None = None
    looked_at: float | None = None
    counters: Counter[str] = field(default_factory=Counter)
    _look: _Look | None = None
    _next: float = float("inf")
    _fresh: list[tuple[float, int]] = field(default_factory=list)  # sockets of knocks, and when they are closed
    _link: int = FRESH
    _spent: tuple[float, int] = (0.0, 0)  # this second's dial-backs
    _shut: int = 0  # looks in a row that found nobody let in

    # -- what is known

    def outside(self, now: float, family: int = 4) -> str | None:
        """Our address as the world sees it: what most peers say, two at least where it is not an address of our own."""
        presence = self.reach.presence
        seen = Counter(address.host for address in self.reach.reflexive(now).values() if address.family == family and worldwide(address.host))
        own = [address.host for address in presence.addresses if address.family == family] if presence is not None else []
        if own:
            return own[0]
        host, votes = seen.most_common(1)[0] if seen else ("", 0)
        inside = presence is not None and host in presence.interfaces
        return host if votes >= 2 or (votes and (inside or len(seen) == 1 and len(self.peers.admitted()) == 1)) else None

    def mapping(self, now: float) -> str | None:
        """In RFC 4787's words; None where fewer than two peers have said where they see us."""
        if self.reach.hard(now):
            return BY_PORT  # the two endpoint-dependent kinds differ only towards one host's second port
        hosts = {peer.way.remote.host for peer in self.peers.admitted() if peer.way.proto == "udp" and peer.exchange in self.reach.reflexive(now)}
        own = self._own(now)
        return INDEPENDENT if own or len(hosts) >= 2 else None

    def _own(self, now: float) -> bool:
        """Whether the world sees an address of our own interfaces."""
        presence = self.reach.presence
        return presence is not None and any(address.host in presence.interfaces for address in self.reach.reflexive(now).values())

    def udp(self) -> bool | None:
        """Whether datagrams go out and come back."""
        straight = [peer for peer in self.peers.admitted() if peer.way.proto in ("udp", "tcp")]
        return any(peer.way.proto == "udp" for peer in straight) if straight else None

    def nat(self, now: float) -> str:
        """The kind, in the words of `overlay status`."""
        if self.udp() is False:
            return "udp-blocked"
        mapping = self.mapping(now)
        if mapping is not None and self._own(now):
            return "none"
        if mapping == BY_PORT:
            return "symmetric"
        return NAT[self.filtering] if mapping is not None and self.filtering is not None else "unknown"

    # -- looking

    def joined(self, now: float) -> None:
        """A session was admitted: whoever has not looked yet does so soon."""
        if self.looked_at is None:
            self._next = min(self._next, now + FIRST)

    def look_soon(self, now: float) -> None:
        """Look at once: a person asks, or the machine's addresses have changed."""
        self._next = now

    def wake_at(self) -> float:
        """When :meth:`wake` wants to be called."""
        return min((self._look.until if self._look is not None else self._next, *(at for at, _ in self._fresh)))

    def wake(self, now: float) -> None:
        """Time passed."""
        for at, link in [one for one in self._fresh if one[0] <= now]:
            self._fresh.remove((at, link))
            self.ports.emit(CloseUdp(link))
        if self._look is not None and now >= self._look.until:
            self._conclude(self._look, now)
        elif self._look is None and now >= self._next:
            self._begin(now)

    def _begin(self, now: float) -> None:
        seeing = self.reach.reflexive(now)
        far = [peer for peer in self.peers.admitted() if peer.way.proto == "udp" and not self.reach.near(peer.way)]
        fit = [peer for peer in far if peer.exchange in seeing]
        self._next = now + (EVERY if fit else NOBODY)
        if not fit:
            return
        peer = fit[self.entropy(1)[0] % len(fit)]
        look = self._look = _Look(self.entropy(TOKEN), self.entropy(TOKEN), peer.way.remote.host, now + WAIT)

        def back(body: Any, then: float, at: float) -> None:
            with suppress(Malformed):
                who = unpack_address(body.get(1)) if type(body) is dict else None
                look.asked_far = who is not None and self.reach.strange(who.host, then)

        met = dict.fromkeys([*(one.exchange for one in self.peers.peers.values()), *self.reach.tried.nodes()])
        known = [key[:SHORT] for key in met][: limits.DIAL_BACK_KNOWN]
        self.ports.call(peer.session, Method.DIAL_BACK, ordered({1: look.token, 3: known}), back, now)
        if not self._own(now):
            self._knock(Way("udp", seeing[peer.exchange]), look.mirror)

    def knocked(self, data: bytes, way: Way, now: float, at: float) -> None:
        """A datagram of this kind came."""
        look, token = self._look, data[1:]
        if look is None or token not in (look.token, look.mirror):
            self.counters["drop:knock-unknown"] += 1
        elif token == look.mirror:
            look.echoed = True
        elif way.remote.host == look.judge:
            look.near = True
        elif self.reach.strange(way.remote.host, now):
            look.far = True

    def _conclude(self, look: _Look, now: float) -> None:
        self._look, self.looked_at = None, now
        own = self._own(now)
        self.hairpin = None if own else look.echoed
        if look.far or (own and look.near):
            self.filtering = INDEPENDENT
        elif look.near and look.asked_far:
            self.filtering = BY_ADDRESS
        elif look.near:
            self.filtering = None if self.filtering == BY_PORT else self.filtering  # nobody is left whom we never wrote to: as found before
        else:
            self.filtering = BY_PORT
        self._shut = self._shut + 1 if self.filtering == BY_PORT else 0
        if 0 < self._shut < SURE:
            self._next = now + RETRY
        presence = self.reach.presence
        if presence is None:
            return
        open_outside = look.far and not own and self.mapping(now) == INDEPENDENT
        host = self.outside(now) if open_outside else None
        ports = Counter(address.port for address in self.reach.reflexive(now).values() if address.host == host)
        presence.set_outside(Address(host, ports.most_common(1)[0][0]) if host is not None and ports else None, shut=self._shut >= SURE)

    # -- for others

    def called(self, peer: Peer | None, body: Value, now: float) -> Value:
        """DIAL_BACK: knock at a peer, or, for a peer, at somebody else; the address of the other node that was asked as well."""
        if peer is None or peer.way.proto != "udp":
            raise Malformed("a dial-back goes where datagrams come from", rule="dial-back")
        second, spent = self._spent
        self._spent = (now, 1) if now - second >= 1.0 else (second, spent + 1)
        if self._spent[1] > limits.DIAL_BACKS:
            raise Malformed("too many dial-backs", rule="dial-back-rate")
        fields = Fields(body, "dial-back")
        token = fields.binary(1, TOKEN, TOKEN)
        target = fields.binary(2, 6, 18, default=b"")
        if target:
            self._knock(Way("udp", self._target(target)), token)
            self.reach.wrote([self._target(target)], now)
            return {}
        self._link += 1
        self._fresh.append((now + WAIT, self._link))
        self._knock(Way("udp", peer.way.remote, "", self._link), token)
        known = [name for name in fields.items(3, limits.DIAL_BACK_KNOWN) if type(name) is bytes]
        asked = self._delegate(peer, token, known, now)
        return ordered({1: asked.packed if asked is not None else None})

    @staticmethod
    def _target(packed: bytes) -> Address:
        address = unpack_address(packed)
        if not routable(address.host):
            raise Malformed("nobody is knocked at there", rule="dial-back")
        return address

    def _knock(self, way: Way, token: bytes) -> None:
        for _ in range(TIMES):
            self.ports.emit(Send(way, KNOCK + token))

    def _delegate(self, peer: Peer, token: bytes, known: list[bytes], now: float) -> Address | None:
        """Have a node knock that the asker does not know, a public one where there is one; where it knocks from."""
        fit = [
            other for other in self.peers.admitted()
            if other.exchange[:SHORT] not in known and other.way.proto == "udp" and other.way.remote.host != peer.way.remote.host
        ]  # fmt: skip
        fit = [other for other in fit if self.reach.proved(other)] or fit
        if not fit:
            return None
        chosen = fit[self.entropy(1)[0] % len(fit)]
        self.ports.call(chosen.session, Method.DIAL_BACK, ordered({1: token, 2: peer.way.remote.packed}), lambda body, now, at: None, now)
        return chosen.way.remote
