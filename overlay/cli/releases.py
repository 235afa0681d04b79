"""``overlay release ...``, ``subscribe``, ``upgrade``: the person's side of releases (CONTRACT, "the commands").

It decides which key files are meant and when a draft is complete; files named in arguments are read here, not by the node.
Keys of channels never leave this process but into files that only their owner may read.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from overlay.cli.client import ask, found, put, put_json, say
from overlay.cli.grammar import Call
from overlay.cli.home import own
from overlay.cli.layout import shown, table
from overlay.cli.membership import private_file
from overlay.cli.release_keys import PASSPHRASE, PUBLISH, all_sealed, new_keys, signers_of
from overlay.driver.release_hints import measure, strip
from overlay.driver.releases import PLATFORMS, Proved, Shelf, main_of, patches_from
from overlay.errors import ConfigError, Malformed, NotRunning, OverlayError, TrustError, UsageError
from overlay.identity.keys import Signer
from overlay.records.releases import MAX_ARTIFACTS, MAX_DELTAS, channel_of, channel_path
from overlay.release import hint
from overlay.release.draft import ReleaseDraft
from overlay.units import b64

LONG: Final = 300.0  # seconds for a node to hash again what was copied in: 64 GiB at 1.2 GB/s take a minute
BAR: Final = 50 * 1_048_576  # octets from which on a copy shows how far it is


# -- keys


def init(call: Call) -> None:
    """``overlay release init CHANNEL``: keys, and the channel's first version; again, the next one."""
    values, channel = call.values, call.values["channel"]
    channel_path(channel)
    count, threshold = values["keys"], values["threshold"]
    if threshold is not None and threshold > (count or 1):
        raise UsageError(f"--threshold {threshold} of {count or 1} keys makes no sense", "say --keys N, at least as many", rule="threshold")
    home = Path(found(call, "release.list", {})[0])
    if values["auto_publish"] and (values["key_out"] or os.environ.get(PASSPHRASE)):
        raise UsageError(
            "a node that publishes by itself needs the keys in its home, not sealed",
            f"leave --key-out away and {PASSPHRASE} unset, or publish by hand", rule="auto-publish",
        )
    rows = ask(call, "release.list", {})
    known = any(row.get("channel") == channel for row in rows)
    old = signers_of(home, channel, values["key"]) if known else []
    files: dict[Path, Signer] = {}
    if not known or count is not None:
        files = new_keys(Path(values["key_out"]) if values["key_out"] else home, channel, count or 1, sealed=not values["auto_publish"])
    args: dict[str, Any] = {"channel": channel, "keys": [b64(signer.public) for signer in files.values()]}
    if files:
        args["threshold"] = threshold or 1
    try:
        draft = _draft(ask(call, "release.channel", args))
    except OverlayError:
        for path in files:
            path.unlink(missing_ok=True)
        raise
    draft.sign([*files.values(), *old])
    for path in files:
        say(f"wrote {path}")
    if files and not all_sealed(files) and not values["auto_publish"]:
        say(f"warning: the keys are not encrypted; set {PASSPHRASE}, or type a passphrase at a terminal, to have them so")
    told: dict[str, Any] = {"channel": channel, "keys": [str(path) for path in files]}
    if values["auto_publish"]:
        told["auto_publish"] = str(_open_folder(home, channel))
    _finish(call, draft, home / f"release-{channel}.draft", told)
    if values["auto_publish"]:
        say(f"what is put into {told['auto_publish']} is published by itself; the keys are not encrypted: who takes this machine over publishes too")


def _open_folder(home: Path, channel: str) -> Path:
    """The folder from which the node publishes by itself: its owner's alone."""
    folder = home / PUBLISH / channel
    try:
        for one in (folder.parent, folder):
            one.mkdir(mode=0o700, exist_ok=True)
            owner = home.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:
                os.chown(one, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}", "make room, or mend that disk", rule="auto-publish") from None
    return folder


# -- drafts


def _draft(answer: Any) -> ReleaseDraft:
    return ReleaseDraft.read(str(answer.get("draft", "")), "the node's answer")


def _finish(call: Call, draft: ReleaseDraft, path: Path, told: dict[str, Any]) -> None:
    """Hand what is complete to the node; else keep the draft and say what is missing."""
    if draft.missing() <= 0:
        try:
            ask(call, "release.take", {"record": b64(draft.record().raw)})
        except OverlayError:
            private_file(path, draft.text())  # the signatures are not lost
            raise
        path.unlink(missing_ok=True)
        _tell(call, {**told, "published": True})
        say(f"published: {draft.describe()}")
        return
    private_file(path, draft.text())
    _tell(call, {**told, "draft": str(path), "missing": draft.missing()})
    say(f"{draft.missing()} signature(s) are missing: overlay release sign {path} --key FILE, where such a key is")


def sign(call: Call) -> None:
    """``overlay release sign DRAFT``: add the signatures of the keys that are here; no node is needed."""
    values = call.values
    path = Path(values["draft"])
    draft = _read_draft(path)
    say(draft.describe())
    said = draft.said()
    if not draft.sign(signers_of(Path(own(call.home)), channel_of(said.name), values["key"])) and draft.missing() > 0:
        raise TrustError("none of these keys is asked for, or they have signed already", "name another key: --key FILE", rule="release-key")
    out = Path(values["out"]) if values["out"] else path
    if said.kind != "release" and draft.missing() <= 0:
        try:
            _finish(call, draft, out, {})
        except NotRunning:
            _tell(call, {"draft": str(out), "missing": 0})
            say("all have signed; no node runs here: take it to a machine where one does, overlay release sign DRAFT")
        return
    private_file(out, draft.text())
    _tell(call, {"draft": str(out), "missing": draft.missing()})
    if said.kind == "release" and draft.missing() <= 0:
        say(f"all have signed: overlay release publish {channel_of(said.name)} FILE --signed {out}")
    else:
        say(f"{draft.missing()} signature(s) are missing")


# -- publishing


def publish(call: Call) -> None:
    """``overlay release publish CHANNEL FILE``: prints what was published, as JSON."""
    values, channel = call.values, call.values["channel"]
    channel_path(channel)
    files = files_of(values["file"], values["platform"], values["artifact"])
    home = Path(found(call, "release.list", {})[0])
    if not values["signed"]:
        ask(call, "release.status", {"channel": channel})  # an unknown channel is said before a long copy
    shelf = Shelf(home)
    copies: list[Proved] = []
    try:
        parts: list[_Part] = []
        for platform, file in files.items():
            parts.append(_Part(platform, _copied(shelf, file, channel)))
            copies.append(parts[-1].copy)
        bases = _bases(values["signed"], ask(call, "release.list", {"channel": channel}))
        main = next(part for part in parts if part.platform == main_of(files))
        main.patches = patches_from(shelf, channel, main.copy, bases, copies)
        if values["signed"]:
            draft = _signed(Path(values["signed"]), channel, parts)
        else:
            args = {key: values[key] for key in ("revision", "note", "waves", "lowest") if values[key] is not None}
            soak = {} if values["soak"] is None else {"soak": int(values["soak"])}
            draft = _draft(ask(call, "release.draft", {"channel": channel, "artifacts": [part.words() for part in parts], **args, **soak}))
            if not _of_these(draft, parts):
                raise TrustError("the node's draft is not of this file", "is it a node of ours?", rule="release-draft")
            draft.sign(signers_of(home, channel, values["key"]))
        if draft.missing() > 0:
            for copy in copies:
                shelf.discard(channel, copy.name)
            out = Path(values["out"]) if values["out"] else Path(f"{channel}-r{draft.said().body[1]}.draft")
            private_file(out, draft.text())
            put_json({"channel": channel, "revision": draft.said().body[1], "draft": str(out), "missing": draft.missing()})
            say(f"{draft.missing()} signature(s) are missing: overlay release sign {out} --key FILE, then publish with --signed {out}")
            return
        named = [" ".join((part.platform, part.copy.name, *(patch.name for _, patch in part.patches))) for part in parts]
        published = ask(call, "release.publish", {"channel": channel, "copies": named, "record": b64(draft.record().raw)}, LONG)
    except (OverlayError, OSError):
        for copy in copies:
            shelf.discard(channel, copy.name)
        raise
    put_json(published)


@dataclass(slots=True)
class _Part:
    """One file of a release, copied in, and the patches to it."""

    platform: str
    copy: Proved
    patches: list[tuple[int, Proved]] = field(default_factory=list)

    def words(self) -> str:
        """As the node is told of it."""
        patches = [word for base, patch in self.patches for word in (str(base), str(patch.length), b64(patch.root))]
        return " ".join((self.platform, str(self.copy.length), b64(self.copy.root), *patches))

    def value(self) -> list[Any]:
        """As a release names it."""
        made = [[base, patch.length, patch.root] for base, patch in self.patches]
        return [self.platform, self.copy.length, self.copy.root, *([made] if made else [])]


def files_of(file: str, platform: str, others: tuple[str, ...]) -> dict[str, Path]:
    """The files of a release by platform: FILE is for ``--platform``, each ``--artifact`` says its own."""
    files = {platform: Path(file)}
    for word in others:
        theirs, sign, path = word.partition("=")
        if not sign or not path or theirs in files:
            raise UsageError(f"--artifact {word[:60]!r} makes no sense", "write PLATFORM=FILE, each platform once: linux-x86_64=app", rule="platform")
        files[theirs] = Path(path)
    for one in files:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", one):
            raise UsageError(f"{one[:40]!r} is not a platform", f"write such as {PLATFORMS[0]}, {PLATFORMS[1]} or any", rule="platform")
    if len(files) > MAX_ARTIFACTS:
        raise UsageError(f"{len(files)} files", f"a release has at most {MAX_ARTIFACTS}", rule="platform")
    return files


def _bases(signed: str | None, rows: Any) -> list[int]:
    """The revisions that patches are made from: those that a signed draft names, else the last three that are here."""
    if signed:
        artifacts = _read_draft(Path(signed)).said().body.get(2, [])
        return [delta[0] for artifact in artifacts if len(artifact) == 4 for delta in artifact[3]]
    return sorted((row["revision"] for row in rows if row.get("held")), reverse=True)[:MAX_DELTAS]


def _copied(shelf: Shelf, file: Path, channel: str) -> Proved:
    shown_at = 0.0

    def told(done: int, whole: int) -> None:
        nonlocal shown_at
        if whole >= BAR and sys.stderr is not None and sys.stderr.isatty() and (time.monotonic() > shown_at + 0.2 or done == whole):
            shown_at = time.monotonic()
            width = 40 * done // max(1, whole)
            sys.stderr.write(f"\r[{'#' * width}{' ' * (40 - width)}] {100 * done // max(1, whole)} %" + ("\n" if done == whole else ""))
            sys.stderr.flush()

    return shelf.take_in(file, channel, told)


def _read_draft(path: Path) -> ReleaseDraft:
    try:
        return ReleaseDraft.read(path.read_text(errors="replace"), str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "name a draft that is there", rule="release-draft") from None


def _of_these(draft: ReleaseDraft, parts: list[_Part]) -> bool:
    said = draft.said()
    return said.kind == "release" and said.body[2] == sorted(part.value() for part in parts)


def _signed(path: Path, channel: str, parts: list[_Part]) -> ReleaseDraft:
    draft = _read_draft(path)
    if channel_of(draft.said().name) != channel or not _of_these(draft, parts):
        raise UsageError(f"{path} is a draft of another file or channel", "give the files that it was made of", rule="release-draft")
    return draft


def halt(call: Call) -> None:
    """``overlay release halt CHANNEL N``: one key is enough."""
    _halting(call, lifted=False)


def resume(call: Call) -> None:
    """``overlay release resume CHANNEL N``: lifts a halt; takes the channel's threshold."""
    _halting(call, lifted=True)


def _halting(call: Call, *, lifted: bool) -> None:
    values, channel = call.values, call.values["channel"]
    args = {"channel": channel, "revision": values["n"], "lifted": lifted, **({"note": values["note"]} if values["note"] else {})}
    home, answer = found(call, "release.halting", args)
    draft = _draft(answer)
    signers = signers_of(Path(home), channel, values["key"])
    for signer in signers:
        if draft.missing() > 0:
            draft.sign([signer])
    _finish(call, draft, Path(home) / f"release-{channel}.draft", {"channel": channel, "revision": values["n"]})


# -- looking


def listing(call: Call) -> None:
    """``overlay release list [CHANNEL]``."""
    rows = ask(call, "release.list", {"channel": call.values["channel"]} if call.values["channel"] else {})
    heads = ("channel", "revision", "length", "held", "halted", "note")
    if call.json:
        put_json(rows)
    elif rows:
        put(table([[row.get(head) for head in heads] for row in rows], heads))
    else:
        say("no channels")


def show(call: Call) -> None:
    """``overlay release show CHANNEL [N]``."""
    args = {"channel": call.values["channel"], **({"revision": call.values["n"]} if call.values["n"] else {})}
    _object(call, ask(call, "release.show", args))


def status(call: Call) -> None:
    """``overlay release status CHANNEL [--why]``."""
    answer = ask(call, "release.status", {"channel": call.values["channel"]})
    if call.values["why"] and not call.json:
        put(f"{shown(answer.get('state'))}: {shown(answer.get('reason') or 'nothing stands in its way')}")
        for row in answer.get("holding", []):
            put(f"r{answer.get('newest')} is held back by {row.get('name')}: {row.get('why')}")
        return
    short = {key: value for key, value in answer.items() if key not in ("holding", "clusters")}
    _object(call, answer if call.json else short)
    rows = answer.get("clusters", [])
    if rows and not call.json:
        heads = ("cluster", "revision", "stable", "live", "installed", "restarted", "healthy")
        put(table([[*(row.get(head) for head in heads), ", ".join(row.get("development", []))] for row in rows], (*heads, "in development")))


def verify(call: Call) -> None:
    """``overlay release verify FILE``: whether it is, octet for octet, what some channel has published."""
    path = Path(call.values["file"])
    ask(call, "release.list", {})  # where no node runs, that is said before a long file is read
    length, root, trailer = measure(path)
    answer = ask(call, "release.find", {"length": length, "root": b64(root)})
    rows = [row for row in answer.get("releases", []) if call.values["channel"] in (None, row.get("channel"))]
    if not rows:
        raise TrustError(
            f"{path} is no release that anybody here has signed (root {b64(root)})", "fetch it again; do not run it", rule="unsigned",
        )
    if call.values["strip"]:
        with suppress(Malformed):
            hint.read(trailer, time.time(), root)
            say(f"the hint is beside it: {call.values['strip']}.hint")
        strip(path, Path(call.values["strip"]), length, trailer)
    elif trailer:
        say("warning: octets behind the signed ones are a hint; do not run the file before they are off: --strip FILE")
    _object(call, {"file": str(path), "verified": True, "hinted": bool(trailer), **rows[0]})
    if rows[0].get("halted"):
        say("warning: that revision is halted")


def fetch(call: Call) -> None:
    """``overlay release fetch WHERE [CHANNEL]``: without joining."""
    importlib.import_module("overlay.cli.release_client").run(call)


# -- taking


def subscribe(call: Call) -> None:
    """``overlay subscribe CHANNEL``."""
    values = call.values
    args = {key: values[key] for key in ("channel", "activate", "health") if values[key]}
    answer = ask(call, "subscribe", args)
    if call.json:
        put_json(answer)
    say(f"subscribed to {values['channel']}" + ("" if answer.get("known") else "; no such channel is known yet: it is taken when it appears"))


def unsubscribe(call: Call) -> None:
    """``overlay unsubscribe CHANNEL``."""
    answer = ask(call, "unsubscribe", {"channel": call.values["channel"]})
    if call.json:
        put_json(answer)
    say(f"no longer subscribed to {call.values['channel']}")


def upgrade(call: Call) -> None:
    """``overlay upgrade [NODE] [--channel C] [--now]``: look for something newer at once, and try again what failed."""
    args = {"now": call.values["now"], **{key: call.values[key] for key in ("node", "channel") if call.values[key]}}
    answer = ask(call, "upgrade", args)
    if call.json:
        put_json(answer)
    where = f"{answer['name']} looks" if "name" in answer else "looking"
    say(f"{where} for something newer in {', '.join(map(str, answer.get('channels', [])))}")


def _tell(call: Call, value: dict[str, Any]) -> None:
    if call.json:
        put_json(value)
    elif "draft" in value:
        put(str(value["draft"]))


def _object(call: Call, value: Any) -> None:
    if call.json:
        put_json(value)
    else:
        put("\n".join(f"{key:<12} {shown(item)}" for key, item in value.items()))
