"""Streams over the sessions of one node: what is asked of them, and which packets go out when (DESIGN 3.4).

It joins the streams of a session (``streams.py``) with what its path carries (``recovery.py``) and with what came over
its links (``acks.py``). Packets are sealed and addressed by the session; they go its own way only, which has proved
itself, so a strange address never gets octets of a stream. A session without streams has none of this.

Streams are for admitted sessions alone. A peer that breaks their rules loses its session, and is told which rule it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from overlay import limits
from overlay.errors import Malformed
from overlay.machine import Entropy
from overlay.session import events, frames, packet
from overlay.session.acks import Acks
from overlay.session.flow import TRAP_EVERY, Flow
from overlay.session.link import Link
from overlay.session.recovery import NEVER, Piece
from overlay.session.relation import Session
from overlay.session.streams import ACK, Streams
from overlay.wire.codec import Value
from overlay.wire.messages import Grade

ACKS_EACH = 3  # acknowledgements in one packet: one for each link that may still receive, and each costs a walk

Send = Callable[[Session, bytes, float], None]


class Streaming:
    """Of all sessions. ``numbers`` finds an open one; ``send`` seals and sends a plaintext; ``end`` tells a peer why it is over."""

    def __init__(
        self, *, own_key: bytes, numbers: dict[int, Session], emit: Callable[[events.StreamEvent], None], send: Send,
        end: Callable[[int, str, float], None], look_at: Callable[[Session, float], None], entropy: Entropy, counters: Counter[str],
    ) -> None:
        self.kinds: set[int] = set()  # of streams that are served here; others are reset
        self._own_key = own_key
        self._numbers = numbers
        self._emit = emit
        self._send = send
        self._end = end
        self._look_at = look_at
        self._entropy = entropy
        self._counters = counters
        self._wide = 0  # sessions that give credit in full

    # -- what the node asks

    def open(self, session: int, kind: int, head: Value, now: float) -> int:
        """Open a stream: its number in that session; 0 where there is no such session, or too many are open."""
        found = self._numbers.get(session)
        if found is None or found.grade < Grade.ADMITTED:
            return 0
        number = self._flow(found).streams.open(kind, head)
        self._go_on(found, now)
        return number

    def write(self, session: int, stream: int, data: bytes, now: float) -> int:
        """How many octets were taken; where not all, ``StreamWritable`` follows."""
        found = self._carrying(session)
        if found is None or found.flow is None:
            return 0
        taken = found.flow.streams.write(stream, data)
        self._go_on(found, now)
        return taken

    def finish(self, session: int, stream: int, now: float) -> None:
        """Nothing more will be written; what was written still arrives."""
        found = self._carrying(session)
        if found is not None and found.flow is not None:
            found.flow.streams.finish(stream)
            self._go_on(found, now)

    def reset(self, session: int, stream: int, code: int, now: float) -> None:
        """Break a stream off, both ways; what was written may not arrive."""
        found = self._carrying(session)
        if found is not None and found.flow is not None:
            found.flow.streams.reset(stream, code)
            self._go_on(found, now)

    def consumed(self, session: int, stream: int, octets: int, now: float) -> None:
        """The reader took so many octets: the other end may send as many more."""
        found = self._carrying(session)
        if found is None or found.flow is None:
            return
        flow = found.flow
        flow.streams.consumed(stream, octets)
        if not flow.streams.wants():
            return  # no credit to be given yet: the usual case, and the cheap one
        if flow.streams.busy and not flow.wide:
            if self._wide < limits.STREAMS_WIDE:
                flow.wide = True
                self._wide += 1
                flow.streams.widen()
            else:
                self._counters["streams_kept_narrow"] += 1
        self._go_on(found, now)

    def _carrying(self, session: int) -> Session | None:
        found = self._numbers.get(session)
        return found if found is not None and found.flow is not None else None

    def _flow(self, session: Session) -> Flow:
        if session.flow is None:
            first = 1 if self._own_key < session.peer else 2
            session.flow = Flow(Streams(session.number, first, self.kinds, self._counters))
        return session.flow

    # -- what sessions tell

    def frame(self, session: Session, frame: list[Any], now: float) -> None:
        """A frame of streams came."""
        if session.grade < Grade.ADMITTED:
            raise Malformed("a frame of streams before admission", rule="grade")
        try:
            flow = self._flow(session)
            if frame[0] == ACK:
                self._acked(session, flow, frame, now)
            else:
                flow.streams.frame(frame)
        except Malformed as why:
            self._end(session.number, why.rule, now)
            raise

    def _acked(self, session: Session, flow: Flow, frame: list[Any], now: float) -> None:
        spans = frame[3:]
        flow.acks_came += 1
        if not _falling(spans) or type(frame[1]) is not int or type(frame[2]) is not int or flow.acks_came > ACKS_EACH:
            raise Malformed("an acknowledgement of a wrong form", rule="stream-ack")
        link = next((link for link in (session.link, session.previous) if link is not None and link.remote == frame[1]), None)
        if link is None:
            return  # of a link that is over
        if spans[0] >= link.sent:
            raise Malformed("a packet acknowledged that was never sent", rule="stream-ack")
        arrived, again = flow.recovery.acked(link.remote, spans, max(0, frame[2]) / 1e6, now)
        flow.streams.arrived(arrived)
        flow.streams.again(again)

    def settle(self, session: Session, link: Link, counter: int, now: float) -> None:
        """The packet of that number is worked through: note it, tell what it brought, send what may be sent."""
        flow = session.flow
        assert flow is not None
        streams = flow.streams
        if streams.heard and not streams.refused:
            acks = flow.acks.get(link.local)
            if acks is None:
                known = [old.local for old in (session.link, session.previous) if old is not None]
                flow.acks = {local: flow.acks[local] for local in flow.acks if local in known}
                acks = flow.acks[link.local] = Acks()
            acks.came(counter, now)
            flow.ack_at = min(flow.ack_at, acks.due_at)
            if acks.forgotten:
                self._counters["stream_acks_forgotten"] += acks.forgotten
                acks.forgotten = 0
        streams.heard = streams.refused = False
        flow.acks_came = 0
        self._go_on(session, now)

    def moved(self, session: Session) -> None:
        """The session goes another way."""
        flow = session.flow
        if flow is not None:
            flow.streams.again(flow.recovery.moved())

    def ended(self, session: Session) -> None:
        """The session is over."""
        if session.flow is not None:
            self._wide -= session.flow.wide

    def wake(self, session: Session, now: float) -> None:
        """Time passed."""
        flow = session.flow
        if flow is None:
            return
        flow.streams.again(flow.recovery.wake(now))
        if flow.recovery.probes:
            flow.streams.ask()
        self._go_on(session, now)

    # -- what goes out

    def _go_on(self, session: Session, now: float) -> None:
        """Send what may be sent, tell what is to be told, and say when to look again."""
        flow = session.flow
        assert flow is not None
        while self._packet(session, flow, now):
            pass
        flow.streams.unblock()
        for event in flow.streams.out:
            self._emit(event)
        flow.streams.out.clear()
        due = flow.wake_at()
        if due != NEVER:
            self._look_at(session, due)

    def _packet(self, session: Session, flow: Flow, now: float) -> bool:
        """One packet, where there is one to send."""
        streams, recovery = flow.streams, flow.recovery
        may = recovery.may_send(now) and streams.wants()
        if not may and flow.ack_at > now:
            return False
        batch: list[bytes] = []
        pieces: list[Piece] = []
        if flow.ack_at != NEVER:
            batch += [frames.stream_ack(local, *acks.say(now)) for local, acks in flow.acks.items() if acks.due_at != NEVER]
            flow.ack_at = NEVER
        if may:
            streams.cut(packet.FRAMES_ROOM - sum(map(len, batch)), batch, pieces)
        if not batch:
            return False
        link = session.link
        if pieces and not flow.trap_in:
            recovery.left_out(link.remote, link.sent)
            link.sent += 1
            flow.trap_in = TRAP_EVERY + self._entropy(1)[0]
        plaintext = frames.joined(batch)
        counter = link.sent
        self._send(session, plaintext, now)
        if pieces:
            flow.trap_in -= 1
            recovery.sent(link.remote, counter, len(plaintext) - 1 + packet.SEALED_LEAST, pieces, now)
            session.unanswered = now if session.unanswered is None else session.unanswered
        return True


def _falling(spans: list[Any]) -> bool:
    """Whether these are first and last numbers of spans, the highest first, none touching the next."""
    if not spans or len(spans) % 2 or len(spans) > 2 * limits.STREAM_ACKS:
        return False
    last = None
    for high, low in zip(spans[::2], spans[1::2], strict=True):
        if type(high) is not int or type(low) is not int or low > high or low < 0 or (last is not None and high >= last - 1):
            return False
        last = low
    return True
