"""What the stub vouches for, and what it holds back: the chain from the pinned root, link by link."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overlay.name import ROOT, parse_path
from tests.tld.dnssec.worlds import AT, Signing, key, signed
from tests.tld.views import HOME, carrier, data, home, host, root
from tld import codes
from tld.dnssec.pieces import Copy
from tld.dnssec.signing import LIFE, Signed, sign
from tld.label import from_text, to_wire
from tld.names import Names
from tld.query import ask, options
from tld.zone import RRset

SOURCE = ("127.0.0.1", 5353)
DO = 0x8000


def question(name: str, rtype: int, *, do: bool = True, flags: int = codes.RD) -> bytes:
    plain = ask(7, to_wire(from_text(name)), rtype, edns=1_232, flags=flags)
    return plain[:-4] + (b"\x80\0" if do else b"\0\0") + plain[-2:]


def said(names: Names, name: str, rtype: int = codes.A, *, do: bool = True, flags: int = codes.RD) -> tuple[int, bool]:
    """(rcode, AD) of the stub's answer."""
    reply = names.stub(question(name, rtype, do=do, flags=flags), SOURCE, False)
    assert isinstance(reply, bytes)
    return reply[3] & 15, bool(reply[3] & codes.AD)


@pytest.mark.parametrize(("name", "rtype", "rcode"), [
    ("alice.home.eu.cloud.", codes.A, 0), ("cloud.", codes.SOA, 0), ("home.eu.cloud.", codes.DNSKEY, 0), ("home.eu.cloud.", codes.DS, 0),
    ("eu.cloud.", codes.A, 0), ("nobody.home.eu.cloud.", codes.A, 3), ("nobody.cloud.", codes.TXT, 3), ("alice.home.eu.cloud.", codes.MX, 0),
    ("home.eu.cloud.", codes.NSEC, 0), ("clusters.cloud.", codes.A, 0), ("whoami.cloud.", codes.DS, 0),
])  # fmt: skip
def test_what_is_signed_is_vouched_for(name: str, rtype: int, rcode: int) -> None:
    names, _ = signed()
    assert said(names, name, rtype) == (rcode, True)
    assert said(names, name, rtype, do=False, flags=codes.RD | codes.AD) == (rcode, True)
    assert said(names, name, rtype, do=False) == (rcode, False)  # nobody asked


@pytest.mark.parametrize("name", ["whoami.cloud.", "id.cloud.", "download.cloud."])
def test_names_that_depend_on_who_asks_are_provably_unsigned(name: str) -> None:
    names, _ = signed()
    names.set_public_address("203.0.113.9")
    assert said(names, name)[1] is False
    assert said(names, name)[0] == 0


def test_what_is_live_and_not_signed_yet_is_told_and_not_vouched_for() -> None:
    names, signing = signed()
    names.update(home(carries=(carrier("eu/home/www", "eu/home/alice", 2, "203.0.113.20"),)))
    assert said(names, "www.home.eu.cloud.", do=False, flags=codes.RD | codes.AD) == (0, False)
    assert said(names, "www.home.eu.cloud.") == (3, True)  # what is signed says so still
    signing.sign(HOME)
    assert said(names, "www.home.eu.cloud.", do=False, flags=codes.RD | codes.AD) == (0, True)
    assert said(names, "www.home.eu.cloud.") == (0, True)


def _other_root_key(names: Names, signing: Signing) -> None:
    names.secure.entries = (key(9, entry=True).key.public,)


def _other_ds(names: Names, signing: Signing) -> None:
    signing.ds[HOME] = (key(9).key.public,)
    signing.sign(ROOT)


def _signed_by_a_stranger(names: Names, signing: Signing) -> None:
    names.sign(HOME, signing.keys(HOME), signing.zone(HOME, by=key(9)))


def _keys_signed_by_a_stranger(names: Names, signing: Signing) -> None:
    keys = signing.keys(HOME)
    for tree in keys.sets:
        for place, entry in tree.items():
            tree[place] = Signed(entry.rrset, (sign(entry.rrset, key(9, entry=True), entry.rrset.name, AT),))
    names.sign(HOME, keys, signing.zone(HOME))


def _over(names: Names, signing: Signing) -> None:
    names.evidence(at=AT + LIFE + 1, peers=1)


def _not_signed_at_all(names: Names, signing: Signing) -> None:
    names.sign(HOME, None, None)


def _another_address(names: Names, signing: Signing) -> None:
    zone = signing.zone(HOME)
    origin = from_text("alice.home.eu.cloud.")
    entry = zone.sets[0][origin, codes.A]
    zone.sets[0][origin, codes.A] = replace(entry, rrset=replace(entry.rrset, rdatas=(bytes((203, 0, 113, 66)),)))
    names.sign(HOME, signing.keys(HOME), zone)


@pytest.mark.parametrize("broken", [
    _other_root_key, _other_ds, _signed_by_a_stranger, _keys_signed_by_a_stranger, _over, _not_signed_at_all, _another_address,
])  # fmt: skip
def test_a_broken_chain_is_held_back_from_who_asks_for_proof(broken: object) -> None:
    names, signing = signed()
    assert callable(broken)
    broken(names, signing)
    assert said(names, "alice.home.eu.cloud.") == (2, False)
    assert said(names, "alice.home.eu.cloud.", flags=codes.RD | codes.CD)[0] == 0
    assert said(names, "alice.home.eu.cloud.", do=False, flags=codes.RD | codes.AD) == (0, False)
    assert names.resolving.counters["dns_bogus"] >= 1


def test_a_zone_that_its_parent_proves_unsigned_is_told_and_not_vouched_for() -> None:
    names, signing = signed()
    signing.ds.clear()
    signing.sign(ROOT)
    names.sign(HOME, None, None)
    assert said(names, "alice.home.eu.cloud.") == (0, False)
    assert said(names, "home.eu.cloud.", codes.DS) == (0, True)


def test_a_root_without_keys_vouches_for_nothing_and_tells_as_ever() -> None:
    names, _ = signed()
    names.secure.entries = ()
    assert said(names, "alice.home.eu.cloud.") == (0, False)


def test_lan_addresses_are_for_this_machine_and_not_vouched_for() -> None:
    names, _ = signed()
    names.set_near(HOME, {bytes((2,)) * 32: ("192.168.7.2",)})
    reply = names.stub(question("alice.home.eu.cloud.", codes.A, do=False, flags=codes.RD | codes.AD), SOURCE, False)
    assert isinstance(reply, bytes) and bytes((192, 168, 7, 2)) in reply and not reply[3] & codes.AD
    proof = names.stub(question("alice.home.eu.cloud.", codes.A), SOURCE, False)
    assert isinstance(proof, bytes) and bytes((192, 168, 7, 2)) not in proof and proof[3] & codes.AD


def test_a_cut_that_came_after_the_last_version_is_not_told_to_who_asks_for_proof() -> None:
    names, signing = signed()
    grown = root()
    names.update(replace(grown, cuts=(*grown.cuts, parse_path("us/office")), digest=b"x"))
    live = names.authoritative.answer(question("office.us.cloud.", codes.A, do=False), SOURCE, False)
    assert live is not None and live[3] & 15 == 0 and not live[2] & 4
    reply = names.authoritative.answer(question("office.us.cloud.", codes.A), SOURCE, False)
    assert reply is not None and reply[3] & 15 == 3
    signing.sign(ROOT)
    reply = names.authoritative.answer(question("office.us.cloud.", codes.A), SOURCE, False)
    assert reply is not None and reply[3] & 15 == 0 and not reply[2] & 4


def test_each_signature_is_checked_once() -> None:
    names, _ = signed()
    said(names, "alice.home.eu.cloud.")
    before = names.counters["rrsigs_checked"]
    names.zones.touch()
    names.own.touch()
    said(names, "alice.home.eu.cloud.")
    assert before > 0
    assert names.counters["rrsigs_checked"] == before


def test_many_keys_and_two_of_one_tag_cost_a_bounded_number_of_checks() -> None:
    names, signing = signed()
    signing.more = tuple(key(number).key for number in range(20, 250))
    keys = signing.keys(HOME)
    names.sign(HOME, keys, signing.zone(HOME))
    before = names.counters["rrsigs_checked"]
    said(names, "alice.home.eu.cloud.")
    assert names.counters["rrsigs_checked"] - before < 30


def test_plain_data_of_a_large_set_is_whole_over_tcp() -> None:
    many = tuple(f"192.0.2.{number}" for number in range(1, 60))
    names, signing = signed(views=(root(), home(plain=(data("eu/home/large", "A", *many),))))
    reply = names.authoritative.answer(question("large.home.eu.cloud.", codes.A), SOURCE, True)
    assert reply is not None and len(reply) <= 1_232
    small = names.authoritative.answer(question("large.home.eu.cloud.", codes.A)[:-8] + b"\x02\0" + b"\0\0\x80\0\0\0", SOURCE, True)
    assert small is not None and small[2] & 2  # TC
    assert isinstance(signing.zone(HOME), Copy)
    whole = names.authoritative.answer(question("large.home.eu.cloud.", codes.A), SOURCE, False)
    assert whole is not None and whole.count(b"\xc0\x0c\0\1\0\1") == len(many)




@pytest.mark.parametrize("rtype", [codes.CNAME, codes.SOA])
def test_signed_sets_that_make_no_zone_together_leave_what_is_live(rtype: int) -> None:
    names, signing = signed()
    zone = signing.zone(HOME)
    data_of = {codes.CNAME: to_wire(from_text("cloud.")), codes.SOA: zone.sets[0][from_text("home.eu.cloud."), codes.SOA].rrset.rdatas[0]}
    odd = RRset(from_text("alice.home.eu.cloud."), rtype, 30, (data_of[rtype],))
    zone.sets[0][odd.name, rtype] = Signed(odd, (sign(odd, key(4), from_text("home.eu.cloud."), AT),))
    names.sign(HOME, signing.keys(HOME), zone)
    assert said(names, "alice.home.eu.cloud.") == (2, False)
    assert said(names, "alice.home.eu.cloud.", do=False) == (0, False)


def reason(names: Names, name: str, *, do: bool) -> bytes:
    reply = names.stub(question(name, codes.A, do=do), SOURCE, False)
    assert isinstance(reply, bytes)
    start = reply.rindex(b"\0\0\x29")
    return dict(options(reply[start + 11 :])).get(codes.OPTION_EDE, b"")[:2]


def test_signatures_that_ended_and_copies_that_grew_old_are_told_apart_from_forgeries() -> None:
    names, signing = signed()
    assert reason(names, "alice.home.eu.cloud.", do=False) == b""
    _signed_by_a_stranger(names, signing)
    assert reason(names, "alice.home.eu.cloud.", do=True) == bytes((0, codes.EDE_BOGUS))
    signing.sign(HOME)
    names.sign(HOME, None, None)
    assert reason(names, "alice.home.eu.cloud.", do=True) == bytes((0, codes.EDE_EXPIRED))
    names.evidence(at=AT + 7_200, peers=1)
    assert reason(names, "alice.home.eu.cloud.", do=False) == bytes((0, codes.EDE_STALE))
    assert said(names, "alice.home.eu.cloud.", do=False)[0] == 0, "stale, and told"
    names.evidence(at=AT, peers=1)
    assert reason(names, "alice.home.eu.cloud.", do=False) == b""


def test_what_others_take_over_has_the_live_name_servers_and_glue_of_cuts() -> None:
    names, _ = signed()
    origin, cut = from_text("cloud."), from_text("home.eu.cloud.")
    whole, live = names.secure.whole(origin), names.zones.get(origin)
    assert whole is not None and live is not None and whole.signed
    assert whole.nodes[cut][codes.NS] == live.nodes[cut][codes.NS]
    assert whole.nodes[from_text("alice.home.eu.cloud.")] == live.nodes[from_text("alice.home.eu.cloud.")]
    assert names.secure.serial_of(origin) == whole.serial == 7
    assert names.secure.whole(from_text("nobody.")) is None is names.secure.serial_of(from_text("nobody."))


def test_names_that_are_reached_nowhere_are_vouched_for_as_others_are_and_held_back_when_forged() -> None:
    hidden, down = host("eu/home/hidden", 9), carrier("eu/home/www", "eu/home/alice", 2, healthy=False)
    names, signing = signed(views=(root(), home(hosts=(hidden,), carries=(down,))))
    for name in ("hidden.home.eu.cloud.", "www.home.eu.cloud."):
        assert said(names, name) == (0, True)
        assert said(names, name, codes.DS) == (0, True)
    _signed_by_a_stranger(names, signing)
    for name in ("hidden.home.eu.cloud.", "www.home.eu.cloud."):
        assert said(names, name) == (2, False)
        assert said(names, name, do=False) == (0, False)
