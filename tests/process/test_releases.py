"""`overlay release`, `subscribe`: from one `publish` to the command on another machine (CONTRACT)."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.process.machines import Machine, Village, until

SIZE = 300_001  # octets: nineteen leaves, the last one short


def content(words: str, size: int = SIZE) -> bytes:
    return (hashlib.sha256(words.encode()).digest() * (size // 32 + 1))[:size]


@pytest.fixture(scope="module")
def publisher(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    return machine


@pytest.fixture(scope="module")
def taker(publisher: Machine, shared: Village) -> Machine:
    machine = shared.machine()
    machine.join(publisher, "--name", "taker", "--cluster", "eu/home")
    return machine


def file(machine: Machine, words: str, size: int = SIZE) -> Path:
    path = machine.home.with_name(f"{machine.home.name}-{words}.bin")
    path.write_bytes(content(words, size))
    return path


def get(machine: Machine, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://{machine.address}:8053{path}", headers={key.replace("_", "-"): value for key, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {key.lower(): value for key, value in error.headers.items()}, error.read()


def test_one_publish_and_the_command_runs_once_on_another_machine(publisher: Machine, taker: Machine) -> None:
    said = taker.home.with_name("said")
    command = f'echo "$OVERLAY_CHANNEL $OVERLAY_REVISION $(sha256sum < "$OVERLAY_RELEASE_FILE" | cut -c1-64)" >> {said}'
    taker.done("subscribe", "app", "--activate", command)
    opened = publisher.overlay("release", "init", "app")
    assert opened.status == 0 and "warning" in opened.err and "not encrypted" in opened.err, opened
    keys = [path for path in publisher.home.iterdir() if path.name.startswith("release-app")]
    assert [path.stat().st_mode & 0o777 for path in keys] == [0o600]
    first = publisher.done("release", "publish", "app", str(file(publisher, "one")), "--note", "the first").json
    assert set(first) == {"channel", "revision", "length", "root", "url"}
    assert (first["channel"], first["revision"], first["length"]) == ("app", 1, SIZE)
    until(lambda: said.exists() and said.read_text().endswith("\n"), "the command has run")
    digests = [hashlib.sha256(content(words)).hexdigest() for words in ("one", "two")]
    assert said.read_text() == f"app 1 {digests[0]}\n"
    second = publisher.done("release", "publish", "app", str(file(publisher, "two"))).json
    assert second["revision"] == 2
    until(lambda: said.read_text().count("\n") == 2, "the second has run")
    assert said.read_text().splitlines()[1] == f"app 2 {digests[1]}"
    status = taker.done("release", "status", "app", "--json").json
    assert (status["revision"], status["newest"], status["state"]) == (2, 2, "current")


def test_http_gives_exactly_the_signed_octets(publisher: Machine, taker: Machine) -> None:
    listed = publisher.done("release", "list", "app", "--json").json
    newest = listed[0]
    for machine in (publisher, taker):
        until(lambda machine=machine: get(machine, "/app")[0] == 200, "it is served")  # type: ignore[misc]
        status, headers, body = get(machine, f"/app/r{newest['revision']}")
        assert (status, body) == (200, content("two"))
        assert headers["etag"] == f'"{newest["root"]}"' and headers["accept-ranges"] == "bytes"
        status, headers, body = get(machine, "/app/r2", Range="bytes=16384-16390")
        assert (status, body, headers["content-range"]) == (206, content("two")[16384:16391], f"bytes 16384-16390/{SIZE}")
        assert get(machine, "/app/r2", Range="bytes=-5")[2] == content("two")[-5:]
        assert get(machine, "/app/r2", Range=f"bytes={SIZE}-")[0] == 416
        assert get(machine, "/app/r2", Range="bytes=0-1", If_Range='"other"')[0] == 200
        assert get(machine, "/app/r2", If_None_Match=headers["etag"])[0] == 304
        for path in ("/app", "/app/latest"):
            found = json.loads(get(machine, path)[2])
            assert (found["channel"], found["revision"], found["root"], found["length"]) == ("app", 2, newest["root"], SIZE)
        assert get(machine, "/app/r3")[0] == 404 and get(machine, "/other")[0] == 404
        assert get(machine, "/app/r2.record")[0] == 200
    assert taker.done("release", "verify", str(file(taker, "two")), "--json").json["revision"] == 2
    refused = taker.overlay("release", "verify", str(file(taker, "three")))
    assert refused.status == 4 and len(refused.complaint) == 2


def test_the_download_name_leads_to_who_holds_it(publisher: Machine, taker: Machine) -> None:
    for machine in (publisher, taker):
        until(lambda machine=machine: machine.ask("app.download.cloud") == sorted([publisher.address, taker.address]), "both are named")  # type: ignore[misc]
        assert machine.ask("download.cloud") == ["NOERROR"]
        assert machine.ask("nothing.download.cloud") == ["NXDOMAIN"]


def test_while_all_places_are_taken_http_and_dns_say_come_again(publisher: Machine, shared: Village) -> None:
    publisher.done("release", "init", "large")
    size = 8 * 1_048_576
    publisher.done("release", "publish", "large", str(file(publisher, "large", size)))
    assert publisher.ask("large.download.cloud") == [publisher.address]
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            reader = stack.enter_context(socket.create_connection((publisher.address, 8053)))
            reader.sendall(b"GET /large/r1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert reader.recv(12).endswith(b"200")
        status, headers, _ = get(publisher, "/large/r1")
        assert status == 503 and 5 <= int(headers["retry-after"]) <= 60
        assert publisher.ask("large.download.cloud") == ["SERVFAIL"]
    until(lambda: publisher.ask("large.download.cloud") == [publisher.address], "the places are free again")
    assert get(publisher, "/large/r1")[0] == 200


@pytest.mark.skipif(importlib.util.find_spec("zstandard") is None, reason="zstandard is not installed: pip install -r requirements-dev.lock")
def test_a_small_change_travels_as_a_patch(publisher: Machine, taker: Machine) -> None:
    publisher.done("release", "init", "patched")
    taker.done("subscribe", "patched")
    path = file(publisher, "patched", 200_000)
    publisher.done("release", "publish", "patched", str(path))
    until(lambda: taker.done("release", "status", "patched", "--json").json["revision"] == 1, "the first is here")
    path.write_bytes(path.read_bytes().replace(b"\x00", b"\x01", 3))
    publisher.done("release", "publish", "patched", str(path))
    until(lambda: taker.done("release", "status", "patched", "--json").json["revision"] == 2, "the second is here")
    (delta,) = taker.done("release", "show", "patched", "2", "--json").json["artifacts"][0]["deltas"]
    assert delta["base"] == 1 and delta["length"] < 1_000
    assert (taker.home / "releases" / "patched" / "r2").read_bytes() == path.read_bytes()
    assert (taker.home / "releases" / "patched" / "r2.from-1").stat().st_size == delta["length"]
    assert "overlay_patches_failed_total 0" in get(taker, "/metrics")[2].decode()


def test_a_halt_stops_what_is_not_installed_and_a_resume_lets_it_go_on(publisher: Machine, taker: Machine) -> None:
    said = taker.home.with_name("said-halted")
    publisher.done("release", "init", "tool")
    publisher.done("release", "publish", "tool", str(file(publisher, "tool")))
    publisher.done("release", "halt", "tool", "1")
    until(lambda: taker.overlay("release", "status", "tool", "--json").json["halted"] == [1], "the halt is known")
    taker.done("subscribe", "tool", "--activate", f"echo $OVERLAY_REVISION >> {said}")
    until(lambda: taker.done("release", "status", "tool", "--json").json["rule"] == "G07", "it is halted")
    assert not said.exists()
    assert get(publisher, "/tool")[0] == 404
    publisher.done("release", "resume", "tool", "1")
    until(said.exists, "it goes on")


def test_a_failing_command_is_remembered_and_the_former_revision_stays(publisher: Machine, taker: Machine) -> None:
    runs = taker.home.with_name("runs")
    publisher.done("release", "init", "web")
    taker.done("subscribe", "web", "--activate", f'echo "$OVERLAY_REVISION" >> {runs}; test "$OVERLAY_REVISION" != 2')
    publisher.done("release", "publish", "web", str(file(publisher, "web1", 10)))
    until(lambda: taker.done("release", "status", "web", "--json").json["revision"] == 1, "the first runs")
    publisher.done("release", "publish", "web", str(file(publisher, "web2", 10)))
    until(lambda: taker.done("release", "status", "web", "--json").json["failed"] == [2], "the second failed")
    status = taker.done("release", "status", "web", "--json").json
    assert (status["revision"], status["newest"], status["rule"]) == (1, 2, "failed")
    assert "exit status 1" in status["reason"]
    assert any("release web" in line for line in taker.done("status", "--json").json["problems"])
    assert runs.read_text() == "1\n2\n"
    publisher.done("release", "publish", "web", str(file(publisher, "web3", 10)))
    until(lambda: taker.done("release", "status", "web", "--json").json["revision"] == 3, "the third runs")
    assert runs.read_text() == "1\n2\n3\n"


def test_a_draft_is_signed_elsewhere_by_a_threshold_with_sealed_keys(publisher: Machine, shared: Village) -> None:
    vault, draft = publisher.home.with_name("vault"), publisher.home.with_name("safe-r1.draft")
    path = str(file(publisher, "safe"))
    publisher.environment["OVERLAY_PASSPHRASE"] = "never mind"
    opened = publisher.done("release", "init", "safe", "--keys", "3", "--threshold", "2", "--key-out", str(vault))
    del publisher.environment["OVERLAY_PASSPHRASE"]
    keys = sorted(vault.iterdir())
    assert len(keys) == 3 and all("clear" not in key.read_text() for key in keys) and "warning" not in opened.err
    asked = publisher.done("release", "publish", "safe", path, "--out", str(draft)).json
    assert asked["missing"] == 2
    elsewhere = shared.machine()
    sealed = elsewhere.overlay("release", "sign", str(draft), "--key", str(keys[0]))
    assert sealed.status == 4 and "passphrase" in sealed.err
    elsewhere.environment["OVERLAY_PASSPHRASE"] = "never mind"
    for number, missing in ((0, 1), (1, 0)):
        assert elsewhere.done("release", "sign", str(draft), "--key", str(keys[number]), "--json").json["missing"] == missing
    assert publisher.done("release", "publish", "safe", path, "--signed", str(draft)).json["revision"] == 1
    other = publisher.overlay("release", "publish", "safe", str(file(publisher, "another")), "--signed", str(draft))
    assert other.status == 2 and not [path for path in (publisher.home / "releases" / "safe").iterdir() if path.name.startswith("new-")]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("release", "publish", "nowhere", "{file}"), 1), (("release", "publish", "app", "/nothing/there"), 2),
        (("release", "init", "status"), 2), (("release", "init", "no.dots"), 2), (("release", "publish", "app", "{file}", "--revision", "1"), 2),
        (("release", "halt", "app", "77"), 1), (("release", "show", "app", "77"), 1), (("unsubscribe", "nowhere"), 1),
    ],
)
def test_wrong_input_is_refused_in_two_lines(publisher: Machine, words: tuple[str, ...], status: int) -> None:
    outcome = publisher.overlay(*(word.format(file=file(publisher, "wrong")) for word in words))
    assert outcome.status == status, outcome
    assert len(outcome.err.splitlines()[-2:]) == 2 and outcome.complaint[0].startswith("overlay: ")


def test_who_may_not_open_channels_is_told_so(taker: Machine) -> None:
    refused = taker.overlay("release", "init", "mine")
    assert refused.status == 4 and "release:mine" in refused.err
    assert not [path for path in taker.home.iterdir() if path.name.startswith("release-mine")]


def test_who_was_given_a_channel_publishes_in_it_and_rotates_its_keys(publisher: Machine, taker: Machine) -> None:
    publisher.done("grant", "/", "--to", "taker.home.eu", "--rights", "release:given")
    until(lambda: taker.overlay("release", "init", "given").status == 0, "the grant is known")
    publisher.done("subscribe", "given")
    taker.done("release", "publish", "given", str(file(taker, "given1", 20_000)))
    until(lambda: publisher.done("release", "status", "given", "--json").json["revision"] == 1, "the founder has it")
    taker.done("release", "init", "given", "--keys", "2", "--threshold", "2")
    keys = taker.done("release", "status", "given", "--json").json["keys"]
    assert (keys["version"], keys["threshold"], len(keys["keys"])) == (2, 2, 2)
    taker.done("release", "publish", "given", str(file(taker, "given2", 20_000)))
    until(lambda: publisher.done("release", "status", "given", "--json").json["revision"] == 2, "the founder followed the new keys")
    refused = publisher.overlay("release", "publish", "given", str(file(publisher, "given3", 100)), "--out", f"{publisher.home}.draft")
    assert refused.json["missing"] == 2  # it holds none of the keys: a draft


def test_a_publisher_that_starts_again_serves_what_it_published(publisher: Machine) -> None:
    publisher.running[-1].kill()
    publisher.up()
    until(lambda: publisher.overlay("release", "list", "app", "--json").status == 0, "it answers")
    assert get(publisher, "/app/r2")[2] == content("two")
    assert publisher.ask("app.download.cloud") != ["NXDOMAIN"]
