"""The pages in ``docs/`` say what the code does: generated ones are as their tables want them, drawn layouts have the sizes that
the code packs, what pages cite is there.
"""

from __future__ import annotations

import ast
import re

import pytest

from bootstrap import domain, invite
from bootstrap.entrance import WayIn
from bootstrap.invite import Token, encode_token
from overlay.admission import request
from overlay.limits import TABLE
from overlay.name import Path
from overlay.records import record
from overlay.session import hello, packet
from overlay.settings import SETTINGS
from overlay.units import unb64
from overlay.wire.address import Address
from overlay.wire.codec import decode
from overlay.wire.messages import FRAMES, METHODS, RESERVED, Frame, Method, Packet
from tests.house.source import PRODUCT, ROOT, report, sources
from tests.records.actors import found
from tools.docs.markdown import layout
from tools.docs.pages import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_as_its_tables_want_it(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8") if (FOLDER / name).exists() else ""
    assert written == PAGES[name](), f"docs/{name} is out of date: run `make docs`"


def test_every_bound_is_on_its_page() -> None:
    page = PAGES["limits.md"]()
    report([name for name in TABLE if f"| `{name}` |" not in page])


# -- what is drawn in docstrings


def drawn(line: str) -> tuple[int, int]:
    """(first octet, octets before what has no length) of one line of a layout."""
    _, first, *fields = line.split()
    return int(first, 16), 1 + sum(int(field.partition(":")[2]) for field in fields if re.fullmatch(r"\w+:\d+", field))


def test_datagrams_are_laid_out_as_they_are_packed() -> None:
    packed = {
        Packet.INITIATION: packet._INITIATION, Packet.RESPONSE: packet._RESPONSE, Packet.COOKIE: packet._COOKIE, Packet.SEALED: packet.SEALED,
    }  # fmt: skip
    lines = layout(packet).splitlines()[1:-1]
    assert [drawn(line) for line in lines] == [(kind.value, form.size) for kind, form in packed.items()]
    assert [line.split()[0] for line in lines] == [kind.name.lower() for kind in packed]


def test_the_payloads_of_a_handshake_have_the_fields_that_are_drawn() -> None:
    early = hello.Early(Method.PING, {})
    first = decode(packet.unpad(hello.offer(stamp=1, passport_digest=bytes(32), boot_nonce=bytes(8), early=early)))
    where = Address("127.0.0.1", 1)
    second = decode(hello.accept(passport_digest=bytes(32), seen=where, boot_nonce=bytes(8), version=0, answer=[{}]))
    lines = layout(hello).splitlines()[1:-1]
    assert [keys(line) for line in lines] == [set(first), set(second)]


def test_a_records_header_has_the_fields_that_are_drawn() -> None:
    line = next(line for line in layout(record).splitlines() if line.startswith("header"))
    written = decode(found().member.own.content)[0]
    assert list(map(int, re.findall(r"(\d+) ", line))) == list(written)


def keys(line: str) -> set[int]:
    """The numbers of the fields that a line draws."""
    return set(map(int, re.findall(r"(\d+): ", line)))


def test_tokens_texts_and_requests_have_the_fields_that_are_drawn() -> None:
    identity, ways = found().member.identity, (WayIn((Address("127.0.0.1", 1),), bytes(32)),)
    token = Token(
        overlay_id=bytes(32), zone="a.b", tld="c", path=Path(("d",)), seed=bytes(32), expires=1, ways=ways, redeemers=(bytes(32),),
        exchange=bytes(32),
    )
    first, fields, _ = layout(invite).splitlines()[1:-1]
    octets = unb64(encode_token(token))
    assert octets[0] == int(first, 16) == invite.VERSION and set(decode(octets[1:-4])) == keys(fields)
    drawn_texts = [line.split()[1] for line in layout(domain).splitlines()[1:-1]]
    written = [str(domain.OverlayText(bytes(32), "c")), domain.way_text(ways[0])]
    assert [re.findall(r"(\w+)=", text) for text in drawn_texts] == [re.findall(r"(\w+)=", re.sub(r"=[^;]*", "=", text)) for text in written]
    asked = request.Request(label="a", cluster=Path(("d",)), node_id=bytes(32), exact=True, shadow=True, seed=bytes(32))
    status = request.Reply(code="taken", what="x", todo="y", elsewhere=((bytes(32), ways[0].addresses),)).body()[0]
    made = [asked.body(identity, bytes(32), identity.signer), decode(asked.core()), decode(status)]
    assert [keys(line) for line in layout(request).splitlines()[1:-1]] == [set(one) for one in made]


def test_every_frame_and_method_is_in_its_table_and_frames_begin_with_their_number() -> None:
    assert set(FRAMES) == set(Frame)
    assert set(METHODS) == set(Method)
    for frame, rule in FRAMES.items():
        assert rule.form.strip("[]").split(", ")[0] == str(frame.value)
    for where, taken in (("frames", set[int](FRAMES)), ("methods", set[int](METHODS))):
        kept = [re.fullmatch(r"(\d+) \.\. (\d+)", one.what) for one in RESERVED if one.where == where]
        assert kept
        assert all(spans is not None and not taken & set(range(int(spans[1]), int(spans[2]) + 1)) for spans in kept)


# -- what acts, and what is cited


def test_a_setting_is_marked_by_whether_anything_acts_on_it() -> None:
    read = {
        (ast.unparse(node.value).rpartition(".")[2], node.attr)
        for source in sources(*PRODUCT) if source.module not in ("overlay.config", "overlay.settings")
        for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)
    }  # fmt: skip
    listened = {("listen", key) for holder, key in read if holder == "wanted"}  # driver/listen.py gets the section alone
    acting = {(section, key) for section, keys in SETTINGS.items() for key in keys} & (read | listened)
    assert {(section, key) for section, keys in SETTINGS.items() for key, setting in keys.items() if setting.acts} == acting


def test_files_and_what_is_in_them_that_pages_cite_are_there() -> None:
    """Cited as `path` or as `path: name`, name being a function or class of that file."""
    offences = []
    for page in sorted(FOLDER.glob("*.md")):
        for cited in re.findall(r"`((?:overlay|tld|bootstrap|tests|tools|demo|benchmarks|docs)/[^`]+)`", page.read_text(encoding="utf-8")):
            path, colon, name = cited.partition(": ")
            file = ROOT / path
            if not file.exists():
                offences.append(f"docs/{page.name}: {path} is not there")
            elif colon and not re.search(rf"^\s*(?:async def|def|class) {re.escape(name.split('.')[-1])}\b", file.read_text(), re.MULTILINE):
                offences.append(f"docs/{page.name}: {path} has no {name}")
    report(offences)
