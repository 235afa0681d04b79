"""Decoders of the overlay: codec, records and their kinds, trust, passports, admission, packets, what lies in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from overlay.admission.registrar import USES
from overlay.admission.request import Reply, Request, read_reply, read_request
from overlay.cli.membership import ADVERTISED, INCARNATION, PLACE, membership
from overlay.cli.membership import OVERLAY as PINNED
from overlay.cluster import terms, virtual
from overlay.cluster.lease import Lease
from overlay.directory import roll
from overlay.directory.book import Book
from overlay.directory.machine import Directory
from overlay.driver.run import FLOOR
from overlay.errors import Malformed, StateError, TrustError, UsageError
from overlay.founding import Plan, founder_grants, founding_record
from overlay.identity.keys import Identity, Signer
from overlay.identity.sealing import seal, unseal
from overlay.machine import Store
from overlay.name import parse_name, parse_path, parse_zone
from overlay.node import Node
from overlay.records import kinds, passport, rights
from overlay.records.record import Draft, Record, parse
from overlay.records.rights import parse_rights
from overlay.records.trust import Trust
from overlay.records.zones import BUCKET, ZONE, EntryKey, Piece, ZoneSigner, place
from overlay.remembered import Remembered
from overlay.roots import RootDraft, key_file, next_version, read_key
from overlay.session import cookie, frames, hello, packet
from overlay.session.hello import Early
from overlay.session.noise import Initiator, Responder
from overlay.session.suite import X25519
from overlay.setup import OWN, PEERS, Setup, found
from overlay.statements import Service
from overlay.units import b64, seconds, size, unb32, unb64
from overlay.wire.address import Address, parse_address, routable, unpack_address
from overlay.wire.codec import Fields, decode, encode
from overlay.wire.messages import Method
from tests.fuzz.hunt import Decoder
from tests.records import actors, publishing
from tests.records.actors import AT, seed
from tld.names import Names

SIGNATURE = [bytes(32), bytes(64)]
HASH = bytes(range(32))
SIX, FOUR = Address("2001:db8::7", 7653), Address("203.0.113.10", 7653)

# -- a small overlay in which everything was said once

OVERLAY = actors.found(keys=2, threshold=2)
RENEWED = OVERLAY.renew(OVERLAY.join("mate", "eu/home", actors.Joining.INVITED, by=OVERLAY.first), OVERLAY.member.own, at=AT + 20 * 86_400)
PASSPORT_RAWS = OVERLAY.passport(OVERLAY.member)
SAID: list[Record] = [
    OVERLAY.root, *OVERLAY.records.values(), OVERLAY.binding(OVERLAY.member), OVERLAY.host(OVERLAY.member, addresses=(FOUR, SIX)),
    OVERLAY.cluster(OVERLAY.first, addresses=(SIX, FOUR)), OVERLAY.carry(OVERLAY.member, "eu/home/web"), OVERLAY.head(OVERLAY.founder, ""),
    OVERLAY.invite(OVERLAY.first, "eu/home"), OVERLAY.data(OVERLAY.first, "eu/home/www", "CNAME", "web.home.eu"),
    OVERLAY.data(OVERLAY.first, "eu/home", "TXT", "hello", "there"), OVERLAY.data(OVERLAY.first, "eu/home/old", "A"),
    OVERLAY.data(OVERLAY.first, "eu/home/lab", "NS", "ns.example.com."), OVERLAY.data(OVERLAY.first, "eu/home/d", "DNAME", "hq"),
    OVERLAY.data(OVERLAY.first, "eu/home/*", "SVCB", "1 . alpn=h2 port=8443"),
    OVERLAY.revoke(OVERLAY.first, OVERLAY.member.own),
    OVERLAY.next_root(keys=[actors.root_key(1), actors.root_key(2)], threshold=1, signers=OVERLAY.keys),
    *publishing.said(OVERLAY), *(
        OVERLAY.statement(OVERLAY.first, kind, "eu/home", body.body(), item=item, via=OVERLAY.first.holds(rights.SIGN, "eu/home"))
        for kind, item, body in (
            ("ksk", HASH, EntryKey(sealed=((HASH[:8], bytes(80)),), since=AT, ready=True)), ("zsk", b"", ZoneSigner(public=HASH)),
            ("signed", place(BUCKET), Piece(data=b"x", count=1)), ("signed", place(ZONE), Piece(data=b"", serial=7, count=1, digest=HASH)),
        )
    ),
]  # fmt: skip


def _good(public: bytes, signature: bytes, message: bytes) -> bool:
    """Every signature holds: what stands behind the signatures is looked at too."""
    return len(public) == 32 and len(signature) == 64


def _trust() -> Trust:
    trust = Trust(OVERLAY.overlay_id, _good)
    trust.adopt_root(OVERLAY.root)
    return trust


# -- codec, addresses, names

NESTED = {1: [None, True, 5, -7, 2**64 - 1, b"octets", "text", {2: [[[b""]]]}], 64: "x" * 40}


def _codec(data: bytes) -> None:
    value = decode(data)
    assert encode(value) == data, "two spellings of one value"


def _fields(data: bytes) -> None:
    fields = Fields(decode(data), "anything")
    for key in range(8):
        reads: tuple[Callable[[], object], ...] = (
            lambda key=key: fields.integer(key, 0, 2**53), lambda key=key: fields.integer(key, -5, 5, default=0),
            lambda key=key: fields.binary(key, 0, 64), lambda key=key: fields.binary(key, 32, 32, default=b""), lambda key=key: fields.text(key, 255),
            lambda key=key: fields.text(key, 8, default=""), lambda key=key: fields.flag(key), lambda key=key: fields.items(key, 16),
        )  # fmt: skip
        for read in reads:
            try:
                read()
            except Malformed:
                continue
    fields.only(frozenset(range(8)))


def _address(data: bytes) -> None:
    address = unpack_address(data)
    assert address.packed == data
    routable(address.host)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _address_text(data: bytes) -> None:
    address = parse_address(_text(data), 7653)
    assert parse_address(str(address), 0) == address
    assert "%" in address.host or unpack_address(address.packed) == address


def _name(data: bytes) -> None:
    path = parse_name(_text(data), zone="cloud.example.org", tld="cloud")
    assert parse_path(str(path)) == path
    assert parse_name(path.fqdn("cloud") + ".", zone="cloud.example.org", tld="cloud") == path


def _zone(data: bytes) -> None:
    zone = parse_zone(_text(data))
    assert parse_zone(zone) == zone


def _base64(data: bytes) -> None:
    assert b64(unb64(_text(data))) == _text(data)


# -- records


def _members(data: bytes) -> object:
    value = decode(data)
    try:
        path, after = roll.asked(value)
    except Malformed:
        got = roll.read(value, parse_path("eu/home"))
        assert not got.more or got.members
        return got
    assert roll.asked(roll.question(path, after)) == (path, after)
    return path


def _record(data: bytes) -> None:
    record = parse(data)
    assert record.raw == data
    draft = Draft(
        name=record.name, kind=record.kind, item=record.item, seq=record.seq, issued=record.issued, expires=record.expires, via=record.via,
        body=record.body,
    )
    header = decode(record.content)[0]
    if max(header) < 64 and None not in header.values():
        assert draft.content() == record.content, "two spellings of one statement"


def _kind(data: bytes) -> None:
    record = parse(encode([data, [SIGNATURE]]))
    value = kinds.read(record)
    again = kinds.KINDS[record.kind].read(replace(record, body=value.body()))
    assert again == value


def _passport(data: bytes) -> None:
    passport.check(_octet_list(data), OVERLAY.member.identity.exchange_public, AT, _trust())


def _octet_list(data: bytes) -> list[bytes]:
    """What sessions and directory let through where pages of octets are due."""
    raws = decode(data)
    if type(raws) is not list or any(type(raw) is not bytes for raw in raws):
        raise Malformed("a list of octets is due", rule="field-type")
    return raws


def _book(data: bytes) -> None:
    """Whatever records come, in whatever order: they are held or not, views are made, names answer."""
    raws = _octet_list(data)
    book = Book(_trust())
    directory = Directory(me=OVERLAY.founder.node_id, cluster=parse_path("hq"), book=book, entropy=bytes, now=0.0)
    names = Names(tld="cloud", zone="cloud.example.org")
    for raw in raws[:100]:
        try:
            directory.publish(parse(raw), AT + 60)
        except (Malformed, TrustError):
            continue
    for path in directory.holdings.zones():
        names.update(directory.holdings.view(path))
    directory.take()
    book.take_stores()
    book.sweep(AT + 400 * 86_400)
    assert all(record.kind in ("root", "grant", "revoke") for record in book.records.values())


# -- getting in


def _request(data: bytes) -> None:
    newcomer = OVERLAY.stranger.identity
    for redeem in (False, True):
        body = {1: data, 2: newcomer.signer.sign(b"overlay enrol 1\x00" + HASH + data), 3: _INVITE.sign(b"overlay redeem 1\x00" + HASH + data)}
        found = read_request(body, HASH, redeem=redeem)
        assert read_request({**body, 1: found.core()} if found.core() == data else body, HASH, redeem=redeem) == found


def _request_body(data: bytes) -> None:
    read_request(decode(data), HASH, redeem=True)


def _reply(data: bytes) -> None:
    found = read_reply(decode(data))
    assert read_reply(found.body()) == found


_INVITE = Signer.from_seed(seed("invite"))
_NEWCOMER = Request(label="bob", cluster=parse_path("eu/home"), node_id=OVERLAY.stranger.node_id, exact=True, seed=_INVITE.public)
_REPLIES = (
    Reply(code="granted", records=(OVERLAY.member.own, OVERLAY.root)), Reply(code="taken", what="it is taken", todo="choose another"),
    Reply(code="elsewhere", elsewhere=((bytes(32), (FOUR, SIX)), (HASH, ()))),
)  # fmt: skip

# -- packets and handshakes

ME, THEM = X25519.from_seed(bytes([1]) * 32), X25519.from_seed(bytes([2]) * 32)
_PROLOGUE = b"overlay1" + bytes(32)
_OFFER = hello.offer(stamp=5, passport_digest=HASH, boot_nonce=b"n" * 8, early=Early(Method.WATCH, {1: "eu/home", 2: b""}))
_ACCEPT = hello.accept(passport_digest=b"", seen=SIX, boot_nonce=b"n" * 8, version=1, answer=[[b"a", b"b"]])
_REFUSAL = hello.accept(passport_digest=HASH, seen=FOUR, boot_nonce=b"n" * 8, version=0, answer=None)
_INITIATOR = Initiator(prologue=_PROLOGUE, static=ME, responder=THEM.public, ephemeral=ME, payload=_OFFER)
_ANSWER = Responder(prologue=_PROLOGUE, static=THEM, message=_INITIATOR.message).respond(ephemeral=THEM, payload=_ACCEPT)[0]
# Points of low order, for which X25519 gives zeros (RFC 7748, 6.1).
LOW = (bytes(32), b"\x01" + bytes(31), bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"))


def _packet(data: bytes) -> None:
    """By the first octet: each kind of packet, with its mac1 made good, else nothing behind it would be looked at; padding; a cookie."""
    kind, data = data[:1], data[1:]
    key = cookie.mac1_key(ME.public)
    if kind == b"\x01":
        packet.read_initiation(data[:5] + cookie.mac(key, data[:5] + data[37:]) + data[21:], key)
    elif kind == b"\x02":
        packet.read_response(data[:9] + cookie.mac(key, data[:9] + data[41:]) + data[25:], key)
    elif kind == b"\x03":
        packet.read_cookie(data)
    elif kind == b"\x04":
        packet.unpad(data)
    else:
        cookie.open_cookie(ME.public, data[:24], data[24:56], data[56:72])


def _first(data: bytes) -> None:
    Responder(prologue=_PROLOGUE, static=THEM, message=data)


def _second(data: bytes) -> None:
    initiator = Initiator(prologue=_PROLOGUE, static=ME, responder=THEM.public, ephemeral=ME, payload=_OFFER)
    try:
        initiator.finish(data)
    except Malformed:
        assert initiator.finish(_ANSWER)[0] == _ACCEPT, "junk on the way spoilt the true answer"
        raise


def _offer(data: bytes) -> None:
    found = hello.read_offer(packet.pad(data))
    if found.version:
        again = hello.offer(stamp=found.stamp, passport_digest=found.passport_digest, boot_nonce=found.boot_nonce, early=found.early)
        assert hello.read_offer(again) == found


def _accept(data: bytes) -> None:
    found = hello.read_accept(data)
    assert found.seen is not None
    again = hello.accept(
        passport_digest=found.passport_digest, seen=found.seen, boot_nonce=found.boot_nonce, version=found.version, answer=found.answer,
    )
    assert hello.read_accept(again) in (found, replace(found, answer=None))  # an answer that does not fit is left out


def _frames(data: bytes) -> None:
    frames.probing(frames.decoded(data))


# -- the cluster

_LEASE_WORDS = (
    terms.Renew(7, 3, HASH, 1), terms.Renew(terms.TOP, 2**53, None, 0), terms.Report(7, 3, 2, 60, True), terms.Hand(7), terms.Gone(7, True),
)  # fmt: skip


def _lease(data: bytes) -> None:
    """A word goes back and forth, and whoever hears it goes on."""
    body = decode(data)
    word = terms.read(body)
    assert terms.read(word.body()) == word
    for able in (True, False):
        node = Lease(bytes(32), 5, able, bytes, 0.0)
        node.members({HASH}, {HASH, bytes(32)} if able else {HASH}, 0.0)
        for now in (0.5, 0.6):
            node.receive(HASH, body, now)
        node.wake(9.0)
        node.take()


# -- the store and files

_FOUNDER = Identity.from_secret(seed("stored founder"))
_KEY = Signer.from_seed(seed("stored root"))
_PLAN = Plan.checked(zone="cloud.example.org", tld="cloud", admission="open", name=parse_path("hq/founder"))
_ROOT = founding_record(_PLAN, [_KEY], AT)
_STORES = [
    *found(_ROOT, founder_grants(_PLAN, _ROOT, [_KEY], _FOUNDER, AT), _FOUNDER, AT),
    Service(name=parse_path("hq/web"), proto="tcp", port=80, addresses=("203.0.113.1",), health="tcp").to_store(),
    Store(PEERS, bytes(32), encode([FOUR.packed, SIX.packed])), Store(USES, bytes(32), b"3"), Store(OWN, PINNED, _ROOT.digest),
    Store(OWN, PLACE, b"cloud.example.org"), Store(OWN, INCARNATION, b"7"), Store(OWN, ADVERTISED, encode(["203.0.113.10"])),
    Store(OWN, FLOOR, str(AT).encode()),
]  # fmt: skip


def _stored(data: bytes) -> None:
    """One row of the store is another: the start is refused in words, or the node goes on for a while."""
    row = decode(data)
    if type(row) is not list or [type(part) for part in row] != [str, bytes, bytes]:
        raise Malformed("a row is a table, a key and a value", rule="row")
    tables: dict[str, dict[bytes, bytes]] = {}
    for table, key, value in [*((store.table, store.key, store.value or b"") for store in _STORES), tuple(row)]:
        tables.setdefault(table, {})[key] = value
    member = membership(tables)
    if member is None or len(member.overlay_id) != 32 or not member.enrolled:
        return
    setup = Setup(
        identity=_FOUNDER, overlay_id=member.overlay_id, entropy=Random(0).randbytes, port=7653, advertised=member.advertised, stored=tables,
        verifier=_good,
    )
    node = Node(setup, 0.0, AT)
    for now in (0.0, 1.0, 40.0):
        node.wake(now, AT + now)
        node.take(now, AT + now)


def _stored_peers(data: bytes) -> None:
    remembered = Remembered({bytes(32): data}, 0.0)
    assert remembered.damaged == 1 - len(remembered.due(0.0))


def _stored_service(data: bytes) -> None:
    key, _, value = data.partition(b"\n")
    service = Service.from_store(key, value)
    store = service.to_store()
    assert Service.from_store(store.key, store.value or b"") == service


def _identity(data: bytes) -> None:
    assert Identity.from_file(_text(data), "there").to_file().split() == _text(data).split()


def _root_draft(data: bytes) -> None:
    draft = RootDraft.read(_text(data), "there")
    assert RootDraft.read(draft.text(), "there") == draft
    draft.describe()
    draft.record()


def _draft_content(data: bytes) -> None:
    """What a holder of a root key is told before it signs whatever it was sent."""
    draft = RootDraft(OVERLAY.overlay_id, data, _DRAFT.rulers)
    draft.sign(OVERLAY.keys)
    _root_draft(draft.text().encode())


_DRAFT = next_version([OVERLAY.root], [key.public for key in OVERLAY.keys], 2, None, AT)
_SIGNED_DRAFT = next_version([OVERLAY.root], [key.public for key in OVERLAY.keys], 1, "invite", AT)
_SIGNED_DRAFT.sign(OVERLAY.keys)


def _contents(kind: str) -> tuple[bytes, ...]:
    return tuple(record.content for record in (*SAID, RENEWED) if record.kind == kind)


_DOTS = (b".", b"/", b"*", b"cloud", b"cloud.example.org", b"xn--", b"-", b"_")
_WORDS = (b"eu/home", b"hq/founder", b"own", b"grant", b"member", b"\xc0", b"\x80", b"\x90", b"\xdd\xff\xff\xff\xff", b"\xc4\x20", b"\xd9\xff")


def _sealed(data: bytes) -> None:
    unseal(data, X25519PrivateKey.from_private_bytes(HASH), b"fuzz")


DECODERS = (
    Decoder(
        name="sealed", run=_sealed, errors=(Malformed,),
        seeds=(seal(HASH, X25519PrivateKey.from_private_bytes(HASH).public_key().public_bytes_raw(), b"fuzz", HASH), bytes(80)),
    ),
    Decoder(name="codec", run=_codec, errors=(Malformed,), seeds=(encode(NESTED), SAID[1].raw, encode([[[[[[]]]]]])), words=_WORDS, packed=True),
    Decoder(name="fields", run=_fields, errors=(Malformed,), seeds=(encode(NESTED), encode({1: 5, 2: HASH, 3: "x", 4: True, 5: [1]})), packed=True),
    Decoder(name="address", run=_address, errors=(Malformed,), seeds=(FOUR.packed, SIX.packed, bytes(10) + b"\xff\xff\1\2\3\4\0\x50")),
    Decoder(
        name="address-text", run=_address_text, errors=(UsageError,), text=True, words=(b"[", b"]", b":", b"::", b"%eth0", b"65535", b".", b"0x"),
        seeds=(b"1.2.3.4", b"1.2.3.4:7653", b"::1", b"[2001:db8::1]:53", b"fe80::1%eth0", b"[fe80::1%2]:53", b"::ffff:1.2.3.4"),
    ),
    Decoder(name="path", run=lambda data: parse_path(_text(data)), errors=(UsageError,), text=True, words=_DOTS, seeds=(b"eu/home/web", b"", b"*")),
    Decoder(
        name="name", run=_name, errors=(UsageError,), text=True, words=_DOTS,
        seeds=(b"web.home.eu", b"web.home.eu.cloud.", b"eu/home/web", b"*.eu", b"cloud.example.org", b"", b"."),
    ),
    Decoder(name="zone", run=_zone, errors=(UsageError,), text=True, words=_DOTS, seeds=(b"cloud.example.org", b"cloud", b"xn--bcher-kva.example.")),
    Decoder(name="duration", run=lambda data: seconds(_text(data)), errors=(UsageError,), text=True, words=(b"ms", b"."), seeds=(b"15m", b"1.5h")),
    Decoder(name="size", run=lambda data: size(_text(data)), errors=(UsageError,), text=True, words=(b"KiB", b"G"), seeds=(b"16KiB", b"512")),
    Decoder(
        name="rights", run=lambda data: parse_rights(_text(data)), errors=(UsageError,), text=True, words=(b",", b"release:"),
        seeds=(b"member,carry", b"own, grant", b"release:kernel"),
    ),
    Decoder(name="base64url", run=_base64, errors=(UsageError,), text=True, words=(b"=", b"_", b"-"), seeds=(b64(HASH).encode(), b"", b"AA")),
    Decoder(name="base32", run=lambda data: unb32(_text(data)), errors=(), text=True, words=(b"=",), seeds=(b"aaaabbbbccccdddd", b"7")),
    Decoder(
        name="arp", run=lambda data: virtual.read(data), errors=(Malformed,), words=(b"\0\1\x08\0\6\4", bytes(4)),
        seeds=(b"\0\1\x08\0\6\4\0\1" + bytes(20), b"\0\1\x08\0\6\4\0\2" + bytes(range(20))),
    ),
    Decoder(
        name="members", run=_members, errors=(Malformed,), packed=True, words=(b"eu/home", bytes(31)),
        seeds=(
            encode(roll.question(parse_path("eu/home"), bytes(32))),
            encode({1: [["eu/home/a", bytes(31) + b"\1", 0], ["eu/home/b", bytes(31) + b"\2", 7]], 2: True}),
        ),
    ),
    Decoder(name="record", run=_record, errors=(Malformed,), seeds=tuple(record.raw for record in SAID), words=_WORDS, packed=True),
    *(
        Decoder(name=f"kind-{kind}", run=_kind, errors=(Malformed,), seeds=_contents(kind), words=_WORDS, packed=True)
        for kind in kinds.KINDS
    ),
    Decoder(
        name="passport", run=_passport, errors=(Malformed, TrustError), packed=True, words=_WORDS, longest=16_384,
        seeds=(encode(PASSPORT_RAWS), encode(OVERLAY.passport(OVERLAY.founder)), encode(OVERLAY.passport(OVERLAY.own_only))),
    ),
    Decoder(
        name="book", run=_book, errors=(Malformed,), packed=True, words=_WORDS, longest=32_768,
        seeds=(encode([record.raw for record in SAID]), encode([record.raw for record in reversed(SAID)])),
    ),
    Decoder(name="enrol", run=_request, errors=(Malformed,), seeds=(_NEWCOMER.core(), replace(_NEWCOMER, cluster=None).core()), packed=True),
    Decoder(
        name="enrol-body", run=_request_body, errors=(Malformed,), packed=True,
        seeds=(encode(_NEWCOMER.body(OVERLAY.stranger.identity, HASH, Signer.from_seed(seed("invite")))),),
    ),
    Decoder(
        name="enrol-reply", run=_reply, errors=(Malformed,), packed=True, longest=16_384, seeds=tuple(encode(reply.body()) for reply in _REPLIES),
    ),
    Decoder(
        name="packets", run=_packet, errors=(Malformed,),
        seeds=(
            b"\x01" + packet.initiation(7, _INITIATOR.message, cookie.mac1_key(ME.public), None),
            b"\x02" + packet.response(7, 8, _ANSWER, cookie.mac1_key(ME.public)), b"\x03" + packet.cookie_reply(7, bytes(56)),
            b"\x04" + packet.pad(b"payload"), bytes(73),
        ),
    ),
    Decoder(name="noise-first", run=_first, errors=(Malformed,), seeds=(_INITIATOR.message, *(low + bytes(80) for low in LOW)), words=LOW),
    Decoder(name="noise-second", run=_second, errors=(Malformed,), seeds=(_ANSWER, *(low + bytes(80) for low in LOW)), words=LOW),
    Decoder(name="hello-offer", run=_offer, errors=(Malformed,), seeds=(packet.unpad(_OFFER),), packed=True, longest=packet.PAYLOAD_1),
    Decoder(name="hello-accept", run=_accept, errors=(Malformed,), seeds=(_ACCEPT, _REFUSAL), packed=True),
    Decoder(name="frames", run=_frames, errors=(Malformed,), packed=True, seeds=(encode([[2, 1, 1, {}, 1], [8]]), encode([[9, HASH[:8], HASH]]))),
    Decoder(name="lease", run=_lease, errors=(Malformed,), seeds=tuple(encode(word.body()) for word in _LEASE_WORDS), packed=True),
    Decoder(name="stored-term", run=terms.stored_number, errors=(Malformed,), text=True, words=(b"-", b"0", b"9" * 19), seeds=(b"17", b"0")),
    Decoder(
        name="stored-row", run=_stored, errors=(StateError, Malformed, TrustError), packed=True, words=_WORDS, longest=16_384,
        seeds=tuple(encode([store.table, store.key, store.value]) for store in _STORES),
    ),
    Decoder(name="stored-peers", run=_stored_peers, errors=(), seeds=(encode([FOUR.packed, SIX.packed]),), packed=True),
    Decoder(
        name="stored-service", run=_stored_service, errors=(Malformed,), words=(b"|", b"tcp", b"/", b"\n"),
        seeds=tuple(store.key + b"\n" + (store.value or b"") for store in _STORES if store.table == "services"),
    ),
    Decoder(
        name="identity-file", run=_identity, errors=(StateError,), text=True, words=(b"\n", b" ", b"overlay identity 1"),
        seeds=(_FOUNDER.to_file().encode(),),
    ),
    Decoder(
        name="root-key-file", run=lambda data: read_key(_text(data), "there"), errors=(UsageError,), text=True, words=(b"\n", b"overlay root key 1"),
        seeds=(key_file(HASH, HASH).encode(),),
    ),
    Decoder(
        name="root-draft", run=_root_draft, errors=(UsageError, Malformed), text=True, words=(b"\n", b" ", b"of 1 ", b"by "),
        seeds=(_DRAFT.text().encode(), _SIGNED_DRAFT.text().encode()), longest=8_192,
    ),
    Decoder(
        name="root-draft-content", run=_draft_content, errors=(UsageError,), packed=True, words=_WORDS,
        seeds=(_DRAFT.content, *(grant.content for grant in OVERLAY.founder.grants)),
    ),
)  # fmt: skip
