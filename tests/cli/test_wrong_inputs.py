"""Every command of the table, given what makes no sense: the contract's exit status, two lines on stderr, never a traceback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overlay.cli.grammar import Command, Option, number, one_of, seconds, span, text
from overlay.cli.table import COMMANDS
from tests.cli.shell import Outcome, Run, process

# Words that satisfy a command, where it wants any: then only what is added can be wrong.
GOOD = {
    "ZONE": "cloud.example.org", "CODE": "ABCD-EFGH", "PATH": "eu/home", "GRANT": "A" * 43, "DIR": "keys", "NODE": "alice.home.eu",
    "NAME": "web.home.eu", "TYPE": "TXT", "VALUE": "hello", "FILE": "zone", "SHELL": "bash", "WHERE": "127.0.0.1", "DRAFT": "draft",
    "CHANNEL": "app", "N": "1",
}  # fmt: skip
# What each rule of the grammar refuses, by the code of the rule.
BAD = {
    number(0, 1).__code__: ["x", "-1", "1e3", "99999999999999", "\u0662"], one_of("a", "b").__code__: ["nonsense", ""],  # type: ignore[attr-defined]
    span.__code__: ["soon", "5", "-1s", ""], seconds.__code__: ["x", "0", "-5", ""], text.__code__: [""],
}  # fmt: skip


def named(command: Command) -> list[str]:
    return [*command.words, *(GOOD.get(place.name, "word") for place in command.arguments if place.required)]


def refused(seen: Outcome, status: int, words: list[str]) -> None:
    """What every refusal looks like."""
    assert (seen.status, seen.out) == (status, ""), (words, seen)
    assert len(seen.complaint) == 2 and all(seen.complaint), (words, seen.err)
    assert seen.complaint[0].startswith("overlay: ") and "defect" not in seen.err and "Traceback" not in seen.err, (words, seen.err)
    assert all(line.isprintable() for line in seen.complaint), (words, seen.err)


# -- misuse


def misuses(command: Command) -> Iterator[list[str]]:
    """Command lines that make no sense, each wrong in one way."""
    whole = named(command)
    yield [*whole, "--nonsense"]
    yield [*whole, "--nonsense=x"]
    if not any(place.many for place in command.arguments):
        optional = [GOOD.get(place.name, "word") for place in command.arguments if not place.required]
        yield [*whole, *optional, "one", "too", "many"]
    for place in range(sum(place.required for place in command.arguments)):
        yield [*command.words, *whole[len(command.words) :][:place]]
    for option in command.options:
        yield from ([*whole, *words] for words in wrong(option))


def wrong(option: Option) -> Iterator[list[str]]:
    if not option.value:
        yield [f"{option.name}=yes"]
        return
    yield [option.name]
    yield from ([f"{option.name}={word}"] for word in BAD.get(option.rule.__code__, []))  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_misuse_of_any_command_exits_2_with_two_lines_and_does_nothing(run: Run, tmp_path: Path, command: Command) -> None:
    tried = 0
    for words in misuses(command):
        refused(run("--home", str(tmp_path), *words), 2, words)
        tried += 1
    assert tried >= 2 + len(command.options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["--nonsense"], ["--nonsense", "status"], ["--home"], ["--home", "", "status"], ["--home=", "status"], ["--debug=x", "status"],
     ["name"], ["name", "nonsense"], ["\x1b[2J"], ["\udcff"], ["status", "\udcff\n\x1b"], ["stat\u0131s"], ["x" * 100_000], ["-"], ["--"], [""]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_command_exits_2_with_two_lines(run: Run, words: list[str]) -> None:
    seen = run(*words)
    refused(seen, 2, words)
    assert all(len(line) < 400 for line in seen.complaint)


# -- homes that are none

SERVER_SIDE = {"init", "join", "up", "root export"}  # they make a home, or work on its files
# They ask no node.
OFFLINE = {"version", "completion", "zone serve", "config check", "config show", "doctor", "lab run", "lab replay", "release sign", "release fetch"}
ASKING = [command for command in COMMANDS if command.name not in SERVER_SIDE | OFFLINE | {"log"}]


def asked(command: Command) -> list[str]:
    """The command with all that it wants, so that it asks the node."""
    more = {"leave": ["--yes"], "service add": ["--port", "80"], "grant": ["--to", "A" * 43, "--rights", "member"]}
    return [*named(command), *more.get(command.name, [])]


@pytest.mark.parametrize("command", [*ASKING, *(c for c in COMMANDS if c.name in {"up", "log", "root export"})], ids=lambda command: command.name)
@pytest.mark.parametrize("kind", ["a file", "below a file", "a loop", "too long"])
def test_a_home_that_is_none_is_told_in_two_lines(run: Run, tmp_path: Path, command: Command, kind: str) -> None:
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    home = {"a file": file, "below a file": file / "home", "a loop": loop, "too long": tmp_path / ("x" * 300)}[kind]
    seen = run("--home", str(home), *asked(command))
    assert seen.status in ((3,) if command in ASKING else (1,)), seen
    refused(seen, seen.status, asked(command))


# -- sockets without a node behind them


@contextmanager
def speaking(home: Path, answer: bytes | None) -> Iterator[None]:
    """Something on the control socket that is no node: it says ``answer`` to whoever asks. None: it is dead, its name is left."""
    (home / "run").mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(home / "run" / "control.sock"))
        if answer is None:
            yield
            return
        sock.listen(8)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                connection, _ = sock.accept()
                with connection:
                    connection.settimeout(10)
                    try:
                        while not connection.recv(65_536).endswith(b"\n") and not over.is_set():
                            pass
                        connection.sendall(answer)
                    except OSError:
                        pass  # the client had enough

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
                last.connect(str(home / "run" / "control.sock"))
            thread.join(20)


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command.name)
def test_a_socket_that_a_dead_node_left_is_no_node(run: Run, tmp_path: Path, command: Command) -> None:
    with speaking(tmp_path, None):
        refused(run("--home", str(tmp_path), *asked(command)), 3, asked(command))


GARBAGE = {
    "nothing": b"",
    "no line": b"{",
    "no text": b"\x00\xff\xfe\n",
    "no json": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no object": b"[]\n",
    "a number": b"7\n",
    "an empty object": b"{}\n",
    "an error that is none": b'{"error": 7}\n',
    "an error of odd kinds": b'{"error": {"what": [], "exit": [], "todo": 7}}\n',
    "nested too deeply": b"[" * 100_000 + b"\n",
    "a result cut short": b'{"result": {"name"\n',
    "a result that is a number": b'{"result": 7}\n',
    "a result that is text": b'{"result": "x"}\n',
    "a list of numbers": b'{"result": [7]}\n',
    "half a character": b'{"error": {"what": "\\ud800\\u001b"}}\n',
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_on_the_socket_is_told_in_two_lines_by_every_command(run: Run, tmp_path: Path, kind: str) -> None:
    with speaking(tmp_path, GARBAGE[kind]):
        for command in ASKING:
            seen = run("--home", str(tmp_path), *asked(command))
            assert seen.status in (1, 5), (command.name, seen)
            refused(seen, seen.status, asked(command))


# -- as real processes


def test_of_a_real_process_stderr_is_two_lines_and_debug_adds_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = str(tmp_path / "file")
    cases = [(["--home", home, "status"], 3), (["--home", home, "up"], 1), (["join"], 2), (["peers", "\udcff"], 2)]
    for words, status in cases:
        for debug in (False, True):
            with process(*(["--debug"] if debug else []), *words, env={"HOME": str(tmp_path)}) as child:
                out, err = child.communicate(timeout=60)
            lines = err.splitlines()
            assert (child.returncode, out) == (status, ""), (words, err)
            assert lines[-2].startswith("overlay: ") and ("Traceback" in err) is debug, err
            assert debug or len(lines) == 2, err


def test_a_real_process_without_anything_is_told_what_is_missing(tmp_path: Path) -> None:
    """No home in the environment, no working directory."""
    gone = tmp_path / "gone"
    gone.mkdir()
    lose = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"
    script = f"{lose}; from overlay.cli import main; sys.exit(main(['--home', 'x', 'status']))"
    with process(env={"HOME": "", "OVERLAY_HOME": "", "PYTHONSAFEPATH": "1"}, program=("-c", script)) as child:
        _, err = child.communicate(timeout=60)
    assert (child.returncode in (1, 3), len(err.splitlines())) == (True, 2), err
