"""The control socket: who may ask, what an answer looks like, what hostile or lost clients can do (DESIGN 3.13)."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from overlay import limits
from overlay.driver import control_client
from overlay.driver.control import Args, Caller, Handler, Handlers, Tell, TellingHandler, open_control, permitted, serve_control
from overlay.errors import Absent, ConfigError, NotRunning, OverlayError, ReachError, TrustError, UsageError


async def echo(args: Args) -> object:
    return args


async def refuse(args: Args) -> object:
    kind = {"trust": TrustError, "reach": ReachError, "usage": UsageError, "absent": Absent}[args["kind"]]
    raise kind("it happened", "do this", rule="a-rule")


async def count(args: Args, tell: Tell) -> object:
    for n in range(args["n"]):
        await tell(f"step {n}")
    return "counted"


HANDLERS: Handlers = {"echo": Handler(echo, reading=True), "write": Handler(echo), "refuse": Handler(refuse), "count": TellingHandler(count)}


@asynccontextmanager
async def node(home: Path, handlers: Handlers = HANDLERS, **rights: Any) -> AsyncIterator[Counter[str]]:
    counters: Counter[str] = Counter()
    home.mkdir(exist_ok=True, parents=True)
    async with trio.open_nursery() as nursery:
        sock = open_control(home)

        async def serve() -> None:
            await serve_control(sock, handlers, counters=counters, **rights)

        nursery.start_soon(serve)
        yield counters
        nursery.cancel_scope.cancel()


async def ask(home: Path, command: str, args: Args | None = None, timeout: float = 5.0, **more: Any) -> Any:
    return await trio.to_thread.run_sync(lambda: control_client.request(home, command, args or {}, timeout, **more))


async def stream_to(home: Path) -> trio.SocketStream:
    return await trio.open_unix_socket(home / "run" / "control.sock")


async def line_of(stream: trio.SocketStream) -> dict[str, Any]:
    data = b""
    while not data.endswith(b"\n"):
        more = await stream.receive_some()
        assert more
        data += more
    found = json.loads(data)
    assert isinstance(found, dict)
    return found


async def test_a_question_gets_the_handlers_value(tmp_path: Path) -> None:
    async with node(tmp_path):
        assert await ask(tmp_path, "echo", {"a": [1, "ü", None]}) == {"a": [1, "ü", None]}


async def test_progress_arrives_before_the_result(tmp_path: Path) -> None:
    heard: list[str] = []
    async with node(tmp_path):
        assert await ask(tmp_path, "count", {"n": 3}, on_progress=heard.append) == "counted"
    assert heard == ["step 0", "step 1", "step 2"]


@pytest.mark.parametrize(("kind", "family"), [("trust", TrustError), ("reach", ReachError), ("usage", UsageError), ("absent", OverlayError)])
async def test_an_error_keeps_its_family_and_both_lines(tmp_path: Path, kind: str, family: type[OverlayError]) -> None:
    async with node(tmp_path):
        with pytest.raises(family) as caught:
            await ask(tmp_path, "refuse", {"kind": kind})
    assert caught.value.lines() == ["it happened", "do this"]
    assert caught.value.rule == "a-rule"


async def test_an_unknown_command_is_misuse(tmp_path: Path) -> None:
    async with node(tmp_path):
        with pytest.raises(UsageError) as caught:
            await ask(tmp_path, "fly")
    assert caught.value.rule == "command"


def test_without_a_node_the_client_says_not_running(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        control_client.request(tmp_path, "status", {}, 1.0)


def test_a_socket_nobody_listens_on_is_not_a_running_node(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "run" / "control.sock"))
    with pytest.raises(NotRunning):
        control_client.request(tmp_path, "status", {}, 1.0)


async def test_a_home_with_a_very_long_path_works(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120) / ("y" * 60)
    async with node(home):
        assert await ask(home, "echo", {"n": 1}) == {"n": 1}
        assert (home / "run" / "control.sock").is_socket()


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    open_control(tmp_path).close()
    assert (tmp_path / "run" / "control.sock").exists()
    async with node(tmp_path):
        assert await ask(tmp_path, "echo") == {}


async def test_a_socket_with_a_node_behind_it_is_not_taken(tmp_path: Path) -> None:
    async with node(tmp_path):
        with pytest.raises(ConfigError) as caught:
            open_control(tmp_path)
        assert caught.value.rule == "control-busy"
        assert await ask(tmp_path, "echo") == {}


def test_a_home_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_control(tmp_path / "nowhere")
    assert caught.value.rule == "control-bind"


def test_the_socket_is_closed_to_the_world(tmp_path: Path) -> None:
    open_control(tmp_path).close()
    assert stat.S_IMODE((tmp_path / "run" / "control.sock").stat().st_mode) & 0o007 == 0


@pytest.mark.parametrize(
    ("uid", "groups", "reading", "allowed"),
    [
        (0, set(), False, True),  # root
        (1000, set(), False, True),  # the owner
        (1001, {77}, True, True),  # the group reads
        (1001, {77}, False, False),  # and does not write
        (1001, {78}, True, False),  # a stranger
    ],
)
def test_who_may_ask_what(uid: int, groups: set[int], reading: bool, allowed: bool) -> None:
    assert permitted(Caller(uid, frozenset(groups)), frozenset({1000}), 77, reading=reading) is allowed


def test_no_group_lets_nobody_in() -> None:
    assert not permitted(Caller(5, frozenset({0})), frozenset({1000}), None, reading=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may ask everything")
async def test_a_foreign_user_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path, owners=frozenset({12345}), group=12345):
        with pytest.raises(TrustError):
            await ask(tmp_path, "echo")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
async def test_the_kernel_says_who_asks(tmp_path: Path) -> None:
    script = (
        "import os,socket,sys\n"
        "s=socket.socket(socket.AF_UNIX); d=os.open(sys.argv[1],os.O_RDONLY)\n"
        "os.setgroups([int(g) for g in sys.argv[2].split(',') if g]); os.setgid(54321); os.setuid(54321)\n"
        "s.connect(f'/proc/self/fd/{d}/control.sock')\n"
        "s.sendall(sys.argv[3].encode()+b'\\n'); print(s.makefile().readline())\n"
    )

    async def told(groups: str, command: str) -> dict[str, Any]:
        run = tmp_path / "run"
        done = await trio.run_process(
            ["/usr/bin/env", "python3", "-c", script, str(run), groups, json.dumps({"command": command})], capture_stdout=True
        )
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    async with node(tmp_path, group=43210):
        for directory in (tmp_path, *list(tmp_path.parents)[:3]):
            if directory != Path("/tmp") and directory != Path("/"):
                os.chmod(directory, 0o755)
        os.chmod(tmp_path / "run", 0o755)
        os.chmod(tmp_path / "run" / "control.sock", 0o666)
        assert (await told("", "echo"))["error"]["exit"] == 4
        assert (await told("43210", "echo"))["result"] == {}
        assert (await told("43210", "write"))["error"]["rule"] == "control-refused"


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[]", b'{"command": 3}', b'{"command": "echo", "args": []}', b"[" * 100_000, b"\xff\xfe"])
async def test_a_request_without_sense_is_told_so(tmp_path: Path, line: bytes) -> None:
    async with node(tmp_path), await stream_to(tmp_path) as stream:
        await stream.send_all(line + b"\n")
        assert (await line_of(stream))["error"]["rule"] == "control-request"
        await stream.send_all(b'{"command": "echo"}\n')  # and the conversation goes on
        assert await line_of(stream) == {"result": {}}


async def test_an_endless_request_is_cut(tmp_path: Path) -> None:
    async with node(tmp_path) as counters, await stream_to(tmp_path) as stream:
        try:
            for _ in range(limits.CONTROL_REQUEST // 65_536 + 4):
                await stream.send_all(b"x" * 65_536)
        except trio.BrokenResourceError:
            pass
        with trio.fail_after(5):
            while not counters["drop:control-too-long"]:
                await trio.sleep(0.001)


async def test_two_requests_sent_at_once_get_two_answers_in_order(tmp_path: Path) -> None:
    async with node(tmp_path), await stream_to(tmp_path) as stream:
        await stream.send_all(b'{"command": "echo", "args": {"n": 1}}\n{"command": "echo", "args": {"n": 2}}\n')
        data = b""
        while data.count(b"\n") < 2:
            data += await stream.receive_some()
        assert [json.loads(line)["result"]["n"] for line in data.splitlines()] == [1, 2]


async def test_a_client_that_hangs_up_cancels_its_question(tmp_path: Path) -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def forever(args: Args) -> object:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with node(tmp_path, {"forever": Handler(forever)}):
        stream = await stream_to(tmp_path)
        await stream.send_all(b'{"command": "forever"}\n')
        await started.wait()
        await stream.aclose()
        with trio.fail_after(5):
            await cancelled.wait()


async def test_a_silent_node_times_out(tmp_path: Path) -> None:
    async def forever(args: Args) -> object:
        await trio.sleep_forever()

    async with node(tmp_path, {"forever": Handler(forever)}):
        with pytest.raises(ReachError) as caught:
            await ask(tmp_path, "forever", timeout=0.05)
    assert caught.value.rule == "control-timeout"


async def test_a_node_that_dies_in_mid_answer_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "run" / "control.sock"))
        server.listen()

        def die() -> None:
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b'{"progress": "x"}\n{"resu')
            connection.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, die)
            with pytest.raises(ReachError) as caught:
                await ask(tmp_path, "status")
    assert caught.value.rule == "control-closed"


async def test_connections_are_bounded(tmp_path: Path) -> None:
    async with node(tmp_path) as counters:
        streams = [await stream_to(tmp_path) for _ in range(limits.CONTROL_CONNECTIONS)]
        await streams[-1].send_all(b'{"command": "echo"}\n')
        assert await line_of(streams[-1]) == {"result": {}}
        async with await stream_to(tmp_path) as extra:
            with trio.fail_after(5):
                assert await extra.receive_some() == b""
        assert counters["drop:control-full"] == 1
        for stream in streams:
            await stream.aclose()


def test_the_client_costs_no_trio() -> None:
    code = "import sys, overlay.driver.control_client; print(sorted({'trio', 'asyncio', 'msgpack', 'cryptography'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
