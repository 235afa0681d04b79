"""The machine's own resolvers: whom the stub asks for names that are not the overlay's, where nobody was configured.

It decides which addresses of ``resolv.conf`` may be asked: never one that we answer at ourselves (a stub that asks
itself burnt 20 cores elsewhere: research dns.md, section 3, 1). It knows nothing of queries. The file is read again
when it changes (a new network brings new resolvers), looked at once a second at most.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Collection
from pathlib import Path as File

from overlay.wire.address import Address

RESOLV_CONF = File("/etc/resolv.conf")
MAX_RESOLVERS = 3  # resolv.conf(5): MAXNS
MAX_OCTETS = 65_536  # of the file that are read
LOOK_EVERY = 1.0  # seconds between looks at the file
DNS_PORT = 53


def parse_resolv_conf(text: str) -> tuple[Address, ...]:
    """The ``nameserver`` lines, in order, each address once, at most three (resolv.conf(5)). Bad lines are passed over."""
    found: list[Address] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        host, percent, scope = words[1].partition("%")
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            continue
        address = Address(f"{ip}{percent}{scope}" if ip.version == 6 else str(ip), DNS_PORT)
        if address not in found:
            found.append(address)
    return tuple(found[:MAX_RESOLVERS])


def is_own(address: Address, own: Collection[Address]) -> bool:
    """Whether asking ``address`` means asking ourselves. An unspecified address of ours takes in all loopback ones."""
    if address in own:
        return True
    ip = ipaddress.ip_address(address.host.split("%")[0])
    unspecified = Address("0.0.0.0" if ip.version == 4 else "::", address.port)
    if ip.is_unspecified:  # asks the loopback address of its family
        return any(o.port == address.port and o.family == address.family and ipaddress.ip_address(o.host).is_loopback for o in own)
    return ip.is_loopback and unspecified in own


class Resolvers:
    """The addresses to ask, in order: those configured, else the system's own.

    ``own`` gives the addresses that we answer at (asked anew each time, as listeners move); ``clock`` is monotonic
    seconds.
    """

    def __init__(
        self, *, clock: Callable[[], float], own: Callable[[], Collection[Address]],
        configured: tuple[Address, ...] = (), file: File = RESOLV_CONF,
    ) -> None:
        self._clock = clock
        self._own = own
        self._configured = configured
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._listed: tuple[Address, ...] = ()
        self._looked = float("-inf")
        self.skipped: tuple[Address, ...] = ()  # left out of the last answer, being ourselves

    def current(self) -> tuple[Address, ...]:
        """Whom to ask now; empty where there is nobody but ourselves."""
        listed = self._configured or self._system()
        own = self._own()
        self.skipped = tuple(address for address in listed if is_own(address, own))
        return tuple(address for address in listed if address not in self.skipped) if self.skipped else listed

    def _system(self) -> tuple[Address, ...]:
        now = self._clock()
        if now - self._looked < LOOK_EVERY:
            return self._listed
        self._looked = now
        try:
            status = os.stat(self._file)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp != self._stamp:
                with open(self._file, encoding="utf-8", errors="replace") as lines:
                    self._listed = parse_resolv_conf(lines.read(MAX_OCTETS))
                self._stamp = stamp
        except OSError:
            self._stamp, self._listed = None, ()
        return self._listed
