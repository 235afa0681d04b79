"""What the scenarios have in common: found an overlay on a host, publish its records, let others join, ask them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.netns.hosts import Done, Host, Net, wait_until
from tests.netns.publicdns import kept_block

ZONE = "cloud.neonics.com"
SOON = 10.0  # seconds: "visible on all within seconds", with a machine that has other things to do
JOINED = re.compile(r"^joined as (\S+) in (\d+\.\d+) s$")


@dataclass(frozen=True, slots=True)
class Story:
    """An overlay on a net: its founder, and what ``overlay init`` said."""

    net: Net
    founder: Host
    init: Done


def address_of(host: Host) -> str:
    """The address that others use: IPv4 where there is one."""
    return host.v4 or host.v6 or ""


def founded(net: Net, *, admission: str = "open", v4: bool = True, v6: bool = True, publish: bool = True, up: bool = True) -> Story:
    """A founder at .10, named hub.hub.cloud; its records in the public DNS; its node running."""
    founder = net.host("hub", number=10, v4=v4, v6=v6)
    addresses = [founder.v4, founder.v6]
    given = [word for address in addresses if address for word in ("--address", address)]
    init = founder.overlay("init", ZONE, "--name", "hub", "--admission", admission, *given).ok()
    if publish:
        net.dns.serve(ZONE, kept_block(init.out))
    if up:
        founder.overlay("up", "--detach").ok()
    return Story(net, founder, init)


def join(host: Host, *args: str, where: str | None = ZONE, name: str | None = None) -> Done:
    """``overlay join`` to its end: with --detach, by default to the bootstrap domain and named as the host."""
    place = [where] if where else []
    return host.overlay("join", *place, "--name", name or host.name, "--detach", *args, timeout=90)


def joined(host: Host, *args: str, where: str | None = ZONE, name: str | None = None) -> str:
    """The same, successfully; the name it got."""
    done = join(host, *args, where=where, name=name).ok()
    match = JOINED.match(done.out.strip())
    assert match is not None, done
    return match[1]


def everywhere(hosts: Iterable[Host], what: str, holds: Callable[[Host], object], within: float = SOON) -> None:
    """It holds on every host, at the latest ``within`` seconds from now."""
    waiting = list(hosts)

    def still() -> bool:
        waiting[:] = [host for host in waiting if not holds(host)]
        return not waiting

    wait_until(still, within, f"{what} (on every node)")
