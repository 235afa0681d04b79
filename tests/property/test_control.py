"""Whatever a program of this machine writes to the control socket, it is told what was wrong with it, and the node goes on.

The node is a real one with its real commands and its real store; arguments are drawn from what commands take and from
what none of them does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from overlay.driver.control import read_request
from overlay.errors import UsageError
from tests.property.quiet_node import QuietNode, quiet_node

ROUNDS = 1_500
NEVER = {"leave", "ping"}  # one ends what the others need, the other waits for a peer; each has its own test

TEXTS = [
    "", " ", "web.hq", "www.hq.cloud.", "hq/founder", "hq", "/", ".", "..", "*", "*.hq", "x" * 64, "ä.hq", "\x00", "a\nb", "TXT", "A", "TYPE65535",
    "TYPE1", "127.0.0.1", "::1", "fe80::1%lo", "[::1]:53", "tcp", "none", "http://x/", "cmd:true", "cmd:" + "ä" * 250, "cmd:" + "😀" * 250,
    "member,carry", "own", "grant,", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "A" * 3_000, "ABCD-EFGH", '"', "\\", "\\300", "\\#", "\\# 1 00",
    "10 20 30 web.hq", "1 . alpn=h2", "1 . port=\\\u00b2", "web." + "hq." * 20, ".".join(["a" * 60] * 3),
]  # fmt: skip
NUMBERS = [0, 1, -1, 5, 80, 65_535, 65_536, 2**31, 2**63, 2**64, 10**300, 1.5, 80.0, -0.0, 1e308, float("inf"), float("nan")]
ODD = [None, True, False, [], {}, [[]], [None], [5], ["a", 5], {"a": 1}, [["x"]], ["1.2.3.4"] * 70, ["x" * 200] * 9, ["203.0.113.1"] * 9]
KEYS = ["name", "type", "path", "port", "proto", "address", "health", "weight", "values", "ttl", "uses", "expires_s", "to", "rights", "grant",
        "code", "record", "shadow"]  # fmt: skip
GOOD: dict[str, dict[str, Any]] = {
    "service.add": {"name": "web.hq", "port": 80, "proto": "tcp", "address": ["203.0.113.1"], "health": "tcp", "weight": 10},
    "service.remove": {"name": "web.hq"},
    "name.set": {"name": "note.hq", "type": "TXT", "values": ["hello"], "ttl": 30},
    "name.remove": {"name": "note.hq", "type": "TXT"},
    "invite": {"path": "hq", "uses": 2, "expires_s": 3_600},
    "grant": {"path": "lab", "to": "A" * 43, "rights": "member,carry", "expires_s": 3_600},
    "revoke": {"grant": "A" * 43},
    "admit": {"code": "ABCD-EFGH"},
    "root.publish": {"record": "AAAA"},
    "resolve": {"name": "founder.hq", "type": "A"},
    "expand": {"name": "web.hq"},
    "ping": {"node": "hq/founder", "count": 2},
    "name.list": {"path": "hq"},
    "grants": {"path": "hq"},
}  # fmt: skip


def odd_value(dice: Random) -> Any:
    """Anything that JSON can say."""
    return dice.choice(dice.choice((TEXTS, TEXTS, NUMBERS, ODD)))


def odd_args(dice: Random, command: str) -> dict[str, Any]:
    """Arguments of a command, some of them not what it takes."""
    args = dict(GOOD.get(command, {}))
    for _ in range(dice.randrange(4)):
        key = dice.choice([*args, *KEYS])
        if dice.random() < 0.2:
            args.pop(key, None)
        else:
            args[key] = odd_value(dice)
    return args


class Client:
    """One connection to the control socket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._read = b""

    async def ask(self, line: bytes) -> dict[str, Any]:
        """One line, and the answer to it; no more than ten seconds."""
        with trio.fail_after(10):
            await self._stream.send_all(line + b"\n")
            while b"\n" not in self._read:
                more = await self._stream.receive_some()
                assert more, f"no answer to {line[:200]!r}"
                self._read += more
        answer, _, self._read = self._read.partition(b"\n")
        found = json.loads(answer)
        assert isinstance(found, dict)
        return found


@asynccontextmanager
async def client(quiet: QuietNode) -> AsyncIterator[Client]:
    async with await trio.open_unix_socket(quiet.home / "run" / "control.sock") as stream:
        yield Client(stream)


def judged(line: bytes, answer: dict[str, Any]) -> int:
    """0 where it was carried out, else the exit status of its refusal; anything else is a defect."""
    if "result" in answer:
        return 0
    error = answer["error"]
    assert isinstance(error["what"], str) and error["what"] and error["exit"] in (1, 2, 3, 4, 5), (line[:300], answer)
    return int(error["exit"])


async def test_no_argument_of_any_command_ends_the_node(tmp_path: Path) -> None:
    dice, seen = Random(1), Counter[int]()
    async with quiet_node(tmp_path) as quiet, client(quiet) as there:
        commands = sorted(set(GOOD) - NEVER)
        for _ in range(ROUNDS):
            command = dice.choice(commands)
            line = json.dumps({"command": command, "args": odd_args(dice, command)}, ensure_ascii=dice.random() < 0.5).encode()
            seen[judged(line, await there.ask(line))] += 1
        assert (await there.ask(b'{"command": "status"}'))["result"]["name"] == "founder.hq.cloud"
        assert quiet.ended == 0
    assert seen[0] > ROUNDS / 20 and seen[2] > ROUNDS / 10, seen  # the walk does both: what is taken and what is not


@pytest.mark.parametrize(
    "line",
    [
        b'{"command": "name.set", "args": {"name": "n.hq", "type": "TXT", "values": 5}}',
        b'{"command": "name.set", "args": {"name": "n.hq", "type": "TXT", "values": [5]}}',
        b'{"command": "service.add", "args": {"name": "w.hq", "port": 80, "address": 5}}',
        b'{"command": "service.add", "args": {"name": "w.hq", "port": 80, "health": "cmd:\\ud800"}}',
        b'{"command": "service.add", "args": {"name": "w.hq", "port": 1e999}}',
        b'{"command": "name.set", "args": {"name": "n.hq", "type": "TXT", "values": ["\\udfff"]}}',
        b'{"command": "\\ud800"}',
        b'{"command": "\xed\xa0\x80"}',
        b'{"command": "status", "args": {"\\ud800": 1}}',
        b'{"command": "status", "args": ' + b"[" * 100_000,
        b'{"command": "status", "args": {"a": ' + b"[" * 500 + b"]" * 500 + b"}, 5: 6}",
        b'{"command": "service.add", "args": {"name": "w.hq", "port": ' + b"9" * 5_000 + b"}}",
        b'{"command": "name.list", "args": {"path": ["hq"]}}',
        b'{"command": "grants", "args": {"path": {"a": 1}}}',
        b'{"command": "name.remove", "args": {"name": "n.hq", "type": []}}',
        b'{"command": "invite", "args": {"path": 5}}',
        b'{"command": ["status"]}', b'{"args": {}}', b"[]", b"5", b"", b"\x00", b"\xff\xfe{\x00}\x00",
    ],
    ids=lambda line: line[:70].decode("ascii", "replace"),
)  # fmt: skip
async def test_what_makes_no_sense_is_misuse_and_the_node_goes_on(tmp_path: Path, line: bytes) -> None:
    async with quiet_node(tmp_path) as quiet, client(quiet) as there:
        assert judged(line, await there.ask(line)) == 2
        assert "result" in await there.ask(b'{"command": "status"}')


def test_half_a_character_is_not_taken_for_text() -> None:
    assert read_request(b'{"command": "\\ud83d\\ude00"}') == ("\U0001f600", {})
    with pytest.raises(UsageError):
        read_request(b'{"command": "\\ud83d"}')


async def test_a_type_has_one_spelling_however_it_was_asked_for(tmp_path: Path) -> None:
    """Else `A` and `TYPE1` would stand beside each other at one name, and removing one would leave the other."""
    async with quiet_node(tmp_path) as quiet, client(quiet) as there:
        for kind, value in (("TYPE1", "192.0.2.1"), ("a", "192.0.2.2"), ("TYPE00001", "192.0.2.3")):
            asked = {"command": "name.set", "args": {"name": "n.hq", "type": kind, "values": [value]}}
            assert "result" in await there.ask(json.dumps(asked).encode())
        found = await there.ask(b'{"command": "name.list"}')
        assert [(row["type"], row["values"]) for row in found["result"]] == [("A", ["192.0.2.3"])]
        assert "result" in await there.ask(b'{"command": "name.remove", "args": {"name": "n.hq", "type": "type1"}}')
        assert (await there.ask(b'{"command": "name.list"}'))["result"] == []
