"""`whois` as Debian has it, asking real nodes: each speaks its own name first and tells what it holds."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.process.machines import CONFIG, Machine, Village, until

pytestmark = pytest.mark.skipif(shutil.which("whois") is None, reason="whois is not installed (as root, make test installs it)")


def whois(machine: Machine, port: int, query: str) -> str:
    """What the client prints."""
    words = ["whois", "-h", machine.address, "-p", str(port), query]
    return subprocess.run(words, capture_output=True, text=True, timeout=20, check=True).stdout


def test_each_node_speaks_its_own_name_and_answers_for_names_of_others(shared: Village) -> None:
    founder, alice = shared.founded(), shared.machine()
    for machine in (founder, alice):
        machine.configure(CONFIG.replace("[listen]", '[listen]\nwhois = ["{address}:4343"]', 1))
    founder.up()
    alice.join(founder, "--name", "alice", "--cluster", "eu/home")
    alice.done("service", "add", "www.home.eu", "--port", "8000")
    assert alice.done("status", "--json").json["listen"]["whois"] == [f"{alice.address}:4343"]
    own = whois(alice, 4343, "alice.home.eu")
    assert own.startswith("% alice.home.eu.cloud speaks") and f"address:      {alice.address}\n" in own
    assert "cluster:      eu/home\n" in own and "carries:      www.home.eu.cloud tcp 8000\n" in own
    assert "speak about names at and below the path" in own
    until(lambda: f"carrier:      alice.home.eu.cloud {alice.address} tcp 8000 healthy" in whois(founder, 4343, "www.home.eu"), "the founder tells")
    assert whois(founder, 4343, "alice.home.eu").startswith("% founder.hq.cloud speaks")
    assert "% No match for 'nobody.home.eu'." in whois(founder, 4343, "nobody.home.eu")


def test_nobody_answers_unless_it_is_configured(shared: Village) -> None:
    founder = shared.founded()
    founder.up()
    assert "whois" not in founder.done("status", "--json").json["listen"]
