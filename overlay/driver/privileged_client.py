"""The node's end of the privileged helper: started before the node drops its rights, asked over a socketpair (DESIGN 3.13).

``start`` runs ``overlay/driver/privileged.py`` as a process of its own; :class:`Root` asks it, one request at a time, and
hands on what it hears. It decides nothing: what the helper may do stands there, when it is asked for in who asks.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

SCRIPT: Final = Path(__file__).with_name("privileged.py")
ENDS: Final = 1.0  # seconds: it has an address to take away, no more
ANSWERS: Final = 2.0  # seconds for an answer: a few system calls
GONE: Final = "the privileged helper has ended"


@dataclass(frozen=True, slots=True)
class Started:
    """The helper, and our end of the pair: it ends when that is closed, by whatever."""

    sock: socket.socket
    process: subprocess.Popen[bytes]

    def close(self) -> None:
        """End it, and wait until what it carried is gone."""
        self.sock.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDS)


def start(virtual_ip: str) -> Started:
    """Start the helper for that address (``IP/PREFIX``).

    Without its environment and without the packages of this installation (``-I -S``): as root it runs the standard library
    alone. It has none of our descriptors but its own. ``OSError`` where it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SCRIPT), str(theirs.fileno()), virtual_ip],
            pass_fds=[theirs.fileno()], env={}, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return Started(ours, process)


class Root:
    """Asks the helper. ``heard`` gets each ARP packet that it passes on."""

    def __init__(self, sock: socket.socket, heard: Callable[[bytes], None]) -> None:
        self._sock = sock
        self._heard = heard
        self._lock = trio.Lock()
        self._answers: trio.MemorySendChannel[str]
        self._answers, self._answered = trio.open_memory_channel[str](8)

    async def run(self) -> None:
        """Read until the helper ends, or this is cancelled: then the helper hears that nobody asks any more."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._sock)
                try:
                    data = self._sock.recv(1_024)
                except BlockingIOError:
                    continue
                if not data:
                    return
                if data[:1] == b"=":
                    self._heard(data[1:])
                else:
                    self._answers.send_nowait(data[1:].decode("utf-8", "replace"))
        except (OSError, trio.WouldBlock, trio.ClosedResourceError):
            return  # it is gone, or says more than it was asked
        finally:
            self._sock.close()
            self._answers.close()

    async def ask(self, request: str) -> str:
        """Empty: done. Else why not, in words."""
        async with self._lock:
            try:
                self._sock.send(request.encode())
                with trio.fail_after(ANSWERS):
                    return await self._answered.receive()
            except (OSError, trio.EndOfChannel):
                return GONE
            except trio.TooSlowError:
                trio.lowlevel.notify_closing(self._sock)
                self._sock.close()  # what it would answer later must not be taken for the answer to another question
                return GONE
