"""A link: the keys of one handshake, which seal and open packets (DESIGN 3.4).

It numbers what it seals and refuses what it has opened before. Which session it carries, and whether it is the one to
send on, is the machine's business. This is the path of every packet: one AEAD object a direction, no copies but one.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag

from overlay.errors import Malformed
from overlay.session.hello import Hello
from overlay.session.noise import Finished
from overlay.session.packet import SEALED
from overlay.session.replay import ReplayWindow
from overlay.session.suite import STANDARD, Suite
from overlay.wire.address import Way
from overlay.wire.messages import Packet

_NONCE = struct.Struct("<IQ")  # Noise 12.2: four zero octets, then the counter, little-endian
_HEAD = SEALED.size
_SEALED = Packet.SEALED.value


class Link:
    """``local`` is the index that packets to us name, ``remote`` the one that packets from us name."""

    __slots__ = ("_open", "_seal", "created", "hash", "hello", "initiator", "local", "peer", "remote", "sent", "used", "way", "window")

    def __init__(
        self, *, local: int, remote: int, peer: bytes, finished: Finished, hello: Hello, initiator: bool, way: Way, now: float,
        suite: Suite = STANDARD,
    ) -> None:
        self.local = local
        self.remote = remote
        self.peer = peer
        self.hash = finished.hash
        self.hello = hello
        self.initiator = initiator
        self.way = way  # where the handshake went
        self.created = now
        self.used = now
        self.sent = 0  # packets
        self.window = ReplayWindow()
        self._seal = suite.cipher(finished.send)
        self._open = suite.cipher(finished.receive)

    def seal(self, plaintext: bytes) -> bytes:
        """One packet, 29 octets longer than what it carries."""
        counter = self.sent
        self.sent = counter + 1
        return SEALED.pack(_SEALED, self.remote, counter) + self._seal.encrypt(_NONCE.pack(0, counter), plaintext, None)

    def open(self, data: bytes, counter: int) -> bytes:
        """What a packet carries; Malformed where it is not authentic or came before."""
        window = self.window
        if not window.fresh(counter):
            raise Malformed("a packet that came before", rule="replay")
        try:
            plaintext = self._open.decrypt(_NONCE.pack(0, counter), data[_HEAD:], None)
        except InvalidTag:
            raise Malformed("a packet that does not open", rule="tag") from None
        window.mark(counter)
        return plaintext
