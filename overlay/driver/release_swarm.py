"""Releases from mate to mate over streams of sessions: pieces out, pieces in, each leaf proved before it is kept (DESIGN 3.9).

It moves octets; whom to ask and whom to give to is decided in ``overlay/release/swarm.py``. A mate is left at its first
leaf that is not what was signed. What comes lies in the part file on the shelf, so a crash, or plain HTTP, goes on from there.

    Swarming.share          one release at this node, as long as somebody has a stream for it
    |- _hear, _speak        two tasks a mate
    `- fetch                asks until all is here, or nothing has come for a while
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from overlay import limits
from overlay.driver.releases import Part, Shelf
from overlay.driver.streams import Pipe
from overlay.errors import Malformed, OverlayError, StateError
from overlay.release import speech
from overlay.release.merkle import LEAF, layer, leaf_span, read_layer
from overlay.release.speech import Hearing, Said, Say, piece_leaves, pieces_of
from overlay.release.swarm import Swarm

STALL: Final = 6.0  # seconds without a piece after which the swarm is given up: a slow mate has been replaced by then
WAITING: Final = 16  # words that wait to be sent to one mate, each of at most a piece: an honest one asks for 8 at once
LAYER_TIME: Final = 5.0  # seconds for the hashes of the leaves


@dataclass(eq=False)
class Sharing:
    """One release at this node: what is here, and who is at the other end of a stream for it."""

    channel: str
    revision: int
    length: int
    root: bytes
    swarm: Swarm[bytes] | None = None  # once the hashes of the leaves are known
    hashes: list[bytes] = field(default_factory=list)
    part: Part | None = None
    whole: int = -1  # descriptor of the file, where all of it is here
    mates: dict[bytes, Mate] = field(default_factory=dict)
    news: trio.Event = field(default_factory=trio.Event)
    elsewhere: list[bytes] = field(default_factory=list)  # nodes that were named to us
    last: float = 0.0  # when a piece last came
    trouble: StateError | None = None  # the disk takes nothing

    def close(self) -> None:
        """Let go of the files."""
        if self.whole >= 0:
            os.close(self.whole)
            self.whole = -1
        if self.part is not None:
            self.part.close()

    def wake(self) -> None:
        """Something happened."""
        self.news.set()
        self.news = trio.Event()


@dataclass(eq=False)
class Mate:
    """The other end of a stream."""

    node_id: bytes
    near: bool
    pipe: Pipe
    words: deque[bytes] = field(default_factory=deque)  # to be sent
    came: list[int] = field(default_factory=list)  # pieces that it is to be told of, together
    early: set[int] = field(default_factory=set)  # what it said that it has, before we knew the leaves
    news: trio.Event = field(default_factory=trio.Event)
    over: bool = False

    def say(self, word: bytes) -> None:
        """Send it soon; who asks for more than it takes is left."""
        self.words.append(word)
        self.over = self.over or len(self.words) > WAITING
        self.news.set()

    def tell(self, piece: int) -> None:
        """That piece is here now."""
        self.came.append(piece)
        self.news.set()

    async def next(self) -> bytes:
        """The next word; empty where it is over."""
        while not self.words and not self.came and not self.over:
            self.news = trio.Event()
            await self.news.wait()
        if self.over:
            return b""
        if self.words:
            return self.words.popleft()
        told, self.came = self.came[: speech.MOST_HAVE], self.came[speech.MOST_HAVE :]
        return speech.have(told)


class Swarming:
    """All releases that this node shares. ``near`` says whether a node is of this cluster."""

    def __init__(self, shelf: Shelf, counters: Counter[str], *, now: Callable[[], float], near: Callable[[bytes], bool]) -> None:
        self.shelf = shelf
        self.counters = counters
        self._now = now
        self._near = near
        self._sharing: dict[tuple[str, int, bytes], Sharing] = {}

    # -- giving

    async def serve(self, pipe: Pipe, node_id: bytes, sharing: Sharing | None) -> None:
        """Somebody opened a stream for a release that is here, in part or whole (``sharing``), or not."""
        if sharing is None or node_id in sharing.mates or len(sharing.mates) >= limits.MATES:
            self.counters["drop:mates-full"] += sharing is not None
            await pipe.aclose()
            return
        await self._talk(sharing, pipe, node_id)
        if not sharing.mates and sharing.part is None:
            self._sharing.pop((sharing.channel, sharing.revision, sharing.root), None)
            sharing.close()

    def find(self, channel: str, revision: int, length: int, root: bytes, kind: str = "") -> Sharing | None:
        """What is shared of a release: being fetched, or whole on the shelf (as ``kind``); None where neither."""
        key = (channel, revision, root)
        found = self._sharing.get(key)
        if found is not None:
            return found if found.swarm is not None else None
        if not self.shelf.holds(channel, revision, length, kind):
            return None
        sharing = Sharing(channel, revision, length, root)
        try:
            sharing.hashes = self.shelf.leaves(channel, revision, length, root, kind)
            sharing.whole = os.open(self.shelf.place(channel, revision, kind), os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, OverlayError):
            return None
        pieces = pieces_of(length)
        sharing.swarm = Swarm(pieces, range(pieces), os.urandom)
        self._sharing[key] = sharing
        return sharing

    # -- a mate

    async def _talk(self, sharing: Sharing, pipe: Pipe, node_id: bytes) -> None:
        """Until one end has enough."""
        mate = Mate(node_id, self._near(node_id), pipe)
        sharing.mates[node_id] = mate
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._speak, mate, nursery.cancel_scope)
                if sharing.swarm is not None:
                    self._greet(sharing, mate)
                else:
                    mate.say(speech.ask_layer())
                try:
                    hearing = Hearing(sharing.length)
                    while data := await pipe.receive_some():
                        for said in hearing.hear(data):
                            self._heard(sharing, mate, said)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # it has left
                except Malformed as why:
                    self.counters[f"drop:{why.rule}"] += 1
                except StateError as why:  # the disk takes nothing: whoever fetches hears of it
                    sharing.trouble = why
                nursery.cancel_scope.cancel()
        finally:
            if sharing.mates.get(node_id) is mate:
                del sharing.mates[node_id]
                if sharing.swarm is not None:
                    sharing.swarm.left(node_id)
            sharing.wake()
            with trio.CancelScope(shield=True):
                await pipe.aclose()

    def _greet(self, sharing: Sharing, mate: Mate) -> None:
        swarm = sharing.swarm
        assert swarm is not None
        swarm.joined(mate.node_id, near=mate.near)
        swarm.has(mate.node_id, mate.early)
        mate.say(speech.bits((piece for piece in range(swarm.pieces) if piece not in swarm.missing), swarm.pieces))

    async def _speak(self, mate: Mate, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while word := await mate.next():
                await mate.pipe.send_all(word)
        scope.cancel()

    def _heard(self, sharing: Sharing, mate: Mate, said: Said) -> None:
        swarm = sharing.swarm
        if said.what is Say.ASK_LAYER:
            if sharing.hashes:
                mate.say(speech.tell_layer(layer(sharing.hashes)))
        elif said.what is Say.LAYER:
            if swarm is None and not sharing.hashes:
                sharing.hashes = read_layer(said.data, sharing.length, sharing.root)
                sharing.wake()
        elif swarm is None:
            if said.what in (Say.BITS, Say.HAVE):
                mate.early.update(said.numbers)
        elif said.what in (Say.BITS, Say.HAVE):
            swarm.has(mate.node_id, said.numbers)
            sharing.wake()
        elif said.what is Say.WANT:
            self._give(sharing, mate, said.numbers[0])
        elif said.what is Say.NO:
            swarm.refused(mate.node_id, said.numbers[0], self._now())
            sharing.elsewhere += said.nodes
            sharing.wake()
        elif said.what is Say.PIECE:
            self._take(sharing, mate, said)

    def _give(self, sharing: Sharing, mate: Mate, asked: int) -> None:
        assert sharing.swarm is not None
        answer = sharing.swarm.give(mate.node_id, asked, self._now())
        octets = self._read(sharing, answer.piece) if answer.piece is not None else b""
        if answer.piece is None or not octets:
            mate.say(speech.no(asked, answer.mates))
            return
        self.counters["pieces_given"] += 1
        mate.say(speech.gives(asked, answer.piece, octets))

    def _read(self, sharing: Sharing, piece: int) -> bytes:
        leaves = piece_leaves(piece, sharing.length)
        first, (last, octets) = leaves[0] * LEAF, leaf_span(leaves[-1], sharing.length)
        try:
            if sharing.whole >= 0:
                return os.pread(sharing.whole, last + octets - first, first)
            return sharing.part.read(first, last + octets - first) if sharing.part is not None else b""
        except OSError:
            self.counters["shelf_unread"] += 1
            return b""

    def _take(self, sharing: Sharing, mate: Mate, said: Said) -> None:
        swarm, part = sharing.swarm, sharing.part
        assert swarm is not None
        asked, piece = said.numbers
        if part is None or piece not in swarm.missing:
            swarm.came(mate.node_id, piece, asked)
            return
        at = 0
        for number in piece_leaves(piece, sharing.length):
            size = leaf_span(number, sharing.length)[1]
            if not part.put(number, said.data[at : at + size]):
                swarm.ban(mate.node_id)
                self.counters["sources_banned"] += 1
                raise Malformed("a leaf that is not what was signed", rule="leaf")
            at += size
        self.counters["pieces_taken"] += 1
        swarm.came(mate.node_id, piece, asked)
        sharing.last = self._now()
        for other in list(sharing.mates.values()):
            other.tell(piece)
        sharing.wake()

    # -- taking

    async def fetch(
        self, channel: str, revision: int, length: int, root: bytes, *, link: Callable[[Sharing, trio.Nursery], None],
    ) -> bool:
        """Fetch from mates; ``link`` opens streams to those there are (``join``), again and again. False where nothing comes."""
        key = (channel, revision, root)
        if key in self._sharing:
            return False
        sharing = self._sharing[key] = Sharing(channel, revision, length, root, last=self._now())
        try:
            async with trio.open_nursery() as nursery:
                try:
                    done = await self._fetch(sharing, nursery, link)
                except StateError as why:
                    done, sharing.trouble = False, why
                nursery.cancel_scope.cancel()
            if sharing.trouble is not None:
                raise sharing.trouble
            return done
        finally:
            self._sharing.pop(key, None)
            sharing.close()

    async def _fetch(self, sharing: Sharing, nursery: trio.Nursery, link: Callable[[Sharing, trio.Nursery], None]) -> bool:
        began = self._now()
        while not sharing.hashes:
            link(sharing, nursery)
            with trio.move_on_after(0.5):
                await sharing.news.wait()
            if self._now() - began > LAYER_TIME:
                return False
        part = sharing.part = await trio.to_thread.run_sync(
            Part, self.shelf, sharing.channel, sharing.revision, sharing.length, sharing.hashes
        )
        pieces = pieces_of(sharing.length)
        here = [piece for piece in range(pieces) if all(part.have[leaf] for leaf in piece_leaves(piece, sharing.length))]
        swarm = sharing.swarm = Swarm(pieces, here, os.urandom)
        swarm.source = False  # what is here came from others
        for mate in sharing.mates.values():
            self._greet(sharing, mate)
        sharing.last = self._now()
        while swarm.missing and sharing.trouble is None:
            link(sharing, nursery)
            for name, piece in swarm.to_ask(self._now()):
                if name in sharing.mates:
                    sharing.mates[name].say(speech.want(piece))
                else:
                    swarm.left(name)
            wake = swarm.wake_at()
            with trio.move_on_after(0.5 if wake is None else min(0.5, max(0.01, wake - self._now()))):
                await sharing.news.wait()
            if self._now() - sharing.last > STALL:
                self.counters["swarms_stalled"] += 1
                return False
        if swarm.missing:
            return False
        await trio.to_thread.run_sync(part.finish)
        return True

    async def join(self, sharing: Sharing, pipe: Pipe, node_id: bytes) -> None:
        """Talk to a mate over a stream that was opened here."""
        if node_id in sharing.mates:
            await pipe.aclose()
            return
        await self._talk(sharing, pipe, node_id)
