"""What a node tells of itself, on real machines: doctor with and without it, warnings that can be typed, metrics, the log."""

from __future__ import annotations

import shlex
import urllib.request

import pytest

from tests.process.machines import NOBODY, ZONE, Machine, Outcome, Village, until


@pytest.fixture(scope="module")
def pair(shared: Village) -> tuple[Machine, Machine]:
    """A founder whose zone is published (by `overlay zone serve`), and alice, who joined through it."""
    founder, server, alice = shared.machine(), shared.machine(), shared.machine()
    words = ["--admission", "open", "--name", "founder", "--cluster", "hq", "--address", founder.address]
    published = founder.done("init", ZONE, *words).out
    file = shared.folder / "zone"
    file.write_text(f"{ZONE}. 300 IN SOA ns1.{ZONE}. hostmaster.{ZONE}. 1 2 3 4 5\n" + "".join(
        f"{line}\n" for line in published.splitlines() if line and not line.startswith(";")
    ))  # fmt: skip
    server.start("zone", "serve", str(file), "--listen", f"{server.address}:5353")
    until(lambda: server.ask(f"_overlay.{ZONE}", "TXT", 5353) != ["silent"], "the zone is served")
    for machine in (founder, alice):
        settings = machine.home / "overlay.toml"
        settings.write_text(settings.read_text().replace(NOBODY, f"{server.address}:5353"))
    return founder, alice


def checks(seen: Outcome) -> dict[str, list[str]]:
    """Check -> its outcomes."""
    found: dict[str, list[str]] = {}
    for row in seen.json:
        assert set(row) == {"check", "outcome", "what", "todo"}
        found.setdefault(row["check"], []).append(row["outcome"])
    return found


def test_doctor_and_status_tell_what_is_wrong_and_what_to_type(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    before = founder.overlay("doctor", "--json")
    found = checks(before)
    assert (before.status, before.err) == (0, "")
    assert (found["node"], found["zone"], found["ways in"], found["peers"]) == (["skipped"], ["ok"], ["skipped"], ["skipped"])
    founder.up()
    node = alice.start("join", ZONE, "--name", "alice", "--cluster", "eu/home")
    assert node.line().startswith("joined as alice.home.eu.cloud")
    until(lambda: len(founder.done("peers", "--json").json) == 1, "they are peers")

    well = alice.overlay("doctor", "--json")
    found = checks(well)
    assert well.status == 0, well.out
    healthy = ("node", "home", "settings", "peers", "rights", "identity", "listeners", "zone", "ways in", "stub")
    assert {outcome for check in healthy for outcome in found[check]} == {"ok"}, well.out
    assert "founder.hq.cloud" in next(row["what"] for row in well.json if row["check"] == "ways in")

    (warning,) = founder.done("status", "--json").json["warnings"]
    line = warning.partition(" To do: ")[2]
    founder.done(*shlex.split(line)[1:])
    assert founder.done("status", "--json").json["warnings"] == []
    until(lambda: alice.done("status", "--json").json["warnings"] == [], "alice has heard of it")


def test_metrics_are_served_on_the_listener_and_the_log_has_fixed_fields(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    for port in (8053, 7653):
        with urllib.request.urlopen(f"http://{alice.address}:{port}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            page = answer.read().decode()
        assert "\noverlay_peers 1\n" in page and "# TYPE overlay_http_requests_total counter\n" in page
    words = [line.split() for line in alice.done("log").out.splitlines()]
    assert [line[1:3] for line in words][0] == ["info", "started"]
    peer = next(line for line in words if line[2] == "peer")
    assert [word.partition("=")[0] for word in peer[3:]] == ["name", "way", "proto"]
    assert alice.done("log", "-n", "1").out.count("\n") == 1


def test_a_way_in_that_leads_nowhere_fails(pair: tuple[Machine, Machine]) -> None:
    founder, alice = pair
    founder.done("down")
    gone = alice.overlay("doctor")
    assert gone.status == 1
    assert [line.split()[0] for line in gone.out.splitlines() if " ways in " in line] == ["failed"]
    assert "1 failed" in gone.err
