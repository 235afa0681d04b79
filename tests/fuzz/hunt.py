"""The oracle and the hunt: accepted, or the decoder's own error, and nothing else; in bounded time and memory.

A hunt keeps every input that is refused on a line of the source that refused nothing before (or is accepted for the
first time), and mutates it further: so it finds its way past one check after the other without instrumenting anything.
"""

from __future__ import annotations

import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.mutate import Mutator

CORPUS = Path(__file__).with_name("corpus")
SLOW = 0.25  # seconds of CPU for one input: the limits of inputs are such that honest ones take a hundredth (guess)
STUCK = 10.0  # seconds of CPU: such an input would hold up a node for good
MEMORY = 8 * 1024 * 1024  # octets that one input may make a decoder hold at once: 8 x the largest that any of them takes
LOOK_AT_MEMORY = 200  # one input in so many: tracing makes Python three times as slow
POOL = 2_000  # inputs kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """One reader of foreign octets.

    ``run`` decodes and, where there is an encoder, goes back and forth; ``errors`` are its own. ``packed`` speaks
    MessagePack, ``text`` is read as text. A walk through a state machine is one too: its input is the seed of the dice.
    """

    name: str
    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    packed: bool = False
    text: bool = False
    longest: int = 4_096
    walk: bool = False


@dataclass(frozen=True, slots=True)
class Crash:
    """An input that the oracle does not allow, made as short as it could be."""

    decoder: str
    data: bytes
    what: str


@dataclass(slots=True)
class Figures:
    """What a hunt did. ``ways``: distinct lines of the source on which inputs were refused, and being accepted."""

    inputs: int = 0
    seconds: float = 0.0
    accepted: int = 0
    ways: int = 0
    crashes: list[Crash] = field(default_factory=list)


class Stuck(BaseException):
    """An input took too long; not an Exception, so that no decoder takes it for its own."""


Way = tuple[str, int]  # where in the source an input ended


def ending(decoder: Decoder, data: bytes) -> tuple[Way, str]:
    """Where an input ends, and what is wrong with that: "" where the oracle allows it."""
    way, wrong, took = _tried(decoder, data)
    if not wrong and not decoder.walk and took > SLOW:
        took = min(took, *(_tried(decoder, data)[2] for _ in range(3)))  # once may have been Python, sweeping up
        wrong = f"slow: {took:.2f} s" if took > SLOW else ""
    return way, wrong


def _tried(decoder: Decoder, data: bytes) -> tuple[Way, str, float]:
    begun = time.thread_time()
    with _alarm():
        try:
            decoder.run(data)
            way, wrong = ("", 0), ""
        except decoder.errors as error:
            way, wrong = _line(error), ""
        except (Exception, Stuck) as error:  # noqa: BLE001  # whatever it is: that is what the hunt is for
            way, wrong = _line(error), f"{type(error).__name__}: {str(error)[:120]}"
    return way, wrong, time.thread_time() - begun


def _line(error: BaseException) -> Way:
    """Where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Stuck(f"more than {STUCK:.0f} s")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, STUCK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def held(decoder: Decoder, data: bytes) -> int:
    """The most octets that Python held at once because of one input."""
    tracemalloc.start()
    try:
        ending(decoder, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def hunt(decoder: Decoder, *, seed: int = 0, inputs: int | None = None, seconds: float = float("inf")) -> Figures:
    """Try so many inputs, or for so many seconds of CPU, whichever is first."""
    dice, figures = Random(f"{decoder.name} {seed}"), Figures()
    mutator = Mutator(dice, decoder.seeds, words=decoder.words, packed=decoder.packed, text=decoder.text, longest=decoder.longest)
    ways: set[Way] = set()
    wrongs: set[str] = set()
    begun = time.thread_time()
    untried = list(reversed(decoder.seeds))
    while (inputs is None or figures.inputs < inputs) and time.thread_time() - begun < seconds:
        data = dice.randbytes(8) if decoder.walk else untried.pop() if untried else mutator.next()
        figures.inputs += 1
        way, wrong = ending(decoder, data)
        if not wrong and figures.inputs % LOOK_AT_MEMORY == 0 and not decoder.walk and (octets := held(decoder, data)) > MEMORY:
            wrong = f"memory: {octets} octets"
        if wrong and (kind := f"{way} {wrong.partition(':')[0]}") not in wrongs:
            wrongs.add(kind)
            figures.crashes.append(Crash(decoder.name, data if decoder.walk else shortest(decoder, data), wrong))
        figures.accepted += not wrong and way == ("", 0)
        if way not in ways:
            ways.add(way)
            if len(mutator.pool) < POOL:
                mutator.pool.append(data)
    figures.seconds = time.thread_time() - begun
    figures.ways = len(ways)
    return figures


def shortest(decoder: Decoder, data: bytes) -> bytes:
    """The same crash from fewer octets: spans are left out as long as the input still ends on the same line."""
    way, wrong = ending(decoder, data)
    if not wrong or wrong.startswith("slow"):
        return data
    span = len(data) // 2
    while span:
        at = 0
        while at < len(data):
            less = data[:at] + data[at + span :]
            found, still = ending(decoder, less)
            if still and found == way:
                data = less
            else:
                at += span
        span //= 2
    return data


def crashers(name: str) -> list[bytes]:
    """The committed inputs that once crashed that decoder: a line each, in hexadecimal, with what it did behind ``#``."""
    path = CORPUS / f"{name}.txt"
    if not path.exists():
        return []
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [bytes.fromhex(line) for line in lines if line]
