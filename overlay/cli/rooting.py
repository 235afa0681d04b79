"""``overlay root export | rotate | sign | grant``: the root keys, which no running node needs (DESIGN 3.2; CONTRACT).

It decides which key files are meant, what is written where, and when a draft is complete; what a draft is stands in
``overlay/roots.py``. Keys never leave this process but into files that only their owner may read.
"""

from __future__ import annotations

import importlib
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from overlay.cli.client import ask, put, put_json, say
from overlay.cli.grammar import Call
from overlay.cli.home import own
from overlay.cli.membership import ROOT_KEY, private_file
from overlay.errors import Absent, ConfigError, NotRunning, OverlayError, TrustError, UsageError
from overlay.founding import FOUNDER_LIFE
from overlay.identity.keys import Signer
from overlay.name import ROOT
from overlay.records.record import Record, parse
from overlay.records.rights import FOUNDER, parse_rights
from overlay.roots import RootDraft, due, entrusted, entry_keys, held_entries, key_file, next_version, read_key, renewal
from overlay.units import b64, unb64

MAX_KEYS = 16  # overlay/records/kinds.py, Root


def export(call: Call) -> None:
    """``overlay root export DIR``: written, read again, and only then taken out of the home."""
    home, to = Path(own(call.home)), Path(call.values["dir"])
    files = _in_home(home)
    if not files:
        raise Absent(f"there is no root key in {home}", "it was exported before, or the overlay was founded elsewhere", rule="no-root-key")
    taken = [to / path.name for path in files if (to / path.name).exists()]
    if taken:
        raise ConfigError(f"{taken[0]} exists", "choose an empty directory", rule="root-out")
    texts = {to / path.name: _read(path) for path in files}
    for path in files:
        read_key(texts[to / path.name], str(path))
    _write_all(texts)
    for path in files:
        try:
            path.unlink()
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be removed: {error.strerror}", f"remove it by hand: the copy in {to} is whole", rule="root-key",
            ) from None
    written = list(texts)
    _tell(call, {"keys": [str(path) for path in written]}, [str(path) for path in written])
    say("the root keys are no longer on this machine: keep them where you keep what must not be lost")


def rotate(call: Call) -> None:
    """``overlay root rotate``: new keys, signed for by the present ones."""
    values = call.values
    home = Path(own(call.home))
    threshold, count = _k_of_n(values["root_keys"])
    roots, _, _ = _held(call)
    out = Path(values["root_out"]) if values["root_out"] else home
    version = roots[-1].body[1] + 1
    seeds = [secrets.token_bytes(32) for _ in range(count)]
    new = [Signer.from_seed(seed) for seed in seeds]
    entries = [key.public for key in entry_keys(seeds)]
    draft = next_version(roots, [signer.public for signer in new], threshold, values["admission"], int(time.time()), entries)
    draft.sign([*new, *_signers(home, values["key"], roots[0].digest)])
    files = [out / (f"root-v{version}.key" if count == 1 else f"root-v{version}-{number}.key") for number in range(1, count + 1)]
    taken = [path for path in files if path.exists()]
    if taken:
        raise ConfigError(f"{taken[0]} exists", "choose another --root-out", rule="root-out")
    _write_all({path: key_file(roots[0].digest, seed) for path, seed in zip(files, seeds, strict=True)})
    say(f"wrote the new root key{'s' if count > 1 else ''}: {', '.join(map(str, files))}")
    say(f"where others sign they should read the same: {draft.describe()}")
    _finish(call, draft, out / f"root-v{version}.draft", keys=[str(path) for path in files])


def sign(call: Call) -> None:
    """``overlay root sign [DRAFT]``: add signatures; without a draft, renew what the root keys gave."""
    values = call.values
    home = Path(own(call.home))
    if values["draft"]:
        path = Path(values["draft"])
        draft = RootDraft.read(_read(path), str(path))
        say(draft.describe())
        if not draft.sign(_signers(home, values["key"], draft.overlay_id)) and draft.missing() > 0:
            raise TrustError("none of these keys is asked for, or they have signed already", "name another key: --key FILE", rule="root-key")
        _finish(call, draft, Path(values["out"]) if values["out"] else path)
        return
    roots, grants, _ = _held(call)
    waiting = [grant for grant in grants if due(grant, time.time())]
    zone = _sign_zone(call, home, roots[0].digest)
    if not waiting and zone is not None:
        _tell(call, {"renewed": [], "zone_until": zone}, [])
        return
    if not waiting:
        _tell(call, {"renewed": []}, [])
        say("nothing that the root keys gave is near its end")
        return
    signers = _signers(home, values["key"], roots[0].digest)
    for number, grant in enumerate(waiting, 1):
        draft = renewal(roots, grant, int(time.time()))
        say(draft.describe())
        draft.sign(signers)
        _finish(call, draft, Path(values["out"] or home / "root-grant.draft").with_suffix(f".{number}.draft" if number > 1 else ".draft"))


def _sign_zone(call: Call, home: Path, overlay_id: bytes) -> int | None:
    """Sign the root zone's key set ahead, where that is due: until when it holds (UTC seconds); None where nothing was to be done."""
    asked = ask(call, "root.keyset", {})
    if not asked["due"]:
        return None
    files = [Path(text) for text in call.values["key"]] or _in_home(home)
    held = held_entries({str(path): _read(path) for path in files}, overlay_id, [unb64(key) for key in asked["entries"]])
    if not held:
        say("the root zone's keys want to be signed, and none of these root keys is one that does: name another with --key FILE")
        return None
    bring = importlib.import_module  # names are brought when there is something to sign
    keys = [bring("tld.dnssec.keys").ZoneKey(unb64(public), entry) for public, entry in asked["keys"]]
    origins = [bring("tld.label").from_text(text) for text in asked["origins"]]
    by = [bring("tld.dnssec.keys").SigningKey(signer, True) for signer in held]
    pieces = bring("overlay.cli.zone_keys").key_pieces(ROOT, origins, keys, by, int(time.time()), asked["serial"])
    sent = [[b64(item), b64(body[1]), body.get(2, 0), body.get(3, 0), b64(body.get(4, b""))] for item, body in pieces]
    until: int = ask(call, "root.keyset.publish", {"pieces": sent})["until"]
    say(f"signed the keys of the root zone until {datetime.fromtimestamp(until, UTC).date()}")
    return until


def grant(call: Call) -> None:
    """``overlay root grant NODE``: the root keys give a node rights over the root, so that it outlives who holds them now."""
    values = call.values
    home = Path(own(call.home))
    roots, _, subject = _held(call, to=values["node"])
    given = parse_rights(values["rights"]) if values["rights"] else FOUNDER
    draft = entrusted(roots, subject, given, int(time.time()), FOUNDER_LIFE)
    say(draft.describe())
    draft.sign(_signers(home, values["key"], roots[0].digest))
    _finish(call, draft, Path(values["out"]) if values["out"] else home / "root-grant.draft")


def _finish(call: Call, draft: RootDraft, path: Path, keys: list[str] | None = None) -> None:
    """Publish what is complete through the running node; else keep the draft and say what is missing."""
    more = {} if keys is None else {"keys": keys}
    if draft.missing() <= 0:
        try:
            ask(call, "root.publish", {"record": b64(draft.record().raw)})
        except NotRunning:
            _write(path, draft.text())
            _tell(call, {**more, "draft": str(path), "missing": 0}, [str(path)])
            say("all have signed; no node runs here: take it to a machine where one does, overlay root sign DRAFT")
            return
        except OverlayError:
            _write(path, draft.text())  # the signatures are not lost: overlay root sign DRAFT tries again
            raise
        path.unlink(missing_ok=True)
        _tell(call, {**more, "published": True}, [])
        say(f"published: {draft.describe()}")
        return
    _write(path, draft.text())
    _tell(call, {**more, "draft": str(path), "missing": draft.missing()}, [str(path)])
    say(f"{draft.missing()} signature(s) are missing: take {path} to a machine that holds such a key, overlay root sign DRAFT --key FILE")


def _held(call: Call, to: str | None = None) -> tuple[list[Record], list[Record], bytes]:
    """(root versions, what the root keys gave, the id of the node ``to``), as the running node knows them."""
    found = ask(call, "root.show", {} if to is None else {"to": to})
    roots, grants = ([parse(unb64(text)) for text in found[key]] for key in ("roots", "grants"))
    return roots, grants, unb64(found.get("to", ""))


def _in_home(home: Path) -> list[Path]:
    try:
        return sorted(path for path in home.iterdir() if path.name == ROOT_KEY or re.fullmatch(r"root-[v0-9-]+\.key", path.name))
    except OSError as error:
        raise ConfigError(f"{home} cannot be read: {error.strerror}", "ask as its owner or root", rule="home") from None


def _signers(home: Path, named: tuple[str, ...], overlay_id: bytes) -> list[Signer]:
    """The keys of the files that were named, or of those in the home; all of this overlay."""
    signers = []
    for path in [Path(text) for text in named] or _in_home(home):
        their_overlay, signer = read_key(_read(path), str(path))
        if their_overlay != overlay_id:
            raise TrustError(f"{path} is a root key of another overlay", "name a key of this one: --key FILE", rule="root-key")
        signers.append(signer)
    return signers


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "name a file that is there, and ask as its owner", rule="root-file") from None


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write secrets, and read them again; where one cannot be written none is left behind."""
    done: list[Path] = []
    try:
        for path, text in texts.items():
            done.append(path)
            _write(path, text)
        for path, text in texts.items():
            if _read(path) != text:
                raise ConfigError(f"{path} does not read as it was written", "use another medium; nothing was removed", rule="root-out")
    except OverlayError:
        for path in done:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        private_file(path, text)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", "choose another directory; nothing was removed", rule="root-out") from None


def _k_of_n(text: str | None) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,2})/([0-9]{1,2})", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= MAX_KEYS:
        raise UsageError(f"--root-keys {(text or '')[:20]!r} makes no sense", f"write K/N, such as 2/3, with N at most {MAX_KEYS}", rule="root-keys")
    return int(found[1]), int(found[2])


def _tell(call: Call, found: dict[str, object], lines: list[str]) -> None:
    if call.json:
        put_json(found)
    else:
        for line in lines:
            put(line)
