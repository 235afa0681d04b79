"""What needs root while the node has given it up: a process of its own with five verbs (DESIGN 3.13; research F20).

    address add|remove    carry the one configured virtual address for 12 s more, or no longer
    arp probe|announce    ask on its LAN who holds that address, or say that it is here
    dns, port, reboot     kept for what is to come; refused

It is safe against a node that was taken over: it takes nothing from it but these words. Which address, whoever started it
says; which interface, it finds itself: the one in that very network. It imports no code of the project, and the LAN's
packets are read by the node. When the node is gone, however it went, the address goes; when this process is gone too, the
kernel lets it lapse. A script of its own, ``privileged.py DESCRIPTOR IP/PREFIX``, the descriptor being one end of a
SOCK_SEQPACKET pair. It answers ``+`` or ``-why``; ``=`` and 28 octets: an ARP packet of another machine about the address.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Final

LIFE: Final = 12  # seconds: `overlay/cluster/virtual.py` has the same, and says again in time
PAUSE: Final = 0.1  # seconds between ARP packets: no flood of them at anybody's word (guess)
LATER: Final = ("dns", "port", "reboot")
_ARP, _FILTER = 0x0806, 26  # linux/if_ether.h; SO_ATTACH_FILTER
_IFADDR, _IFFLAGS, _IFNETMASK, _UP_NOT_LOOPBACK, _UP_AND_LOOPBACK = 0x8915, 0x8913, 0x891B, 0x1, 0x9  # linux/sockios.h, linux/if.h
_NEW, _DEL, _ASK, _REPLACE, _ONLY_NEW = 20, 21, 0x5, 0x100, 0x600  # linux/rtnetlink.h, linux/netlink.h: RTM_, REQUEST|ACK, CREATE|EXCL
_LOCAL, _ADDRESS, _LIFETIME = 2, 1, 6  # linux/if_addr.h


class Refused(Exception):
    """Why it is not done, in words."""


class Helper:
    """The one address, and what is open for it."""

    def __init__(self, configured: ipaddress.IPv4Interface) -> None:
        self.configured = configured
        self.arp: socket.socket | None = None
        self.index, self.until = 0, 0.0  # of the interface that carries it, and until when (monotonic)
        self.spoke = 0.0

    def carry(self, words: list[str]) -> None:
        """``address add|remove``."""
        carried = time.monotonic() < self.until
        if words not in (["add"], ["remove"]):
            raise Refused("address add, or address remove")
        self.until = 0.0  # whatever fails below: what is not known to be carried is not taken away
        if words == ["remove"]:
            if carried:
                self._set(_DEL, 0)
            return
        if not carried:  # only what nobody put there, a person least of all, is this program's to take away again
            self.index = socket.if_nametoindex(self.interface())
        self._set(_NEW, _REPLACE if carried else _ONLY_NEW)
        self.until = time.monotonic() + LIFE

    def speak(self, words: list[str]) -> None:
        """``arp probe|announce``: RFC 5227 2.1.1 and 2.3, requests both."""
        if words not in (["probe"], ["announce"]):
            raise Refused("arp probe, or arp announce")
        time.sleep(max(0.0, self.spoke + PAUSE - time.monotonic()))
        self.spoke = time.monotonic()
        name, mine = self.interface(), self.configured.ip.packed
        if self.arp is None or self.arp.getsockname()[0] != name:
            self.arp = self._listen(name)
        sender = mine if words == ["announce"] else bytes(4)
        said = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, self.arp.getsockname()[4], sender, bytes(6), mine)
        self.arp.sendto(said, (name, _ARP, 0, 0, b"\xff" * 6))

    def interface(self) -> str:
        """The interface whose own address is in the network of the configured one."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _, name in socket.if_nameindex():
                asked = struct.pack("256s", name.encode())
                with suppress(OSError):  # without an address of IPv4
                    host, mask = (fcntl.ioctl(sock, what, asked)[20:24] for what in (_IFADDR, _IFNETMASK))
                    flags = int.from_bytes(fcntl.ioctl(sock, _IFFLAGS, asked)[16:18], sys.byteorder)
                    own = ipaddress.IPv4Interface((host, int.from_bytes(mask, "big").bit_count()))
                    if own.network == self.configured.network and own.ip != self.configured.ip and flags & _UP_AND_LOOPBACK == _UP_NOT_LOOPBACK:
                        return name
        raise Refused(f"no interface of this machine is in {self.configured.network}")

    def _listen(self, name: str) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)  # hears nothing before it is bound
        mine = int(self.configured.ip)
        code = [(0x20, 0, 0, 14), (0x15, 2, 0, mine), (0x20, 0, 0, 24), (0x15, 0, 1, mine), (0x06, 0, 0, 28), (0x06, 0, 0, 0)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))  # sender or target is the address
        sock.setsockopt(socket.SOL_SOCKET, _FILTER, struct.pack("HP", len(code), ctypes.addressof(program)))
        sock.bind((name, _ARP))
        return sock

    def _set(self, kind: int, flags: int) -> None:
        mine = self.configured.ip.packed
        body = struct.pack("=BBBBI", socket.AF_INET, self.configured.network.prefixlen, 0, 0, self.index)
        body += struct.pack("=HH4sHH4s", 8, _LOCAL, mine, 8, _ADDRESS, mine)
        body += struct.pack("=HHIIII", 20, _LIFETIME, LIFE, LIFE, 0, 0) if kind == _NEW else b""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.send(struct.pack("=IHHII", 16 + len(body), kind, _ASK | flags, 1, 0) + body)
            if error := -int.from_bytes(sock.recv(4_096)[16:20], sys.byteorder, signed=True):
                raise OSError(error, os.strerror(error))

    def answer(self, request: bytes) -> bytes:
        """Do what is asked; what to answer."""
        verb, *words = request.decode("ascii", "replace").split(" ")
        try:
            if verb not in ("address", "arp"):
                raise Refused(f"{verb} is not built yet" if verb in LATER else "no such verb")
            (self.carry if verb == "address" else self.speak)(words)
            return b"+"
        except (Refused, OSError) as why:
            return f"-{(why.strerror or why) if isinstance(why, OSError) else why}".encode()

    def serve(self, node: socket.socket) -> None:
        """Until the node is gone."""
        while True:
            ready, _, _ = select.select([node, *([self.arp] if self.arp is not None else [])], [], [])
            if self.arp is not None and self.arp in ready:
                with suppress(OSError):  # the interface is down, or the node does not read
                    frame, source = self.arp.recvfrom(28)
                    if source[2] != socket.PACKET_OUTGOING and frame[8:14] != self.arp.getsockname()[4]:
                        node.send(b"=" + frame, socket.MSG_DONTWAIT)
            if node in ready:
                request = node.recv(64)
                if not request:
                    return
                node.send(self.answer(request))


def main() -> None:
    """One life of it."""
    for heard in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the node: this process ends when that has
        signal.signal(heard, signal.SIG_IGN)
    helper = Helper(ipaddress.IPv4Interface(sys.argv[2]))
    with suppress(OSError):  # a node that was killed may leave the pair with an error instead of an end
        helper.serve(socket.socket(fileno=int(sys.argv[1])))
    helper.answer(b"address remove")


if __name__ == "__main__":
    main()
