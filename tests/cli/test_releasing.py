"""Releases in a running node: what a person hears of a channel before it is too late."""

from __future__ import annotations

from pathlib import Path

from overlay import publishing
from overlay.identity.keys import Signer
from overlay.units import DAY
from tests.property.quiet_node import quiet_node
from tests.records.actors import seed


async def test_whoever_declared_a_channel_hears_long_before_that_its_keys_end(tmp_path: Path) -> None:
    key = Signer.from_seed(seed("key"))
    async with quiet_node(tmp_path) as quiet:
        releasing, engine = quiet.plugged.releasing, quiet.plugged.engine
        at = engine.clock.at()
        draft = publishing.draft_channel(quiet.node, "app", [key.public], 1, None, at)
        draft.sign([key])
        assert draft.missing() == 0
        publishing.say(quiet.node, draft.record(), at)
        ends = draft.record().expires
        for days, told in ((200, ""), (80, "its keys end in 80 days"), (0, "its keys end in 0 days"), (300, "")):
            releasing.saying.warn("app", ends - days * DAY)
            assert engine.problems.get("channel app", "").startswith(told) and bool(engine.problems.get("channel app")) == bool(told)
