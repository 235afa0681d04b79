"""`overlay init`: what it prints, what it leaves behind, and what it refuses (CONTRACT, `init`)."""

from __future__ import annotations

import io
import stat

import dns.rdatatype
import dns.zone
import pytest

from tests.process.machines import ZONE, Machine, Village


@pytest.fixture(scope="module")
def founder(shared: Village) -> Machine:
    return shared.founded()


def test_stdout_is_a_master_file_and_nothing_else(village: Village) -> None:
    machine = village.machine()
    done = machine.done("init", ZONE, "--admission", "open", "--name", "hub", "--address", machine.address, "--address", "2001:db8::7")
    lines = done.out.splitlines()
    assert all(line.startswith(";") or line.split()[0].endswith(f"{ZONE}.") and line.split()[2] == "IN" for line in lines)
    heads = [n for n, line in enumerate(lines) if line.startswith(";")]
    assert len(heads) == 2
    assert "keep your DNS host" in lines[heads[0]]
    assert f"delegate {ZONE} to the nodes" in lines[heads[1]]
    keep, delegate = ("\n".join(lines[heads[0] : heads[1]]) + "\n", "\n".join(lines[heads[1] :]) + "\n")
    zone = dns.zone.from_text(io.StringIO(keep), ZONE, relativize=False, check_origin=False)
    kinds = {(str(name), dns.rdatatype.to_text(kind)) for name, kind, _ in ((n, r.rdtype, r) for n, node in zone.items() for r in node)}
    assert kinds == {(f"_overlay.{ZONE}.", "TXT"), (f"_node._overlay.{ZONE}.", "TXT"), (f"{ZONE}.", "A"), (f"{ZONE}.", "AAAA")}
    parent = dns.zone.from_text(io.StringIO(delegate), "example.net", relativize=False, check_origin=False)
    assert {str(name) for name in parent} == {f"{ZONE}.", f"ns1.{ZONE}."}
    overlay_id = done.out.split('"v=overlay1;id=')[1][:43]
    assert f"id {overlay_id}" in done.err
    assert f"at={machine.listener},[2001:db8::7]:7653" in done.out
    assert done.err.splitlines()[-1] == f"overlay join {ZONE}"


def test_an_invite_overlay_ends_with_a_line_that_wants_a_token(village: Village) -> None:
    done = village.machine().done("init", ZONE, "--address", "192.0.2.1")
    assert done.err.splitlines()[-1].startswith(f"overlay join {ZONE} --invite TOKEN")


def test_it_does_not_start_the_node(founder: Machine) -> None:
    assert founder.overlay("status").status == 3


def test_a_second_init_is_refused_and_changes_nothing(founder: Machine) -> None:
    before = (founder.home / "identity").read_bytes(), (founder.home / "root.key").read_bytes()
    again = founder.overlay("init", "other.example.net", "--address", founder.address)
    assert again.status == 4
    assert again.out == ""
    assert len(again.err.splitlines()) == 2
    assert "already belongs to overlay" in again.complaint[0]
    assert ((founder.home / "identity").read_bytes(), (founder.home / "root.key").read_bytes()) == before


def test_identity_and_root_key_are_the_owners_alone(founder: Machine) -> None:
    for name in ("identity", "root.key", "state.db"):
        assert stat.S_IMODE((founder.home / name).stat().st_mode) == 0o600, name


def test_several_root_keys_go_where_they_are_sent(village: Village) -> None:
    machine = village.machine()
    out = village.folder / "keys"
    machine.done("init", ZONE, "--root-keys", "2/3", "--root-out", str(out), "--address", machine.address)
    files = sorted(out.iterdir())
    assert len(files) == 3
    assert len({file.read_text() for file in files}) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not list(machine.home.glob("*.key"))


@pytest.mark.parametrize(
    "words, told",
    [
        (["cloud"], "below"), ([ZONE, "--tld", "net"], "below"), (["a..b"], ""), ([], "ZONE"), ([ZONE, "--root-keys", "2/3"], "--root-out"),
        ([ZONE, "--name", "a.b"], ""), ([ZONE, "--listen-http", "nonsense"], "--listen-http"), ([ZONE, "--cluster", "clusters"], ""),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_misuse_in_two_lines(shared: Village, words: list[str], told: str) -> None:
    machine = shared.machine(configured=False)
    refused = machine.overlay("init", *words)
    assert refused.status == 2, refused
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 2
    assert told in refused.err
    assert not machine.home.exists()  # nothing is left behind
