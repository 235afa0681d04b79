"""How a command line is read (CONTRACT, "the manners")."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.cli.grammar import Call, Help, read, span
from overlay.cli.table import COMMANDS
from overlay.errors import UsageError

ID = "-" + "aB3_" * 10 + "xyz"  # 43 characters and more, as ids and tokens have
LONG_ID = "--" + "c-_9" * 10 + "q"


def call(*words: str) -> Call:
    found = read(words, COMMANDS)
    assert isinstance(found, Call)
    return found


def misuse(*words: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(words, COMMANDS)
    assert caught.value.todo
    return caught.value


def test_every_argument_and_option_has_a_value_also_where_it_was_not_given() -> None:
    assert call("join").values == {
        "where": None, "invite": None, "cluster": None, "name": None, "id": None, "timeout": None, "detach": False, "shadow": False,
        "listen_overlay": (), "listen_tls": (), "listen_http": (), "listen_dns": (), "listen_stub": (), "no_lan": False,
    }  # fmt: skip
    assert call("init", "z.example").values["tld"] == "cloud"
    assert call("init", "z.example").values["admission"] == "invite"


@pytest.mark.parametrize("token", [ID, LONG_ID, "-xyz", "-h"[:1] + "Zz"])
def test_ids_and_tokens_are_taken_even_where_they_begin_with_a_dash(token: str) -> None:
    assert call("ping", token).values["node"] == token
    assert call("ping", "-c", "2", token, "--json").values == {"node": token, "count": 2}
    assert call("join", "--invite", token, "--detach").values["invite"] == token
    assert call("join", f"--invite={token}").values["invite"] == token
    assert call("join", "--id", token, "lan").values["where"] == "lan"
    assert call("resolve", token, "AAAA").values == {"name": token, "type": "AAAA"}
    assert call("name", "set", "x.y", "TXT", token, "--ttl", "5").values["value"] == (token,)


def test_after_a_lone_double_dash_all_words_are_values() -> None:
    assert call("name", "set", "x.y", "TXT", "--", "--json", "--").values["value"] == ("--json", "--")
    assert call("ping", "--", "-c").values["node"] == "-c"
    assert call("zone", "serve", "-", "--listen", "127.0.0.1:53").values["file"] == "-"


def test_options_stand_anywhere_and_with_or_without_an_equals_sign() -> None:
    assert call("service", "add", "--port=80", "web.home.eu").values["port"] == 80
    assert call("service", "add", "web.home.eu", "--port", "80").values["port"] == 80
    assert call("ping", "a.b", "-c5").values["count"] == 5
    assert call("up", "--listen-stub", "127.0.0.1:53", "--listen-stub=off").values["listen_stub"] == ("127.0.0.1:53", "off")
    assert call("name", "set", "x.y", "TXT", "", " a b ").values["value"] == ("", " a b ")


def test_the_home_and_debug_are_taken_before_and_after_the_command() -> None:
    for words in (["--home", "/h", "--debug", "status"], ["status", "--home=/h", "--debug"], ["--debug", "status", "--home", "/h"]):
        found = call(*words)
        assert (found.home, found.debug, found.json, found.command.name) == ("/h", True, False, "status")


def test_help_is_given_for_whatever_it_is_asked_of() -> None:
    assert read([], COMMANDS) == read(["--help"], COMMANDS) == read(["help"], COMMANDS) == Help(())
    assert read(["--home", "/h"], COMMANDS) == Help(())
    assert read(["name", "--help"], COMMANDS) == read(["help", "name"], COMMANDS) == Help(("name",))
    assert read(["name", "set", "--help"], COMMANDS) == read(["--help", "name", "set", "x"], COMMANDS) == Help(("name", "set"))
    assert read(["ping", "-h"], COMMANDS) == Help(("ping",))
    assert call("--version").command.name == "version"


@pytest.mark.parametrize(
    ("words", "what", "todo"),
    [
        (["staus"], "no command 'staus'", "`overlay status`"),
        (["zzzzzzz"], "no command", "overlay --help"),
        (["name"], "wants to know what to do", "set, remove, list, tree"),
        (["name", "--json"], "wants to know what to do", "set, remove"),
        (["name", "sett", "x"], "'name sett'", "`overlay name set`"),
        (["service", "zzzzzz"], "'service zzzzzz'", "overlay service --help"),
        (["--hom", "/h", "status"], "no option '--hom'", "--home"),
        (["status", "--jsn"], "no option '--jsn'", "--json"),
        (["status", "-x"], "no option '-x'", "--help"),
        (["ping", "--cuont", "3", "x"], "no option '--cuont'", "--count"),
        (["ping", "--cuont=3", "x"], "no option '--cuont'", "lone --"),
        (["down", "--json"], "no option '--json'", "--help"),
        (["ping"], "wants NODE", "usage: overlay ping NODE"),
        (["ping", "a", "b"], "does not take 'b'", "usage: overlay ping NODE"),
        (["ping", ""], "NODE must not be empty", "usage"),
        (["ping", "a", "-c"], "-c wants a value", "-c N"),
        (["ping", "a", "-c", "x"], "-c is a whole number from 1 to 1000", "-c N"),
        (["ping", "a", "--count", "0"], "--count is a whole number", "--count N"),
        (["ping", "a", "--count", "--json"], "--count wants a value", "--count N"),
        (["ping", "a", "--json=yes"], "--json takes no value", "alone"),
        (["join", "--invite", "--name", "x"], "--invite wants a value", "--invite TOKEN"),
        (["join", "--timeout", "soon"], "--timeout is a duration", "--timeout S"),
        (["join", "--timeout", "0"], "--timeout must be more than 0", "--timeout S"),
        (["join", "--name", ""], "--name must not be empty", "--name LABEL"),
        (["invite", "--expires", "90"], "--expires is a duration", "--expires 24h"),
        (["init", "z", "--admission", "closed"], "--admission is invite or open", "--admission invite|open"),
        (["service", "add", "x", "--port", "65536"], "--port is a whole number from 1 to 65535", "--port N"),
        (["service", "add", "x", "--proto", "sctp"], "--proto is tcp or udp", "--proto tcp|udp"),
        (["completion", "tcsh"], "SHELL is bash, zsh, fish or nodes", "usage"),
        (["--home"], "--home wants a value", "--home DIR"),
    ],
)  # fmt: skip
def test_misuse_is_told_with_what_was_meant(words: list[str], what: str, todo: str) -> None:
    error = misuse(*words)
    assert error.exit_status == 2
    assert what in error.what
    assert todo in error.todo


@pytest.mark.parametrize(
    ("word", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000), ("1.5h", 5_400), ("250ms", 0.25)]
)
def test_durations_are_a_number_and_a_unit(word: str, seconds: float) -> None:
    assert span(word) == seconds
    assert call("join", "--timeout", word).values["timeout"] == seconds


def test_the_table_says_each_thing_once() -> None:
    names = [command.words for command in COMMANDS]
    assert len(set(names)) == len(names)
    for command in COMMANDS:
        keys = [option.key for option in command.options] + [place.key for place in command.arguments]
        assert len(set(keys)) == len(keys), command.name
        places = command.arguments
        assert all(place.required for place in places[: sum(place.required for place in places)]), command.name
        assert not any(place.many for place in places[:-1]), command.name


WORDS = st.sampled_from(sorted({word for command in COMMANDS for word in command.words} | {o.name for c in COMMANDS for o in c.options}))


@given(st.lists(WORDS | st.text(max_size=8) | st.sampled_from(["--", "-", "-c", "--help", "--home", "a.b", "80", "="]), max_size=7))
@settings(max_examples=300, deadline=2_000)
def test_any_words_are_a_call_or_help_or_misuse(words: list[str]) -> None:
    try:
        found = read(words, COMMANDS)
    except UsageError as error:
        assert error.what
        assert error.todo
    else:
        assert isinstance(found, Help) or set(found.values) >= {place.key for place in found.command.arguments}
