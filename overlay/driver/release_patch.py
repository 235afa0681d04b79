"""Patches from one revision to another: Zstandard with the older one as its dictionary (research/release 2: 1 to 6 % of a pure-Python release).

It decides what is worth a patch, and bounds what applying one may cost: no more octets than were signed. A patch proves
nothing; what it makes is proved by the root of the release. The library is an extra ("with releases"): without it nothing is
patched, and whole releases travel.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any, Final

from overlay.errors import Malformed

LARGEST: Final = 128 * 1_048_576  # octets of either side: both are in memory; guess: what a small machine can spare
THOROUGH: Final = 4 * 1_048_576  # octets up to which time does not count: level 19 takes under 2 s
WORTH: Final = 0.6  # of the whole: above that the whole travels, whose pieces many can give


@cache
def library() -> Any:
    """The library, or None where it is not installed."""
    return importlib.import_module("zstandard") if importlib.util.find_spec("zstandard") is not None else None


def make(base: bytes, new: bytes) -> bytes | None:
    """The patch, or None where it is not worth it."""
    zstd = library()
    if zstd is None or max(len(base), len(new)) > LARGEST:
        return None
    window = min(27, max(17, (len(base) + len(new)).bit_length()))
    level = 19 if len(new) <= THOROUGH else 3
    settings = zstd.ZstdCompressionParameters.from_level(level, window_log=window, enable_ldm=True, write_content_size=True)
    known = zstd.ZstdCompressionDict(base, dict_type=zstd.DICT_TYPE_RAWCONTENT)
    patch: bytes = zstd.ZstdCompressor(compression_params=settings, dict_data=known).compress(new)
    return patch if len(patch) < WORTH * len(new) else None


def apply(base: bytes, patch: bytes, length: int) -> bytes:
    """What the patch makes of ``base``: exactly ``length`` octets, or ``Malformed``."""
    zstd = library()
    if zstd is None or max(len(base), length) > LARGEST:
        raise Malformed("patches are not applied here", rule="patch")
    try:
        if zstd.get_frame_parameters(patch).content_size != length:
            raise Malformed("a patch that makes something of another length", rule="patch")
        known = zstd.ZstdCompressionDict(base, dict_type=zstd.DICT_TYPE_RAWCONTENT)
        made: bytes = zstd.ZstdDecompressor(dict_data=known, max_window_size=2**27).decompress(patch, max_output_size=length)
    except (zstd.ZstdError, ValueError, MemoryError):
        raise Malformed("a patch that does not read", rule="patch") from None
    if len(made) != length:
        raise Malformed("a patch that makes something of another length", rule="patch")
    return made
