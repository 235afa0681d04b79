"""What doctor says of signed zones and of what stands above the bootstrap zone."""

from __future__ import annotations

from pathlib import Path

import pytest

from overlay.cli.zone_findings import SETTLED, delegated, signed_zones
from overlay.errors import ReachError
from overlay.findings import FAILED, OK, WARNING
from overlay.name import ROOT
from overlay.units import DAY
from tests.lab.signing import Signed
from tests.lab.test_signing import clusters
from tld.dnssec.keys import ZoneKey, ds_rdata

ZONE = "cloud.example.net"


class Dns:
    """The public DNS, as the test says."""

    def __init__(self, ds: tuple[bytes, ...] = (), ns: tuple[str, ...] = (), *, silent: bool = False) -> None:
        self.said: dict[str, tuple[bytes, ...] | tuple[str, ...]] = {"DS": ds, "NS": ns}
        self.silent = silent

    async def ask(self, name: str, rtype: str) -> tuple[bytes, ...] | tuple[str, ...]:
        assert name == ZONE
        if self.silent:
            raise ReachError("nobody answers", rule="dns")
        return self.said[rtype]


async def test_what_stands_above_the_bootstrap_zone_is_looked_at(tmp_path: Path) -> None:
    signed, founder, _ = await clusters(tmp_path)
    desk = signed.desk(founder).desk
    ours = ds_rdata(signed.desk(founder).names.zone, ZoneKey(desk.book.root_entries()[0], entry=True))
    nodes = ("ns1.cloud.example.net", "ns2.cloud.example.net.")
    for dns, state in (
        (Dns((ours,), nodes), OK), (Dns((bytes(36),), nodes), FAILED), (Dns((), nodes), WARNING), (Dns((bytes(36), ours), nodes), OK),
        (Dns((), ("ns.example.org",)), None), (Dns((), ()), None), (Dns(silent=True), None),
    ):  # fmt: skip
        assert [one.outcome for one in await delegated(desk, ZONE, dns)] == ([state] if state else [])


async def test_signed_zones_are_well_until_their_signers_are_away(tmp_path: Path) -> None:
    signed, founder, (alice,) = await clusters(tmp_path)
    await signed.run(5)
    at_alice = signed.desk(alice).desk
    assert signed_zones(at_alice, SETTLED - 1) == []
    assert [one.outcome for one in signed_zones(at_alice, SETTLED)] == [OK]
    signed.world.crash(founder)
    await signed.days(11)
    assert any("nobody renews them" in one.line for one in signed_zones(at_alice, SETTLED)), "the root and hq end in three days"
    await signed.days(5)
    assert any(one.outcome == FAILED and "nobody signs the root zone" in one.line for one in signed_zones(at_alice, SETTLED))


@pytest.mark.parametrize("days", [62])
async def test_a_key_set_that_nobody_renews_is_told_a_month_before_it_ends(tmp_path: Path, days: int) -> None:
    signed, founder, _ = await clusters(tmp_path)
    (tmp_path / founder.name / "root.key").unlink()
    signed.restart(founder)
    await signed.run(3)
    keys = signed.desk(founder).desk.held(ROOT)[0]
    assert keys is not None
    founder.clock_offset += days * DAY
    found = signed_zones(signed.desk(founder).desk, SETTLED)
    assert any("overlay root sign" in one.todo for one in found), found
    assert isinstance(signed, Signed)
