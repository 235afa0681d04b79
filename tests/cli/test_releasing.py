"""Releases in a running node: what a person hears of a channel before it is too late."""

from __future__ import annotations

from pathlib import Path

import pytest

from overlay import publishing
from overlay.cli.releases import files_of
from overlay.errors import UsageError
from overlay.identity.keys import Signer
from overlay.units import DAY
from tests.property.quiet_node import quiet_node
from tests.records.actors import refused, seed


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


@pytest.mark.parametrize(("platform", "others"), [("any", ("linux",)), ("any", ("any=x",)), ("any", ("No/w=x",)), ("a.b", ()), ("any", ("a=",))])
def test_platforms_that_make_no_sense_are_refused(platform: str, others: tuple[str, ...]) -> None:
    with refused("platform", UsageError):
        files_of("x", platform, others)


def test_each_file_of_a_release_is_for_one_kind_of_machine() -> None:
    assert files_of("x", "linux-x86_64", ("darwin=y=z",)) == {"linux-x86_64": Path("x"), "darwin": Path("y=z")}
    with refused("platform", UsageError):
        files_of("x", "any", tuple(f"p{number}=x" for number in range(8)))
