"""Every decoder takes an input or refuses it with its own error: some thousands of inputs each, and all that ever crashed one.

The long form is ``make fuzz`` (docs/fuzzing.md).
"""

from __future__ import annotations

import time

import pytest

from overlay.errors import OverlayError
from tests.fuzz.hunt import CORPUS, Decoder, crashers, ending, hunt, shortest
from tests.fuzz.table import DECODERS

INPUTS = 3_000
SECONDS = 1.5  # of CPU, for those that take longer
NAMES = sorted(DECODERS)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_that_are_nearly_right_are_taken_or_refused_in_words(name: str) -> None:
    figures = hunt(DECODERS[name], inputs=INPUTS, seconds=SECONDS)
    assert not figures.crashes, "\n".join(f"{crash.data.hex()}  # {crash.what}" for crash in figures.crashes)


@pytest.mark.parametrize("name", NAMES)
def test_its_seeds_are_good_and_what_once_crashed_it_does_so_no_more(name: str) -> None:
    decoder = DECODERS[name]
    assert decoder.walk or any(ending(decoder, data)[0] == ("", 0) for data in decoder.seeds), "no seed is accepted: nothing behind it is reached"
    for data in crashers(name):
        assert ending(decoder, data)[1] == "", data.hex()


def test_every_file_of_the_corpus_belongs_to_a_decoder() -> None:
    assert {path.stem for path in CORPUS.glob("*.txt")} <= set(DECODERS)


def test_errors_are_families_never_all_of_them() -> None:
    for decoder in DECODERS.values():
        assert all(issubclass(error, OverlayError) and error is not OverlayError for error in decoder.errors), decoder.name


def _greedy(data: bytes) -> None:
    if b"\xff" in data and b"k" in data:
        raise KeyError("a defect")


def test_the_hunt_finds_a_defect_tells_it_apart_and_makes_it_short() -> None:
    decoder = Decoder(name="greedy", run=_greedy, errors=(), seeds=(b"some kind of text",))
    figures = hunt(decoder, inputs=INPUTS)
    assert [crash.what for crash in figures.crashes] == ["KeyError: 'a defect'"]
    assert sorted(figures.crashes[0].data) == sorted(b"k\xff")
    assert shortest(decoder, b"harmless") == b"harmless"


def test_what_is_slow_once_is_forgiven_and_what_is_always_slow_is_told() -> None:
    turns = iter([0.3])

    def once(data: bytes) -> None:
        end = time.thread_time() + next(turns, 0.0)
        while time.thread_time() < end:
            pass

    def always(data: bytes) -> None:
        end = time.thread_time() + 0.3
        while time.thread_time() < end:
            pass

    assert ending(Decoder(name="once", run=once, errors=(), seeds=()), b"")[1] == ""
    assert ending(Decoder(name="always", run=always, errors=(), seeds=()), b"")[1].startswith("slow")


def test_the_same_seed_gives_the_same_inputs() -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []
        decoder = Decoder(name="listener", run=inputs.append, errors=(), seeds=(b"abc", b"\x93\x01\x02\x03"), packed=True)
        hunt(decoder, inputs=500)
        seen.append(inputs)
    assert seen[0] == seen[1]
