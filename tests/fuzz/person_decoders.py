"""Decoders of what people, programs of this machine and strangers on the web write: bootstrap, HTTP, control, configuration, commands."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from urllib.parse import urlencode

import h11
import trio
import trio.testing

from bootstrap import dnsmessage
from bootstrap.domain import OverlayText, read_overlays, read_ways, way_text
from bootstrap.entrance import Domain, Lan, WayIn, parse_where
from bootstrap.invite import Token, decode_token, encode_token
from bootstrap.mirror import Facts, read_way_in, respond, way_in
from overlay import config
from overlay.admission.waiting import read_code
from overlay.cli.grammar import Help, read, usage_of
from overlay.cli.table import COMMANDS
from overlay.driver.control import read_request
from overlay.driver.control_client import answer_of, rebuilt
from overlay.driver.http import Request, Response, Site, text
from overlay.errors import ConfigError, Malformed, TrustError, UsageError
from overlay.name import parse_path
from overlay.units import b64, unb64
from overlay.wire.address import Address
from tests.fuzz.hunt import Decoder
from tests.records.actors import AT, seed

KEY = bytes(range(32))
WAYS = (WayIn((Address("203.0.113.10", 7653), Address("2001:db8::10", 7653)), KEY), WayIn((Address("198.51.100.1", 443),), KEY))
TOKEN = Token(
    overlay_id=KEY, zone="cloud.example.org", tld="cloud", path=parse_path("eu/home"), seed=seed("token"), expires=AT + 60, ways=WAYS,
    redeemers=(KEY,),
)  # fmt: skip


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# -- bootstrap


def _overlays(data: bytes) -> None:
    for overlay in read_overlays([data], Counter()):
        assert read_overlays([str(overlay).encode()], Counter()) == (overlay,)


def _ways(data: bytes) -> None:
    for way in read_ways([data], Counter()):
        assert read_ways([way_text(way).encode()], Counter()) == (way,)


_ASKED = {rtype: dnsmessage.question("www.example.com", rtype) for rtype in dnsmessage.TYPES}


def _answer(data: bytes) -> None:
    """An answer whose id and question are right: first octet the type asked for, then flags and counts, then records."""
    asked = list(_ASKED.values())[data[0] % 4 if data else 0]
    head = data[1:9].ljust(8, b"\0")
    dnsmessage.read(b"\0\7" + bytes((head[0] | 0x80,)) + head[1:2] + b"\0\1" + head[2:8] + asked + data[9:], b"\0\7", asked)


def _token(data: bytes) -> None:
    token = decode_token(_text(data), AT)
    assert decode_token(encode_token(token), AT) == token


def _token_body(data: bytes) -> None:
    body = bytes((1,)) + data
    _token(b64(body + hashlib.blake2s(body).digest()[:4]).encode())


def _where(data: bytes) -> None:
    place = parse_where(_text(data))
    if place not in (Lan(), Domain("lan")):  # a domain of that name is written with its final dot
        assert parse_where(str(place)) == place


def _way_in(data: bytes) -> None:
    read_way_in(data, Address("203.0.113.10", 80))


_FACTS = Facts(
    overlay_id=KEY, zone="cloud.example.org", tld="cloud", name="founder.hq.cloud", node_id=KEY, key=KEY, addresses=WAYS[0].addresses, record=b"r",
    revision=0, cluster="hq",
)  # fmt: skip
WELL_KNOWN = json.dumps(way_in(_FACTS)).encode()


def _mirror(data: bytes) -> None:
    path, _, query = _text(data).partition("?")
    page = respond(path, query, "::ffff:192.0.2.1", _FACTS)
    assert page is None or all(value.isprintable() for _, value in page.headers)


# -- HTTP


class _Pipe(trio.abc.HalfCloseableStream):
    """A connection of which a test wrote one half beforehand; ``socket`` says what a real one would."""

    def __init__(self, read: bytes) -> None:
        self.socket = self
        self.sent = bytearray()
        self._read = read

    def getsockname(self) -> tuple[str, int]:
        return ("203.0.113.10", 80)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        read, self._read = self._read[:max_bytes], self._read[max_bytes or len(self._read) :]
        return read

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def _page(request: Request) -> Response:
    page = respond(request.path, urlencode(request.query), request.peer.host, _FACTS)
    return Response(page.status, page.body, page.headers) if page is not None else text("not found", 404)


def _http(data: bytes) -> None:
    """Every request has an answer that a client of the same protocol reads to its end."""
    pipe, site = _Pipe(data), Site(_page, lambda: ("cloud.example.org", "cloud"))
    trio.run(site.connection, pipe, b"", Address("192.0.2.7", 4000), clock=trio.testing.MockClock(autojump_threshold=0))
    assert site.open == 0
    if pipe.sent:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="HEAD" if data.lstrip().startswith(b"HEAD") else "GET", target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        client.receive_data(bytes(pipe.sent))
        assert isinstance(client.next_event(), h11.Response)


_REQUEST = b"GET /?IP&nonce=abc HTTP/1.1\r\nHost: 203.0.113.10\r\nAccept: */*\r\n\r\n"
_REQUESTS = (
    _REQUEST, _REQUEST * 2, b"HEAD /.well-known/overlay HTTP/1.0\r\n\r\n", b"GET http://founder.hq.cloud/status HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI *",
    b"GET /%2e%2e/%00?a=%ff&IP HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
)  # fmt: skip

# -- control, configuration, command lines


def _control(data: bytes) -> None:
    command, args = read_request(data)
    line = json.dumps({"command": command, "args": args}).encode()
    assert repr(read_request(line)) == repr((command, args))


def _control_answer(data: bytes) -> None:
    error = answer_of(data).get("error")
    assert all(isinstance(line, str) for line in rebuilt(error).lines())


def _config(data: bytes) -> None:
    found = config.parse(_text(data), "overlay.toml")
    for effective in (True, False):
        assert config.parse(config.dump(found, effective=effective), "overlay.toml") == found


def _command_line(data: bytes) -> None:
    found = read(_text(data).split("\n"), COMMANDS)
    assert isinstance(found, Help) or usage_of(found.command)


_TOML = """[listen]
overlay = ["0.0.0.0:7653", "[::]:7653"]
http = "off"
dns = ['127.0.0.1:53'] # a comment
advertise = ["eth0", "203.0.113.9"]
[names]
policy = "exclusive"
upstream = ["9.9.9.9", "[2620:fe::fe]:53"]
[lan]
discovery = false
virtual_ip = "192.168.1.250/24"
[release]
kernel = "yes"
"""
_LINES = (
    "service add web.home.eu --port 80 --health http://127.0.0.1/", "name set a.b TXT -x -- --y", "invite eu/home --uses 3 --expires 24h",
    "ping bob -c5", "grant eu --to AAAA --rights own,member --json", "--home /tmp join cloud.example.org --invite -AAA --detach", "help name set",
    "init --zone cloud.example.org --name founder --admission open --root-keys 2of3", "up --listen-overlay=127.0.0.1:0 --no-lan", "resolve x AAAA",
)  # fmt: skip
_OPTIONS = tuple({option.name.encode() for command in COMMANDS for option in command.options} | {b"--", b"-", b"-c", b"=", b"\n", b"--home", b"-h"})
_JSON = (b'"', b"{", b"}", b"[", b"]", b"\\ud800", b"1e999", b"-0", b"NaN", b"null", b"\xff", b'"args":', b"9" * 5_000)

DECODERS = (
    Decoder(
        name="boot-overlay-text", run=_overlays, errors=(), words=(b";", b"=", b"v=overlay1", b"id=", b"tld="),
        seeds=(str(OverlayText(KEY, "cloud")).encode(), b"v=overlay1; tld=cloud ;id=" + b64(KEY).encode() + b";x=y;"),
    ),
    Decoder(
        name="boot-way-text", run=_ways, errors=(), words=(b";", b"=", b",", b"at=", b"key=", b"[::1]:1", b"%1", b":65536"),
        seeds=tuple(way_text(way).encode() for way in WAYS),
    ),
    Decoder(
        name="boot-dns-answer", run=_answer, errors=(Malformed,), words=(b"\xc0\x0c", b"\xff\xff", b"\0\1", b"\0\x10", b"\0\5", b"\x40"),
        seeds=tuple(
            bytes((index,)) + b"\x81\x80\0\2\0\0\0\0" + b"\xc0\x0c\0\5\0\1\0\0\0\1\0\6\3web\xc0\x10"
            + b"\xc0\x2d" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\1" + len(data).to_bytes(2, "big") + data
            for index, (kind, data) in enumerate(((1, b"\xc0\0\2\1"), (2, b"\2ns\xc0\x10"), (16, b"\5hello\5there"), (28, KEY[:16])))
        ),
    ),
    Decoder(name="token", run=_token, errors=(TrustError,), text=True, seeds=(encode_token(TOKEN).encode(), b"AAAA", b"")),
    Decoder(
        name="token-body", run=_token_body, errors=(TrustError,), packed=True, longest=1_500, seeds=(unb64(encode_token(TOKEN))[1:-4],),
    ),
    Decoder(
        name="where", run=_where, errors=(UsageError,), text=True, words=(b".", b":", b"[", b"]", b"lan", b"/", b"%"),
        seeds=(b"cloud.example.org", b"lan", b"203.0.113.10:7653", b"[2001:db8::1]:443", b"::1", b"1.2.3.4"),
    ),
    Decoder(name="well-known", run=_way_in, errors=(Malformed,), words=_JSON, seeds=(WELL_KNOWN,)),
    Decoder(name="mirror", run=_mirror, errors=(), text=True, words=(b"?", b"&", b"IP", b"nonce=", b"%0a"), seeds=(b"/?IP&nonce=abc", b"/status")),
    Decoder(
        name="http", run=_http, errors=(), longest=16_384, seeds=_REQUESTS,
        words=(b"\r\n", b" ", b":", b"HTTP/1.1", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"%00", b"?IP", b"://", b"x" * 9_000),
    ),
    Decoder(
        name="control", run=_control, errors=(UsageError,), words=_JSON, longest=16_384,
        seeds=(b'{"command": "name.set", "args": {"name": "a.b", "values": ["\\u00e4", 5, null, {"x": [1.5, true]}]}}', b'{"command":"status"}'),
    ),
    Decoder(
        name="control-answer", run=_control_answer, errors=(), words=(*_JSON, b'"exit":'), longest=16_384,
        seeds=(b'{"error": {"what": "w", "todo": "t", "exit": 4, "rule": "r"}}', b'{"result": [1]}', b'{"progress": "x"}'),
    ),
    Decoder(
        name="config", run=_config, errors=(ConfigError,), text=True, words=(b"[", b"]", b"=", b'"""', b"\n", b"0x", b"1e9", b"'", b"9" * 5_000),
        seeds=(_TOML.encode(), b"", b"[names]\npolicy='public-first'\n", b"d=" + b"9" * 4_301), longest=8_192,
    ),
    Decoder(
        name="command-line", run=_command_line, errors=(UsageError,), text=True, words=_OPTIONS,
        seeds=tuple(line.replace(" ", "\n").encode() for line in _LINES),
    ),
    Decoder(name="admit-code", run=lambda data: read_code(_text(data)), errors=(UsageError,), text=True, seeds=(b"ABCD-EFGH", b"ab c")),
)  # fmt: skip
