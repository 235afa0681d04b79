"""A real founder with everything plugged in and no network: store, log, names, control socket, and not one IP socket."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from overlay.cli.desk import Desk
from overlay.cli.membership import LOG, STATE, found_overlay
from overlay.cli.plugged import Plugged
from overlay.config import Config, Names
from overlay.driver.clock import Clock
from overlay.driver.control import open_control, serve_control
from overlay.driver.listen import Listeners
from overlay.driver.logfile import LogFile
from overlay.driver.store import Store
from overlay.founding import Plan
from overlay.name import parse_path
from overlay.node import Node
from overlay.setup import Setup

NOBODY = "127.0.0.1:9"  # the resolver that the system would name: refuses at once


@dataclass(slots=True)
class QuietNode:
    """What a test may look at. ``ended`` counts how often a command asked for the end of the run."""

    home: Path
    plugged: Plugged
    ended: int = 0

    @property
    def node(self) -> Node:
        return self.plugged.node


@asynccontextmanager
async def quiet_node(home: Path, name: str = "hq/founder") -> AsyncIterator[QuietNode]:
    """Found an overlay in ``home`` and run its founder; whatever ends the node ends the test."""
    plan = Plan.checked(zone="cloud.example.org", tld="cloud", admission="invite", name=parse_path(name))
    founded = found_overlay(home, plan, keys=1, root_out=None, advertised=("203.0.113.10",), at=int(time.time()))
    clock, log = Clock(), LogFile(home / LOG)
    with Store.open(home / STATE) as store:
        setup = Setup(
            identity=founded.identity, overlay_id=founded.root.digest, entropy=os.urandom, port=7653, advertised=("203.0.113.10",),
            stored=store.load(),
        )
        node = Node(setup, clock.now(), clock.at())
        config = Config(names=Names(upstream=(NOBODY,)))
        plugged = Plugged(
            node, config=config, listeners=Listeners(), store=store, clock=clock, log=log, incarnation=1, tell=lambda line: None, home=home,
        )
        quiet = QuietNode(home, plugged)

        def end() -> None:
            quiet.ended += 1

        with open_control(home) as control:
            async with trio.open_nursery() as nursery:
                desk = Desk(nursery, end)
                nursery.start_soon(serve_control, control, desk)
                await plugged.start(nursery, desk, end, end)
                yield quiet
                nursery.cancel_scope.cancel()
    log.close()
