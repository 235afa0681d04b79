"""`--detach`: returns when usable, holds nothing of the caller's, and gives up in time (CONTRACT, `join`, `up`)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.process.machines import COMMAND, Machine, Village, gone, until

TAKEN = """\
[listen]
overlay = ["{address}:7653"]
tls = ["{address}:4430"]
http = ["{address}:8080"]
dns = ["{address}:5353"]
stub = ["{address}:5333"]
[names]
policy = "exclusive"
upstream = ["{nobody}"]
[lan]
discovery = false
"""


@pytest.fixture(scope="module")
def founder(shared: Village) -> Machine:
    machine = shared.founded()
    machine.up()
    return machine


def held(pid: int) -> dict[int, str]:
    """Descriptor -> what it leads to, of a process."""
    return {int(one.name): os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()}


def test_join_returns_when_usable_and_the_node_holds_nothing_of_the_callers(founder: Machine, shared: Village) -> None:
    machine = shared.machine()
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    theirs = {os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in (reading, writing)}
    # Pipes for stdout and stderr: run() returns only when nobody holds their other ends any more.
    command = machine._command(("join", founder.listener, "--name", "dot", "--cluster", "eu/dot", "--detach"))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND, stdin=subprocess.DEVNULL, pass_fds=(writing,),
        env=machine._environment(), check=False,
    )  # fmt: skip
    os.close(reading)
    os.close(writing)
    machine.outputs.append(done.stderr)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"joined as dot\.dot\.eu\.cloud in [0-9]+\.[0-9] s\n", done.stdout)
    assert done.stderr.endswith("\n")
    assert machine.ask("dot.dot.eu.cloud") == [machine.address]
    pid = machine.pid()
    kept = held(pid)
    assert kept[0] == "/dev/null"
    assert kept[1] == "/dev/null"
    assert kept[2] == str(machine.home / "log")
    assert not theirs & set(kept.values())
    assert not [target for target in kept.values() if target.startswith(("/dev/pts", "/dev/tty"))]
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert machine.done("down").out == ""
    assert gone(pid)


def test_a_caller_without_stdin_stdout_and_stderr_is_served_as_well(village: Village) -> None:
    machine = village.founded()
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *machine._command(("up", "--detach"))]
    assert subprocess.run(command, env=machine._environment(), timeout=COMMAND, check=False).returncode == 0
    assert held(machine.pid())[0] == "/dev/null"
    assert machine.ask("founder.hq.cloud") == [machine.address]


def test_giving_up_ends_the_child(village: Village) -> None:
    machine = village.machine()
    began = time.monotonic()
    command = subprocess.Popen(
        machine._command(("join", "127.0.78.252", "--detach", "--timeout", "1.5")), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=machine._environment(), text=True,
    )  # fmt: skip
    lock = machine.home / "run" / "lock"
    until(lambda: lock.exists() and lock.read_text(), "the child has the home")
    child = int(lock.read_text())
    out, err = command.communicate(timeout=COMMAND)
    machine.outputs.append(err)
    assert command.returncode == 5
    assert out == ""
    assert "no way into the overlay was found" in err.splitlines()[-2]
    assert time.monotonic() - began < 10
    assert gone(child)


def test_the_child_is_ended_where_the_caller_is_interrupted(village: Village) -> None:
    machine = village.machine()
    command = machine.start("join", "127.0.78.252", "--detach")
    lock = machine.home / "run" / "lock"
    until(lambda: lock.exists() and lock.read_text(), "the child has the home")
    child = int(lock.read_text())
    command.signal(signal.SIGINT)
    assert command.end() == 130
    until(lambda: gone(child), "the child is gone")


def test_a_port_in_use_names_its_holder_and_the_others_fall_back(village: Village) -> None:
    machine = village.founded()
    machine.configure(TAKEN)
    with socket.socket() as holder:
        holder.bind((machine.address, 7653))
        holder.listen()
        refused = machine.overlay("up", "--detach")
    assert refused.status == 1
    assert len(refused.err.splitlines()) == 2
    assert f"{machine.listener} is taken by " in refused.complaint[0]
    assert f"(pid {os.getpid()})" in refused.complaint[0]
    assert machine.pid() == 0

    wanted = [(8080, socket.SOCK_STREAM), (5353, socket.SOCK_DGRAM), (5333, socket.SOCK_DGRAM)]
    holders = [socket.socket(socket.AF_INET, kind) for _, kind in wanted]
    try:
        for sock, (port, kind) in zip(holders, wanted, strict=True):
            sock.bind((machine.address, port))
            if kind == socket.SOCK_STREAM:
                sock.listen()
        done = machine.done("up", "--detach")
    finally:
        for sock in holders:
            sock.close()
    for kind, port in (("http", 8080), ("dns", 5353), ("stub", 5333)):
        said = [line for line in done.err.splitlines() if line.startswith(f"{kind}: {machine.address}:{port} is taken by ")]
        assert len(said) == 1, (kind, done.err)
        assert f"(pid {os.getpid()})" in said[0]
    assert done.out.startswith("up as founder.hq.cloud ")
    status = json.loads(machine.done("status", "--json").out)
    assert [line.partition(":")[0] for line in status["warnings"] if "is taken or not permitted" in line] == ["http", "dns", "stub"]
    assert (machine.home / "log").read_text().count(" warning fallback what=") == 3
    bound = status["listen"]
    assert bound["overlay"] == [machine.listener]
    assert bound["http"] == [f"{machine.address}:8053"]
    assert bound["dns"] == []
    assert bound["stub"] == [f"{machine.address}:5300"]
    assert machine.ask("founder.hq.cloud") == [machine.address]


def test_a_second_node_on_the_home_is_refused(founder: Machine) -> None:
    pid = founder.pid()
    for words in (["up", "--detach"], ["join", "127.0.78.252", "--timeout", "5"]):
        refused = founder.overlay(*words)
        assert refused.status == 1, refused
        assert refused.complaint == [
            f"overlay: a node (pid {pid}) runs on {founder.home}", "stop it with `overlay down`, or use another --home",
        ]  # fmt: skip
    assert founder.pid() == pid
