"""Who the node becomes once its sockets are open (DESIGN 3.13)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from overlay.driver.privilege import Account, account_of, decide, drop, give

OVERLAY = Account("overlay", 990, 990)


@pytest.mark.parametrize(
    ("uid", "account", "become"),
    [
        (0, OVERLAY, OVERLAY),
        (0, None, None),  # no such user: goes on as started
        (1000, OVERLAY, None),  # not root: nothing to give up
        (1000, None, None),
        (0, Account("overlay", 0, 0), None),  # a second name of root is no drop
    ],
)
def test_whom_the_node_becomes(uid: int, account: Account | None, become: Account | None) -> None:
    assert decide(uid, account).become == become


def test_staying_root_says_how_to_mend_it() -> None:
    assert "service-unit install" in decide(0, None).reason


def test_without_the_user_nothing_changes(tmp_path: Path) -> None:
    before = os.geteuid()
    assert account_of("no-such-user-here") is None
    assert drop(tmp_path, "no-such-user-here").become is None
    assert os.geteuid() == before


SCRIPT = """
import json, os, socket, subprocess, sys
from pathlib import Path
from overlay.driver.privilege import drop
drop(Path(sys.argv[1]), "nobody")
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
def low():
    with socket.socket() as s:
        try: s.bind(("127.0.9.9", 77)); return True
        except PermissionError: return False
try: os.setuid(0); back = True
except PermissionError: back = False
(Path(sys.argv[1]) / "new").write_text("x")
print(json.dumps({"uid": os.getresuid(), "eff": int(status["CapEff"], 16), "amb": int(status["CapAmb"], 16), "low": low(), "back": back}))
"""


@pytest.mark.skipif(os.geteuid() != 0 or account_of("nobody") is None, reason="needs root and the user nobody")
def test_root_becomes_the_user_for_good_and_keeps_low_ports(tmp_path: Path) -> None:
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    nobody = account_of("nobody")
    assert nobody is not None
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True, mode=0o700)
    (home / "identity").write_text("secret")
    outside = tmp_path / "outside"
    outside.write_text("")
    (home / "link").symlink_to(outside)
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(home)], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["uid"] == [nobody.uid] * 3 and not told["back"]
    assert told["eff"] & ~(1 << 10) == 0  # nothing but NET_BIND_SERVICE
    assert told["low"] is bool(told["eff"])
    assert {(home / name).stat().st_uid for name in ("", "run", "identity", "new")} == {nobody.uid}
    assert outside.stat().st_uid == 0  # a link in the home gives nothing away


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_home_is_given_whole(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").write_text("")
    give(tmp_path, Account("x", 54321, 54322))
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (tmp_path, *tmp_path.rglob("*"))} == {(54321, 54322)}
