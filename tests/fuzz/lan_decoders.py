"""Decoders of what strangers send on a LAN: beacons, and discovery that hears them."""

from __future__ import annotations

from overlay.cluster.beacon import ANY, Beacon, Kind, decode, encode, seek, tag_of
from overlay.cluster.discovery import Discovery, Neighbourhood
from overlay.cluster.links import Link
from overlay.errors import Malformed
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


DECODERS = (
    Decoder(name="beacon", run=_beacon, errors=(Malformed,), seeds=(*BEACONS, seek(ANY, 40_000)), words=(b"\x05\x01", b"\x05\x03", ANY)),
    Decoder(name="beacon-heard", run=_heard, errors=(), seeds=(*BEACONS, seek(ANY, 40_000)), words=(b"\x05\x01", b"\x05\x03", ANY)),
)
