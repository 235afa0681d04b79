"""Giving up root once the sockets are open (DESIGN 3.13; research F20).

It decides whether to become user `overlay`, gives that user the home, and keeps the one capability that a later fallback
needs (binding low ports). It refuses to be the reason a node does not run: where there is no such user, or the process
is not root, it goes on as started and says so. Linux capabilities by capset(2) and prctl(2) through ctypes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overlay.errors import StateError

USER: Final = "overlay"  # made by `overlay service-unit install`
_NET_BIND_SERVICE: Final = 10  # linux/capability.h
_CAPABILITY_VERSION_3: Final = 0x20080522
_PR_SET_KEEPCAPS: Final = 8  # linux/prctl.h
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the machine."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whom to become (None: stay), and why, as `doctor` says it."""

    become: Account | None
    reason: str


def decide(uid: int, account: Account | None) -> Decision:
    """Root with a user `overlay` on the machine becomes it; everybody else stays."""
    if uid != 0:
        return Decision(None, "not started as root")
    if account is None:
        return Decision(None, f"runs as root: there is no user {USER} (overlay service-unit install makes it)")
    if account.uid == 0:
        return Decision(None, f"runs as root: user {account.name} is root itself")
    return Decision(account, f"runs as {account.name}")


def account_of(name: str = USER) -> Account | None:
    """The user of that name, if the machine has it."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def drop(home: Path, name: str = USER) -> Decision:
    """Decide, and do it: the home and all in it change owner, then the process does, for good.

    Called once, before any thread is started (credentials are set for the whole process) and after the sockets are open.
    Raises ``StateError`` where the home cannot be given or the kernel refuses: half-way is worse than not at all.
    """
    decision = decide(os.geteuid(), account_of(name))
    if decision.become is None:
        return decision
    account = decision.become
    try:
        give(home, account)
        linux = sys.platform == "linux"
        if linux:
            _prctl(_PR_SET_KEEPCAPS, 1)
        os.initgroups(account.name, account.gid)
        os.setgid(account.gid)
        os.setuid(account.uid)
    except OSError as error:
        raise StateError(
            f"cannot become user {account.name}: {error.strerror}", "start the node as that user, or remove the user", rule="privilege"
        ) from None
    if linux:
        with contextlib.suppress(OSError):  # a container may forbid it; then low ports stay as they were opened
            _keep_only(_NET_BIND_SERVICE)
    return decision


def give(home: Path, account: Account) -> None:
    """Change the owner of the home and of all below it. Links are changed themselves, not followed."""
    for _, _, files, descriptor in os.fwalk(home, follow_symlinks=False):
        os.fchown(descriptor, account.uid, account.gid)
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # SQLite's side files come and go
                os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)


def _keep_only(capability: int) -> None:
    """Leave the process that one capability, also across exec (ambient)."""
    bits = 1 << capability
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", bits, bits, bits, 0, 0, 0)  # effective, permitted, inheritable; then the upper words
    library = ctypes.CDLL(None, use_errno=True)
    if library.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _prctl(option: int, *arguments: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if library.prctl(option, *words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
