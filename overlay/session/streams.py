"""All streams of one session: opened, accepted, finished, reset, and the credit that they share (DESIGN 3.4).

Frames go in, one by one; events come out; pieces of frames are cut for the next packet, and come back as arrived or as to
be sent again. It refuses to know packets and time.

Streams have numbers, the odd ones of the end with the lower exchange key. A number stands for the stream from its first
frame on, whichever that is; numbers are used in order, so a lower one that is not in the table is over. Each end may
open 16, and one more for each that is over: finished both ways with all octets taken by the reader, or reset both ways.

The threat: a peer with good keys that opens without end, never reads, never lets a stream go, or sends beyond its credit.
The property: what it costs is bounded by ``limits``; what no honest end does ends the session, with the rule as reason.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from overlay import limits
from overlay.errors import Malformed
from overlay.session import events, frames
from overlay.session.recovery import Piece
from overlay.session.stream import MOST, REFUSED, Receiving, Sending
from overlay.wire.codec import Value, encode
from overlay.wire.messages import Frame

OPEN, DATA, END, RESET, CREDIT, ROOM, ACK = (frame.value for frame in Frame if frame.value >= Frame.STREAM_OPEN)
HEADS = 22  # octets of a data frame beside its octets, at most: list, number, stream, offset, length
LEAST = 64  # octets that are worth a second data frame in a packet
CODES = 2**32  # no kind and no code of a reset is higher


class _Stream:
    """One stream, both halves."""

    __slots__ = ("code", "early", "head", "kind", "known", "number", "over", "receiving", "reset_arrived", "sending", "told")

    def __init__(self, number: int, send: int, receive: int) -> None:
        self.number = number
        self.sending = Sending(send)
        self.receiving = Receiving(receive)
        self.known = False  # whether its kind is known: ours, or its OPEN came
        self.kind = 0
        self.head: Value = None
        self.early = bytearray()  # what came in order before that
        self.over = False  # reset, by one end or both
        self.code = 0
        self.reset_arrived = False
        self.told = False  # that the other end has finished


class Streams:
    """Of one session. ``first`` is 1 for the end with the lower key, 2 for the other; ``kinds`` may change at any time."""

    def __init__(self, session: int, first: int, kinds: set[int], counters: Counter[str]) -> None:
        self.out: list[events.StreamEvent] = []
        self.heard = False  # a frame came that wants to be acknowledged
        self.refused = False  # a frame came that cannot be taken now: its packet must come again
        self.busy = False  # the reader takes what comes: more credit would be used
        self._session = session
        self._kinds = kinds
        self._counters = counters
        self._table: OrderedDict[int, _Stream] = OrderedDict()  # whose turn it is first
        self._ours = first  # the next that we open
        self._theirs = 3 - first  # the next that they open
        self._may_open = limits.STREAMS  # ours, in all
        self._lets_open = limits.STREAMS  # theirs, in all
        self._owed: dict[Piece, None] = {}  # frames other than data to be sent
        self._fresh = limits.STREAM_FIRST  # octets that may go out for the first time, before more credit comes
        self._most_sent = limits.STREAM_FIRST  # all credit that came
        self._came = 0  # octets, the highest of each stream together
        self._taken = 0  # of them by the readers, or thrown away
        self._given = limits.STREAM_FIRST  # what may come in all
        self._window, self._window_all = limits.STREAM_FIRST, limits.STREAM_FIRST
        self._held = 0  # octets written and not acknowledged
        self._blocked = False  # somebody wrote more than was taken

    def widen(self) -> None:
        """The node has room: credit is given in full from now on."""
        self._window, self._window_all = limits.STREAM_WINDOW, limits.STREAMS_WINDOW

    # -- what the node asks

    def open(self, kind: int, head: Value) -> int:
        """Open a stream; 0 where as many are open as may be."""
        if not 0 <= kind < CODES or len(encode(head)) > limits.STREAM_HEAD:
            raise ValueError("a stream's kind is a number of 32 bits, its head has at most 512 octets")
        number = self._ours
        if (number - 1) // 2 >= self._may_open:
            self._counters["drop:streams-full"] += 1
            return 0
        self._ours += 2
        stream = self._table[number] = _Stream(number, limits.STREAM_FIRST, limits.STREAM_FIRST)
        stream.known, stream.kind, stream.head = True, kind, head
        self._owe(OPEN, number)
        return number

    def write(self, number: int, data: bytes) -> int:
        """How many octets were taken; ``StreamWritable`` tells when more will be, where that was not all."""
        stream = self._table.get(number)
        if stream is None or stream.over or stream.sending.last is not None:
            return 0
        taken = stream.sending.write(data, limits.STREAMS_BUFFER - self._held)
        self._held += taken
        if stream.sending.blocked:
            self._blocked = True
            self._counters["streams_blocked"] += 1
        return taken

    def finish(self, number: int) -> None:
        """Nothing more will be written."""
        stream = self._table.get(number)
        if stream is not None and not stream.over:
            stream.sending.finish()

    def reset(self, number: int, code: int) -> None:
        """Break a stream off, both ways."""
        if not 0 <= code < CODES:
            raise ValueError("the code of a reset is a number of 32 bits")
        stream = self._table.get(number)
        if stream is not None and not stream.over:
            self._break(stream, code)

    def consumed(self, number: int, octets: int) -> None:
        """The reader has taken so many octets of what was handed up."""
        stream = self._table.get(number)
        if stream is None or stream.over:
            return
        receiving = stream.receiving
        if not 0 <= octets <= receiving.next - receiving.consumed:
            raise ValueError("more octets taken than were handed up")
        receiving.consumed += octets
        self._took(octets)
        if receiving.last is None and receiving.most - receiving.consumed <= self._window // 2:
            self.busy = True
            receiving.most = receiving.consumed + self._window
            self._owe(CREDIT, number)
        self._let_go(stream)

    # -- frames that came

    def frame(self, frame: list[Any]) -> None:
        """A frame from STREAM_OPEN to STREAM_ROOM came; Malformed where no honest end sends it."""
        kind, size = frame[0], len(frame)
        if kind == ROOM and size == 2 and _natural(frame[1]):
            self._may_open = max(self._may_open, frame[1])
        elif size < 3 or not _natural(frame[1]):
            raise Malformed("a frame of a stream, of a wrong form", rule="stream-form")
        elif kind == CREDIT and size == 3 and _natural(frame[2]):
            self._credit_came(frame[1], frame[2])
        elif kind in (DATA, END) and size == 4 and _natural(frame[2]) and type(frame[3]) is bytes:
            self._data_came(frame[1], frame[2], frame[3], kind == END)
        elif kind == OPEN and size == 4 and _natural(frame[2]) and frame[2] < CODES:
            self._open_came(frame[1], frame[2], frame[3])
        elif kind == RESET and size == 4 and _natural(frame[2]) and frame[2] < CODES and _natural(frame[3]):
            self._reset_came(frame[1], frame[2], frame[3])
        else:
            raise Malformed("a frame of a stream, of a wrong form", rule="stream-form")
        self.heard = True

    def _find(self, number: int) -> _Stream | None:
        """The stream of that number, begun if it is new; None where it is over."""
        stream = self._table.get(number)
        if stream is not None:
            return stream
        if not number or (number - self._ours) % 2 == 0:
            if number >= self._ours or not number:
                raise Malformed("a stream of ours that we did not open", rule="stream-number")
            return None
        if (number - 1) // 2 >= self._lets_open:
            raise Malformed("more streams than may be open", rule="stream-limit")
        while self._theirs <= number:
            stream = self._table[self._theirs] = _Stream(self._theirs, limits.STREAM_FIRST, limits.STREAM_FIRST)
            self._theirs += 2
        return stream

    def _open_came(self, number: int, kind: int, head: Value) -> None:
        if len(encode(head)) > limits.STREAM_HEAD:
            raise Malformed("a head that is too long", rule="stream-head")
        stream = self._find(number)
        if stream is None or stream.known:
            return
        if number % 2 == self._ours % 2:
            raise Malformed("a stream of ours, opened by the other end", rule="stream-number")
        stream.known = True
        if stream.over:
            return
        if kind not in self._kinds:
            self._counters["drop:stream-kind"] += 1
            self._break(stream, REFUSED)
            return
        self.out.append(events.StreamOpened(self._session, number, kind, head))
        early, stream.early = bytes(stream.early), bytearray()
        self._hand_up(stream, early)

    def _data_came(self, number: int, offset: int, data: bytes, ends: bool) -> None:
        stream = self._find(number)
        if stream is None:
            return
        receiving = stream.receiving
        rise = receiving.rise(offset, len(data), ends)
        if self._came + rise > self._given:
            raise Malformed("octets beyond the credit of a session", rule="stream-credit")
        if stream.over:
            receiving.highest += rise
            receiving.last = receiving.highest if ends else receiving.last
            self._came += rise
            self._took(rise)
            self._let_go(stream)
            return
        ready = receiving.put(offset, data, ends)
        if ready is None:
            self._counters["drop:stream-gaps"] += 1
            self.refused = True
            return
        self._came += rise
        if stream.known:
            self._hand_up(stream, ready)
        else:
            stream.early += ready

    def _hand_up(self, stream: _Stream, data: bytes) -> None:
        if data:
            self.out.append(events.StreamData(self._session, stream.number, data))
        if stream.receiving.ended and not stream.told:
            stream.told = True
            self.out.append(events.StreamFinished(self._session, stream.number))
            self._let_go(stream)

    def _reset_came(self, number: int, code: int, sent: int) -> None:
        stream = self._find(number)
        if stream is None:
            return
        receiving = stream.receiving
        rise = receiving.rise(sent, 0, True)
        if self._came + rise > self._given:
            raise Malformed("octets beyond the credit of a session", rule="stream-credit")
        self._came += rise
        receiving.highest = receiving.last = sent
        if stream.over:
            self._took(rise)
        else:
            known = stream.known
            self._break(stream, code)
            if known:
                self.out.append(events.StreamReset(self._session, number, code))
        self._let_go(stream)

    def _credit_came(self, number: int, most: int) -> None:
        if not number:
            self._fresh += max(0, most - self._most_sent)
            self._most_sent = max(self._most_sent, most)
            return
        stream = self._find(number)
        if stream is not None:
            stream.sending.most = max(stream.sending.most, most)

    # -- states

    def _owe(self, kind: int, number: int) -> None:
        self._owed[(kind, number, 0, 0, False)] = None

    def _break(self, stream: _Stream, code: int) -> None:
        """It is over, both ways; the other end is told, and says how much it had sent."""
        stream.over, stream.code = True, code
        self._held -= stream.sending.held
        stream.sending.drop()
        self._took(stream.receiving.highest - stream.receiving.consumed)
        stream.receiving.drop()
        stream.early = bytearray()
        self._owe(RESET, stream.number)

    def _took(self, octets: int) -> None:
        self._taken += octets
        if self._given - self._taken <= self._window_all // 2:
            self._given = self._taken + self._window_all
            self._owe(CREDIT, 0)

    def _let_go(self, stream: _Stream) -> None:
        """Forget a stream that is over at both ends."""
        receiving = stream.receiving
        if stream.over:
            gone = stream.reset_arrived and receiving.last is not None
        else:
            gone = stream.sending.done and stream.told and receiving.consumed == receiving.last
        if gone:
            del self._table[stream.number]
            if stream.number % 2 != self._ours % 2:
                self._lets_open += 1
                self._owe(ROOM, 0)

    # -- what goes out

    def wants(self) -> bool:
        """Whether there is something to send that wants to be acknowledged."""
        if self._owed:
            return True
        for stream in self._table.values():  # noqa: SIM110  # asked several times a packet: a generator costs three times as much
            if stream.sending.wants(self._fresh):
                return True
        return False

    def ask(self) -> None:
        """Send something that is acknowledged, whatever it is."""
        if not self.wants():
            self._owe(CREDIT, 0)

    def cut(self, room: int, batch: list[bytes], pieces: list[Piece]) -> None:
        """Fill a packet that has ``room`` octets left with frames, and say what they are."""
        for piece in list(self._owed):
            frame = self._encoded(piece[0], piece[1])
            if len(frame) > room or len(batch) == frames.MOST:
                return
            del self._owed[piece]
            if frame:
                batch.append(frame)
                pieces.append(piece)
                room -= len(frame)
        for stream in list(self._table.values()):
            sending = stream.sending
            while room >= LEAST and len(batch) < frames.MOST and sending.wants(self._fresh):
                sent = sending.next
                offset, octets, ends = sending.cut(room - HEADS, self._fresh)
                self._fresh -= sending.next - sent
                frame = frames.stream_data(stream.number, offset, octets, ends=ends)
                batch.append(frame)
                pieces.append((DATA, stream.number, offset, offset + len(octets), ends))
                room -= len(frame)
                self._table.move_to_end(stream.number)
            if room < LEAST:
                return

    def _encoded(self, kind: int, number: int) -> bytes:
        """A frame as it must be said now; empty where it need not be said any more."""
        if kind == ROOM:
            return frames.stream_room(self._lets_open)
        if not number:
            return frames.stream_credit(0, min(self._given, MOST))
        stream = self._table.get(number)
        if stream is None:
            return b""
        if kind == CREDIT:
            return frames.stream_credit(number, stream.receiving.most) if not stream.over else b""
        if kind == RESET:
            return frames.stream_reset(number, stream.code, stream.sending.next)
        return frames.stream_open(number, stream.kind, stream.head)

    def arrived(self, pieces: list[Piece]) -> None:
        """The other end has these."""
        for kind, number, low, high, ends in pieces:
            stream = self._table.get(number)
            if stream is None:
                continue
            if kind == DATA and not stream.over:
                sending = stream.sending
                before = sending.held
                sending.acked(low, high, ends)
                self._held -= before - sending.held
                if sending.last is not None:
                    self._let_go(stream)
            elif kind == RESET:
                stream.reset_arrived = True
                self._let_go(stream)

    def again(self, pieces: list[Piece]) -> None:
        """The other end may not have these: they go out once more."""
        for piece in pieces:
            kind, number, low, high, ends = piece
            if kind != DATA:
                self._owed[piece] = None
            elif (stream := self._table.get(number)) is not None and not stream.over:
                stream.sending.lost(low, high, ends)

    def unblock(self) -> None:
        """Tell those who wait for room that there is some: half of what a stream may hold."""
        if not self._blocked:
            return
        self._blocked = False
        room = limits.STREAMS_BUFFER - self._held
        for stream in self._table.values():
            sending = stream.sending
            if sending.blocked and 2 * min(room, limits.STREAM_BUFFER - sending.held) >= limits.STREAM_BUFFER:
                sending.blocked = False
                self.out.append(events.StreamWritable(self._session, stream.number))
            self._blocked = self._blocked or sending.blocked


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST
