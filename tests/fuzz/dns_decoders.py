"""Decoders of DNS: names, queries, replies, record data of every type in both forms, service parameters, master files."""

from __future__ import annotations

from overlay.errors import Malformed, UsageError
from overlay.name import parse_path
from overlay.units import b64
from overlay.wire.address import Address
from tests.fuzz.hunt import Decoder
from tests.tld import views
from tld import codes, label, master, query, rdata, reply, svcb, tsig, update, whois
from tld.dnssec.canonical import canonical_set
from tld.dnssec.pieces import pack, unpack
from tld.dnssec.signing import Rrsig, Signed
from tld.driver.host import parse_resolv_conf
from tld.manners import cookie_of
from tld.zone import RRset, ZoneError

# One or two lines of record data for each type, as they stand in master files.
DATA: dict[int, tuple[str, ...]] = {
    codes.A: ("192.0.2.1",),
    codes.AAAA: ("2001:db8::1", "::ffff:192.0.2.1"),
    codes.NS: ("ns1.example.com.", "@"),
    codes.CNAME: ("a\\.b.example.", "www"),
    codes.DNAME: (".",),
    codes.PTR: ("\\000\\255.example.",),
    codes.SOA: ("ns1 hostmaster 2026112301 3600 15m 1w 1h",),
    codes.MX: ("10 mail",),
    codes.TXT: ('"hello there" x "\\"\\092\\200"', '""'),
    codes.SPF: ("v=spf1",),
    codes.HINFO: ("cpu os",),
    codes.SRV: ("0 65535 443 web.example.",),
    codes.NAPTR: ('10 20 "u" "E2U+sip" "!^.*$!sip:x@y!" .',),
    codes.URI: ('10 1 "ftp://ftp.example.com/public"',),
    codes.CAA: ('0 issue "ca.example.net; x=y"',),
    codes.SSHFP: ("2 1 123456789abcdef67890123456789abcdef67890",),
    codes.TLSA: ("3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971",),
    codes.OPENPGPKEY: ("AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",),
    codes.SVCB: ("16 foo.example.org. alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 ipv6hint=2001:db8::1 key667=\"hello\\210qoo\"",),
    codes.HTTPS: ('1 . alpn="f\\\\\\\\oo\\\\,bar,h2" port=8443 no-default-alpn ech=AAAA dohpath=/dns-query{?dns}', "0 alias."),
    codes.DS: ("60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",),
    codes.CDS: ("0 0 0 00",),
    codes.DNSKEY: ("256 3 5 AQPSKmynfzW4kyBv015MUG2DeIQ3",),
    codes.CDNSKEY: ("257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",),
    codes.RRSIG: ("A 5 3 86400 20030322173103 20030220173103 2642 example.com. oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip8WTr",),
    codes.NSEC: ("host.example.com. A MX RRSIG NSEC TYPE1234",),
}  # fmt: skip
GENERIC = ("\\# 4 0A000001", "\\# 0")
LINES = tuple(f"{codes.type_name(kind)} {line}" for kind, lines in DATA.items() for line in lines)
_ALONE = ("SOA ", "CNAME ", "DNAME ", "NS ", "DS ", "CDS ", "NSEC ", "RRSIG ")  # what stands at the apex, alone, or beside a cut
MASTER = "$ORIGIN example.com.\n$TTL 1h\n@ IN SOA ns host ( 1 2h 3m 4w\n 5 ) ; a comment\n  IN NS ns\nns 300 A 192.0.2.1\n" + "".join(
    f"n{number} {line}\n" for number, line in enumerate(LINES) if not line.startswith(_ALONE)
)
ORIGIN: label.Name = (b"example", b"com")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


SPEAKER = whois.Speaker(
    name=parse_path("eu/home/alice"), zone="cloud.example.org", tld="cloud", held=lambda node_id: (),
    views={view.path: view for view in (views.root(), views.home())},
)  # fmt: skip


def _whois(data: bytes) -> None:
    """Whatever is asked, the answer is lines of ASCII, each of our own making."""
    lines = whois.answer(data, SPEAKER).decode("ascii").split("\r\n")
    assert lines.pop() == "" and all(line.isprintable() for line in lines)
    assert all(line[:1] in ("", "%") or line[12:14].rstrip(" ") in ("", ":") or ":" in line[:12] for line in lines)


def _name_wire(data: bytes) -> None:
    name, end = label.from_wire(data)
    assert label.wire_length(name) <= 255 and 0 < end <= len(data)
    assert label.from_wire(label.to_wire(name)) == (name, label.wire_length(name))
    assert label.from_text(label.to_text(name), None) == name
    assert label.skip(data, 0) == end


def _name_text(data: bytes) -> None:
    name = label.from_text(_text(data), ORIGIN)
    assert label.from_text(label.to_text(name), None) == name
    assert label.from_wire(label.spelled_wire(_text(data), ORIGIN))[0] == name


def _query(data: bytes) -> None:
    outline = query.outline(data)
    found = query.parse(data)
    if outline is not None and not found.fault:
        assert outline == (query.key_of(found, udp=True), 12 + len(found.question)), "the fast path reads another query"


def _reply(data: bytes) -> None:
    found = reply.read(data)
    for rrset in found.answer:
        for wire in rrset.rdatas:
            rdata.to_text(rrset.type, wire)


_TSIG_KEY = {(b"k",): b"s" * 32}


def _tsig(data: bytes) -> None:
    found = tsig.split(data)
    if found is not None:
        assert len(found[0]) < len(data) and tsig.split(found[0]) is None
        verdict = tsig.verify(data, _TSIG_KEY, 0)
        assert verdict is not None and verdict.message == found[0]
        tsig.answers(data, (b"k",), b"s" * 32, b"", 0)


def _rdata_text(data: bytes) -> None:
    """``TYPE words``: what is taken stands on the wire, and comes back as text that means the same."""
    kind, _, text = _text(data).partition(" ")
    number = codes.type_number(kind)
    wire = rdata.to_wire(number, text, ORIGIN)
    rdata.check(number, wire)
    assert rdata.to_wire(number, rdata.to_text(number, wire), None) == wire


def _rdata_wire(data: bytes) -> None:
    """Two octets of type, then data: what is well-formed has a text that gives the same octets."""
    number, wire = int.from_bytes(data[:2], "big"), data[2:]
    text = rdata.to_text(number, wire)
    rdata.check(number, wire)
    assert rdata.to_wire(number, text, None) == wire


def _params_text(data: bytes) -> None:
    wire = svcb.params_wire([(word, False) for word in _text(data).split()])
    assert svcb.params_wire([(token.text, token.quoted) for token in rdata.tokens(svcb.params_text(wire))]) == wire


def _params_wire(data: bytes) -> None:
    text = svcb.params_text(data)
    try:
        again = svcb.params_wire([(token.text, token.quoted) for token in rdata.tokens(text)])
    except UsageError as fault:
        assert "mandatory" in fault.what, fault.what  # the text form has rules between keys that octets are not held to
        return
    assert again == data


def _master(data: bytes) -> None:
    zone = master.parse(_text(data), ORIGIN)
    again = master.parse(master.to_master(zone))
    assert sorted(map(repr, again.rrsets())) == sorted(map(repr, zone.rrsets()))


def _resolv_conf(data: bytes) -> None:
    assert all(isinstance(address, Address) for address in parse_resolv_conf(_text(data)))


_WWW = label.to_wire((b"www", b"example", b"com"))
_ANSWER = (
    b"\0\7\x81\x80\0\1\0\2\0\0\0\1" + _WWW + b"\0\1\0\1" + b"\xc0\x0c\0\5\0\1\0\0\0\x1e\0\6\3web\xc0\x10"
    + b"\3web\xc0\x10\0\1\0\1\0\0\0\x1e\0\4\xc0\0\2\1" + b"\0\0\x29\4\xd0\0\0\0\0\0\x0a\0\x0f\0\6\0\x12text"
)  # fmt: skip
_QUERIES = (
    query.ask(7, _WWW, codes.A), query.ask(7, _WWW, codes.TXT, edns=1_232, flags=codes.RD), query.ask(0, b"\0", codes.NS, edns=512),
    query.ask(7, _WWW, codes.A)[:11] + b"\1" + _WWW + b"\0\1\0\1\0\0\x29\4\xd0\0\0\x80\0\0\x0c\0\x0a\0\x08cookie!!",
)  # fmt: skip
_UPDATES = (
    b"\0\7\x28\0\0\1\0\1\0\2\0\0" + _WWW + b"\0\6\0\1" + b"\xc0\x0c\0\xff\0\xff\0\0\0\0\0\0"
    + b"\1t\xc0\x0c\0\x10\0\1\0\0\0\x1e\0\3\2hi" + b"\xc0\x0c\0\x0f\0\xfe\0\0\0\0\0\4\0\x0a\xc0\x0c",
)  # fmt: skip
_POINTERS = (b"\xc0\x0c", b"\xc0\x00", b"\xff\xff", b"\x3f" + b"a" * 63, b"\0", b"\x40")
_CHARS = (b".", b"\\", b"\\000", b"\\255", b"\\256", b'"', b"@", b" ", b"(", b")", b";", b"\n", b"\\# 1 00", b"99999999999", b"-1", b"IN", b"1h")
_KEYS = (b"mandatory=", b"alpn=", b"port=", b"ipv4hint=", b"ech=", b"key7", b"key65534", b"no-default-alpn", b",", b"\\,", b"=", *_CHARS)

_SIGNED = Signed(RRset((b"www", b"cloud"), codes.A, 30, (b"\xc0\0\2\1", b"\xc0\0\2\2")), (Rrsig(1, 2, 30, 9, 1, 7, (b"cloud",), bytes(64)),))
_PACKED = pack([(0, _SIGNED), (0, _SIGNED)], [(b"cloud",)])


def _pieces(data: bytes) -> None:
    origins = [(b"cloud",), (b"cloud", b"example")]
    entries = unpack(data, origins)
    assert unpack(pack(entries, origins), origins) == entries
    for _, signed in entries:
        canonical_set(signed.rrset, ttl=signed.rrset.ttl, owner=signed.rrset.name)


def _rrsig(data: bytes) -> None:
    assert Rrsig.read(Rrsig.read(data).rdata) == Rrsig.read(data)


DECODERS = (
    Decoder(name="dns-name-wire", run=_name_wire, errors=(Malformed,), seeds=(_WWW, b"\0", b"\x3f" + b"x" * 63 + b"\0", b"\1*\0"), words=_POINTERS),
    Decoder(
        name="dns-name-text", run=_name_text, errors=(UsageError,), text=True, words=_CHARS,
        seeds=(b"WWW.example.com.", b"@", b"a\\.b\\032c", b".", b"*.x"),
    ),
    Decoder(
        name="whois-query", run=_whois, errors=(), text=True, words=(b".", b"/", b"\r", b"\x1b["),
        seeds=(b"alice.home.eu", b"eu/home", b"", b"www.home.eu.cloud.", b64(views.node(2)).encode()),
    ),
    Decoder(name="dns-query", run=_query, errors=(Malformed,), seeds=_QUERIES, words=_POINTERS),
    Decoder(name="zone-pieces", run=_pieces, errors=(Malformed,), seeds=(_PACKED,), words=_POINTERS, longest=8_192),
    Decoder(name="rrsig", run=_rrsig, errors=(Malformed,), seeds=(_SIGNED.rrsigs[0].rdata,)),
    Decoder(name="dns-cookie", run=lambda data: cookie_of(data), errors=(), seeds=_QUERIES, words=(b"\0\x0a\0\x08", b"\0\0\x29")),
    Decoder(name="dns-update", run=lambda data: update.parse(data), errors=(Malformed,), seeds=_UPDATES, words=_POINTERS),
    Decoder(
        name="dns-tsig", run=_tsig, errors=(Malformed,), words=(*_POINTERS, tsig.MARK, b"\x0bhmac-sha256\0", b"\0\x20"),
        seeds=tuple(tsig.Signer((b"k",), b"s" * 32).sign(data, 0) for data in _QUERIES),
    ),
    Decoder(name="dns-reply", run=_reply, errors=(Malformed,), seeds=(_ANSWER,), words=_POINTERS),
    Decoder(
        name="rdata-text", run=_rdata_text, errors=(UsageError,), text=True,
        words=(*_KEYS, *(codes.type_name(kind).encode() + b" " for kind in DATA)),
        seeds=tuple(line.encode() for line in (*LINES, *(f"A {line}" for line in GENERIC), f"TYPE65280 {GENERIC[0]}")),
    ),
    Decoder(
        name="rdata-wire", run=_rdata_wire, errors=(UsageError,), words=(*_POINTERS, b"\0\1", b"\xff"),
        seeds=tuple(kind.to_bytes(2, "big") + rdata.to_wire(kind, line, ORIGIN) for kind, lines in DATA.items() for line in lines),
    ),
    Decoder(
        name="svcb-text", run=_params_text, errors=(UsageError,), text=True, words=_KEYS,
        seeds=tuple(line.partition(" ")[2].partition(" ")[2].encode() for kind in (codes.SVCB, codes.HTTPS) for line in DATA[kind]),
    ),
    Decoder(
        name="svcb-wire", run=_params_wire, errors=(Malformed,), words=(b"\0\0\0\2", b"\0\1\0\3\2h2", b"\0\3\0\2\1\1"),
        seeds=tuple(rdata.to_wire(kind, line, ORIGIN)[2:].lstrip(b"\0") for kind in (codes.SVCB, codes.HTTPS) for line in DATA[kind][:1])
        + (svcb.params_wire([("mandatory=alpn,port", False), ("alpn=h2", False), ("port=1", False), ("key9=x", False)]),),
    ),
    Decoder(name="master", run=_master, errors=(ZoneError,), text=True, words=(*_CHARS, b"$ORIGIN x.", b"$TTL 5", *(x.encode() for x in LINES)),
            seeds=(MASTER.encode(), b"@ 5 SOA . . 1 1 1 1 1\n a A 1.2.3.4\n"), longest=8_192),
    Decoder(
        name="resolv-conf", run=_resolv_conf, errors=(), text=True, words=(b"nameserver ", b"\n", b"#", b"%eth0"),
        seeds=(b"nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch example.com\noptions ndots:5 # x\n",),
    ),
)  # fmt: skip
