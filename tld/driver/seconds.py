"""A second's beat for what an authoritative listener counts and stamps by time: cookies and rates (Trio)."""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from tld.authority import Authority
from tld.cookies import Cookies
from tld.keyed import Keyed
from tld.limiter import Limited


def with_cookies(authority: Authority, at: Callable[[], float]) -> Cookies:
    """Give ``authority`` cookies under a secret made now; what it remembers was rendered without room for them."""
    authority.answers.clear()
    cookies = authority.cookies = Cookies(os.urandom(16), at(), authority.counters)
    return cookies


async def beat(cookies: Cookies, at: Callable[[], float], limited: Limited | None = None, keyed: Keyed | None = None) -> None:
    """Tell them of each second, until cancelled. ``at`` gives UTC seconds."""
    while True:
        await trio.sleep(1)
        cookies.tick(at(), os.urandom)
        if limited is not None:
            limited.tick()
        if keyed is not None:
            keyed.tick(at())
