"""Ends that pour octets into streams and drink what comes: actors for the tests of streams, over ``wire_pair``.

A ``Tap`` is one end's side of all its streams: what is still to be written, what arrived, how the streams ended. It reads
at once unless it is told to be slow. ``pattern`` makes octets that say where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overlay.session import events
from tests.session.wire_pair import End, Wire

KIND = 7


def pattern(stream: int, size: int) -> bytes:
    """Octets that differ by stream and by offset."""
    return b"".join((stream * 1_000_003 + n).to_bytes(8, "big") for n in range(size // 8 + 1))[:size]


@dataclass(slots=True, eq=False)
class Tap:
    """One end."""

    end: End
    wire: Wire
    reads: bool = True
    unsent: dict[int, bytearray] = field(default_factory=dict)
    finishing: set[int] = field(default_factory=set)
    opened: dict[int, events.StreamOpened] = field(default_factory=dict)
    got: dict[int, bytearray] = field(default_factory=dict)
    unread: dict[int, int] = field(default_factory=dict)
    finished: list[int] = field(default_factory=list)
    resets: dict[int, int] = field(default_factory=dict)
    seen: int = 0  # events looked at

    def __post_init__(self) -> None:
        self.end.sessions.streams.kinds.add(KIND)

    def open(self, data: bytes = b"", *, finish: bool = True, head: object = None) -> int:
        """Open a stream and pour ``data`` into it."""
        stream = self.end.sessions.streams.open(self.end.number, KIND, head, self.wire.now)
        if stream:
            self.pour(stream, data, finish=finish)
        self.wire.settle(self.end)
        return stream

    def pour(self, stream: int, data: bytes, *, finish: bool = True) -> None:
        """Write these octets as they are taken, and finish behind them."""
        self.unsent.setdefault(stream, bytearray()).extend(data)
        if finish:
            self.finishing.add(stream)
        self._write(stream)

    def _write(self, stream: int) -> None:
        waiting = self.unsent.get(stream)
        if waiting is None:
            return
        streams = self.end.sessions.streams
        taken = streams.write(self.end.number, stream, bytes(waiting), self.wire.now) if waiting else 0
        del waiting[:taken]
        if not waiting and stream in self.finishing:
            del self.unsent[stream]
            self.finishing.discard(stream)
            streams.finish(self.end.number, stream, self.wire.now)

    def drink(self) -> None:
        """Give back credit for all that was handed up."""
        for stream, octets in list(self.unread.items()):
            del self.unread[stream]
            self.end.sessions.streams.consumed(self.end.number, stream, octets, self.wire.now)

    def turn(self) -> None:
        """Look at what happened, write on, read."""
        news, self.seen = self.end.events[self.seen :], len(self.end.events)
        for event in news:
            match event:
                case events.StreamOpened(stream=stream):
                    assert stream not in self.opened and stream not in self.got
                    self.opened[stream] = event
                case events.StreamData(stream=stream, data=data):
                    assert data and stream not in self.finished and stream not in self.resets
                    self.got.setdefault(stream, bytearray()).extend(data)
                    self.unread[stream] = self.unread.get(stream, 0) + len(data)
                case events.StreamFinished(stream=stream):
                    assert stream not in self.finished
                    self.finished.append(stream)
                case events.StreamReset(stream=stream, code=code):
                    assert stream not in self.resets
                    self.resets[stream] = code
                    self.unsent.pop(stream, None)
                case events.StreamWritable(stream=stream):
                    self._write(stream)
        if self.reads:
            self.drink()
        self.wire.settle(self.end)


def run(wire: Wire, taps: list[Tap], seconds: float, step: float = 0.01) -> None:
    """Let time pass; the taps take turns every ``step``."""
    until = wire.now + seconds
    while wire.now < until:
        wire.run(step)
        for tap in taps:
            tap.turn()


def joined(wire: Wire) -> tuple[Tap, Tap]:
    """Two ends with a session between them."""
    a, b = wire.end(1), wire.end(2)
    taps = Tap(a, wire), Tap(b, wire)
    loss, wire.loss = wire.loss, 0.0
    wire.dial(a, b)
    wire.run(2)
    for end in (a, b):
        end.sessions.admit(end.number)
    wire.loss = loss
    return taps
