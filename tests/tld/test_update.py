"""Dynamic updates: dnspython writes them; what is presupposed, what each set becomes, and what is no update."""

from __future__ import annotations

import time

import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from overlay.errors import Malformed
from tests.tld.test_keyed import HERE, KEY, KEYS, NAME, zone
from tld import codes
from tld.authority import Authority
from tld.keyed import Keyed
from tld.label import Name, from_text
from tld.master import parse as parse_zone
from tld.update import Change, Sets, Unfit, parse, plan
from tld.zone import Zones

ZONE = parse_zone(zone(1) + "t 30 TXT a b\n")
T, NEW = from_text("t.cloud."), from_text("new.cloud.")
DATA: Sets = {(T, codes.TXT): (30, (b"\1a", b"\1b"))}


def held(name: Name) -> Sets:
    return {key: found for key, found in DATA.items() if key[0] == name}


def planned(message: dns.update.UpdateMessage) -> Sets:
    return plan(parse(message.to_wire()), ZONE, held)


def update() -> dns.update.UpdateMessage:
    return dns.update.UpdateMessage("cloud.")


def test_records_are_added_to_what_is_there_and_deleted_one_by_one_by_type_and_by_name() -> None:
    message = update()
    message.add("new", 60, "A", "192.0.2.1")
    message.add("T", 60, "TXT", "c")
    message.delete("t", "TXT", "a")
    assert planned(message) == {(NEW, codes.A): (60, (b"\xc0\0\2\1",)), (T, codes.TXT): (60, (b"\1b", b"\1c"))}
    for gone in (("t",), ("t", "TXT")):
        message = update()
        message.delete(*gone)
        assert planned(message) == {(T, codes.TXT): (0, ())}
    message = update()
    message.replace("t", 5, "TXT", "z")
    assert planned(message) == {(T, codes.TXT): (5, (b"\1z",))}


def test_what_is_there_already_and_what_is_gone_already_changes_nothing() -> None:
    message = update()
    message.add("t", 30, "TXT", "a")
    message.delete("new")
    message.delete("new", "A")
    message.delete("h1", "A")  # a node's own: no data
    assert planned(message) == {}


@pytest.mark.parametrize(
    ("presupposed", "rcode"),
    [
        (("present", "h1"), 0), (("present", "new"), codes.NXDOMAIN), (("present", "h1", "A"), 0), (("present", "h1", "TXT"), codes.NXRRSET),
        (("present", "h1", "A", "10.0.0.1"), 0), (("present", "h1", "A", "10.0.0.2"), codes.NXRRSET), (("absent", "new"), 0),
        (("absent", "h1"), codes.YXDOMAIN), (("absent", "h1", "TXT"), 0), (("absent", "h1", "A"), codes.YXRRSET),
        (("present", "elsewhere."), codes.NOTZONE),
    ],
)  # fmt: skip
def test_what_is_presupposed_holds_or_nothing_is_done(presupposed: tuple[str, ...], rcode: int) -> None:
    message = update()
    getattr(message, presupposed[0])(*presupposed[1:])
    message.add("new", 60, "A", "192.0.2.1")
    if not rcode:
        assert planned(message)
        return
    with pytest.raises(Unfit) as caught:
        planned(message)
    assert caught.value.rcode == rcode


@pytest.mark.parametrize(
    ("name", "rtype", "rclass", "ttl", "rdata", "rcode"),
    [
        ("elsewhere.", "A", "IN", 5, b"\1\2\3\4", codes.NOTZONE), ("new", "ANY", "IN", 5, b"", codes.FORMERR),
        ("new", "A", "ANY", 5, b"", codes.FORMERR),
        ("new", "A", "CH", 5, b"", codes.FORMERR), ("new", "A", "IN", 5, b"", codes.FORMERR), ("new", "AXFR", "IN", 5, b"x", codes.FORMERR),
        ("new", "A", "NONE", 5, b"\1\2\3\4", codes.FORMERR), ("new", "A", "ANY", 0, b"\1\2\3\4", codes.FORMERR),
    ],
)  # fmt: skip
def test_changes_that_mean_nothing_are_faults(name: str, rtype: str, rclass: str, ttl: int, rdata: bytes, rcode: int) -> None:
    data = update().to_wire()
    owner = b"".join(bytes((len(x),)) + x for x in from_text(name, from_text("cloud."))) + b"\0"
    kind, klass = int(dns.rdatatype.from_text(rtype)), int(dns.rdataclass.from_text(rclass))
    line = owner + kind.to_bytes(2, "big") + klass.to_bytes(2, "big") + ttl.to_bytes(4, "big") + len(rdata).to_bytes(2, "big") + rdata
    with pytest.raises(Unfit) as caught:
        plan(parse(data[:8] + b"\0\1" + data[10:] + line), ZONE, held)
    assert caught.value.rcode == rcode


def test_half_an_update_is_malformed() -> None:
    message = update()
    message.present("h1")
    message.add("new", 60, "MX", "10 t")
    data = message.to_wire()
    for end in range(len(data)):
        with pytest.raises(Malformed):
            parse(data[:end])
    with pytest.raises(Malformed):
        parse(data + b"x")


def answered(message: dns.update.UpdateMessage, *, key: dns.tsig.Key | None = KEY) -> Change | int:
    zones = Zones([ZONE])
    backend = Keyed(Authority(zones), zones, KEYS, frozenset(), time.time, frozenset({(T, NAME)}))
    if key is not None:
        message.use_tsig(key)
    reply = backend.answer(message.to_wire(), HERE, True)
    if isinstance(reply, Change):
        return reply
    assert isinstance(reply, bytes) and reply[2] >> 3 == 0x10 | codes.UPDATE
    return reply[3] & 15


def test_a_key_changes_its_names_and_no_others_and_nobody_changes_any_without() -> None:
    mine, others = update(), update()
    mine.add("_acme.t", 5, "TXT", "x")
    others.add("t", 5, "TXT", "x")
    others.add("new", 5, "TXT", "x")
    change = answered(mine)
    assert isinstance(change, Change) and change.key == NAME
    done = dns.message.from_wire(change.finish(0), keyring={KEY.name: KEY}, request_mac=mine.mac)
    assert (done.rcode(), done.opcode(), done.id) == (0, dns.opcode.UPDATE, mine.id)
    assert answered(others) == codes.REFUSED
    plain = update()
    plain.add("t", 5, "TXT", "x")
    assert answered(plain, key=None) == codes.REFUSED
    assert answered(mine, key=dns.tsig.Key("knot.", b"x" * 32, "hmac-sha256")) == codes.NOTAUTH
