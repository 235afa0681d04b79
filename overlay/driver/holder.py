"""Who holds a port: the name in "7653 is taken by nginx (pid 12)" (CONTRACT, ``[listen] overlay``).

It decides how a bound socket is traced to its process through Linux's /proc, as far as this user may look. It refuses to
guess: what cannot be seen is "another process".
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from overlay.wire.address import Address


def holder(address: Address, protocols: Sequence[str] = ("udp", "tcp"), proc: Path = Path("/proc")) -> str:
    """Who holds the port: ``nginx (pid 12)``, or "another process" where this cannot be seen."""
    inodes: set[str] = set()
    for protocol in protocols:
        for suffix in ("", "6"):
            inodes |= _inodes(proc / "net" / (protocol + suffix), address, listening=protocol == "tcp")
    if inodes:
        wanted = {f"socket:[{inode}]" for inode in inodes}
        for process in proc.glob("[0-9]*"):
            try:
                if any(os.readlink(descriptor) in wanted for descriptor in (process / "fd").iterdir()):
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
            except OSError:
                continue  # not ours to see, or gone meanwhile
    return "another process"


def _inodes(table: Path, address: Address, *, listening: bool) -> set[str]:
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return set()
    found = set()
    wildcard = address.host in ("0.0.0.0", "::")
    ours = ipaddress.ip_address(address.host.partition("%")[0]).packed
    for line in lines:
        columns = line.split()
        if len(columns) < 10 or (listening and columns[3] != "0A"):
            continue
        host, _, port = columns[1].partition(":")
        packed = b"".join(bytes.fromhex(host[n : n + 8])[::-1] for n in range(0, len(host), 8))  # words in host order
        if int(port, 16) == address.port and (wildcard or not any(packed) or packed == ours):
            found.add(columns[9])
    return found
