"""A publisher's cluster tries a release first; the others run it once that cluster has announced it (CONTRACT, `overlay release`)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.process.machines import Machine, Village, until


@pytest.fixture(scope="module")
def publisher(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    return machine


@pytest.fixture(scope="module")
def far(publisher: Machine, shared: Village) -> Machine:
    machine = shared.machine()
    machine.join(publisher, "--name", "far", "--cluster", "eu/home")
    return machine


def file(machine: Machine, words: str) -> str:
    path = machine.home.with_name(f"{machine.home.name}-{words}.bin")
    path.write_bytes(words.encode() * 5_000)
    return str(path)


def status(machine: Machine, channel: str) -> Any:
    return machine.done("release", "status", channel, "--json").json


def latest(machine: Machine, channel: str) -> int:
    """The revision that machine tells strangers of; 0 where it tells of none."""
    try:
        with urllib.request.urlopen(f"http://{machine.address}:8053/{channel}/latest", timeout=10) as answer:
            return int(json.load(answer)["revision"])
    except urllib.error.HTTPError as error:
        assert error.code == 404
        return 0


def test_it_waits_elsewhere_until_the_publishers_cluster_was_well_on_it(publisher: Machine, far: Machine) -> None:
    well = publisher.home.with_name("well")
    publisher.done("release", "init", "tried")
    publisher.done("subscribe", "tried", "--activate", f"test -e {well}")
    far.done("subscribe", "tried")
    publisher.done("release", "publish", "tried", file(publisher, "tried1"), "--soak", "3s")
    until(lambda: status(publisher, "tried")["failed"] == [1], "its command failed")
    until(lambda: (far.home / "releases" / "tried" / "r1").exists(), "the octets came before their turn")
    until(lambda: status(far, "tried")["holding"], "it is told who holds it back")
    told = status(far, "tried")
    founder = publisher.done("status", "--json").json["name"]
    assert (told["revision"], told["newest"], told["announced"], told["rule"]) == (None, 1, False, "G10")
    assert told["holding"] == [{"name": founder, "why": "its command failed there"}]
    assert f"r1 is held back by {founder}: its command failed there" in far.done("release", "status", "tried", "--why").out
    assert (latest(publisher, "tried"), latest(far, "tried")) == (0, 0)
    assert publisher.ask("tried.download.cloud") == far.ask("tried.download.cloud") == ["NOERROR"]
    well.write_text("")
    publisher.done("upgrade", "--channel", "tried")
    until(lambda: status(far, "tried")["revision"] == 1, "it is announced")
    told = status(far, "tried")
    assert (told["announced"], told["holding"], told["rule"]) == (True, [], "")
    assert (latest(publisher, "tried"), latest(far, "tried")) == (1, 1)
    until(lambda: far.ask("tried.download.cloud") == sorted([publisher.address, far.address]), "both are named")


def test_clusters_tells_what_is_stable_and_who_is_in_development(publisher: Machine, far: Machine) -> None:
    rows = {row["cluster"]: row for row in far.done("clusters", "--json").json}
    (home,) = [row for row in rows.values() if row["cluster"] != "eu/home"]
    seen = {row["channel"]: row for row in home["releases"]}["tried"]
    assert (seen["revision"], seen["stable"], seen["live"]) == (1, 1, 1)
    assert (home["revision"], home["stable"], home["development"]) == (0, True, [])
    until(lambda: {row["cluster"]: row for row in publisher.done("clusters", "--json").json}["eu/home"]["releases"], "eu/home has a vote")


def test_a_program_that_restarts_twice_is_in_development_and_all_hear_of_it(publisher: Machine, far: Machine) -> None:
    name = far.done("status", "--json").json["name"]
    for _ in range(2):
        far.running[-1].kill()
        far.up()
    until(lambda: any(row["development"] == [name] for row in publisher.done("clusters", "--json").json), "it is in development")
    row = next(row for row in publisher.done("clusters", "--json").json if row["cluster"] == "eu/home")
    assert (row["stable"], row["revision"]) == (False, 0)


def test_with_neither_waves_nor_soak_it_goes_everywhere_at_once(publisher: Machine, far: Machine) -> None:
    publisher.done("release", "init", "hasty")
    publisher.done("subscribe", "hasty", "--activate", "sleep 60")
    far.done("subscribe", "hasty")
    publisher.done("release", "publish", "hasty", file(publisher, "hasty"), "--waves", "none", "--soak", "0s")
    until(lambda: status(far, "hasty")["revision"] == 1, "it runs there")
    assert status(publisher, "hasty")["revision"] is None


def test_a_person_need_not_wait(publisher: Machine, far: Machine) -> None:
    publisher.done("release", "init", "urged")
    publisher.done("subscribe", "urged", "--activate", "false")
    far.done("subscribe", "urged")
    publisher.done("release", "publish", "urged", file(publisher, "urged"))
    until(lambda: status(far, "urged")["rule"] == "G10" and status(far, "urged")["state"] == "waiting", "it waits")
    far.done("upgrade", "--channel", "urged", "--now")
    until(lambda: status(far, "urged")["revision"] == 1, "it runs there")
    assert status(far, "urged")["announced"] is False


def test_who_is_outside_gets_what_was_announced(publisher: Machine, far: Machine, shared: Village, tmp_path: Path) -> None:
    publisher.done("release", "init", "shown")
    publisher.done("subscribe", "shown", "--activate", 'test "$OVERLAY_REVISION" = 1')
    for number in (1, 2):
        publisher.done("release", "publish", "shown", file(publisher, f"shown{number}"), "--soak", "0s")
        until(lambda: latest(publisher, "shown") == 1, "the first is announced")
    until(lambda: status(publisher, "shown")["failed"] == [2], "the second is not")
    outside, out = shared.machine(), tmp_path / "out"
    found = outside.done("release", "fetch", f"{publisher.address}:8053", "shown", "--out", str(out)).json
    assert (found["revision"], out.read_bytes()) == (1, b"shown1" * 5_000)


def put(machine: Machine, channel: str, name: str, data: bytes) -> Path:
    """Move a file into the folder from which the node publishes, as who builds does."""
    made = machine.home.with_name(f"{machine.home.name}-{name}.made")
    made.write_bytes(data)
    return made.rename(machine.home / "publish" / channel / name)


def test_what_is_put_into_the_folder_is_published_by_itself(publisher: Machine, far: Machine) -> None:
    opened = publisher.done("release", "init", "built", "--auto-publish", "--json").json
    folder = publisher.home / "publish" / "built"
    assert opened["auto_publish"] == str(folder) and folder.stat().st_mode & 0o777 == 0o700
    far.done("subscribe", "built")
    first = put(publisher, "built", "app-1.0.pyz", b"one" * 9_000)
    until(lambda: status(far, "built")["revision"] == 1, "it was published, and runs")
    until(lambda: not first.exists(), "it was taken")
    assert (far.home / "releases" / "built" / "r1").read_bytes() == b"one" * 9_000
    assert far.done("release", "show", "built", "--json").json["note"] == "app-1.0.pyz"
    again = put(publisher, "built", "app-1.0.pyz", b"one" * 9_000)
    until(lambda: not again.exists(), "what is published already goes without a word")
    put(publisher, "built", "app-1.1.pyz", b"two" * 9_000)
    until(lambda: status(far, "built")["revision"] == 2, "the next one")
    assert not list((publisher.home / "releases" / "built").glob("new-*"))


def test_into_a_folder_where_others_may_write_nobody_publishes(publisher: Machine) -> None:
    publisher.done("release", "init", "open", "--auto-publish")
    folder = publisher.home / "publish" / "open"
    folder.chmod(0o770)
    kept = put(publisher, "open", "app", b"one")

    def told() -> bool:
        return any("others may write" in line for line in publisher.done("status", "--json").json["problems"])

    until(told, "it says so")
    assert kept.exists() and status(publisher, "open")["newest"] is None
    folder.chmod(0o700)
    until(lambda: not kept.exists() and not told(), "now it does")


def test_keys_that_sign_by_themselves_are_neither_sealed_nor_elsewhere(publisher: Machine, tmp_path: Path) -> None:
    publisher.environment["OVERLAY_PASSPHRASE"] = "never mind"
    sealed = publisher.overlay("release", "init", "shut", "--auto-publish")
    del publisher.environment["OVERLAY_PASSPHRASE"]
    elsewhere = publisher.overlay("release", "init", "shut", "--auto-publish", "--key-out", str(tmp_path))
    for refused in (sealed, elsewhere):
        assert refused.status == 2 and len(refused.complaint) == 2
    assert not list(publisher.home.glob("release-shut*")) and not (publisher.home / "publish" / "shut").exists()


def test_who_may_operate_a_node_has_it_try_again(publisher: Machine, far: Machine) -> None:
    well, there = far.home.with_name("well-there"), far.done("status", "--json").json["name"]
    here = publisher.done("status", "--json").json["name"]
    publisher.done("release", "init", "there")
    far.done("subscribe", "there", "--activate", f"test -e {well}")
    publisher.done("release", "publish", "there", file(publisher, "there"))
    until(lambda: status(far, "there")["failed"] == [1], "its command failed")
    well.write_text("")
    asked = publisher.done("upgrade", there, "--channel", "there", "--json")
    assert asked.json == {"name": there, "channels": ["there"]}
    until(lambda: status(far, "there")["revision"] == 1, "it runs there")
    refused = far.overlay("upgrade", here, "--channel", "there")
    assert refused.status == 4 and "operate" in refused.complaint[1]
    absent = publisher.overlay("upgrade", there, "--channel", "nothing")
    assert absent.status == 1 and len(absent.complaint) == 2
    assert publisher.overlay("upgrade", "nobody.home.eu").status == 1
    assert "operated" in (far.home / "log").read_text()
