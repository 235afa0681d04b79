"""``init``, ``join`` and ``up``: what was typed is what the program is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from overlay.cli import process, starting
from overlay.cli.config_file import load
from overlay.cli.grammar import Call, read
from overlay.cli.process import Founded, Founding, Joining
from overlay.cli.report import Report
from overlay.cli.table import COMMANDS
from overlay.config import Config, Lan, Listen
from overlay.errors import OverlayError, TrustError
from tests.cli.shell import Run

TOKEN = "-" + "tOk_" * 20


@dataclass
class Program:
    """Stands for the program behind the commands: keeps what it is told."""

    founded: list[tuple[Path, Founding, Config]] = field(default_factory=list)
    ran: list[tuple[Path, Config, Joining | None]] = field(default_factory=list)
    detached: list[tuple[list[str], Path, float]] = field(default_factory=list)
    refusal: OverlayError | None = None

    def found(self, home: Path, founding: Founding, config: Config) -> Founded:
        home.mkdir(exist_ok=True)
        self.founded.append((home, founding, config))
        if self.refusal:
            raise self.refusal
        return Founded(publish=("; keep your DNS host", 'a.b. 300 IN TXT "x"'), talk=("founded", "overlay join a.b"))

    def run_node(self, home: Path, config: Config, joining: Joining | None, report: Report) -> None:
        self.ran.append((home, config, joining))
        report.progress("asking")
        if self.refusal:
            raise self.refusal
        report.ready("joined as alice.cloud in 0.1 s")

    def detach(self, words: Sequence[str], log: Path, timeout: float) -> int:
        self.detached.append((list(words), log, timeout))
        return 0


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program()
    monkeypatch.setattr(process, "found", program.found)
    monkeypatch.setattr(process, "run_node", program.run_node)
    monkeypatch.setattr(starting, "detach", program.detach)
    return program


def test_init_prints_what_to_publish_on_stdout_and_ends_stderr_with_the_line_to_run_elsewhere(
    run: Run, program: Program, tmp_path: Path
) -> None:
    seen = run("--home", str(tmp_path / "h"), "init", "a.b", "--listen-stub", "127.0.0.2:53", "--no-lan")
    assert (seen.status, seen.out) == (0, '; keep your DNS host\na.b. 300 IN TXT "x"\n')
    assert seen.complaint[-1] == "overlay join a.b"
    home, founding, config = program.founded[0]
    assert (home, founding) == (tmp_path / "h", Founding(zone="a.b"))
    assert config == Config(listen=Listen(stub=("127.0.0.2:53",)), lan=Lan(discovery=False)) == load(home)


def test_init_hands_over_all_that_was_said(run: Run, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--tld", "lan2", "--admission", "open", "--cluster", "eu/home", "--name", "alice", "--shadow"]
    seen = run(
        "--home",
        "h",
        "init",
        "a.b",
        *words,
        "--address",
        "192.0.2.1",
        "--address",
        "[2001:DB8::1]",
        "--root-keys",
        "2/3",
        "--root-out",
        "keys",
    )
    assert seen.status == 0
    assert program.founded[0][1] == Founding(
        zone="a.b", tld="lan2", admission="open", cluster="eu/home", name="alice", addresses=("192.0.2.1", "2001:db8::1"), root_threshold=2,
        root_keys=3, root_out=tmp_path / "keys", shadow=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--root-keys", "3/2", "--root-out", "x"], "--root-keys '3/2'"),
        (["--root-keys", "0/1", "--root-out", "x"], "--root-keys '0/1'"),
        (["--root-keys", "two", "--root-out", "x"], "--root-keys 'two'"),
        (["--root-keys", "1/17", "--root-out", "x"], "--root-keys '1/17'"),
        (["--root-keys", "2/3"], "wants --root-out"),
        (["--address", "192.0.2.1:53"], "not an IP address"),
        (["--address", "host.example"], "not an IP address"),
        (["--listen-overlay", "host:1"], "--listen-overlay"),
    ],
)
def test_init_refuses_what_makes_no_sense(run: Run, program: Program, tmp_path: Path, words: list[str], what: str) -> None:
    seen = run("--home", str(tmp_path), "init", "a.b", *words)
    assert (seen.status, len(seen.complaint), program.founded) == (2, 2, [])
    assert what in seen.err


def test_a_founding_that_fails_remembers_nothing(run: Run, program: Program, tmp_path: Path) -> None:
    program.refusal = TrustError("there is an overlay already", "choose another --home")
    seen = run("--home", str(tmp_path), "init", "a.b", "--no-lan")
    assert (seen.status, seen.out, len(seen.complaint)) == (4, "", 2)
    assert not (tmp_path / "overlay.toml").exists()


def test_join_runs_in_the_foreground_until_it_ends(run: Run, program: Program, tmp_path: Path) -> None:
    seen = run(
        "--home",
        str(tmp_path / "h"),
        "join",
        "--invite",
        TOKEN,
        "--cluster",
        "eu/home",
        "--name",
        "alice",
        "--id",
        "-abc",
        "--timeout",
        "2m",
    )
    assert (seen.status, seen.out, seen.err) == (0, "joined as alice.cloud in 0.1 s\n", "asking\n")
    joining = Joining(invite=TOKEN, cluster="eu/home", name="alice", overlay_id="-abc", timeout=120.0)
    assert program.ran == [(tmp_path / "h", Config(), joining)]


def test_a_newcomer_remembers_where_it_was_told_to_listen(run: Run, program: Program, tmp_path: Path) -> None:
    run("--home", str(tmp_path / "h"), "join", "lan", "--listen-dns", "off")
    assert load(tmp_path / "h").listen.dns == ("off",)
    (tmp_path / "enrolled").mkdir()
    (tmp_path / "enrolled" / "identity").touch()
    run("--home", str(tmp_path / "enrolled"), "join", "lan", "--listen-dns", "off")
    assert program.ran[-1][1].listen.dns == ("off",)
    assert load(tmp_path / "enrolled") == Config()


def test_a_refusal_while_joining_keeps_its_exit_status(run: Run, program: Program, tmp_path: Path) -> None:
    program.refusal = TrustError("the token is spent", "ask for another one")
    seen = run("--home", str(tmp_path), "join", "a.b")
    assert (seen.status, seen.out) == (4, "")
    assert seen.complaint == ["asking", "overlay: the token is spent", "ask for another one"]


def test_up_lays_its_flags_over_the_file_and_writes_none(run: Run, program: Program, tmp_path: Path) -> None:
    (tmp_path / "overlay.toml").write_text('[listen]\nhttp = "off"\n')
    assert run("--home", str(tmp_path), "up", "--listen-stub", "off").status == 0
    assert program.ran == [(tmp_path, Config(listen=Listen(http=("off",), stub=("off",))), None)]
    assert (tmp_path / "overlay.toml").read_text() == '[listen]\nhttp = "off"\n'


@pytest.mark.parametrize("words", [["up"], ["up", "--detach"], ["join", "lan"], ["join", "--detach"], ["init", "a.b"]], ids=" ".join)
def test_a_wrong_configuration_stops_all_of_them_at_once(run: Run, program: Program, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "overlay.toml").write_text("[lan]\nadmitt = true\nadmit = 1\n")
    seen = run("--home", str(tmp_path), *words)
    assert (seen.status, seen.out, len(seen.complaint)) == (1, "", 2)
    assert "line 2:" in seen.err
    assert "line 3:" in seen.err
    assert (program.founded, program.ran, program.detached) == ([], [], [])


@pytest.mark.parametrize(
    "words",
    [
        ["join", "cloud.example.org", "--name", "alice", "--cluster", "eu/home"],
        ["join", "--invite", TOKEN, "--id", "--" + "x" * 41, "--shadow", "--no-lan", "--debug"],
        ["join", "lan", "--listen-overlay", "127.0.0.1:1", "--listen-overlay", "[::1]:1", "--listen-stub=off"],
        ["up", "--listen-http", "off", "--debug"],
    ],
    ids=" ".join,
)
def test_the_detached_process_is_told_the_same(run: Run, program: Program, tmp_path: Path, words: list[str]) -> None:
    given = read(words, COMMANDS)
    assert run("--home", str(tmp_path / "h"), *words, "--detach").status == 0
    handed, _, _ = program.detached[0]
    again = read(handed, COMMANDS)
    assert isinstance(given, Call)
    assert isinstance(again, Call)
    assert (again.home, again.command, again.debug) == (str(tmp_path / "h"), given.command, given.debug)
    assert {**again.values, "timeout": None} == {**given.values, "timeout": None}


@pytest.mark.parametrize(
    ("words", "child", "parent"), [([], 60.0, 65.0), (["--timeout", "5"], 5.0, 10.0), (["--timeout", "1.5m"], 90.0, 95.0)]
)
def test_the_detached_process_gives_up_before_its_parent(
    run: Run, program: Program, tmp_path: Path, words: list[str], child: float, parent: float
) -> None:
    run("--home", str(tmp_path), "join", "--detach", *words)
    handed, log, timeout = program.detached[0]
    again = read(handed, COMMANDS)
    assert isinstance(again, Call)
    assert (again.values["timeout"], timeout, log) == (child, parent, tmp_path / "log")


def test_up_on_a_home_that_is_not_there_makes_none(run: Run, program: Program, tmp_path: Path) -> None:
    run("--home", str(tmp_path / "absent"), "up", "--detach")
    assert program.detached[0][1] == Path("/dev/null")
    assert not (tmp_path / "absent").exists()


def test_a_home_that_cannot_be_made_is_told(run: Run, program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    seen = run("--home", str(tmp_path / "file" / "h"), "join", "lan")
    assert (seen.status, len(seen.complaint), program.ran) == (1, 2, [])
