"""The table of what is fuzzed: every decoder of foreign octets, then every walk through a state machine."""

from __future__ import annotations

from tests.fuzz import dns_decoders, lan_decoders, overlay_decoders, person_decoders, release_decoders, router_decoders, walks
from tests.fuzz.hunt import Decoder

ALL = (
    *overlay_decoders.DECODERS, *lan_decoders.DECODERS, *dns_decoders.DECODERS, *person_decoders.DECODERS, *router_decoders.DECODERS,
    *release_decoders.DECODERS, *walks.DECODERS,
)  # fmt: skip
DECODERS: dict[str, Decoder] = {decoder.name: decoder for decoder in ALL}
