"""The commands that need the whole program: found an overlay, join one, run a node. Imported only when one of them is asked.

It decides nothing yet but what the command line hands over and what it gets back.
"""

from __future__ import annotations

import importlib
import re
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from bootstrap.domain import zone_lines
from bootstrap.driver.lookup import Lookup
from bootstrap.entrance import OVERLAY_PORT, Domain, WayIn, alternate, parse_where
from bootstrap.invite import decode_token
from overlay.admission.shadows import shadowed
from overlay.cli import membership as homes
from overlay.cli.public import PATIENCE
from overlay.cli.report import Report
from overlay.cli.running import ASKING, Join, Running
from overlay.config import Config
from overlay.driver.clock import BUILT
from overlay.driver.interfaces import advertised, interfaces
from overlay.driver.release_hints import kept
from overlay.founding import Plan
from overlay.name import Path as NamePath
from overlay.name import parse_name
from overlay.records.rights import reserved
from overlay.units import b64, unb64
from overlay.wire.address import Address, parse_address, routable


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """What ``overlay init`` was told. ``root_keys`` keys, of which ``root_threshold`` must sign; ``root_out`` takes them."""

    zone: str
    tld: str = "cloud"
    admission: str = "invite"
    cluster: str | None = None
    name: str | None = None
    addresses: tuple[str, ...] = ()
    root_threshold: int = 1
    root_keys: int = 1
    root_out: Path | None = None
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """``publish``: stdout, lines of a master file and comments; ``talk``: stderr, the last line is to be run elsewhere."""

    publish: tuple[str, ...]
    talk: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """What ``overlay join`` was told. ``timeout`` is in seconds; None goes on for ever."""

    where: str | None = None
    invite: str | None = None
    cluster: str | None = None
    name: str | None = None
    overlay_id: str | None = None
    timeout: float | None = None
    shadow: bool = False


def found(home: Path, founding: Founding, config: Config) -> Founded:
    """Found an overlay on that home. Raises ``UsageError``, ``TrustError`` where one is there already."""
    label = founding.name or host_label()
    cluster = parse_name(founding.cluster, zone=founding.zone, tld=founding.tld) if founding.cluster else NamePath((label,))
    plan = Plan.checked(
        zone=founding.zone, tld=founding.tld, admission=founding.admission, name=cluster / label, threshold=founding.root_threshold,
    )
    warning = _shadow(plan, founding, config)
    port = next((parse_address(text, OVERLAY_PORT).port for text in config.listen.overlay if text != "off" and not text.endswith(":0")), OVERLAY_PORT)
    named = tuple(parse_address(text, OVERLAY_PORT) for text in founding.addresses)
    hosts = tuple(dict.fromkeys(address.host for address in named))
    made = homes.found_overlay(
        home, plan, keys=founding.root_keys, root_out=founding.root_out, advertised=hosts, at=int(max(time.time(), BUILT)),
    )
    shown = hosts or tuple(one.host for one in advertised(interfaces()) if routable(one.host))
    ways = (WayIn(tuple(Address(host, port) for host in shown)[:8], made.identity.exchange_public),) if shown else ()
    ds = importlib.import_module("tld.dnssec.export").anchor(tuple(plan.zone.encode().split(b".")), made.entries)
    publish = zone_lines(plan.zone, plan.tld, made.root.digest, ways, shown, ds).splitlines()
    talk = [
        f"founded the overlay {plan.zone}, id {b64(made.root.digest)}; this node is {plan.name.fqdn(plan.tld)}",
        f"root key{'s' if len(made.root_key_files) > 1 else ''}: {', '.join(map(str, made.root_key_files))} (keep a copy where nobody else reads it)",
        *([warning] if warning else []),
        *([] if shown else ["this machine has no address to tell: give --address IP, or edit the records above"]),
        "publish the records, start this node (overlay up --detach), then on the other machines:",
        f"overlay join {plan.zone}" + ("" if founding.admission == "open" else " --invite TOKEN    # a token: overlay invite, here"),
    ]
    return Founded(publish=tuple(publish), talk=tuple(talk))


def _shadow(plan: Plan, founding: Founding, config: Config) -> str:
    """Refuse to claim a second-level name that exists publicly; a warning where that could not be asked (CONTRACT, --shadow)."""
    if founding.shadow or config.names.policy not in ASKING:
        return ""
    label = plan.name.labels[0]
    upstream = [parse_address(text, 53) for text in config.names.upstream]
    exists = trio.run(_exists, Lookup(upstream or None), f"{label}.{plan.tld}")
    if exists:
        raise shadowed(label, plan.tld)
    return "" if exists is False else f"warning: the public DNS could not be asked whether {label}.{plan.tld} exists there"


async def _exists(lookup: Lookup, name: str) -> bool | None:
    with trio.move_on_after(PATIENCE):
        return await lookup.exists(name)
    return None


def host_label() -> str:
    """The first label of the host's name, made a legal one; ``node`` where nothing is left of it."""
    label = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-")[:40]
    return label if label and not reserved(NamePath((label,))) else "node"


def run_node(home: Path, config: Config, joining: Joining | None, report: Report) -> None:
    """Run the node of that home until it is stopped; enrol first where ``joining`` says how and it is not enrolled.

    ``config`` has the command line's flags in it already. Raises ``OverlayError`` (never in an exception group).
    """
    join = None
    if joining is not None:
        token = decode_token(joining.invite, max(time.time(), BUILT)) if joining.invite else None
        place = parse_where(joining.where) if joining.where else None
        zone, tld = (token.zone, token.tld) if token is not None else ("", "")
        label = parse_label(joining.name) if joining.name else host_label()
        join = Join(
            place=place, token=token, cluster=parse_name(joining.cluster, zone=zone, tld=tld) if joining.cluster else None, label=label,
            exact=joining.name is not None, overlay_id=unb64(joining.overlay_id, 32) if joining.overlay_id else None, timeout=joining.timeout,
            shadow=joining.shadow,
        )
        if place is None and token is None:
            join = _hinted(home, join)
    Running(home, config, report, join).run()


def _hinted(home: Path, join: Join) -> Join:
    """Where neither a place nor a token is given, the hints that lie in the home say where to knock: all of one overlay."""
    found = [hint for hint in kept(home, max(time.time(), BUILT)) if join.overlay_id in (None, hint.overlay_id)]
    if not found:
        return join
    first = found[0]
    ways = tuple(WayIn(alternate(hint.addresses), hint.exchange) for hint in found if hint.overlay_id == first.overlay_id)
    return replace(join, place=Domain(first.zone), overlay_id=first.overlay_id, known=ways)


def parse_label(text: str) -> str:
    """The LABEL of --name: one legal label."""
    name = NamePath((text.strip().lower(),))
    return name.leaf
