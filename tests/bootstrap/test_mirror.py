"""What strangers are told over HTTP, and what a stranger's JSON may make of us."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.entrance import Entrance, WayIn
from bootstrap.mirror import Facts, Page, read_way_in, respond
from overlay import limits
from overlay.errors import Malformed
from overlay.units import b64
from overlay.wire.address import Address

FACTS = Facts(
    overlay_id=bytes(range(32)), zone="cloud.neonics.com", tld="cloud", name="alice.home.eu.cloud", node_id=bytes(32),
    key=bytes(range(32, 64)),
    addresses=(Address("203.0.113.10", 7653), Address("2001:db8::1", 7653)), record=b"signed octets", revision=3, cluster="eu/home",
    ways_tcp=(Address("203.0.113.10", 7653),), udp_seen_s=0.25,
)
ASKED = Address("203.0.113.10", 7653)


def page(path: str, query: str = "", caller: str = "198.51.100.7") -> Page:
    found = respond(path, query, caller, FACTS)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("caller", "line"),
    [("198.51.100.7", b"198.51.100.7\n"), ("2001:DB8::7", b"2001:db8::7\n"), ("::ffff:198.51.100.7", b"198.51.100.7\n"),
     ("fe80::1%eth0", b"fe80::1\n")],
)
def test_the_mirror_tells_the_callers_address_in_one_line(caller: str, line: bytes) -> None:
    found = page("/", "IP", caller)
    assert (found.status, found.body) == (200, line)
    assert dict(found.headers) == {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


def test_a_nonce_comes_back_in_a_header() -> None:
    assert dict(page("/", "IP&nonce=a-Z_09.~").headers)["X-Nonce"] == "a-Z_09.~"
    assert dict(page("/", "IP=&nonce=x").headers)["X-Nonce"] == "x"


@pytest.mark.parametrize("query", ["IP&nonce=", "IP&nonce=a%0d%0aSet-Cookie:x", "IP&nonce=" + "x" * 65, "IP" + "&a=1" * 20, "IP&nonce=%ff"])
def test_a_bad_query_is_refused_and_reaches_no_header(query: str) -> None:
    found = page("/", query)
    assert found.status == 400 and "X-Nonce" not in dict(found.headers)


@pytest.mark.parametrize(
    ("path", "query"),
    [("/", ""), ("/", "ip"), ("/IP", ""), ("/.well-known/overlay/expand", ""), ("/metrics", ""), ("", "IP")],
)
def test_other_paths_are_somebody_elses(path: str, query: str) -> None:
    assert respond(path, query, "198.51.100.7", FACTS) is None


def test_the_status_page_is_what_the_contract_says() -> None:
    found = page("/status")
    assert json.loads(found.body) == {"up": True, "revision": 3, "cluster": "eu/home", "tcp": ["203.0.113.10:7653"], "udp_seen_s": 0.25}
    never = respond("/status", "", "198.51.100.7", dataclasses.replace(FACTS, udp_seen_s=None))
    assert never is not None and json.loads(never.body)["udp_seen_s"] is None


def test_a_newcomer_reads_what_a_node_writes() -> None:
    found = page("/.well-known/overlay")
    assert dict(found.headers)["Content-Type"] == "application/json"
    assert json.loads(found.body)["record"] == b64(b"signed octets")
    way = WayIn((Address("203.0.113.10", 7653), Address("2001:db8::1", 7653)), FACTS.key)
    assert read_way_in(found.body, ASKED) == Entrance(FACTS.overlay_id, "cloud", (way,), "203.0.113.10:7653")


@pytest.mark.parametrize(
    ("asked", "said", "first"),
    [
        (Address("192.0.2.9", 7000), ["10.0.0.2:7653"], Address("192.0.2.9", 7000)),  # behind a forwarded port
        (Address("192.0.2.9", 80), ["10.0.0.2:7700"], Address("192.0.2.9", 7700)),  # a web port: the overlay's is what the node names
        (Address("192.0.2.9", 8053), [], Address("192.0.2.9", 7653)),
    ],
)
def test_the_address_that_answered_comes_first(asked: Address, said: list[str], first: Address) -> None:
    body = json.dumps({**json.loads(page("/.well-known/overlay").body), "addresses": said}).encode()
    assert read_way_in(body, asked).ways[0].addresses[0] == first


def test_addresses_where_nobody_listens_are_left_out() -> None:
    body = json.dumps({**json.loads(page("/.well-known/overlay").body), "addresses": ["224.0.0.1:1", "[fe80::1]:1", "0.0.0.0:5"]}).encode()
    assert read_way_in(body, ASKED).ways[0].addresses == (ASKED,)


@pytest.mark.parametrize(
    "change",
    [
        {"overlay_id": None}, {"overlay_id": "AAAA"}, {"overlay_id": 5}, {"key": ["x"]}, {"key": "AAAA"}, {"tld": ""}, {"tld": "a..b"},
        {"tld": None}, {"tld": "x" * 2_000},
        {"addresses": "203.0.113.10:7653"}, {"addresses": [1]}, {"addresses": ["nonsense"]}, {"addresses": ["1.2.3.4"]},
        {"addresses": ["1.2.3.4:1"] * 17},
    ],
)
def test_a_wrong_field_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        read_way_in(json.dumps({**json.loads(page("/.well-known/overlay").body), **change}).encode(), ASKED)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "json"), (b"[]", "json"), (b"null", "json"), (b"\xff", "json"), (b"{", "json"), (b'{"a": ' + b"9" * 5_000 + b"}", "json"),
        (b"[" * 60_000, "json-nested"), (b'{"a":' * 60, "json-nested"), (b"<html>hello</html>", "json"),
        (b" " * (limits.FETCH_BODY + 1), "fetch-too-long"),
    ],
)
def test_what_is_no_small_json_object_is_malformed(body: bytes, rule: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_way_in(body, ASKED)
    assert caught.value.rule == rule


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
json_objects = st.dictionaries(st.sampled_from(["overlay_id", "key", "tld", "addresses"]), json_values)


@settings(deadline=500, max_examples=100)
@given(json_objects.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100))
def test_any_body_is_an_entrance_or_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_way_in(body, ASKED)
