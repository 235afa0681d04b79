"""`overlay lab run` and `overlay lab replay`: what people and programs read of a story and of a recording."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overlay.driver.logfile import LogFile
from overlay.driver.recorder import Recorded, keep
from overlay.lab.world import World
from tests.cli.shell import Run
from tests.lab.scenes import node


def test_a_story_is_told_in_lines_and_as_json_and_the_seed_is_its_name(run: Run) -> None:
    told = run("lab", "run", "crash", "--seed", "5")
    assert told.status == 0
    assert told.err == ""
    assert told.out.splitlines()[0].split(maxsplit=1) == ["0.000", "hq/founder founds the overlay"]
    assert told.out.splitlines()[-2].endswith("everything came as it should")
    found = json.loads(run("lab", "run", "crash", "--seed", "5", "--json").out)
    assert set(found) == {"scenario", "seed", "held", "seconds", "datagrams", "events", "digest"}
    assert (found["scenario"], found["seed"], found["held"]) == ("crash", 5, True)
    assert all(set(event) == {"at_s", "what"} for event in found["events"])
    assert found["digest"].startswith(told.out.split()[-1])


@pytest.mark.parametrize("words", [("lab", "run"), ("lab", "run", "nonsense"), ("lab", "run", "join", "--seed", "x"), ("lab",), ("lab", "replay")])
def test_what_cannot_be_rehearsed_is_misuse(run: Run, words: tuple[str, ...]) -> None:
    refused = run(*words)
    assert (refused.status, len(refused.complaint), refused.out) == (2, 2, "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a recording in it, of a node that lived two minutes in the lab."""
    monkeypatch.setattr("overlay.lab.world.Node", Recorded)
    world = World(4)
    founder = world.found("hq/founder")
    world.run(1)
    world.join("eu/home/alice")
    world.run(120)
    one = node(founder)
    assert isinstance(one, Recorded)
    (tmp_path / "run").mkdir()
    (tmp_path / "identity").write_text(founder.identity.to_file())
    log = LogFile(tmp_path / "log")
    keep(one, tmp_path / "run" / "flight", log, 0.0)
    log.close()
    return tmp_path


def test_a_recording_is_played_with_the_identity_of_the_home_that_it_lies_in(run: Run, home: Path) -> None:
    played = run("lab", "replay", str(home / "run" / "flight"))
    assert (played.status, played.err) == (0, "")
    assert played.out.splitlines()[1:] == ["recorded: no crash", "replayed: no crash", "the replay came to the recorded end"]
    found = json.loads(run("--home", str(home), "lab", "replay", str(home / "run" / "flight"), "--json").out)
    assert set(found) == {"whole", "inputs", "steps", "at", "same", "recorded", "replayed", "diverged"}
    assert (found["whole"], found["same"], found["recorded"], found["replayed"]) == (True, True, None, None)
    assert found["inputs"] > found["steps"] > 10


def test_a_recording_without_its_identity_or_of_another_node_is_refused_in_two_lines(run: Run, home: Path, tmp_path: Path) -> None:
    flight = home / "run" / "flight"
    (home / "identity").rename(home / "moved")
    missing = run("lab", "replay", str(flight))
    assert (missing.status, len(missing.complaint)) == (1, 2)
    assert "identity" in missing.complaint[0]
    damaged = home / "damaged"
    damaged.write_bytes(flight.read_bytes()[:-1])
    (home / "moved").rename(home / "identity")
    refused = run("--home", str(home), "lab", "replay", str(damaged))
    assert (refused.status, refused.complaint[0]) == (2, "overlay: that is no recording, or a damaged one")
