"""Decoders of what strangers send on a LAN: beacons, and discovery that hears them; and of what members tell each other."""

from __future__ import annotations

from overlay.cluster.beacon import ANY, Beacon, Kind, decode, encode, seek, tag_of
from overlay.cluster.discovery import Discovery, Neighbourhood
from overlay.cluster.links import Link
from overlay.cluster.member import Card, News, Word, read
from overlay.cluster.member import Kind as Wants
from overlay.cluster.members import Membership
from overlay.cluster.outputs import Life
from overlay.errors import Malformed
from overlay.wire import codec
from overlay.wire.address import Address, Way
from tests.fuzz.hunt import Decoder

OURS = bytes(range(32))
AT = 1_800_000_000
BEACONS = tuple(encode(Beacon(kind, tag_of(OURS, AT // 3600), b"k" * 32, 7653)) for kind in Kind)


def _beacon(data: bytes) -> None:
    assert encode(decode(data)) == data


def _heard(data: bytes) -> None:
    discovery = Discovery(
        overlay_id=OURS, exchange=b"m" * 32, port=7653, entropy=bytes, around=Neighbourhood(lambda key: False, tuple),
        links=[Link("eth0", 2, "192.168.1.2", 24), Link("eth0", 2, "fe80::2", 64)],
    )
    for source in ("192.168.1.9", "fe80::9%2", "198.51.100.7"):
        discovery.heard(data, Way("udp", Address(source, 7654)), 1.0, AT)
    assert len(discovery.take()) <= 4


CARDS = tuple(Card(node_id=bytes((n,)) * 32, exchange=OURS, addresses=(Address("192.168.1.2", 7653),), incarnation=n, version=n) for n in range(3))
WORDS = tuple(
    Word(kind=kind, number=7, order=(1, 2), target=CARDS[1].node_id if kind is Wants.ASK else None, news=tuple(News(card, life) for card in CARDS))
    for kind in Wants
    for life in Life
)


def _word(data: bytes) -> None:
    """A word is read, said again, and heard by a member, as a word and as all that another knows."""
    body = codec.decode(data)
    machine = Membership(CARDS[0].node_id, CARDS[0], bytes, 0.0)
    machine.greet(CARDS[1].node_id, OURS, 0.0)
    if isinstance(body, list):
        machine.merge(CARDS[1].node_id, body, 0.5)
    else:
        word = read(body)
        assert read(word.body()) == word
        machine.receive(CARDS[1].node_id, body, 0.5)
    for now in (1.0, 9.0):
        machine.wake(now)
    assert len(machine.take()) < 100


DECODERS = (
    Decoder(
        name="member-word", run=_word, errors=(Malformed,), packed=True,
        seeds=(*(codec.encode(word.body()) for word in WORDS), codec.encode([News(card, Life.DEAD).body() for card in CARDS])),
    ),
    Decoder(name="beacon", run=_beacon, errors=(Malformed,), seeds=(*BEACONS, seek(ANY, 40_000)), words=(b"\x05\x01", b"\x05\x03", ANY)),
    Decoder(name="beacon-heard", run=_heard, errors=(), seeds=(*BEACONS, seek(ANY, 40_000)), words=(b"\x05\x01", b"\x05\x03", ANY)),
)
