"""Sends one datagram and prints the answer, both in hex: ``python ask.py ADDRESS PORT HEX``. Run on a host of the tests."""

from __future__ import annotations

import socket
import sys


def main() -> None:
    address, port, query = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((address, port))
        sock.send(query)
        print(sock.recv(65535).hex())


if __name__ == "__main__":
    main()
