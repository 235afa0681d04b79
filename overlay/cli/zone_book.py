"""What is said of the keys and signatures of zones, as this node's book has it, and how this node says its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from overlay import acts
from overlay.cluster.outputs import Role
from overlay.driver.run import Engine
from overlay.name import Path
from overlay.records import rights
from overlay.records.record import Record
from overlay.records.zones import EntryKey, ZoneSigner
from tld.delegation import labels
from tld.label import Name
from tld.names import Names

TURN: Final = 4.0  # seconds that each in order waits for those before it


@dataclass(frozen=True, slots=True)
class ZoneBook:
    """Of one node."""

    engine: Engine
    names: Names

    @property
    def me(self) -> bytes:
        """This node's id."""
        return self.engine.node.identity.node_id

    def origins(self, path: Path) -> tuple[Name, ...]:
        """Where a zone hangs, by tree."""
        return labels(path, self.names.tld), labels(path, self.names.zone)

    def may_sign(self, path: Path) -> bool:
        """Whether this node holds `sign` on exactly that path."""
        grants = self.engine.node.book.grants_of(self.me, self.engine.clock.at())
        return any(grant.name == path and rights.SIGN in grant.body[1] for grant in grants)

    def root_entries(self) -> tuple[bytes, ...]:
        """The key-signing keys of the root zone."""
        root = self.engine.node.trust.root
        return root.entries if root is not None else ()

    def records(self, path: Path, kind: str) -> list[Record]:
        """All of that kind on exactly that path."""
        return [record for record in self.engine.node.book.zone_keys.get(path, {}).values() if record.kind == kind]

    def signers(self, path: Path) -> dict[bytes, bytes]:
        """Who may sign a zone, and with which key, by node id."""
        bodies = ((record.signer, self.engine.node.book.body(record)) for record in self.records(path, "zsk"))
        return {signer: body.public for signer, body in sorted(bodies, key=lambda pair: pair[0]) if isinstance(body, ZoneSigner)}

    def entries(self, path: Path) -> dict[bytes, list[tuple[Record, EntryKey]]]:
        """What is said of each key-signing key that nobody has retired, by its public half, the oldest key first."""
        found: dict[bytes, list[tuple[Record, EntryKey]]] = {}
        for record in self.records(path, "ksk"):
            body = self.engine.node.book.body(record)
            if isinstance(body, EntryKey):
                found.setdefault(record.item, []).append((record, body))
        live = {item: said for item, said in found.items() if all(body.sealed for _, body in said)}
        return dict(sorted(live.items(), key=lambda pair: (min(body.since for _, body in pair[1]), pair[0])))

    def is_gateway(self, path: Path) -> bool:
        """Whether this node speaks for the cluster whose zone that is."""
        presence = self.engine.node.presence
        return presence is not None and presence.cluster == path and presence.role is Role.GATEWAY

    def turn(self, first: bytes, able: Iterable[bytes]) -> float:
        """Seconds that this node waits before it does what one of ``able`` has to do: none for ``first``, then by id."""
        order = sorted(able, key=lambda one: (one != first, one))
        return order.index(self.me) * TURN if self.me in order else len(order) * TURN

    def say(self, path: Path, said: list[list[object]]) -> None:
        """Publish, each as [kind, item, body, life in seconds]."""
        if said:
            self.engine.act(acts.say_of_zone, path, said, self.engine.clock.at())
            self.engine.step()
