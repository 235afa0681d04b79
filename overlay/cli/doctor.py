"""``overlay doctor``: every check of this machine, its node and the bootstrap zone, each with what to do (CONTRACT).

It decides the order, and what cannot be checked because no node runs: that is said, never taken for "no". The same findings make
the table for people and the JSON for programs. Exit 0 where nothing failed; a warning is no failure.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from bootstrap.driver.lookup import Lookup, Resolvers
from bootstrap.entrance import WayIn
from overlay.cli import machine_checks
from overlay.cli.client import formed, found, put, put_json, say
from overlay.cli.config_file import load
from overlay.cli.grammar import Call
from overlay.cli.home import asked, own
from overlay.cli.layout import BOLD, coloured, shown
from overlay.cli.membership import STATE, Membership, load_identity, membership
from overlay.cli.zone_check import PATIENCE, ask_listener, zone_findings
from overlay.config import Config
from overlay.driver.control_client import request
from overlay.driver.interfaces import interfaces
from overlay.errors import ConfigError, NotRunning, OverlayError, StateError, TrustError
from overlay.findings import FAILED, OK, SKIPPED, WARNING, Finding
from overlay.wire.address import parse_address

LIMIT: Final = PATIENCE + 10.0  # seconds for the node's own checks, the bootstrap zone among them
COLOURS: Final = {OK: "32", WARNING: "33", FAILED: "31", SKIPPED: "2"}
NODES: Final = ("peers", "gateway", "clock", "rights", "root", "identity", "listeners", "portmap", "stub")  # what only a running node knows


def doctor(call: Call) -> int:
    """``overlay doctor``."""
    findings = list(_all(call))
    if call.json:
        put_json([finding.plain() for finding in findings])
    else:
        _show(findings)
    return 1 if any(finding.outcome == FAILED for finding in findings) else 0


def _show(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        outcome = coloured(finding.outcome.ljust(len(SKIPPED)), COLOURS[finding.outcome], *([BOLD] if finding.outcome == FAILED else []))
        put(f"{outcome}  {finding.check.ljust(width)}  {shown(finding.what)}")
        if finding.todo and finding.outcome != OK:
            put(f"{' ' * (len(SKIPPED) + width + 4)}{shown(finding.todo)}")
    counted = {outcome: sum(finding.outcome == outcome for finding in findings) for outcome in (FAILED, WARNING, SKIPPED)}
    words = {FAILED: "failed", WARNING: "warned of", SKIPPED: "not checked"}
    say(", ".join(f"{count} {words[outcome]}" for outcome, count in counted.items() if count) or "nothing is wrong")


def _all(call: Call) -> Iterator[Finding]:
    node, place, status, said = _node(call)
    home = Path(place)
    yield node
    yield from machine_checks.home(home)
    yield machine_checks.settings(home)
    yield machine_checks.space(home)
    listen = (status.get("listen") or {}) if status is not None else None
    yield machine_checks.udp_buffer()
    yield machine_checks.ipv6(interfaces(), listen.get("overlay", []) if listen is not None else None)
    yield machine_checks.resolver(listen.get("stub", []) if listen is not None else None, str((status or {}).get("tld", "TLD")))
    if status is not None and listen is not None:
        yield from said
        yield from trio.run(_stubs, str(status.get("name")), [str(text) for text in listen.get("stub", [])])
    else:
        yield machine_checks.user(os.geteuid())
        for check in NODES:
            yield Finding(check, SKIPPED, "not checked: no node was asked")
        yield from _zone_alone(home)


def _node(call: Call) -> tuple[Finding, str, dict[str, Any] | None, list[Finding]]:
    """Whether a node runs, on which home; its status and what it finds itself."""
    try:
        place, status = found(call, "status", {})
        rows = formed("doctor", request(place, "doctor", {}, LIMIT, say))
        said = [Finding(*(str(row.get(key, "")) for key in ("check", "outcome", "what", "todo"))) for row in rows]
    except NotRunning as error:
        return Finding("node", SKIPPED, error.what, error.todo), _home(call), None, []
    except (ConfigError, TrustError) as error:  # somebody else's node
        return Finding("node", SKIPPED, f"not asked: {error.what}", error.todo), _home(call), None, []
    except OverlayError as error:
        return Finding("node", FAILED, error.what, error.todo), _home(call), None, []
    return Finding("node", OK, f"{status.get('name')} runs, process {status.get('pid')}"), place, status, said


def _home(call: Call) -> str:
    """The home that is meant where no node answers: the first that is there."""
    return next((home for home in asked(call.home) if os.path.isdir(home)), own(call.home))


# -- asking


async def _stubs(name: str, stubs: list[str]) -> list[Finding]:
    """Whether each stub that the node says it has answers for the node's own name."""
    found = []
    for text in stubs:
        lookup = Lookup(Resolvers((parse_address(text, 53),), attempts=2))
        try:
            hosts = [*await lookup.ask(name, "A"), *await lookup.ask(name, "AAAA")]
        except OverlayError as error:
            told = f"{text} does not answer for {name}: {error.what}"
            found.append(Finding("stub", FAILED, told, "see overlay log; is DNS to that address filtered on this machine?"))
            continue
        told = ", ".join(map(str, hosts))
        if hosts:
            found.append(Finding("stub", OK, f"{text} answers: {name} is {told}"))
        else:
            todo = "it gets one when a peer has seen it: overlay peers"
            found.append(Finding("stub", WARNING, f"{text} knows {name} and no address of it", todo))
    return found


def _zone_alone(home: Path) -> list[Finding]:
    """The bootstrap zone as far as it can be looked at without a node: by what the home remembers, and what listeners say."""
    try:
        member = _member(home / STATE)
    except StateError as error:
        return [Finding("state", FAILED, error.what, error.todo)]
    if member is None or member.root is None:
        return [Finding("zone", SKIPPED, "this home belongs to no overlay, or has not heard of its zone yet", "overlay join")]
    try:
        config = load(home)
    except ConfigError:
        config = Config()  # told already, by the check of the settings
    upstream = [parse_address(text, 53) for text in config.names.upstream]
    overlay_id, own_key = member.overlay_id, _own_key(home)

    async def prove(way: WayIn) -> str:
        if way.key == own_key:
            raise NotRunning("this node, which does not run")
        return await ask_listener(way.addresses, overlay_id, way.key)

    return trio.run(partial(zone_findings, member.root.zone, member.root.tld, overlay_id, Lookup(upstream or None), prove))


def _own_key(home: Path) -> bytes:
    """This node's exchange key, by which a way in is known to be its own; empty where it cannot be read."""
    try:
        return load_identity(home, make=False).exchange_public
    except OverlayError:
        return b""  # told already, by the check of the home


def _member(path: Path) -> Membership | None:
    """What the state says of the overlay, read without changing it; None where there is none. Raises ``StateError``."""
    if not path.exists():
        return None
    # Whoever looks must not leave a journal that the node's own user cannot write: without one the file is taken as it stands.
    still = "" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{still}", uri=True)) as database:
            rows = database.execute("SELECT key, value FROM kv WHERE tbl = 'own'").fetchall()
    except sqlite3.Error as error:
        raise StateError(f"{path} does not read: {error}", "ask as its owner; where it is damaged, overlay up says what to do") from None
    return membership({"own": {key: value for key, value in rows if isinstance(key, bytes) and isinstance(value, bytes)}})
