"""Many datagrams by one system call: Linux's ``recvmmsg`` and ``sendmmsg`` through ctypes, where the machine has them.

Decides nothing: it moves octets between the kernel and flat buffers whose layout is that of the x86-64 and arm64 ABI
(``AVAILABLE`` says whether this is such a machine; elsewhere the server reads datagrams one by one). The gain is the
fixed price of a system call and of Python's ``recvfrom``, a fifth of the CPU of an answer (measured, ``benchmarks/names``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from array import array
from struct import Struct

from overlay import limits

SIZE = 4_096  # octets of a datagram that are kept, both ways
_COUNT = limits.DRAIN
_NAME = 28  # octets of a sockaddr_in6, the larger of the two
_HEADER = 64  # octets of a struct mmsghdr: msghdr of 56, length of 4, padding
_IP4 = Struct("!HH4s")  # sockaddr_in: family (in the machine's order, not read here), port, address
_IP6 = Struct("=HHI16sI")
_FULL = memoryview(array("Q", [_NAME] * _COUNT))
_KNOWN = 4_096  # senders whose addresses are kept as tuples

try:
    _libc = ctypes.CDLL(None, use_errno=True)
    _recvmmsg, _sendmmsg = _libc.recvmmsg, _libc.sendmmsg
    _recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
    _sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    AVAILABLE = sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8 and sys.byteorder == "little"
except (AttributeError, OSError, TypeError):
    AVAILABLE = False

Sender = tuple[str, int] | tuple[str, int, int, int]


def _address(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Batch:
    """Room for 64 datagrams in and 64 out. The buffers never move: the kernel is given their addresses once.

    A header is eight words of 8 octets: name pointer, name length, vector pointer, vector length, three unused (control
    data, flags), and the datagram's length as the kernel saw it. A reply stands in the slot of its query, whose name it shares.
    """

    def __init__(self) -> None:
        inbox, outbox, self._names = bytearray(_COUNT * SIZE), bytearray(_COUNT * SIZE), bytearray(_COUNT * _NAME)
        in_headers, out_headers = bytearray(_COUNT * _HEADER), bytearray(_COUNT * _HEADER)
        in_vectors, out_vectors = bytearray(_COUNT * 16), bytearray(_COUNT * 16)  # struct iovec: address, length
        names = _address(self._names)
        for box, vectors, headers in ((inbox, in_vectors, in_headers), (outbox, out_vectors, out_headers)):
            base, first = _address(box), _address(vectors)
            vector_words, header_words = memoryview(vectors).cast("Q"), memoryview(headers).cast("Q")
            for index in range(_COUNT):
                vector_words[2 * index : 2 * index + 2] = memoryview(array("Q", (base + index * SIZE, SIZE)))
                header_words[8 * index : 8 * index + 4] = memoryview(array("Q", (names + index * _NAME, _NAME, first + 16 * index, 1)))
        self._inbox, self._outbox = memoryview(inbox), outbox
        self._in_headers, self._out_headers = _address(in_headers), _address(out_headers)
        self._kept = (in_vectors, out_vectors)  # alive as long as the kernel may be given their addresses
        self._name_lengths = memoryview(in_headers).cast("Q")[1::8]
        self._lengths = memoryview(in_headers).cast("I")[14::16]
        self._reply_lengths = memoryview(out_vectors).cast("Q")[1::2]
        self._reply_name_lengths = memoryview(out_headers).cast("Q")[1::8]
        self._senders: dict[bytes, Sender] = {}

    def receive(self, fd: int) -> list[tuple[bytes, Sender]]:
        """Read what is there, 64 datagrams at most: octets and where they came from. ``OSError`` as ``recvfrom`` has it."""
        self._name_lengths[:] = _FULL  # the kernel left the lengths of the last names there
        count: int = _recvmmsg(fd, self._in_headers, _COUNT, socket.MSG_DONTWAIT, None)
        if count < 0:
            code = ctypes.get_errno()
            if code in (errno.EAGAIN, errno.EINTR):
                return []
            raise OSError(code, os.strerror(code))
        inbox, known = self._inbox, self._senders
        lengths = self._lengths[:count].tolist()
        width = self._name_lengths[0]  # the same for all datagrams of a socket
        names = bytes(self._names)
        found = []
        for index, length in enumerate(lengths):
            raw = names[index * _NAME : index * _NAME + width]
            start = index * SIZE
            found.append((bytes(inbox[start : start + length]), known.get(raw) or self._learn(raw)))
        return found

    def _learn(self, raw: bytes) -> Sender:
        if len(self._senders) >= _KNOWN:
            self._senders.clear()
        sender = self._senders[raw] = _sender(raw)
        return sender

    def send(self, fd: int, replies: list[bytes | None]) -> int:
        """Send ``replies`` (at most ``SIZE`` octets each, None for none) to the senders of what was received last, in order.

        How many could not be sent: those are gone, as the network may lose them.
        """
        outbox, lengths = self._outbox, self._reply_lengths
        self._reply_name_lengths[:] = self._name_lengths
        for index, reply in enumerate(replies):
            if reply is not None:
                length = lengths[index] = len(reply)
                start = index * SIZE
                outbox[start : start + length] = reply
        lost = index = 0
        end = len(replies)
        while index < end:
            if replies[index] is None:
                index += 1
                continue
            stop = index + 1
            while stop < end and replies[stop] is not None:
                stop += 1
            while index < stop:
                done: int = _sendmmsg(fd, self._out_headers + index * _HEADER, stop - index, socket.MSG_DONTWAIT)
                if done <= 0:
                    if ctypes.get_errno() == errno.EAGAIN:  # the buffer is full: the rest would not fit either
                        return lost + sum(reply is not None for reply in replies[index:])
                    lost += 1  # the first of them cannot be sent (its address, the error of an earlier one): go on behind it
                    done = 1
                index += done
        return lost


def _sender(raw: bytes) -> Sender:
    if len(raw) == _NAME:
        _, port, flow, packed, scope = _IP6.unpack(raw)
        host = socket.inet_ntop(socket.AF_INET6, packed)
        return (f"{host}%{socket.if_indextoname(scope)}" if scope else host, socket.ntohs(port), socket.ntohl(flow), scope)
    _, port, packed = _IP4.unpack_from(raw)
    return socket.inet_ntoa(packed), port
