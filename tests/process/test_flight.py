"""The flight recorder of a running node: asked for by a signal, played again at the same machine (decision 12)."""

from __future__ import annotations

import signal
import stat

from tests.process.machines import Village, until


def test_a_running_node_writes_its_last_inputs_when_asked_and_they_play_to_the_same_state(village: Village) -> None:
    founder, alice = village.founded(), village.machine()
    founder.up()
    node = alice.join(founder, "--name", "alice", "--cluster", "eu/home")
    alice.done("service", "add", "www.home.eu", "--port", "8000", "--health", "tcp")
    alice.done("name", "set", "motd.home.eu", "TXT", "hello")
    alice.done("ping", "founder.hq")
    alice.overlay("name", "set", "motd.hq", "TXT", "not mine")
    alice.done("invite")
    alice.done("name", "remove", "motd.home.eu")
    alice.done("service", "remove", "www.home.eu")
    flight = alice.home / "run" / "flight"
    assert not flight.exists()
    node.signal(signal.SIGUSR2)
    until(lambda: " info flight " in (alice.home / "log").read_text(), "it is written")
    assert stat.S_IMODE(flight.stat().st_mode) == 0o600
    assert node.process.poll() is None
    played = alice.done("lab", "replay", str(flight), "--json").json
    assert (played["whole"], played["same"], played["replayed"], played["diverged"]) == (True, True, None, "")
    assert played["inputs"] > 20
    refused = founder.overlay("lab", "replay", str(flight))
    assert (refused.status, len(refused.err.splitlines())) == (2, 2)  # another node's
    # After a restart the recording begins anew, from what is on disk by then.
    alice.done("down")
    assert node.end() == 0
    node = alice.up()
    alice.done("name", "set", "motd.home.eu", "TXT", "again")
    node.signal(signal.SIGUSR2)
    until(lambda: (alice.home / "log").read_text().count(" info flight ") == 2, "it is written again")
    assert alice.done("lab", "replay", str(flight), "--json").json["same"]
