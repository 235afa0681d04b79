"""The keys of a channel as files: made, sealed where there is a passphrase, found again (CONTRACT, `overlay release`).

It decides which files are meant. Keys leave the process that reads them into files alone that only their owner may read.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Final

from overlay.cli.membership import private_file
from overlay.errors import ConfigError, TrustError, UsageError
from overlay.identity.keys import Signer
from overlay.release.draft import read_release_key, release_key_file, sealed_key

PASSPHRASE: Final = "OVERLAY_PASSPHRASE"
PUBLISH: Final = "publish"  # the folder of a home from which a node with keys publishes by itself: `release_spool.py`


def new_keys(folder: Path, channel: str, count: int, *, sealed: bool = True) -> dict[Path, Signer]:
    """Make so many keys, each in a file of its own; ``sealed`` where there is a passphrase."""
    taken = len(key_files(folder, channel))
    first = taken + 1
    names = [f"release-{channel}{'' if count == 1 and not taken else f'-{first + number}'}.key" for number in range(count)]
    for name in names:
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} exists", "choose another --key-out, or move it away", rule="release-key")
    passphrase = typed_passphrase(new=True) if sealed else ""
    made = {}
    for name in names:
        seed = secrets.token_bytes(32)
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            private_file(path, release_key_file(channel, seed, passphrase, secrets.token_bytes(16)))
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}", "choose another --key-out", rule="release-key") from None
        made[path] = Signer.from_seed(seed)
    return made


def all_sealed(files: dict[Path, Signer]) -> bool:
    """Whether reading each of them takes a passphrase."""
    return all(sealed_key(path.read_text()) for path in files)


def typed_passphrase(*, new: bool) -> str:
    """Of the environment, or typed; none where there is neither."""
    given = os.environ.get(PASSPHRASE)
    if given is not None:
        return given
    if sys.stdin is None or not sys.stdin.isatty():
        return ""
    try:
        typed = getpass.getpass("passphrase for the channel's keys (empty: none): " if new else "passphrase: ")
        if new and typed and getpass.getpass("again: ") != typed:
            raise UsageError("the two passphrases differ", "type the same twice", rule="passphrase")
    except EOFError:
        return ""
    return typed


def key_files(folder: Path, channel: str) -> list[Path]:
    """The files in a folder that hold keys of a channel, by their names."""
    try:
        return sorted(path for path in folder.iterdir() if re.fullmatch(rf"release-{channel}(-[0-9]+)?\.key", path.name))
    except OSError:
        return []


def signers_of(home: Path, channel: str, named: tuple[str, ...] = (), *, asks: bool = True) -> list[Signer]:
    """The keys of the files that were named, or of those in the home; where it ``asks``, a passphrase opens what is sealed."""
    signers, passphrase = [], None
    for path in [Path(text) for text in named] or key_files(home, channel):
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", "name a key that is there: --key FILE", rule="release-key") from None
        if sealed_key(text) and not asks:
            raise TrustError(f"{path} is sealed", "a key that signs by itself is not: publish by hand", rule="release-key")
        if sealed_key(text) and passphrase is None:
            passphrase = typed_passphrase(new=False)
        theirs, signer = read_release_key(text, str(path), passphrase or "")
        if theirs != channel:
            raise TrustError(f"{path} is a key of {theirs[:60]}", f"name a key of {channel}: --key FILE", rule="release-key")
        signers.append(signer)
    return signers
