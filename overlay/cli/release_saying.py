"""What a running node says of releases by itself: freshness, mirrors, what it runs, what its cluster saw (DESIGN 3.9, 3.10).

It decides what is true here; when and by what right something is said stands in ``publishing.py`` and ``observing.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from overlay import limits, observing, publishing
from overlay.cli.release_known import Known
from overlay.cli.release_mates import Mates
from overlay.driver.http import Request
from overlay.driver.release_pages import Pages, Shown
from overlay.errors import OverlayError
from overlay.records import channels, kinds
from overlay.records.observed import Running
from overlay.records.releases import KERNEL, Mirror
from overlay.release import gate
from overlay.release.hint import LIFE, Hint
from overlay.release.standing import restless
from overlay.units import DAY
from overlay.wire.address import Address
from tld.download import Holder

NEVER: Final = float("inf")


class Saying:
    """One node's word on channels."""

    def __init__(self, known: Known, pages: Pages, mates: Mates, counters: Counter[str]) -> None:
        self.known = known
        self.pages = pages
        self.mates = mates
        self.counters = counters
        self.observing = observing.Observing(known.engine.clock.now())

    def look(self) -> float:
        """Say what is due, of all channels. When time alone may make something due (monotonic seconds)."""
        known, node, clock = self.known, self.known.engine.node, self.known.engine.clock
        at, now = clock.at(), clock.now()
        taken = {one.channel for one in known.kept.subscribed()}
        wake = NEVER
        for channel in publishing.channels(node):
            self._say(partial(publishing.vouch, node, channel, at))
            self.offer(channel)
            self.warn(channel, at)
        for channel in sorted({*publishing.channels(node), *known.kept.channels, KERNEL}):
            mark = known.kept.channels.get(channel)
            until = restless(mark.starts, at) if mark is not None else 0.0
            wake = min(wake, now + until - at if until else NEVER)
            self._say(partial(self._tell, channel, channel in taken, at))
            wake = min(wake, self.observe(channel))
        return wake

    def publish(self, channel: str) -> None:
        """Something was published here: say at once what can be said."""
        self._say(partial(publishing.vouch, self.known.engine.node, channel, self.known.engine.clock.at()))
        self.offer(channel)
        self.observe(channel)

    def offer(self, channel: str) -> None:
        """Say (or take back) that this node gives releases of a channel away."""
        self._say(partial(publishing.offer, self.known.engine.node, self._offered(channel), self.known.engine.clock.at()))

    def observe(self, channel: str) -> float:
        """Watch over the own cluster; when to look again."""
        clock, wake = self.known.engine.clock, NEVER

        def look() -> bool:
            nonlocal wake
            addresses = self.known.addresses() if self.known.held(channel) is not None else ()
            wake = self.observing.look(self.known.engine.node, channel, addresses, clock.now(), clock.at())
            return True

        self._say(look)
        return wake

    def _say(self, act: Callable[[], bool]) -> bool:
        try:
            return act()
        except OverlayError as why:  # a right that has lapsed, a clock that is wrong: what stands goes on until its date
            self.counters[f"unsaid:{why.rule}"] += 1
            return False

    def _tell(self, channel: str, taken: bool, at: float) -> bool:
        """What this node runs: said by who takes the channel and has its part in it; of the program itself by who restarts again and again.

        Who waits for a release that has nothing for its machine keeps nobody else waiting.
        """
        newest = self.known.releases(channel)[:1] if taken else []
        taken = taken and all(self.known.artifact(body) is not None for _, body in newest)
        held = self.known.held(channel) if taken else None
        said = self.known.kept.said(channel, held.revision if held is not None else 0, at) if taken or channel == KERNEL else Running()
        if channel == KERNEL:
            said = replace(said, incarnation=self.known.engine.node.setup.incarnation)
            taken = said.restless
        return observing.tell(self.known.engine.node, channel, said if taken else None, at)

    def warn(self, channel: str, at: float) -> None:
        """Who declared a channel, or takes it, hears in time that its keys end: past that nothing new is installed."""
        mark = self.known.kept.channels.get(channel)
        keys = gate.newest_keys(self.known.said(channel), self.known.floor(channel))
        if keys is None:
            return
        mine = self.known.engine.node.identity.node_id in channels.signers(keys) or (mark is not None and mark.subscription is not None)
        left = keys.expires - at
        near = mine and left < min(gate.EXPIRY_WARNING, (keys.expires - keys.issued) / 4)
        line = f"its keys end in {max(0, int(left)) // DAY} days, then nothing new is installed: overlay release init {channel}" if near else ""
        self.known.engine.problem(f"channel {channel}", line)

    def _offered(self, channel: str) -> publishing.Offered:
        """Who holds a release gives it away; where many of a cluster do, the first few are enough, and the others stay out of the table."""
        known, node, held = self.known, self.known.engine.node, self.known.held(channel)
        fetching = self.mates.fetching.get(channel)
        if fetching is not None and (held is None or held.revision < fetching):
            return publishing.Offered(channel=channel, revision=fetching, partial=True)
        if held is None or node.presence is None:
            return publishing.Offered(channel=channel)
        mates = 0
        for record in known.said(channel):
            mirror = kinds.read(record) if record.kind == "mirror" else None
            if isinstance(mirror, Mirror) and not mirror.withdrawn and not mirror.partial and mirror.revision >= held.revision:
                mates += record.name.parent == node.presence.cluster and record.signer < node.identity.node_id
        if mates >= limits.MIRRORS:
            self.counters["mirrors_enough"] += 1
            return publishing.Offered(channel=channel)
        newest = known.newest(channel)
        return publishing.Offered(
            channel=channel, revision=held.revision, addresses=known.addresses(), slots=self.pages.free, served=self.pages.served[channel],
            told=newest.revision if newest is not None else 0,
        )

    def holders(self, channel: str) -> list[Holder] | None:
        """Who gives away a channel's releases, for the names below `download`; None where there is no such channel."""
        known = self.known
        said = known.said(channel)
        if channel != KERNEL and all(record.kind != "channel" for record in said):
            return None
        revisions = {body.revision for _, body in known.releases(channel)}
        found = []
        for record in said:
            mirror = kinds.read(record)
            if not isinstance(mirror, Mirror) or mirror.withdrawn or mirror.partial:
                continue
            revision = mirror.revision if mirror.told is None else mirror.told
            if revision in revisions:
                mine = record.signer == known.engine.node.identity.node_id
                slots, served = (self.pages.free, self.pages.served[channel]) if mine else (mirror.slots, mirror.served)
                hosts = tuple(dict.fromkeys(address.host for address in mirror.addresses))
                found.append(Holder(hosts, revision, slots, served, any(address.port == 80 for address in mirror.addresses)))
        return found

    def hint(self, request: Request, shown: Shown) -> bytes:
        """How to reach this node, for who fetches a release: at the address where it was asked, then elsewhere."""
        engine = self.known.engine
        node, root = engine.node, engine.node.trust.root
        if node.presence is None or root is None:
            return b""
        here = Address(request.local.host.partition("%")[0], node.setup.port)
        addresses = tuple(dict.fromkeys([here, *node.presence.addresses]))
        told = Hint(
            overlay_id=node.setup.overlay_id, zone=root.zone, tld=root.tld, addresses=addresses, exchange=node.identity.exchange_public,
            node_id=node.identity.node_id, expires=int(engine.clock.at()) + LIFE, root=shown.root,
        )
        return told.trailer(node.identity.signer)
