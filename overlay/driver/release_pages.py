"""Releases over plain HTTP: exactly the signed octets, for anybody's client (CONTRACT, HTTP).

    /CHANNEL  /CHANNEL/latest    JSON of the newest        /CHANNEL/rN          the octets; ranges; the root as strong ETag
    /CHANNEL/rN.record           the signed records        /CHANNEL/rN.leaves   the hashes of the leaves
    /CHANNEL/rN.from-B           a patch that makes it of revision B, and its `.leaves`
    /CHANNEL/rN.for-P            the same for the platform P, where there are several; `rN` is what is for the serving machine

It decides how many are served at once: whoever comes above that hears 503 and when to come back. It refuses to know
which releases there are: ``Window`` says so.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from overlay import limits
from overlay.driver.http import File, Request, Response, as_json, text
from overlay.driver.releases import Shelf
from overlay.errors import OverlayError
from overlay.records.releases import Artifact, Delta, Release
from overlay.release.merkle import leaves_of
from overlay.units import b64
from overlay.wire.codec import encode

RETRY: Final = (5, 60)  # seconds: least and most that a caller is asked to wait (CONTRACT, DNS: 5 s doubling to 60 s)
OCTETS: Final = ("content-type", "application/octet-stream")
_PLACE: Final = re.compile(
    r"/([a-z0-9-]{1,63})(?:/(latest|r([1-9][0-9]{0,9})(?:\.for-([a-z0-9_.-]{1,32}?))?(\.record|\.leaves|\.hinted|\.from-([1-9][0-9]{0,9})(?:\.leaves)?)?))?",
)


class Shown(NamedTuple):
    """A release that is held here."""

    channel: str
    revision: int
    length: int
    root: bytes
    records: Callable[[], Sequence[bytes]]  # signed, each as it is
    deltas: tuple[Delta, ...] = ()
    kind: str = ""  # of its file on the shelf: ".for-P" of what is for other machines


def page_of(channel: str, body: Release, artifact: Artifact) -> str:
    """Where an artifact is asked for: by its platform, where there are several."""
    return f"/{channel}/r{body.revision}" + (f".for-{artifact.platform}" if len(body.artifacts) > 1 else "")


@dataclass(slots=True)
class Pages:
    """The releases of one node, for HTTP. ``newest`` and ``shown`` look them up; ``url`` makes the address of one."""

    shelf: Shelf
    newest: Callable[[str], Shown | None]
    shown: Callable[[str, int, str], Shown | None]  # channel, revision, platform ("": what is for this machine)
    counters: Counter[str]
    hint: Callable[[Request, Shown], bytes] = lambda request, shown: b""
    changed: Callable[[], None] = lambda: None  # the last place was taken, or is free again
    serving: int = 0
    served: Counter[str] = field(default_factory=Counter)  # downloads that ended, by channel
    waiting: int = 0  # callers turned away since a slot was free

    @property
    def free(self) -> int:
        """Slots that nobody has."""
        return max(0, limits.UPLOADS - self.serving)

    def page(self, request: Request) -> Response | None:
        """The answer, or None where the path is somebody else's."""
        found = _PLACE.fullmatch(request.path)
        if found is None:
            return None
        channel, what, number, platform, kind, base = found.groups()
        if number is None:
            newest = self.newest(channel)
            return None if newest is None and what is None else _absent() if newest is None else self._described(request, newest)
        shown = self.shown(channel, int(number), platform or "")
        if shown is None:
            return _absent()
        try:
            if kind == ".record":
                return Response(200, encode(list(shown.records())), (OCTETS, ("cache-control", "no-cache")))
            if kind == ".leaves":
                leaves = os.open(self.shelf.place(channel, shown.revision, f"{shown.kind}.leaves"), os.O_RDONLY | os.O_CLOEXEC)
                return self._file(request, leaves, 32 * leaves_of(shown.length), f"{b64(shown.root)}.leaves", shown)
            if base is not None:
                return self._patch(request, shown, int(base), kind)
            return self._octets(request, shown, hinted=kind == ".hinted")
        except (OSError, OverlayError):
            return _absent()

    def _described(self, request: Request, shown: Shown) -> Response:
        host = next((value for name, value in request.headers if name == "host"), str(request.local))
        value = {
            "channel": shown.channel, "revision": shown.revision, "length": shown.length, "root": b64(shown.root),
            "url": f"http://{host}/{shown.channel}/r{shown.revision}",
        }
        return as_json(value, 200, ("cache-control", "no-cache"))

    def _octets(self, request: Request, shown: Shown, *, hinted: bool) -> Response:
        if request.method == "GET" and self.serving >= limits.UPLOADS:
            self.counters["drop:uploads-full"] += 1
            self.waiting += 1
            pause = str(min(RETRY[1], RETRY[0] + self.waiting))
            return text("busy: all places are taken", 503, ("retry-after", pause), ("cache-control", "no-store"))
        self.waiting = 0
        descriptor = os.open(self.shelf.place(shown.channel, shown.revision, shown.kind), os.O_RDONLY | os.O_CLOEXEC)
        return self._file(request, descriptor, shown.length, b64(shown.root), shown, slot=True, hinted=hinted)

    def _patch(self, request: Request, shown: Shown, base: int, kind: str) -> Response:
        delta = next((delta for delta in shown.deltas if delta.base == base), None)
        if delta is None:
            return _absent()
        descriptor = os.open(self.shelf.place(shown.channel, shown.revision, shown.kind + kind), os.O_RDONLY | os.O_CLOEXEC)
        if kind.endswith(".leaves"):
            return self._file(request, descriptor, 32 * leaves_of(delta.length), f"{b64(delta.root)}.leaves", shown)
        return self._file(request, descriptor, delta.length, b64(delta.root), shown)

    def _file(
        self, request: Request, descriptor: int, length: int, tag: str, shown: Shown, *, slot: bool = False, hinted: bool = False,
    ) -> Response:
        if os.fstat(descriptor).st_size != length:
            os.close(descriptor)
            return _absent()
        hint = self.hint(request, shown) if slot else b""
        trailer = hint if hinted else b""
        etag = f'"{tag}.{b64(trailer[-12:])}"' if trailer else f'"{tag}"'
        headers = (
            OCTETS, ("etag", etag), ("accept-ranges", "none" if hinted else "bytes"), ("x-signed-length", str(length)),
            *((("x-overlay-hint", b64(hint)),) if hint else ()),
        )
        if etag in _tags(request.header("if-none-match") or ""):
            os.close(descriptor)
            return Response(304, b"", headers)
        span = None if hinted else _range(request, length, etag)
        if span == ():
            os.close(descriptor)
            return Response(416, b"", (*headers, ("content-range", f"bytes */{length}")))
        first, octets = span or (0, length)
        if span:
            headers = (*headers, ("content-range", f"bytes {first}-{first + octets - 1}/{length}"))
        closed = None
        if slot and request.method == "GET":
            self.serving += 1
            if not self.free:
                self.changed()

            def closed() -> None:
                if not self.free:
                    self.changed()
                self.serving -= 1
                self.served[shown.channel] += first + octets == length

        return Response(206 if span else 200, File(descriptor, first, octets, closed, trailer), headers)


def _absent() -> Response:
    return text("not found", 404)


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _range(request: Request, length: int, etag: str) -> tuple[int, int] | tuple[()] | None:
    """(first, octets) of one range; none at all where it cannot be had, None where all is meant (RFC 9110, 14.2)."""
    asked, condition = request.header("range"), request.header("if-range")
    if asked is None or request.method != "GET" or (condition is not None and condition.strip() != etag):
        return None
    found = re.fullmatch(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", asked)
    if found is None or not (found[1] or found[2]):
        return None  # several ranges, or another unit: the whole is a right answer too
    if not found[1]:
        octets = min(int(found[2]), length)
        return (length - octets, octets) if octets else ()
    first, last = int(found[1]), int(found[2]) if found[2] else length - 1
    if found[2] and last < first:
        return None
    return (first, min(last, length - 1) - first + 1) if first < length else ()
