"""Whether a name exists in the public DNS below the TLD (CONTRACT, ``--shadow``): asked where queries are passed on to."""

from __future__ import annotations

from typing import Final

import trio

from overlay.errors import Malformed
from tld import codes
from tld.driver.upstream import Upstream
from tld.label import to_wire
from tld.names import Names
from tld.query import ask
from tld.reply import read

PATIENCE: Final = 1.0  # seconds: who joins waits for this, so a public DNS that is slower counts as silent


async def public_exists(upstream: Upstream, names: Names, label: str) -> bool | None:
    """True, False, or None where the public DNS could not be asked in time."""
    question = ask(0, to_wire((label.encode(), *names.tld)), codes.SOA, edns=0, flags=codes.RD)
    reply: bytes | None = None
    with trio.move_on_after(PATIENCE):
        reply = await upstream.ask(question, udp=True)
    try:
        rcode = read(reply).rcode & 15 if reply is not None else codes.SERVFAIL
    except Malformed:
        rcode = codes.SERVFAIL
    return {codes.NOERROR: True, codes.NXDOMAIN: False}.get(rcode)
