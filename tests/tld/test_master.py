"""Master files: the forms that RFC 1035 allows, and a line number for everything that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import OverlayError
from tld import codes
from tld.label import from_text
from tld.master import parse, to_master
from tld.zone import ZoneError

SOA = "cloud. 60 IN SOA ns1.cloud. host.cloud. 7 1 2 3 30\n"


def texts(zone_text: str, name: str, kind: str) -> tuple[int, set[bytes]]:
    rrset = parse(zone_text).nodes[from_text(name)][codes.type_number(kind)]
    return rrset.ttl, set(rrset.rdatas)


def test_the_origin_is_the_owner_of_the_soa() -> None:
    zone = parse(SOA)
    assert (zone.origin, zone.serial) == ((b"cloud",), 7)


def test_relative_names_stand_below_the_soas_owner_where_no_origin_is_given() -> None:
    assert texts(SOA + "www 5 A 192.0.2.1\n", "www.cloud.", "A") == (5, {b"\xc0\x00\x02\x01"})


def test_an_owner_that_is_left_out_is_the_one_before() -> None:
    zone = parse(SOA + "www 5 A 192.0.2.1\n\tAAAA 2001:db8::1\n   300 TXT x\n")
    assert set(zone.nodes[from_text("www.cloud.")]) == {codes.A, codes.AAAA, codes.TXT}


def test_parentheses_join_lines_and_comments_end_them() -> None:
    text = "$ORIGIN cloud.\n@ 60 IN SOA ns1 host ( ; begin\n 9 ; serial\n 1h 15m\n\n 1w 30 ) ; end\n"
    zone = parse(text)
    assert zone.serial == 9
    assert zone.soa.rdatas[0][-16:-12] == (3600).to_bytes(4, "big")


def test_semicolons_and_parentheses_in_quotes_are_text() -> None:
    assert texts(SOA + 't 5 TXT "a;b (c" d\\;e\n', "t.cloud.", "TXT") == (5, {b"\x06a;b (c\x03d;e"})


def test_ttl_and_class_come_in_either_order() -> None:
    for line in ("w 5 IN A 192.0.2.1", "w IN 5 A 192.0.2.1", "w 5 A 192.0.2.1"):
        assert texts(SOA + line + "\n", "w.cloud.", "A")[0] == 5


def test_a_ttl_that_is_left_out_is_the_default_then_the_last_then_the_soas_minimum() -> None:
    assert texts("$TTL 1h\n" + SOA + "w 5 TXT a\nv A 192.0.2.1\n", "v.cloud.", "A")[0] == 3600
    assert texts(SOA + "w 5 TXT a\nv A 192.0.2.1\n", "v.cloud.", "A")[0] == 5
    assert texts(SOA.replace("60 IN", "IN") + "v A 192.0.2.1\n", "v.cloud.", "A")[0] == 30


def test_origins_may_change_on_the_way() -> None:
    zone = parse(SOA + "$ORIGIN eu\n@ 5 TXT a\nwww 5 TXT b\n$ORIGIN us.cloud.\nwww 5 TXT c\n")
    assert {from_text(name) for name in ("eu.cloud.", "www.eu.cloud.", "www.us.cloud.")} <= set(zone.nodes)


def test_one_set_has_one_ttl_and_no_doubles() -> None:
    assert texts(SOA + "w 9 A 192.0.2.1\nw 5 A 192.0.2.1\nw 7 A 192.0.2.2\n", "w.cloud.", "A") == (
        5,
        {b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02"},
    )


def test_unknown_types_are_taken_in_their_general_form() -> None:
    assert texts(SOA + "w 5 TYPE731 \\# 2 abcd\n", "w.cloud.", "TYPE731") == (5, {b"\xab\xcd"})


def test_windows_line_ends_do_no_harm() -> None:
    assert texts((SOA + "w 5 TXT a\n").replace("\n", "\r\n"), "w.cloud.", "TXT") == (5, {b"\x01a"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no SOA"),
        ("; nothing\n", "no SOA"),
        (SOA + "w 5 A 1.2.3\n", "line 2: '1.2.3' is not an IPv4 address"),
        (SOA + "\n\nw 5 NOPE x\n", "line 4: 'NOPE' is not a record type"),
        (SOA + "w 5\n", "line 2: the record has no type"),
        (SOA + "w CH A 1.2.3.4\n", "line 2: class CH is not served"),
        (SOA + "www.example. 5 A 192.0.2.1\n", "line 2: www.example. is outside of the zone cloud."),
        ("www.example. 5 A 192.0.2.1\n" + SOA, "www.example. is outside"),
        (SOA + "cloud. 60 IN SOA ns2.cloud. host.cloud. 8 1 2 3 4\n", "line 2: a second SOA"),
        (SOA + "eu.cloud. 60 IN SOA ns2.cloud. host.cloud. 8 1 2 3 4\n", "line 2: a second SOA"),
        ("@ 60 SOA a. b. 1 2 3 4 5\n", "line 1: '@' is relative"),
        (" 60 SOA a. b. 1 2 3 4 5\n", "line 1: the first record has no owner"),
        ("a. TXT x\n", "line 1: the record has no TTL"),
        (SOA + "w 5 TXT (a\nb\n", "line 2: a parenthesis is not closed"),
        (SOA + "w 5 TXT a)\n", "line 2: parentheses do not match"),
        (SOA + 'w 5 TXT "a\nb"\n', "line 2: a quotation mark is not closed"),
        (SOA + "$INCLUDE other\n", "line 2: $INCLUDE is not understood"),
        (SOA + "$TTL never\n", "line 2: 'never' is not a TTL"),
        (SOA + "w 5 ANY x\n", "line 2: ANY cannot stand in a zone"),
        (SOA + "w 5 CNAME a\nw 5 A 192.0.2.1\n", "w.cloud. has a CNAME and other data"),
        (SOA + "w 5 CNAME a\nw 5 CNAME b\n", "w.cloud. has more than one CNAME"),
        (SOA + "w 5 DNAME a\nw 5 DNAME b\n", "w.cloud. has more than one DNAME"),
        (SOA + "w 4294967296 A 192.0.2.1\n", "line 2: '4294967296' is not a record type"),
        (SOA + "a" * 64 + " 5 A 192.0.2.1\n", "line 2: "),
    ],
)
def test_faults_say_where_they_are(text: str, says: str) -> None:
    with pytest.raises(ZoneError) as caught:
        parse(text)
    assert says in caught.value.what


def test_a_zone_written_out_reads_back_as_the_same_zone() -> None:
    zone = parse(
        SOA + '*.w 5 TXT "a b" c\ns 5 SRV 0 0 80 w\neu 5 NS ns.eu\nns.eu 5 A 192.0.2.1\nx 5 TYPE731 \\# 2 abcd\nh 5 HTTPS 1 . alpn=h2\n'
    )
    assert parse(to_master(zone)) == zone


@settings(max_examples=300, deadline=500)
@given(st.text(alphabet=st.sampled_from(' \n\t"();\\.@$*aA1cloud-_é\x00'), max_size=60))
def test_any_text_is_a_zone_or_a_zone_error(text: str) -> None:
    for whole in (text, SOA + text):
        try:
            parse(whole)
        except OverlayError as fault:
            assert isinstance(fault, ZoneError)
