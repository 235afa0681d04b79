"""A publisher's cluster tries a release first; the others run it once that cluster has announced it (CONTRACT, `overlay release`)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.process.asking import problems, status, subscribe, told
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
    subscribe(publisher, "tried", f"test -e {well}")
    subscribe(far, "tried")
    publisher.done("release", "publish", "tried", file(publisher, "tried1"), "--soak", "3s")
    until(lambda: status(publisher, "tried")["failed"] == [1], "its command failed")
    until(lambda: (far.home / "releases" / "tried" / "r1").exists(), "the octets came before their turn")
    founder = told(publisher, "status")["name"]
    held_back = [{"name": founder, "why": "its command failed there"}]
    until(lambda: status(far, "tried")["holding"] == held_back, "it is told who holds it back")
    seen = status(far, "tried")
    assert (seen["revision"], seen["newest"], seen["announced"], seen["rule"]) == (None, 1, False, "G10")
    assert f"r1 is held back by {founder}: its command failed there" in far.done("release", "status", "tried", "--why").out
    assert (latest(publisher, "tried"), latest(far, "tried")) == (0, 0)
    assert publisher.ask("tried.download.cloud") == far.ask("tried.download.cloud") == ["NOERROR"]
    well.write_text("")
    publisher.done("upgrade", "--channel", "tried")
    until(lambda: status(far, "tried")["revision"] == 1, "it is announced")
    seen = status(far, "tried")
    assert (seen["announced"], seen["holding"], seen["rule"]) == (True, [], "")
    assert (latest(publisher, "tried"), latest(far, "tried")) == (1, 1)
    until(lambda: far.ask("tried.download.cloud") == sorted([publisher.address, far.address]), "both are named")


def test_clusters_tells_what_is_stable_and_who_is_in_development(publisher: Machine, far: Machine) -> None:
    rows = {row["cluster"]: row for row in far.done("clusters", "--json").json}
    (home,) = [row for row in rows.values() if row["cluster"] != "eu/home"]
    seen = {row["channel"]: row for row in home["releases"]}["tried"]
    assert (seen["revision"], seen["stable"], seen["live"]) == (1, 1, 1)
    assert (home["revision"], home["stable"], home["development"]) == (0, True, [])
    until(lambda: {row["cluster"]: row for row in told(publisher, "clusters")}["eu/home"].get("releases"), "eu/home has a vote")


def test_a_program_that_restarts_twice_is_in_development_and_all_hear_of_it(publisher: Machine, far: Machine) -> None:
    name = told(far, "status")["name"]
    for _ in range(2):
        far.running[-1].kill()
        far.up()
    until(lambda: any(row["development"] == [name] for row in told(publisher, "clusters")), "it is in development")
    row = next(row for row in told(publisher, "clusters") if row["cluster"] == "eu/home")
    assert (row["stable"], row["revision"]) == (False, 0)


def test_with_neither_waves_nor_soak_it_goes_everywhere_at_once(publisher: Machine, far: Machine) -> None:
    publisher.done("release", "init", "hasty")
    subscribe(publisher, "hasty", "sleep 60")
    subscribe(far, "hasty")
    publisher.done("release", "publish", "hasty", file(publisher, "hasty"), "--waves", "none", "--soak", "0s")
    until(lambda: status(far, "hasty")["revision"] == 1, "it runs there")
    assert status(publisher, "hasty")["revision"] is None


def test_who_is_outside_gets_what_was_announced(publisher: Machine, far: Machine, shared: Village, tmp_path: Path) -> None:
    publisher.done("release", "init", "shown")
    subscribe(publisher, "shown", 'test "$OVERLAY_REVISION" = 1')
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
    subscribe(far, "built")
    first = put(publisher, "built", "app-1.0.pyz", b"one" * 9_000)
    until(lambda: status(far, "built")["revision"] == 1, "it was published, and runs")
    until(lambda: not first.exists(), "it was taken")
    assert (far.home / "releases" / "built" / "r1").read_bytes() == b"one" * 9_000
    assert far.done("release", "show", "built", "--json").json["note"] == "app-1.0.pyz"
    again = put(publisher, "built", "app-1.0.pyz", b"one" * 9_000)
    until(lambda: not again.exists(), "what is published already goes without a word")
    assert status(publisher, "built")["newest"] == 1 and not list((publisher.home / "releases" / "built").glob("new-*"))


def test_into_a_folder_where_others_may_write_nobody_publishes(publisher: Machine) -> None:
    publisher.done("release", "init", "open", "--auto-publish")
    folder = publisher.home / "publish" / "open"
    folder.chmod(0o770)
    kept = put(publisher, "open", "app", b"one")

    def complains() -> bool:
        return any("others may write" in line for line in problems(publisher))

    until(complains, "it says so")
    assert kept.exists() and status(publisher, "open")["newest"] is None
    folder.chmod(0o700)
    until(lambda: not kept.exists() and not complains(), "now it does")


def test_keys_that_sign_by_themselves_are_neither_sealed_nor_elsewhere(publisher: Machine, tmp_path: Path) -> None:
    publisher.environment["OVERLAY_PASSPHRASE"] = "never mind"
    sealed = publisher.overlay("release", "init", "shut", "--auto-publish")
    del publisher.environment["OVERLAY_PASSPHRASE"]
    elsewhere = publisher.overlay("release", "init", "shut", "--auto-publish", "--key-out", str(tmp_path))
    for refused in (sealed, elsewhere):
        assert refused.status == 2 and len(refused.complaint) == 2
    assert not list(publisher.home.glob("release-shut*")) and not (publisher.home / "publish" / "shut").exists()


def test_who_may_operate_a_node_has_it_take_what_is_newest_without_waiting(publisher: Machine, far: Machine) -> None:
    there, here = told(far, "status")["name"], told(publisher, "status")["name"]
    publisher.done("release", "init", "there")
    subscribe(publisher, "there", "false")
    subscribe(far, "there")
    publisher.done("release", "publish", "there", file(publisher, "there"))
    until(lambda: status(far, "there").get("rule") == "G10" and status(far, "there")["state"] == "waiting", "it waits")
    asked = publisher.done("upgrade", there, "--channel", "there", "--now", "--json")
    assert asked.json == {"name": there, "channels": ["there"]}
    until(lambda: status(far, "there")["revision"] == 1, "it runs there")
    assert status(far, "there")["announced"] is False
    refused = far.overlay("upgrade", here, "--channel", "there")
    assert refused.status == 4 and "operate" in refused.complaint[1]
    absent = publisher.overlay("upgrade", there, "--channel", "nothing")
    assert absent.status == 1 and len(absent.complaint) == 2
    assert publisher.overlay("upgrade", "nobody.home.eu").status == 1
    assert "operated" in (far.home / "log").read_text()
