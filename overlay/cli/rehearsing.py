"""``overlay lab run SCENARIO`` and ``overlay lab replay FILE``: the simulator, for people (CONTRACT).

It decides what is shown of a story or a replay. Nothing here touches the network or a running node.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from overlay.cli import membership
from overlay.cli.client import put, put_json
from overlay.cli.grammar import Call
from overlay.cli.home import named, own
from overlay.errors import Absent, ConfigError
from overlay.identity.keys import Identity
from overlay.lab.replay import Played, read, replay
from overlay.lab.scenarios import play


def run(call: Call) -> int:
    """``overlay lab run SCENARIO [--seed N]``: exit 1 where something did not come as it should."""
    seed = call.values["seed"]
    story = play(call.values["scenario"], seed)
    world = story.world
    found = {
        "scenario": call.values["scenario"], "seed": seed, "held": story.held, "seconds": round(world.now, 3),
        "datagrams": world.counters["sent"], "events": [{"at_s": at, "what": what} for at, what in story.told], "digest": world.digest,
    }  # fmt: skip
    if call.json:
        put_json(found)
    else:
        for at, what in story.told:
            put(f"{at:9.3f}  {what}")
        put(f"{found['datagrams']} datagrams in {found['seconds']} virtual seconds; seed {seed}, digest {world.digest[:16]}")
    return 0 if story.held else 1


def replayed(call: Call) -> int:
    """``overlay lab replay FILE``: exit 0 where the replay came to the recorded end, 1 where it did not."""
    path = Path(call.values["file"])
    home = Path(own(call.home)) if named(call.home) or path.resolve().parent.name != "run" else path.resolve().parent.parent
    try:
        data = path.read_bytes()
        identity = Identity.from_file((home / membership.IDENTITY).read_text(), str(home / membership.IDENTITY))
    except FileNotFoundError as error:
        raise Absent(f"there is no {error.filename}", "give a recording (run/flight in a home), and its home with --home", rule="file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path} and the identity in {home}: {error}", "ask as its owner or root", rule="file") from None
    flight = read(data)
    played = replay(flight, identity)
    recorded = flight.error
    found = {
        "whole": played.whole, "inputs": played.inputs, "steps": played.steps, "at": played.at, "same": played.same,
        "recorded": recorded and {"what": f"{recorded['kind']}: {recorded['text']}", "where": recorded["where"]},
        "replayed": played.error and {"what": f"{played.error['kind']}: {played.error['text']}", "where": played.error["where"]},
        "diverged": played.diverged,
    }  # fmt: skip
    if call.json:
        put_json(found)
    else:
        for line in told(played, recorded):
            put(line)
    return 0 if played.same else 1


def told(played: Played, recorded: dict[str, str] | None) -> list[str]:
    """A replay, in lines."""
    last = f", the last at {datetime.fromtimestamp(played.at, UTC):%Y-%m-%dT%H:%M:%SZ}" if played.at else ""
    lines = [f"{played.inputs} inputs in {played.steps} steps{last}"]
    if not played.whole:
        lines.append("the recording does not go back to the start: sessions that were open then are unknown to the replay")
    for word, error in (("recorded", recorded), ("replayed", played.error)):
        lines.append(f"{word}: {error['kind']}: {error['text']}, in {error['where']}" if error else f"{word}: no crash")
    lines += [played.diverged] if played.diverged else []
    lines += played.error["trace"].rstrip().splitlines() if played.error is not None else []
    return [*lines, "the replay came to the recorded end" if played.same else "the replay did NOT come to the recorded end"]
