"""What a home holds of its overlay: files, the store's facts, the founding of a new one (CONTRACT, "home").

It reads and writes files; what is in them is decided elsewhere. Nothing here needs a running event loop.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from overlay.driver.run import FLOOR, LAST
from overlay.driver.store import Store
from overlay.errors import Malformed, StateError, TrustError, UsageError
from overlay.founding import Plan, founder_grants, founding_record
from overlay.identity.keys import DIGEST, Identity, Signer
from overlay.machine import Store as Write
from overlay.records import kinds
from overlay.records.kinds import Root
from overlay.records.record import MAX_TIME, Record, parse
from overlay.roots import entry_keys, key_file
from overlay.setup import FOUNDING, OWN, PASSPORT, found
from overlay.units import b64
from overlay.wire.address import parse_address
from overlay.wire.codec import Fields, decode, encode

IDENTITY = "identity"
STATE = "state.db"
LOG = "log"
FLIGHT = "run/flight"
ROOT_KEY = "root.key"
OVERLAY = b"overlay"  # in the store's table `own`: the id of the overlay that this home belongs to, pinned
ADVERTISED = b"advertised"  # addresses that the person named at `init`
INCARNATION = b"incarnation"
PLACE = b"place"  # where it was joined: what to ask when no remembered peer answers


def private_file(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all; on disk on return, and so is its name.

    Where that fails nothing of it is left; a file that somebody put there beforehand is not written into.
    """
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def prepare(home: Path) -> None:
    """Make the home, where it is not there; ``StateError`` where it cannot be."""
    try:
        for place in (home, home / "run"):
            place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"{place} cannot be used: {error.strerror}", "choose another --home, or mend what is there", rule="home") from None


def load_identity(home: Path, *, make: bool) -> Identity:
    """The identity of the home; made where there is none and ``make`` says so."""
    path = home / IDENTITY
    try:
        return Identity.from_file(path.read_text(errors="replace"), str(path))
    except FileNotFoundError:
        if not make:
            raise StateError(
                f"{path} is missing", "restore it from a backup; without one, move state.db aside and join again under a new name",
                rule="no-identity",
            ) from None
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}", "mend its permissions", rule="identity") from None
    identity = Identity.from_secret(secrets.token_bytes(32))
    try:
        private_file(path, identity.to_file())
    except OSError as error:
        raise StateError(
            f"{path} cannot be written: {error.strerror}", "free some space, or mend the permissions of the home", rule="identity",
        ) from None
    return identity


@dataclass(frozen=True, slots=True)
class Membership:
    """What a home says of its overlay: id, the founding body, addresses named, restarts, where it came in."""

    overlay_id: bytes
    root: Root | None
    advertised: tuple[str, ...]
    incarnation: int
    floor: float
    last: float | None  # the time that was believed last; None where it never ran
    place: str
    enrolled: bool


def membership(tables: Mapping[str, Mapping[bytes, bytes]]) -> Membership | None:
    """Read from the store's tables; None where the home belongs to no overlay yet."""
    own = tables.get(OWN, {})
    overlay_id = own.get(OVERLAY)
    if overlay_id is None:
        return None
    root: Root | None = None
    try:
        if FOUNDING in own:
            body = kinds.read(parse(own[FOUNDING]))
            if not isinstance(body, Root):
                raise ValueError
            root = body
        named = tuple(_host(text) for text in Fields({1: decode(own[ADVERTISED])}, "stored").items(1, 256)) if ADVERTISED in own else ()
        floor, last = int(own.get(FLOOR, b"0")), int(own[LAST]) if LAST in own else None
        if len(overlay_id) != DIGEST or not 0 <= floor <= (floor if last is None else last) < MAX_TIME:
            raise ValueError
        return Membership(overlay_id, root, named, int(own.get(INCARNATION, b"0")), floor, last, own.get(PLACE, b"").decode(), PASSPORT in own)
    except (Malformed, UsageError, ValueError):
        raise StateError("the state of this home is damaged", "move state.db aside and join again; identity is kept", rule="state-damaged") from None


def _host(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError
    return parse_address(text, 1).host


def pinned(overlay_id: bytes, place: str) -> list[Write]:
    """The stores by which a home belongs to an overlay from now on."""
    return [Write(OWN, OVERLAY, overlay_id), Write(OWN, PLACE, place.encode())]


@dataclass(frozen=True, slots=True)
class Founded:
    """A new overlay: its record, the founder's identity, and where the root keys are."""

    root: Record
    plan: Plan
    identity: Identity
    root_key_files: tuple[Path, ...]
    entries: tuple[bytes, ...]  # key-signing keys of the root zone


def found_overlay(home: Path, plan: Plan, *, keys: int, root_out: Path | None, advertised: tuple[str, ...], at: int) -> Founded:
    """Make identity, root keys and state of a founding machine; TrustError where the home belongs to an overlay already."""
    prepare(home)
    with Store.open(home / STATE) as store:
        before = membership(store.load())
        if before is not None:
            raise TrustError(
                f"{home} already belongs to overlay {b64(before.overlay_id)}", "choose another --home, or leave that overlay first: overlay leave",
                rule="already-member",
            )
        identity = load_identity(home, make=True)
        seeds = [secrets.token_bytes(32) for _ in range(keys)]
        signers = [Signer.from_seed(seed) for seed in seeds]
        entries = tuple(key.public for key in entry_keys(seeds))
        root = founding_record(plan, signers, at, entries)
        grants = founder_grants(plan, root, signers, identity, at)
        files = _write_root_keys(root_out or home, seeds, root.digest)
        stores = found(root, grants, identity, at)
        stores += [*pinned(root.digest, plan.zone), Write(OWN, ADVERTISED, encode(list(advertised))), Write(OWN, LAST, str(at).encode())]
        store.commit_now(stores)
    return Founded(root, plan, identity, files, entries)


def _write_root_keys(directory: Path, seeds: list[bytes], overlay_id: bytes) -> tuple[Path, ...]:
    paths = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds, 1):
            path = directory / (ROOT_KEY if len(seeds) == 1 else f"root-{number}.key")
            private_file(path, key_file(overlay_id, seed))
            paths.append(path)
    except OSError as error:
        raise StateError(f"the root keys cannot be written to {directory}: {error.strerror}", "choose another --root-out", rule="root-out") from None
    return tuple(paths)
