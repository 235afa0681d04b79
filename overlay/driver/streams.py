"""Streams of sessions as Trio streams, for drivers: octets in, octets out, credit given back as they are read.

It decides nothing: ``Streaming`` (``overlay/session/streaming.py``) does. A reader that does not read stops the other end
by its credit, so what waits here is bounded by ``limits.STREAM_WINDOW`` for each stream. Who owns the sessions hands in
their events with :meth:`Streams.told` and lets out what they want in ``step``.

Closing is graceful: what was written still arrives. What the other end goes on to say is thrown away, up to a window;
who says more is broken off.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from overlay import limits
from overlay.session import events
from overlay.session.streaming import Streaming
from overlay.wire.codec import Value

CLOSED = 2  # code of a reset: nobody reads here any more
READ = 65_536  # octets at once, where the reader does not say


class Pipe(trio.abc.HalfCloseableStream):
    """One stream. One task may send and one receive at a time."""

    def __init__(self, owner: Streams, session: int, stream: int, kind: int, head: Value) -> None:
        self.session = session
        self.stream = stream
        self.kind = kind
        self.head = head
        self._owner = owner
        self._came = bytearray()
        self._ended = False  # the other end has said all
        self._broken = ""  # why nothing goes any more
        self._finished = self._closed = False
        self._thrown = 0  # octets that came after closing
        self._readable, self._writable = trio.Event(), trio.Event()
        self._sending = self._receiving = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Returns when all was taken, not when it arrived."""
        if self._sending:
            raise trio.BusyResourceError("another task sends on this stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            waiting = memoryview(data)
            while True:
                self._check(self._finished)
                taken = self._owner.write(self, bytes(waiting[:READ]))
                waiting = waiting[taken:]
                if not waiting:
                    return
                if taken < min(READ, len(waiting) + taken):
                    await self._room()
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """Returns when some is taken; there is no telling without trying, so at once."""
        if self._sending:
            raise trio.BusyResourceError("another task sends on this stream")
        self._check(self._finished)
        await trio.lowlevel.checkpoint()

    async def _room(self) -> None:
        self._writable = trio.Event()
        await self._writable.wait()

    async def send_eof(self) -> None:
        """Nothing more is sent; what was is still delivered."""
        if self._sending:
            raise trio.BusyResourceError("another task sends on this stream")
        self._check(False)
        await trio.lowlevel.checkpoint()
        self._finish()

    def _finish(self) -> None:
        if not self._finished and not self._broken:
            self._finished = True
            self._owner.streaming.finish(self.session, self.stream, self._owner.now())
            self._owner.step()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next octets, at least one; empty at the end."""
        if max_bytes is not None and not isinstance(max_bytes, int):
            raise TypeError("a number of octets is wanted")
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("at least one octet is to be read")
        if self._receiving:
            raise trio.BusyResourceError("another task reads this stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._came:
                if self._ended and not self._closed:
                    return b""
                self._check(False)
                self._readable = trio.Event()
                await self._readable.wait()
            self._check(False)
            data = bytes(self._came[: max_bytes or READ])
            del self._came[: len(data)]
            self._owner.consumed(self, len(data))
            return data
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """Finish, and read no more."""
        self._closed = True
        if not self._broken:
            thrown, self._came = len(self._came), bytearray()
            self._owner.consumed(self, thrown)
            self._finish()
        self._wake()
        self._owner.leave(self)
        await trio.lowlevel.checkpoint()

    # -- what the owner tells

    def came(self, data: bytes) -> None:
        """Octets came."""
        if not self._closed:
            self._came += data
            self._readable.set()
            return
        self._thrown += len(data)
        if self._thrown > limits.STREAM_WINDOW:
            self._owner.streaming.reset(self.session, self.stream, CLOSED, self._owner.now())
            self.broken("closed")
        else:
            self._owner.consumed(self, len(data))

    def ended(self) -> None:
        """The other end has said all."""
        self._ended = True
        self._wake()
        self._owner.leave(self)

    def broken(self, why: str) -> None:
        """Nothing goes any more."""
        self._broken = why
        self._wake()
        self._owner.leave(self)

    def writable(self) -> None:
        """There is room again."""
        self._writable.set()

    @property
    def over(self) -> bool:
        """Whether its owner may forget it."""
        return bool(self._broken) or (self._closed and self._ended)

    def _wake(self) -> None:
        self._readable.set()
        self._writable.set()

    def _check(self, finished: bool) -> None:
        if self._closed or finished:
            raise trio.ClosedResourceError("this end of the stream is closed")
        if self._broken:
            raise trio.BrokenResourceError(f"the stream broke off: {self._broken}")


class Streams:
    """All streams of a node's sessions. ``accept`` gets each that the other end opens."""

    def __init__(
        self, streaming: Streaming, *, now: Callable[[], float], step: Callable[[], None], accept: Callable[[Pipe], None],
    ) -> None:
        self.streaming = streaming
        self.now = now
        self.step = step
        self._accept = accept
        self._pipes: dict[tuple[int, int], Pipe] = {}

    def open(self, session: int, kind: int, head: Value = None) -> Pipe:
        """Open a stream; ``BrokenResourceError`` where the session is over or carries as many as it may."""
        stream = self.streaming.open(session, kind, head, self.now())
        if not stream:
            raise trio.BrokenResourceError("no session there, or as many streams as it may carry")
        pipe = self._pipes[session, stream] = Pipe(self, session, stream, kind, head)
        self.step()
        return pipe

    def told(self, event: events.StreamEvent | events.Closed) -> None:
        """An event of the sessions."""
        if isinstance(event, events.Closed):
            for pipe in [pipe for pipe in self._pipes.values() if pipe.session == event.session]:
                pipe.broken(event.reason)
            return
        if isinstance(event, events.StreamOpened):
            pipe = self._pipes[event.session, event.stream] = Pipe(self, event.session, event.stream, event.kind, event.head)
            self._accept(pipe)
            return
        found = self._pipes.get((event.session, event.stream))
        if found is None:
            return
        if isinstance(event, events.StreamData):
            found.came(event.data)
        elif isinstance(event, events.StreamWritable):
            found.writable()
        elif isinstance(event, events.StreamFinished):
            found.ended()
        else:
            found.broken(f"reset with code {event.code}")

    # -- what pipes ask

    def write(self, pipe: Pipe, data: bytes) -> int:
        """How many octets were taken."""
        taken = self.streaming.write(pipe.session, pipe.stream, data, self.now())
        self.step()
        return taken

    def consumed(self, pipe: Pipe, octets: int) -> None:
        """Give credit back."""
        if octets:
            self.streaming.consumed(pipe.session, pipe.stream, octets, self.now())
            self.step()

    def leave(self, pipe: Pipe) -> None:
        """Forget a stream, where nothing more can happen to it."""
        if pipe.over:
            self._pipes.pop((pipe.session, pipe.stream), None)
