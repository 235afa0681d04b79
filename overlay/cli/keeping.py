"""What a node acknowledges is on its disk: while the disk takes nothing, commands that change something are refused.

It decides which commands that concerns, and what is said where the disk fails under one of them. It refuses to know the
commands. `down` and `leave` promise nothing that a disk must keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from overlay.driver.control import Args, Handler
from overlay.driver.run import Engine
from overlay.errors import StateError

PROMISE_NOTHING: Final = ("down", "leave")


def keeping(handlers: Mapping[str, Handler], engine: Engine) -> Mapping[str, Handler]:
    """The same commands, refused where what they do would not last."""
    return {
        name: handler if handler.reading or name in PROMISE_NOTHING else Handler(partial(_kept, handler, engine))
        for name, handler in handlers.items()
    }


async def _kept(handler: Handler, engine: Engine, args: Args) -> object:
    before = engine.lots.trouble
    if before is not None:
        raise StateError(f"no change is taken: {before.what}", "make room or mend that disk, then ask again; names are served on", rule="unkept")
    result = await handler.run(args)
    now = engine.lots.trouble
    if now is not None:
        raise StateError(
            f"the change holds, but is not kept yet: {now.what}", "make room or mend that disk before the node stops: it is written then",
            rule="unkept",
        )
    return result
