"""One port of loopback for TCP and UDP together: the kernel picks, we try again where the other protocol has it taken."""

from __future__ import annotations

import socket

TRIES = 50


def pair() -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket, non-blocking, bound to the same free port of 127.0.0.1."""
    for _ in range(TRIES):
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp.setblocking(False)
        udp.setblocking(False)
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            continue
        return tcp, udp
    raise OSError("no port of loopback is free for both protocols")
