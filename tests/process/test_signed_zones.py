"""Signed zones by command: the anchor, exports that other programs verify, root keys kept elsewhere (CONTRACT)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.process.machines import Machine, Village, until


def dig(machine: Machine, *words: str) -> str:
    """What the client prints of that machine's stub."""
    done = subprocess.run(["dig", f"@{machine.address}", "-p", "5300", *words], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


def vouched(machine: Machine, name: str) -> bool:
    return " ad" in next(line for line in dig(machine, name).splitlines() if line.startswith(";; flags"))


needs_dig = pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed (bind9-dnsutils)")


@needs_dig
def test_the_anchor_and_the_export_are_those_of_the_zone(shared: Village, tmp_path: Path) -> None:
    founder = shared.founded()
    founder.up()
    founder.done("name", "set", "motd.founder.hq", "TXT", "hello")
    until(lambda: vouched(founder, "motd.founder.hq.cloud"), "the stub vouches for it")
    ds = founder.done("dns", "anchor")
    assert re.fullmatch(r"(cloud\. 300 IN DS \d+ 15 2 [0-9A-F]{64}\n){2}", ds.out)
    assert re.fullmatch(r"(cloud\. 300 IN DNSKEY 257 3 15 \S{44}\n){2}", founder.done("dns", "anchor", "--dnskey").out)
    assert re.fullmatch(r"(cloud\.example\.net\. 300 IN DS .*\n){2}", founder.done("dns", "anchor", "--bootstrap").out)
    for path, origin in (("/", "cloud"), ("hq", "hq.cloud"), ("hq.cloud.", "hq.cloud")):
        (tmp_path / "zone").write_text(founder.done("zone", "export", path).out)
        judges = [["named-checkzone", "-i", "none", origin], ["dnssec-verify", "-z", "-o", origin], ["ldns-verify-zone", "-V1", "-ZZ"]]
        for words in judges:
            if shutil.which(words[0]) is not None:
                done = subprocess.run([*words, str(tmp_path / "zone")], capture_output=True, text=True, timeout=30, check=False)
                assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert founder.overlay("zone", "export", "nowhere").status == 1
    assert founder.overlay("zone", "export", "founder.hq").status == 1
    assert founder.overlay("zone", "roll", "/").status == 2
    founder.done("zone", "roll", "hq")
    assert "being changed already" in founder.overlay("zone", "roll", "hq").err
    until(lambda: dig(founder, "hq.cloud", "DNSKEY", "+short").count("257 3 15") == 2, "both keys stand in the set")
    assert vouched(founder, "motd.founder.hq.cloud")


@needs_dig
def test_root_keys_that_are_kept_elsewhere_sign_the_root_zone_when_they_are_asked_to(shared: Village) -> None:
    machine = shared.machine()
    keys = machine.home / "keys"
    words = ("--name", "founder", "--cluster", "hq", "--address", machine.address, "--root-keys", "2/3", "--root-out", str(keys))
    machine.done("init", "cloud.example.net", *words)
    machine.up()
    until(lambda: "DNSKEY" in machine.done("zone", "export", "hq").out, "its cluster is signed")
    assert machine.overlay("zone", "export", "/").status == 1
    told = machine.done("root", "sign", "--key", str(keys / "root-3.key"))
    assert "name another with --key FILE" in told.err
    signed = machine.done("root", "sign", "--key", str(keys / "root-1.key"))
    assert "signed the keys of the root zone until 20" in signed.err
    until(lambda: vouched(machine, "founder.hq.cloud"), "the stub vouches for it")
    assert "nothing" in machine.done("root", "sign").err
    assert "DNSKEY 15 1 300" in dig(machine, "cloud", "DNSKEY", "+dnssec", "+short")


@needs_dig
def test_after_a_change_of_root_keys_who_pinned_the_former_anchor_is_not_left_alone(shared: Village, tmp_path: Path) -> None:
    founder = shared.founded()
    founder.up()
    until(lambda: vouched(founder, "founder.hq.cloud"), "the stub vouches for it")
    former = founder.done("dns", "anchor").out.splitlines()
    founder.done("root", "rotate")
    until(lambda: founder.done("dns", "anchor").out.splitlines() != former, "the anchor is another")
    now = founder.done("dns", "anchor").out.splitlines()
    assert now[1] == former[0], "the one before stays in reserve"
    until(lambda: dig(founder, "cloud", "DNSKEY", "+dnssec", "+short").count("DNSKEY 15 1 300") == 2, "both keys sign the set")
    assert vouched(founder, "founder.hq.cloud")
    if shutil.which("delv") is not None:
        for line in (former[0], now[0]):
            owner, _, _, _, tag, algorithm, kind, digest = line.split()
            (tmp_path / "keys").write_text(f'trust-anchors {{ {owner} static-ds {tag} {algorithm} {kind} "{digest}"; }};\n')
            words = ["delv", f"@{founder.address}", "-p", "5300", "-a", str(tmp_path / "keys"), "+root=cloud.", "founder.hq.cloud", "A"]
            trusts = lambda words=words: subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout  # noqa: E731
            until(lambda trusts=trusts: "fully validated" in trusts(), f"who pinned {tag} goes on")  # type: ignore[misc]
