"""The kinds: every body round-trips, and what a kind does not take is refused by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overlay import limits
from overlay.errors import Malformed
from overlay.name import ROOT, parse_path
from overlay.records import kinds
from overlay.records.kinds import KINDS, Bind, Body, Carry, Cluster, Data, Grant, Head, Host, Invite, Revoke, Root, version_item
from overlay.records.observed import Observed, Running, Why
from overlay.records.record import NEVER, Draft, Record, sign
from overlay.records.releases import Artifact, Channel, Delta, Halt, Mirror, Now, Release
from overlay.records.zones import BUCKET, KEYS, EntryKey, Piece, ZoneSigner, place
from overlay.units import DAY, HOUR
from overlay.wire.address import Address
from overlay.wire.codec import Value
from tests.records.actors import AT, actor, refused, seed

ME = actor("kinds")
KEY, DIGEST, HOME = seed("key"), seed("digest"), parse_path("eu/home")
V4, V6 = Address("192.0.2.1", 7653), Address("2001:db8::1", 7653)


def record(
    kind: str, body: dict[int, Value], *, item: bytes = b"", name: str = "eu/home", life: int = 600, seq: int = 1, via: bytes = b""
) -> Record:
    expires = NEVER if kind == "root" and life == 600 else AT + life
    draft = Draft(name=parse_path(name), kind=kind, item=item, seq=seq, issued=AT, expires=expires, via=via, body=body)
    return sign(draft, [ME.signer], bytes(32))


ROOT_BODY = Root(version=1, zone="cloud.example.org", tld="cloud", keys=(KEY,), threshold=1, admission="open")
FULL = Release(
    revision=7, lowest=3, soak=0, waves=(), urls=("http://192.0.2.1/app/r7",), note="faster", home=HOME,
    artifacts=(
        Artifact(length=5, root=DIGEST, platform="linux-x86_64", deltas=(Delta(base=6, length=2, root=KEY),)),
        Artifact(length=6, root=KEY, platform="macos"),
    ),
)
BODIES: list[tuple[str, bytes, str, Body]] = [
    ("root", version_item(1), "", ROOT_BODY),
    ("grant", KEY, "eu", Grant(rights=frozenset({"own", "release:kernel"}), shadow=True)),
    ("grant", KEY, "eu", Grant(rights=frozenset({"member"}))),
    ("revoke", DIGEST, "eu", Revoke()),
    ("bind", b"", "", Bind(exchange=KEY)),
    ("host", b"", "eu/home/a", Host(exchange=KEY, addresses=(V4, V6))),
    ("host", b"", "eu/home/a", Host(exchange=KEY)),
    ("host", b"", "eu/home/a", Host(exchange=KEY, withdrawn=True)),
    ("cluster", b"", "eu/home", Cluster(exchange=KEY, addresses=(), node=HOME / "a", withdrawn=True)),
    ("carry", b"tcp", "eu/home/www", Carry(port=80, node=HOME / "a", withdrawn=True)),
    ("cluster", b"", "eu/home", Cluster(exchange=KEY, addresses=(V4,), node=HOME / "a", nodes=3, load=17, dns=True)),
    (
        "carry",
        b"tcp",
        "eu/home/www",
        Carry(port=80, node=HOME / "a", addresses=("192.0.2.1", "2001:db8::1"), weight=0, healthy=False, health="none"),
    ),
    ("carry", b"udp", "eu/home/*", Carry(port=65_535, node=HOME / "a")),
    ("data", b"TXT", "eu/home", Data(values=("one", ""), ttl=60)),
    ("data", b"AAAA", "eu/home", Data()),
    ("head", b"", "eu/home", Head(serial=2**32 - 1, digest=DIGEST, count=0)),
    ("invite", KEY, "eu/home", Invite(uses=3, redeemers=(KEY, DIGEST))),
    ("channel", version_item(1), "download/app", Channel(version=1, keys=(KEY,), threshold=1)),
    ("channel", version_item(2), "download/app", Channel(version=2, keys=(KEY,), threshold=1, previous=DIGEST)),
    ("release", version_item(1), "download/app", Release(revision=1, artifacts=(Artifact(length=1, root=DIGEST),))),
    ("release", version_item(7), "download/app", FULL),
    ("halt", version_item(7), "download/app", Halt(revision=7, note="it burns")),
    ("halt", version_item(7), "download/app", Halt(revision=7, lifted=True)),
    ("now", b"", "download/app", Now(revision=7, release=DIGEST, channel=KEY)),
    ("mirror", b"app", "eu/home/a", Mirror(revision=7, addresses=(V4, V6), slots=3, served=9)),
    ("mirror", b"app", "eu/home/a", Mirror(revision=7, withdrawn=True)),
    ("mirror", b"app", "eu/home/a", Mirror(revision=7, partial=True)),
    ("root", version_item(1), "", replace(ROOT_BODY, entries=(KEY, DIGEST))),
    ("ksk", KEY, "eu/home", EntryKey(sealed=((KEY[:8], bytes(80)), (DIGEST[:8], bytes(80))), since=1, ready=True)),
    ("ksk", KEY, "eu/home", EntryKey(sealed=(), since=0)),
    ("zsk", b"", "eu/home", ZoneSigner(public=KEY)),
    ("signed", place(KEYS), "eu/home", Piece(data=b"x", serial=2**32 - 1, count=3, digest=DIGEST)),
    ("signed", place(BUCKET, 65_535, 255), "", Piece(data=b"", count=1)),
    ("mirror", b"app", "eu/home/a", Mirror(revision=7, told=0)),
    ("running", b"app", "eu/home/a", Running(revision=7, content=DIGEST, held=8, failed=8)),
    ("running", b"kernel", "eu/home/a", Running(restless=True, incarnation=9)),
    ("running", b"app", "eu/home/a", Running(withdrawn=True)),
    ("observed", b"app", "eu/home", Observed(revision=7, release=DIGEST, stable=7, live=3, installed=3, restarted=3, healthy=3, addresses=(V4, V6))),
    ("observed", b"app", "eu/home", Observed(revision=7, release=DIGEST, stable=6, live=2, holding=(("a", Why.FAILED), ("b", Why.RESTLESS)))),
]


@pytest.mark.parametrize(("kind", "item", "name", "body"), BODIES)
def test_every_body_reads_back(kind: str, item: bytes, name: str, body: Body) -> None:
    assert kinds.read(record(kind, body.body(), item=item, name=name)) == body


def test_every_kind_has_a_body_here() -> None:
    assert {kind for kind, *_ in BODIES} == set(KINDS)


WRONG = [
    ("ksk", KEY, "", {1: [], 2: 1}, "zone-key"),
    ("ksk", KEY, "eu", {1: [[KEY[:8], bytes(79)]], 2: 1}, "zone-key"),
    ("ksk", KEY, "eu", {1: [[KEY[:7], bytes(80)]], 2: 1}, "zone-key"),
    ("ksk", KEY, "eu", {1: [[KEY[:8]]], 2: 1}, "zone-key"),
    ("ksk", KEY, "eu", {1: [[KEY[:8], bytes(80)]] * 4, 2: 1}, "field-range"),
    ("zsk", b"", "eu", {1: KEY[:31]}, "field-range"),
    ("signed", b"\3\0\0\0", "eu", {1: b""}, "zone-piece"),
    ("signed", b"\1\0\0", "eu", {1: b""}, "item"),
    ("signed", place(KEYS), "eu", {1: b"", 4: KEY[:31]}, "field-range"),
    ("channel", version_item(1), "download/app", {1: [], 2: 1, 3: 1}, "channel-keys"),
    ("channel", version_item(1), "download/app", {1: [KEY, KEY], 2: 2, 3: 1}, "channel-keys"),
    ("channel", version_item(1), "download/app", {1: [KEY], 2: 2, 3: 1}, "field-range"),
    ("channel", version_item(2), "download/app", {1: [KEY], 2: 1, 3: 1}, "item"),
    ("channel", version_item(2), "download/app", {1: [KEY], 2: 1, 3: 2}, "channel-previous"),
    ("channel", version_item(1), "eu/home", {1: [KEY], 2: 1, 3: 1}, "record-name"),
    ("channel", version_item(1), "download/status", {1: [KEY], 2: 1, 3: 1}, "record-name"),
    ("release", version_item(1), "download/app", {1: 1, 2: []}, "artifact"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 1, DIGEST], ["any", 1, DIGEST]]}, "artifact"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 0, DIGEST]]}, "field-range"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 1, DIGEST, [[1, 1, DIGEST]]]]}, "artifact"),
    ("release", version_item(2), "download/app", {1: 1, 2: [["any", 1, DIGEST]]}, "item"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 1, DIGEST]], 5: [5, 5]}, "waves"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 1, DIGEST]], 9: 1}, "critical-field"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 1, DIGEST]], 64: ["ftp://x"]}, "url"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 1, DIGEST]], 65: "two\nlines"}, "note"),
    ("halt", version_item(1), "download/app", {1: 2}, "item"),
    ("now", b"", "download/app", {1: 0, 2: DIGEST, 3: DIGEST}, "field-range"),
    ("mirror", b"App", "eu/home/a", {1: 1, 3: 0, 4: 0}, "item"),
    ("release", version_item(1), "download/app", {1: 1, 2: [["any", 1, DIGEST]], 6: "no such/path"}, "release-home"),
    ("running", b"App", "eu/home/a", {1: 1, 3: 1}, "item"),
    ("observed", b"app", "eu/home", {1: 1, 3: 1, 4: [1, 1, 1]}, "observed-counts"),
    ("observed", b"app", "eu/home", {1: 1, 3: 1, 4: [1, 1, 1, -1]}, "observed-counts"),
    ("observed", b"app", "eu/home", {1: 1, 3: 1, 4: [1, 1, 1, 1], 5: [["a.b", 1]]}, "observed-holding"),
    ("observed", b"app", "eu/home", {1: 1, 3: 1, 4: [1, 1, 1, 1], 5: [["a"]]}, "observed-holding"),
    ("observed", b"app", "eu/home", {1: 1, 3: 1, 4: [1, 1, 1, 1], 5: [["a", 9]]}, "field-range"),
]


@pytest.mark.parametrize(("kind", "item", "name", "body", "rule"), WRONG)
def test_what_releases_do_not_take_is_refused(kind: str, item: bytes, name: str, body: dict[int, Value], rule: str) -> None:
    with refused(rule, Malformed):
        kinds.read(record(kind, body, item=item, name=name))


def test_an_unknown_kind_is_refused() -> None:
    with refused("kind", Malformed):
        kinds.read(record("quux", {}))


@pytest.mark.parametrize(("kind", "item", "name", "body"), [(k, i, n, b) for k, i, n, b in BODIES if k != "grant"])
def test_unknown_keys_below_64_are_critical_and_others_are_kept(kind: str, item: bytes, name: str, body: Body) -> None:
    with refused("critical-field", Malformed):
        kinds.read(record(kind, {**{k: v for k, v in body.body().items() if k < 63}, 63: 1}, item=item, name=name))
    kept = record(kind, {**body.body(), 200: "later"}, item=item, name=name)
    assert kinds.read(kept) == body and kept.body[200] == "later"


@pytest.mark.parametrize(
    ("kind", "life"),
    [("host", 2 * HOUR), ("cluster", 2 * HOUR), ("carry", 2 * HOUR), ("data", 30 * DAY), ("head", 600), ("grant", 366 * DAY)],
)
def test_a_record_lives_no_longer_than_its_kind(kind: str, life: int) -> None:
    item, name, body = next((item, name, body.body()) for k, item, name, body in BODIES if k == kind)
    kinds.read(record(kind, body, item=item, name=name, life=life))
    for wrong in (life + 1, 0, -1, -AT):
        with refused("record-life", Malformed):
            kinds.read(record(kind, body, item=item, name=name, life=wrong))


def test_a_cluster_record_stays_below_400_octets() -> None:
    body = Cluster(exchange=KEY, addresses=(V6,) * 8, node=parse_path("eu/home/" + "x" * 60)).body()
    with refused("record-too-long", Malformed):
        kinds.read(record("cluster", {**body, 200: "y" * 100}))
    assert (
        len(record("cluster", Cluster(exchange=KEY, addresses=(V6, V4) * 4, node=HOME / "a").body(), via=DIGEST).raw)
        <= limits.CLUSTER_RECORD
    )


GRANT = Grant(rights=frozenset({"own"})).body()


@pytest.mark.parametrize(
    ("kind", "item", "name", "body", "rule"),
    [
        ("grant", KEY, "eu", {}, "grant-rights"),
        ("grant", KEY, "eu", {1: []}, "grant-rights"),
        ("grant", KEY, "eu", {1: ["all"]}, "grant-rights"),
        ("grant", KEY, "eu", {1: ["own", "member"]}, "grant-rights"),
        ("grant", KEY, "eu", {1: ["own", "own"]}, "grant-rights"),
        ("grant", KEY, "eu", {1: [b"own"]}, "grant-rights"),
        ("grant", KEY, "eu", {1: ["OWN"]}, "grant-rights"),
        ("grant", KEY, "eu", {1: ["release:"]}, "grant-rights"),
        ("grant", KEY, "eu", {1: ["release:a\n"]}, "grant-rights"),
        ("grant", KEY, "eu", {1: ["own"] * 17}, "field-range"),
        ("grant", KEY, "eu", {1: [["own"]]}, "grant-rights"),
        ("grant", KEY[:31], "eu", GRANT, "item"),
        ("grant", b"", "eu", GRANT, "item"),
        ("grant", KEY, "eu", {**GRANT, 9: 1}, "critical-field"),
        ("revoke", KEY[:31], "eu", {}, "item"),
        ("bind", b"", "eu", {1: KEY}, "record-name"),
        ("bind", b"", "", {1: KEY[:31]}, "field-range"),
        ("host", b"x", "eu/a", {1: KEY}, "item"),
        ("host", b"", "eu/a", {1: KEY, 2: [bytes(5)]}, "address"),
        ("host", b"", "eu/a", {1: KEY, 2: [7]}, "address"),
        ("host", b"", "eu/a", {1: KEY, 2: [V4.packed] * 9}, "field-range"),
        ("host", b"", "eu/a", {1: KEY, 2: [bytes(10) + b"\xff\xff" + V4.packed]}, "address"),
        ("host", b"", "eu/a", {1: KEY, 2: [b"\xc0\x00\x02\x01\x00\x00"]}, "address"),
        ("cluster", b"", "eu", {1: KEY, 2: [], 3: "EU/a"}, "record-name"),
        ("cluster", b"", "eu", {1: KEY, 2: [], 3: "a", 4: 0}, "field-range"),
        ("cluster", b"", "eu", {1: KEY, 2: [], 3: "a", 6: 1}, "field-type"),
        ("cluster", b"", "eu", {1: KEY, 2: [], 3: "a", 4: True}, "field-type"),
        ("carry", b"tls", "eu/w", {1: 1, 2: "a", 4: 1, 5: 1}, "item"),
        ("carry", b"tcp", "eu/w", {1: 0, 2: "a", 4: 1, 5: 1}, "field-range"),
        ("carry", b"tcp", "eu/w", {1: 65_536, 2: "a", 4: 1, 5: 1}, "field-range"),
        ("carry", b"tcp", "eu/w", {1: 1, 2: "a", 3: ["1.2.3.4"], 4: 1, 5: 1}, "address"),
        ("carry", b"tcp", "eu/w", {1: 1, 2: "a", 3: [bytes(3)], 4: 1, 5: 1}, "address"),
        ("data", b"", "eu", {}, "item"),
        ("data", b"txt", "eu", {}, "item"),
        ("data", b"\xff\xff", "eu", {}, "item"),
        ("data", b"A B", "eu", {}, "item"),
        ("data", b"123", "eu", {}, "item"),
        ("data", b"X" * 17, "eu", {}, "item"),
        ("data", b"TXT", "eu", {1: "x"}, "field-type"),
        ("data", b"TXT", "eu", {1: [b"x"]}, "data-values"),
        ("data", b"TXT", "eu", {1: ["x"], 2: 604_801}, "field-range"),
        ("data", b"A", "eu", {1: ["x"] * 65}, "field-range"),
        ("head", b"", "eu", {1: 2**32, 2: KEY, 3: 0}, "field-range"),
        ("head", b"", "eu", {1: 1, 2: b"", 3: 0}, "field-range"),
        ("invite", KEY, "eu", {1: 0, 2: [KEY]}, "field-range"),
        ("invite", KEY, "eu", {1: 1, 2: []}, "invite-redeemers"),
        ("invite", KEY, "eu", {1: 1, 2: [b""]}, "invite-redeemers"),
        ("invite", KEY, "eu", {1: 1, 2: [KEY] * 9}, "field-range"),
    ],
)
def test_bodies_that_a_kind_does_not_take_are_refused_by_name(kind: str, item: bytes, name: str, body: dict[int, Value], rule: str) -> None:
    with refused(rule, Malformed):
        kinds.read(record(kind, body, item=item, name=name))


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({1: 0}, "field-range"),
        ({1: True}, "field-type"),
        ({1: 2}, "root-version"),
        ({2: "Cloud.example"}, "root-zone"),
        ({2: ""}, "root-zone"),
        ({2: "a..b"}, "root-zone"),
        ({2: "x." * 36 + "org"}, "field-range"),
        ({2: "cloud\u001b[2J"}, "root-zone"),
        ({3: "-"}, "root-zone"),
        ({3: "cloud."}, "root-zone"),
        ({4: []}, "root-keys"),
        ({4: [KEY, KEY]}, "root-keys"),
        ({4: sorted([KEY, DIGEST], reverse=True)}, "root-keys"),
        ({4: [KEY[:31]]}, "root-keys"),
        ({4: [7]}, "root-keys"),
        ({5: 0}, "field-range"),
        ({5: 2}, "field-range"),
        ({5: True}, "field-type"),
        ({6: "closed"}, "root-admission"),
        ({7: b""}, "field-range"),
        ({9: 1}, "critical-field"),
        ({8: [KEY, KEY]}, "root-entries"),
        ({8: [KEY[:31]]}, "root-entries"),
        ({8: [KEY] * 3}, "field-range"),
    ],
)
def test_unsound_root_bodies_are_refused_by_name(changed: dict[int, Value], rule: str) -> None:
    body = ROOT_BODY.body() | changed
    with refused(rule, Malformed):
        kinds.read(record("root", {key: body[key] for key in sorted(body)}, item=version_item(1), name=""))


def test_only_the_root_never_expires_and_nothing_but_grants_and_roots_has_many_signers() -> None:
    with refused("record-life", Malformed):
        kinds.read(record("root", ROOT_BODY.body(), item=version_item(1), name="", life=60))
    draft = Draft(name=HOME, kind="data", item=b"TXT", seq=1, issued=AT, expires=NEVER, body={})
    with refused("record-life", Malformed):
        kinds.read(sign(draft, [ME.signer], bytes(32)))
    two = sign(
        Draft(name=HOME, kind="data", item=b"TXT", seq=1, issued=AT, expires=AT + 60, body={}),
        [ME.signer, actor("other").signer],
        bytes(32),
    )
    with refused("record-signature", Malformed):
        kinds.read(two)


@pytest.mark.parametrize("kind", ["root", "bind", "revoke"])
def test_what_takes_no_grant_names_none(kind: str) -> None:
    item, name, body = next((item, name, body.body()) for k, item, name, body in BODIES if k == kind)
    with refused("record-via", Malformed):
        kinds.read(record(kind, body, item=item, name=name, via=DIGEST))


def test_a_root_record_stands_at_the_root_only() -> None:
    assert parse_path("") == ROOT
    with refused("record-name", Malformed):
        kinds.read(record("root", ROOT_BODY.body(), item=version_item(1), name="eu"))
