"""Ports of ours, mapped at the router: which protocol it is asked in, when, and what may be told to others (DESIGN 3.6, 3.7).

The router is asked in all three protocols at once; the best that answers within 250 ms is kept (PCP before NAT-PMP before
UPnP), afterwards the first. Mappings are renewed after a half to five eighths of their life (RFC 6887, 11.2.1). The router
is looked at every 30 s (UPnP: 60 s), and whenever it announces something: an epoch that went back, or a mapping that is
gone, is a reboot, and everything is asked for anew at once. A silent router is asked ever more rarely.

What a router says is a candidate and no more: it may err and it may lie. Only its own address and port are listened to,
and only what was asked for. It is believed in nothing that dial-back does not prove later. Who lies about us to the
router (anybody on the LAN can) costs us the bounded number of questions that are asked anyway.

It refuses to know how datagrams travel and what the mappings are for.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Entropy
from overlay.nat import igd, pcp
from overlay.nat.igd import Igd
from overlay.nat.outputs import Fetch, Output, SendTo
from overlay.nat.questions import Questions
from overlay.nat.speakers import ABSENT, GRANTED, ROUTER, SILENT, NatPmp, Pcp, Port, Said
from overlay.nat.wanted import SHORTEST, Wanted
from overlay.wire.address import Address

LIFE: Final = 7_200  # seconds asked for: RFC 6886, 3.3
WINDOW: Final = 0.25  # seconds in which a better protocol may still answer: as long as Tailscale waits
CHECK: Final = 30.0  # seconds between looks at a router: 8 octets a second; guess
CHECK_UPNP: Final = 60.0  # the same, where a look takes two HTTP requests; guess
SOON: Final = 15.0  # seconds at most between looks at a router that holds mappings of ours and has fallen silent
REST: Final = 60.0  # seconds after the first round that nobody answered, then doubling up to limits.PORTMAP_REST
DOUBT: Final = 1.0  # seconds between two looks that announcements may cause

ORDER: Final = ("pcp", "nat-pmp", "upnp")  # the best first: PCP has a nonce and any address family, UPnP takes six times the octets


class PortMaps:
    """Mappings at one default router. ``secret`` (32 octets) should outlive a restart: see ``overlay/nat/speakers.py``."""

    def __init__(self, entropy: Entropy, now: float, *, secret: bytes = b"", life: int = LIFE) -> None:
        self.counters: Counter[str] = Counter()
        self._entropy = entropy
        self._secret = secret or entropy(32)
        self._life = life  # seconds asked for
        self._gateway = self._own = ""
        self._wanted: dict[Port, Wanted] = {}
        self._speakers: dict[str, Pcp | NatPmp] = {}
        self._igd: Igd | None = None
        self._questions = Questions()
        self._chosen = ""  # the protocol in use
        self._answered: set[str] = set()  # protocols that the router speaks, this round
        self._absent: set[str] = set()  # those that it does not speak, or refuses
        self._window: float | None = None  # until when a better protocol is waited for
        self._round: float | None = None  # when the next round of questions begins
        self._rounds = 0  # rounds in a row that came to nothing
        self._check: float | None = None  # when the router is looked at next
        self._misses = 0  # questions in a row that were not answered, where others were before
        self._doubt: float | None = None  # when what was announced is heeded
        self._doubt_all = False  # whether all mappings are asked for then
        self._doubts = 0.0  # looks caused by announcements of the last minute or so, as of the last of them
        self._doubted = now - DOUBT
        self._looked = False
        self._out: list[Output] = []

    # -- what the node knows and wants

    @property
    def protocol(self) -> str | None:
        """``pcp``, ``nat-pmp`` or ``upnp``; ``none`` where a router was asked and has none of them; None: not known (yet)."""
        return self._chosen or ("none" if self._looked else None)

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way: after everything was dropped, that the router heard of it."""
        return not self._questions and not (self._igd is not None and self._igd.busy)

    def router(self, gateway_ip: str | None, own_ip: str | None, now: float) -> None:
        """The default router, and our address towards it, are these now; None where there is none."""
        gateway, own = (gateway_ip, own_ip) if gateway_ip and own_ip else ("", "")
        if (gateway, own) == (self._gateway, self._own):
            return
        self._gateway, self._own = gateway, own
        self._out = [out for out in self._out if not isinstance(out, SendTo | Fetch)]  # not taken yet, and meant for the one before
        self._chosen, self._looked, self._rounds, self._misses = "", False, 0, 0
        self._check = self._window = self._round = self._doubt = None
        self._questions.clear()
        for wanted in self._wanted.values():
            wanted.expires = wanted.due = None
            self._out += wanted.untell("router-changed" if gateway else "no-router")
        self._speakers = {"pcp": Pcp(own, gateway, self._secret)} if gateway else {}
        self._igd = None
        if gateway and ":" not in gateway:
            self._speakers["nat-pmp"] = NatPmp()
            self._igd = Igd(own, gateway, self._entropy, self.counters)
        self._begin(now)
        self._flush(now)

    def want(self, internal_port: int, proto: str, now: float) -> None:
        """Keep this port mapped, from now on."""
        port = Port(proto, internal_port)
        if port in self._wanted:
            return
        if len(self._wanted) >= limits.PORTMAPS:
            self.counters["drop:portmaps-full"] += 1
            return
        self._wanted[port] = Wanted(port)
        if self._chosen:
            self._ask(port, now)
        elif self._round is None and not self._questions:
            self._begin(now)
        self._flush(now)

    def drop(self, internal_port: int, proto: str, now: float) -> None:
        """This port need not be mapped any more: the router is told, where it may hold it."""
        port = Port(proto, internal_port)
        wanted = self._wanted.pop(port, None)
        if wanted is None:
            return
        self._out += wanted.untell("dropped")
        if self._chosen == "upnp" and self._igd is not None:
            self._igd.ask(igd.UNMAP, port, wanted.external, 0, now)
        elif self._chosen:
            self._question(self._chosen, port, self._speakers[self._chosen].unmap(port), now)
        self._flush(now)

    # -- what comes in

    def receive(self, source: Address, data: bytes, now: float) -> None:
        """A datagram that came to our own address."""
        if source.host != self._gateway:
            self.counters["drop:portmap-stranger"] += 1
            return
        try:
            if source.port == pcp.PORT:
                self._answer(data, now)
            else:  # answers to a search may come from any port of the router: many make a socket for each
                self._found(data, now)
        except Malformed as why:
            self.counters[f"drop:{why.rule}"] += 1
        self._flush(now)

    def announced(self, source: Address, now: float) -> None:
        """Something was said to everybody, in whatever words: if the router said it, we look what is left of our mappings.

        What comes from the port of PCP and NAT-PMP is said after a start alone (RFC 6886, 3.2.1; RFC 6887, 14.1): all is asked for
        anew then, since epochs do not always tell (some routers give the time since their machine started). SSDP is said now and then.
        """
        if source.host != self._gateway or not self._wanted:
            self.counters["drop:portmap-stranger"] += 1
            return
        spent = max(0.0, self._doubts - (now - self._doubted) * limits.PORTMAP_DOUBTS / 60)
        if spent > limits.PORTMAP_DOUBTS - 1:
            self.counters["drop:portmap-doubt"] += 1
            return
        self._doubt_all = self._doubt_all or source.port == pcp.PORT
        if self._doubt is None:
            self._doubt = max(now, self._doubted + DOUBT)
            self._heed(now)
        self._flush(now)

    def http_done(self, ticket: int, status: int, body: bytes, now: float) -> None:
        """The answer to a ``Fetch``; status 0 where there was none."""
        if self._igd is not None:
            self._heard_upnp(self._igd.done(ticket, status, body, now), now)
        self._flush(now)

    def take(self) -> list[Output]:
        """What is wanted done, and told, since the last time."""
        out, self._out = self._out, []
        return out

    # -- time

    def wake_at(self) -> float | None:
        """When ``wake`` wants to be called next."""
        times = [self._window, self._round, self._check, self._doubt, self._questions.wake_at, self._igd.wake_at if self._igd is not None else None]
        times += [at for wanted in self._wanted.values() for at in (wanted.due, wanted.expires)]
        return min((at for at in times if at is not None), default=None)

    def wake(self, now: float) -> None:
        """Do what is due."""
        if self._igd is not None and self._igd.busy:
            late = self._igd.late(now)
            if late or not self._igd.busy:
                self._heard_upnp(late, now)
        for wanted in self._wanted.values():
            if wanted.expires is not None and now >= wanted.expires:
                wanted.expires = None
                self._out += wanted.untell("lapsed")
        if self._round is not None and now >= self._round:
            self._begin(now)
        if self._window is not None and now >= self._window:
            self._window = None
            self._decide(now)
        self._heed(now)
        if self._check is not None and now >= self._check:
            self._check_now(now)
        for port, wanted in self._wanted.items():
            if self._chosen and wanted.due is not None and now >= wanted.due:
                self._ask(port, now)
        self._flush(now)

    def _heed(self, now: float) -> None:
        """Act on announcements, if it is time."""
        if self._doubt is None or now < self._doubt:
            return
        self._doubts = max(0.0, self._doubts - (now - self._doubted) * limits.PORTMAP_DOUBTS / 60) + 1
        self._doubt, self._doubted = None, now
        every, self._doubt_all = self._doubt_all, False
        if self._chosen:
            self._check_now(now)
            if every:
                self._ask_all(now)
        elif self._round is not None:
            self._rounds = 0
            self._begin(now)

    def _flush(self, now: float) -> None:
        """Send what is due; what nobody answered is taken note of."""
        while True:
            sends, unanswered = self._questions.due(now)
            self._out += sends
            if not unanswered:
                break
            for word, port in unanswered:
                self._unanswered(word, port, now)
        if self._igd is not None:
            self._out += self._igd.take()

    # -- which protocol

    def _begin(self, now: float) -> None:
        """A round: the router is asked in every protocol at once."""
        if not self._gateway or not self._wanted:
            self._round = None
            return
        self._leave_protocol()
        self._answered.clear()
        self._absent.clear()
        self._round, self._window = None, now + WINDOW
        for word in self._spoken():
            self._look(word, now)

    def _leave_protocol(self) -> None:
        self._chosen, self._check, self._misses = "", None, 0
        self._questions.clear()

    def _spoken(self) -> list[str]:
        """The protocols that this router may be asked in, the best first."""
        return [word for word in ORDER if word in self._speakers or word == "upnp" and self._igd is not None]

    def _look(self, word: str, now: float) -> None:
        """Ask after the router itself."""
        if word == "upnp":
            assert self._igd is not None
            self._igd.forget()
            self._questions.ask((word, ROUTER), tuple(SendTo(to, data) for to, data in self._igd.searches()), now)
        else:
            self._question(word, ROUTER, self._speakers[word].look(), now)

    def _decide(self, now: float) -> None:
        """Keep the best protocol that has answered, unless a better one may still answer in time."""
        if self._chosen:
            return
        for word in self._spoken():
            if word in self._answered:
                self._choose(word, now)
                return
            if word not in self._absent and self._window is not None:
                return
        if self.quiet:
            self._rest(now)

    def _choose(self, word: str, now: float) -> None:
        self._leave_protocol()
        self._chosen, self._looked, self._window = word, True, None
        self._check = self._next_check(now)
        self._ask_all(now)

    def _give_up(self, now: float) -> None:
        """The protocol in use gives us nothing (any more): the others are tried, in this same round."""
        self._absent.add(self._chosen)
        self._answered.discard(self._chosen)
        self._leave_protocol()
        for wanted in self._wanted.values():
            wanted.due = None
        self._window = now + WINDOW
        for word in self._spoken():
            if word not in self._absent and word not in self._answered:
                self._look(word, now)
        self._decide(now)

    def _rest(self, now: float) -> None:
        """No protocol works: all are asked again, ever more rarely."""
        self._leave_protocol()
        self._window, self._looked = None, True
        self.counters["portmap_silent"] += 1
        self._round = now + min(REST * 2**self._rounds, limits.PORTMAP_REST) * (1 + self._chance() / 4)
        self._rounds = min(self._rounds + 1, 16)
        for wanted in self._wanted.values():
            wanted.due = None
            self._out += wanted.untell("refused" if wanted.refused else "no-answer")

    # -- questions

    def _ask(self, port: Port, now: float) -> None:
        """Have a port mapped, or renewed."""
        wanted = self._wanted[port]
        wanted.due = None
        if self._chosen == "upnp":
            assert self._igd is not None
            if self._igd.known:
                self._igd.ask(igd.MAP, port, wanted.external, self._life, now)
            return  # once it is found again, all ports are due
        wish = wanted.host, wanted.external or port.number
        self._question(self._chosen, port, self._speakers[self._chosen].map(port, wish, self._life), now)

    def _ask_all(self, now: float) -> None:
        for port in self._wanted:
            self._ask(port, now)

    def _question(self, word: str, port: Port, data: bytes, now: float) -> None:
        self._questions.ask((word, port), (SendTo(Address(self._gateway, pcp.PORT), data),), now)

    def _check_now(self, now: float) -> None:
        """Look whether the router is still there, and still knows our mappings."""
        self._check = self._next_check(now)
        held = [wanted for wanted in self._wanted.values() if wanted.expires is not None]
        if self._chosen != "upnp":
            self._look(self._chosen, now)
        elif self._igd is not None and not self._igd.known:
            if ("upnp", ROUTER) not in self._questions and not self._igd.busy:
                self._look("upnp", now)
        elif self._igd is not None and held:
            one = held[int(self._chance() * len(held))]
            self._igd.ask(igd.CHECK, one.port, one.external, self._life, now)

    def _unanswered(self, word: str, port: Port, now: float) -> None:
        if not self._chosen:
            self._absent.add(word)
            self._decide(now)
        elif word == self._chosen and (port in self._wanted or port == ROUTER):
            self.counters["portmap_silent"] += 1
            self._misses = min(self._misses + 1, 16)
            later = now + min(2.0**self._misses, SOON) * (1 + self._chance() / 4)
            self._check = later
            if port in self._wanted:
                self._wanted[port].due = later
            if all(wanted.expires is None for wanted in self._wanted.values()):
                self._give_up(now)

    # -- answers

    def _answer(self, data: bytes, now: float) -> None:
        """PCP's or NAT-PMP's: the first octet is the version."""
        speaker = self._speakers.get("nat-pmp" if data[:1] == b"\0" else "pcp")
        if speaker is None:
            raise Malformed("a protocol that was not asked in", rule="portmap-unasked")
        said = speaker.read(data)
        about = said.about
        if said.outcome == ABSENT and about == ROUTER:
            # A server answers in the version that it has: of NAT-PMP to PCP's questions, and the other way round.
            self._absence("pcp" if speaker.word == "nat-pmp" else "nat-pmp", now)
            return
        if about in self._wanted and said.outcome == GRANTED and not said.life:
            raise Malformed("a mapping of no time, or the end of one before", rule="portmap-lifetime")
        if not self._questions.answered((speaker.word, about)):
            raise Malformed("an answer to nothing", rule="portmap-unasked")
        if speaker.rebooted(data, now) and self._chosen:
            self._reboot(about, now)
        self._heard(speaker.word, said, now)

    def _absence(self, word: str, now: float) -> None:
        if not self._questions.answered((word, ROUTER)):
            raise Malformed("an answer to nothing", rule="portmap-unasked")
        if not self._chosen:
            self._absent.add(word)
            self._decide(now)

    def _found(self, data: bytes, now: float) -> None:
        if self._igd is None or ("upnp", ROUTER) not in self._questions:
            raise Malformed("an answer to nothing", rule="portmap-unasked")
        self._igd.found(data, now)

    def _heard_upnp(self, said: list[Said], now: float) -> None:
        for one in said:
            if one.about == ROUTER:
                self._questions.answered(("upnp", ROUTER))
            if one.outcome == SILENT:
                self._silent_upnp(now)
                continue
            if one.reboot and self._chosen == "upnp":
                self._reboot(one.about, now)
            self._heard("upnp", one, now)
        if not said:
            self._decide(now)  # a description that said nothing may have been the last to wait for

    def _silent_upnp(self, now: float) -> None:
        """Its HTTP server is gone. It may be back elsewhere, since its port changes with each start: looked for at once, the first time."""
        if self._chosen != "upnp" or not self._wanted:
            return
        if self._misses:
            self._unanswered("upnp", ROUTER, now)
            return
        self._misses = 1
        self._look("upnp", now)

    def _heard(self, word: str, said: Said, now: float) -> None:
        """The router has answered what was asked."""
        if not self._chosen and said.about == ROUTER:
            (self._answered if said.outcome == GRANTED else self._absent).add(word)
            self._decide(now)
            return
        if word != self._chosen:
            return
        back = word == "upnp" and said.about == ROUTER
        if self._misses or back:  # it answers again: what waited for it waits no longer
            self._misses = self._misses if back else 0  # UPnP: its search answers, its HTTP server may still not
            for port, wanted in self._wanted.items():
                if port != said.about and (wanted.due is not None or wanted.expires is None or back):
                    wanted.due = now
        if said.about == ROUTER:
            self._check = self._next_check(now)
            if word == "nat-pmp":
                self._address(said.host)
        elif said.about in self._wanted:
            self._result(self._wanted[said.about], said, now)

    def _address(self, host: str) -> None:
        """NAT-PMP tells its address apart from mappings."""
        for wanted in self._wanted.values():
            if wanted.expires is not None and wanted.host != host:
                wanted.host = host
                self._out += wanted.tell(self._own, self._chosen)

    def _result(self, wanted: Wanted, said: Said, now: float) -> None:
        if said.outcome == GRANTED and said.life >= SHORTEST:
            self._rounds = 0
            if wanted.granted(said, now, self._chance()):
                self._out += wanted.tell(self._own, self._chosen)
            return
        if said.outcome == GRANTED:
            self.counters["drop:portmap-lifetime"] += 1
        wanted.refuse(said, now)
        if any(other.expires is not None for other in self._wanted.values()):
            self._out += wanted.untell("refused")
        else:
            self._give_up(now)

    def _reboot(self, about: Port, now: float) -> None:
        """The router has lost our mappings: all but the one just spoken of are asked for at once."""
        self.counters["portmap_reboots"] += 1
        for port, wanted in self._wanted.items():
            if port != about:
                wanted.due = now

    def _next_check(self, now: float) -> float:
        return now + (CHECK_UPNP if self._chosen == "upnp" else CHECK) * (7 + 2 * self._chance()) / 8

    def _chance(self) -> float:
        """From 0 up to 1."""
        return int.from_bytes(self._entropy(2), "big") / 65_536
