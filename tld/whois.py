"""WHOIS (RFC 3912): a name in, what this node holds of it out, as text for people. Pure; a node speaks its own name first.

It tells what the public DNS view tells the world anyway (DESIGN 3.13): names, who carries them, proved addresses, clusters;
and which rights stand behind a name. LAN addresses, versions of programs, loads of single nodes and texts that somebody
else wrote are not in it. Every line is made here, of fields that are escaped: no record can put a line of its own into
an answer, or a control sequence into a terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from overlay.directory.view import HostEntry, ZoneView
from overlay.errors import UsageError
from overlay.identity.keys import KEY
from overlay.name import ROOT, Path, parse_name
from overlay.records import rights
from overlay.units import b64, unb64
from overlay.wire.address import worldwide

LINES: Final = 64  # of one sort, such as carriers; how many more there are is said
WIDTH: Final = 12  # of the names of fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Rights that somebody holds, and for how long (UTC seconds)."""

    path: Path
    rights: Sequence[str]
    since: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """The node that answers, and what it knows. ``held`` gives the rights of a node id."""

    name: Path
    zone: str
    tld: str
    views: Mapping[Path, ZoneView]
    held: Callable[[bytes], Sequence[Right]]

    def full(self, path: Path) -> str:
        """A name in full under the TLD."""
        return path.fqdn(self.tld)


def answer(query: bytes, speaker: Speaker) -> bytes:
    """The whole answer to one line: ASCII, CRLF, at most a few hundred lines. Never raises, whatever the octets."""
    lines = [f"% {speaker.full(speaker.name)} speaks, a node of the overlay {speaker.zone}. What it holds of names, no more.", ""]
    asked = query.decode("utf-8", "replace").strip()
    found = list(_about(asked, speaker))
    lines += found or [f"% No match for {asked[:80]!r}."]
    return "".join(_plain(line) + "\r\n" for line in [*lines, ""]).encode("ascii")


def _about(asked: str, speaker: Speaker) -> Iterator[str]:
    try:
        node_id = unb64(asked, KEY)
    except UsageError:
        node_id = b""
    if node_id:
        for held in speaker.views.values():
            yield from _nodes([host for host in held.hosts if host.node_id == node_id], held, speaker)
        return
    try:
        path = parse_name(asked, zone=speaker.zone, tld=speaker.tld) if asked else speaker.name
    except UsageError:
        return
    yield from _cluster(path, speaker)
    view = next((speaker.views[above] for above in (path, *path.ancestors(), ROOT) if above in speaker.views), None)
    if view is None:
        return
    yield from _nodes([host for host in view.hosts if host.name == path], view, speaker)
    yield from _services(path, view, speaker)
    types = sorted({data.rtype for data in view.data if data.name == path})
    if types:
        yield from ("", _field("name", speaker.full(path)), _field("data", ", ".join(types)))
    elsewhere = next((cut for cut in view.cuts if cut != path and cut.covers(path)), None)
    if elsewhere is not None:
        yield from ("", f"% {speaker.full(path)} stands in the zone {elsewhere}, which is not held here; ask one of its gateways:")
        yield from _cluster(elsewhere, speaker)


def _nodes(hosts: Sequence[HostEntry], view: ZoneView, speaker: Speaker) -> Iterator[str]:
    for host in hosts:
        yield from ("", _field("node", speaker.full(host.name)), _field("id", b64(host.node_id)), _field("cluster", str(host.name.parent)))
        yield from (_field("address", address.host) for address in host.host.addresses if worldwide(address.host))
        carried = [_field("carries", f"{speaker.full(c.name)} {c.proto} {c.carry.port}") for c in view.carries if c.node_id == host.node_id]
        yield from _some(carried)
        yield from _some([_field("may", _right(right)) for right in speaker.held(host.node_id)])
        yield from _seen(view)


def _services(path: Path, view: ZoneView, speaker: Speaker) -> Iterator[str]:
    carriers = [carry for carry in view.carries if carry.name == path]
    if carriers:
        yield from ("", _field("service", speaker.full(path)))
        lines = []
        for one in carriers:
            reach = ", ".join(host for host in one.reach if worldwide(host))
            state = "healthy" if one.carry.healthy else "not healthy"
            lines.append(_field("carrier", f"{speaker.full(one.carry.node)} {reach or 'no address'} {one.proto} {one.carry.port} {state}"))
        yield from _some(lines)
        yield from _seen(view)


def _cluster(path: Path, speaker: Speaker) -> Iterator[str]:
    root = speaker.views.get(ROOT)
    gateways = [gateway for gateway in (root.gateways if root is not None else ()) if gateway.path == path]
    if gateways:
        yield from ("", _field("cluster", str(path)), _field("nodes", str(max(gateway.cluster.nodes for gateway in gateways))))
        yield from _some([_field("gateway", speaker.full(gateway.cluster.node)) for gateway in gateways])
        hosts = dict.fromkeys(address.host for gateway in gateways for address in gateway.cluster.addresses if worldwide(address.host))
        yield from _some([_field("address", host) for host in hosts])


def _right(right: Right) -> str:
    words = "; ".join(rights.MEANING.get(word, f"publish releases of {word.partition(':')[2]}") for word in right.rights)
    return f"on {right.path or 'the root'} from {_date(right.since)} until {_date(right.until)}: {words}"


def _seen(view: ZoneView) -> Iterator[str]:
    if view.head_issued is not None:
        yield _field("vouched for", _date(view.head_issued))


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:LINES]
    if len(lines) > LINES:
        yield f"% and {len(lines) - LINES} more"


def _field(name: str, value: str) -> str:
    return f"{name + ':':<{WIDTH + 2}}{value or '-'}"


def _date(at: int) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):  # a date that no calendar has
        return "-"


def _plain(line: str) -> str:
    """One line for any terminal: printable ASCII."""
    return "".join(char if " " <= char <= "~" else "?" for char in line)
