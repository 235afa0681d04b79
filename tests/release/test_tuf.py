"""python-tuf as oracle: one scenario drives both, and ours refuses at least what TUF refuses (research, "Attacks").

A scenario publishes, tampers and looks, in words that both worlds understand; ``Ours`` carries it out with records, book
and gate, ``Theirs`` with python-tuf's repository metadata and its ``TrustedMetadataSet``. Each look is `installed N` or
`refused`. Where ours is stricter on purpose the scenario says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from overlay.directory.book import Book
from overlay.errors import Malformed, TrustError
from overlay.identity.keys import Signer
from overlay.records.record import Record, parse
from overlay.release.gate import Floor, decide
from overlay.release.merkle import LEAF, leaf_hash, read_layer, root_of
from overlay.units import DAY, HOUR
from overlay.wire.codec import decode, encode
from tests.records.actors import AT, found
from tests.records.publishing import Publishing, channel_keys, open_channel

tuf = pytest.importorskip("tuf", reason="python-tuf is not installed: pip install -r requirements-dev.lock")

from securesystemslib.signer import CryptoSigner  # noqa: E402
from tuf.api.exceptions import DownloadError, EqualVersionNumberError, RepositoryError  # noqa: E402
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp  # noqa: E402
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet  # noqa: E402
from tuf.ngclient.config import EnvelopeType  # noqa: E402

REFUSED = "refused"
KEYS, THRESHOLD = 3, 2


def installed(revision: int) -> str:
    return f"installed {revision}"


class Ours:
    """Records, a book, and a subscriber that keeps its floor."""

    def __init__(self) -> None:
        self.at = float(AT)
        self.app: Publishing = open_channel(found(), keys=KEYS, threshold=THRESHOLD)
        self.overlay = self.app.overlay
        self.book = self._fresh()
        self.floor: Floor | None = None
        self.said: dict[str, Record] = {}

    def _fresh(self) -> Book:
        book = Book(self.overlay.trust())
        for record in (self.overlay.root, *self.overlay.founder.grants):
            book.add(record, self.at)
        return book

    def _hear(self, *records: Record) -> None:
        for record in records:
            with suppress(TrustError, Malformed):
                self.book.add(record, self.at)

    def publish(self, revision: int, *, signers: int = THRESHOLD, twice: bool = False, foreign: bool = False, named: bool = True) -> None:
        keys = list(self.app.keys[:signers])
        if foreign:
            keys.append(channel_keys(1, "foreign")[0])
        release = self.app.release(revision, signers=keys, at=self.at)
        if twice:
            content, sigs = decode(release.raw)
            try:
                release = parse(encode([content, [*sigs, *sigs]]))
            except Malformed:
                return
        now = self.app.now(release, at=self.at)
        self.said[f"release {revision}"], self.said[f"now {revision}"] = release, now
        self._hear(self.app.record, release, *([now] if named else []))

    def look(self) -> str:
        decision = decide(self.book.published.get("app", {}).values(), self.floor, self.at)
        self.floor = decision.floor
        return REFUSED if decision.why or decision.release is None else installed(decision.body.revision)

    def wait(self, seconds: float) -> None:
        self.at += seconds
        self.book.sweep(self.at)

    def show_old(self, revision: int) -> None:
        """A mirror that shows the world as it was at that revision, and nothing else."""
        self.book = self._fresh()
        self._hear(self.app.record, self.said[f"release {revision}"], self.said[f"now {revision}"])

    def mix(self, now: int, release: int) -> None:
        """The freshness of one, the content of another."""
        self.book = self._fresh()
        self._hear(self.app.record, self.said[f"release {release}"], self.said[f"now {now}"])

    def rotate(self, *, stolen: bool = False) -> None:
        keys = channel_keys(KEYS, "next")
        old = self.app.keys[: 1 if stolen else THRESHOLD]
        record = self.app.next(keys, THRESHOLD, signers=[*old, *keys[:THRESHOLD]], at=self.at)
        self._hear(record)
        self.app = Publishing(self.overlay, "app", keys, THRESHOLD, record)

    def endless(self) -> str:
        try:
            parse(self.said["release 1"].raw + bytes(1_000_000))
        except Malformed:
            return REFUSED
        return installed(1)


@dataclass(eq=False)
class Theirs:
    """python-tuf's roles, served from memory; the trusted set is kept from look to look as a client's disk would."""

    at: float = float(AT)
    keys: list[CryptoSigner] = field(default_factory=lambda: [CryptoSigner.generate_ed25519() for _ in range(KEYS)])
    rooters: list[CryptoSigner] = field(default_factory=lambda: [CryptoSigner.generate_ed25519() for _ in range(KEYS)])
    online: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    roots: list[bytes] = field(default_factory=list)
    shown: dict[str, bytes] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    worlds: dict[int, dict[str, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._root(1, self.rooters, self.rooters[:THRESHOLD])
        self.kept["root"] = self.roots[0]

    def _expires(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(self.at + seconds, UTC).replace(microsecond=0)

    def _root(self, version: int, rooters: list[CryptoSigner], signers: list[CryptoSigner]) -> None:
        root = Root(version=version, expires=self._expires(300 * DAY), consistent_snapshot=False)
        for signer in rooters:
            root.add_key(signer.public_key, "root")
        for signer in self.keys:
            root.add_key(signer.public_key, "targets")
        for role in ("snapshot", "timestamp"):
            root.add_key(self.online.public_key, role)
        root.roles["root"].threshold = root.roles["targets"].threshold = THRESHOLD
        signed = Metadata(root)
        for signer in signers:
            signed.sign(signer, append=True)
        self.roots.append(signed.to_bytes())

    def publish(self, revision: int, *, signers: int = THRESHOLD, twice: bool = False, foreign: bool = False, named: bool = True) -> None:
        targets = Targets(version=revision, expires=self._expires(300 * DAY))
        targets.targets["app"] = TargetFile.from_data("app", str(revision).encode())
        signed = Metadata(targets)
        for signer in self.keys[:signers]:
            signed.sign(signer, append=True)
        if foreign:
            signed.sign(CryptoSigner.generate_ed25519(), append=True)
        data = signed.to_bytes()
        if twice:
            data = data.replace(b'"signatures":[', b'"signatures":[' + data.split(b'"signatures":[')[1].split(b"]")[0] + b",")
        meta = {"targets.json": MetaFile.from_data(revision, data, ["sha256"])}
        snapshot = Metadata(Snapshot(version=revision, expires=self._expires(7 * DAY), meta=meta))
        snapshot.sign(self.online)
        sealed = snapshot.to_bytes()
        stamp = Metadata(Timestamp(version=revision, expires=self._expires(DAY), snapshot_meta=MetaFile.from_data(revision, sealed, ["sha256"])))
        stamp.sign(self.online)
        world = {"targets": data, "snapshot": sealed, "timestamp": stamp.to_bytes()}
        self.worlds[revision] = world
        self.shown = {**world, **({} if named else {"timestamp": self.shown.get("timestamp", b"")})}

    def look(self) -> str:
        try:
            trusted = TrustedMetadataSet(self.kept["root"], EnvelopeType.METADATA)
            trusted.reference_time = datetime.fromtimestamp(self.at, UTC)
            for root in self.roots[1:]:
                if b'"version":%d' % (trusted.root.version + 1) in root:
                    trusted.update_root(root)
            for role, update in (("timestamp", trusted.update_timestamp), ("snapshot", trusted.update_snapshot)):
                if role in self.kept:
                    with suppress(RepositoryError):
                        update(self.kept[role])
                with suppress(EqualVersionNumberError):  # as its client does: nothing new
                    update(self.shown[role])
            trusted.update_targets(self.shown["targets"])
        except (RepositoryError, DownloadError, KeyError, ValueError):
            return REFUSED
        self.kept.update({role: self.shown[role] for role in ("timestamp", "snapshot", "targets")})
        return installed(trusted.targets.version)

    def wait(self, seconds: float) -> None:
        self.at += seconds

    def show_old(self, revision: int) -> None:
        self.shown = self.worlds[revision]

    def mix(self, now: int, release: int) -> None:
        self.shown = {**self.worlds[now], "targets": self.worlds[release]["targets"]}

    def rotate(self, *, stolen: bool = False) -> None:
        self.keys = [CryptoSigner.generate_ed25519() for _ in range(KEYS)]
        rooters = [CryptoSigner.generate_ed25519() for _ in range(KEYS)]
        self._root(2, rooters, [*self.rooters[: 1 if stolen else THRESHOLD], *rooters[:THRESHOLD]])

    def endless(self) -> str:
        self.shown = {**self.worlds[1], "timestamp": self.worlds[1]["timestamp"] + b" " * 1_000_000}
        return REFUSED if len(self.shown["timestamp"]) > 16_384 else self.look()  # the fetcher's bound (`timestamp_max_length`)


World = Ours | Theirs
Scenario = Callable[[World], list[str]]


def plain(world: World) -> list[str]:
    world.publish(1)
    first = world.look()
    world.publish(2)
    return [first, world.look()]


def rollback(world: World) -> list[str]:
    world.publish(1)
    world.publish(2)
    first = world.look()
    world.show_old(1)
    return [first, world.look()]


def freeze_expired(world: World) -> list[str]:
    world.publish(1)
    first = world.look()
    world.wait(2 * DAY)
    return [first, world.look()]


def freeze_unexpired(world: World) -> list[str]:
    world.publish(1)
    first = world.look()
    world.wait(HOUR)
    return [first, world.look()]


def mix_and_match(world: World) -> list[str]:
    world.publish(1)
    world.publish(2)
    world.mix(now=2, release=1)
    return [world.look()]


def below_threshold(world: World) -> list[str]:
    world.publish(1, signers=1)
    return [world.look()]


def same_key_twice(world: World) -> list[str]:
    world.publish(1, signers=1, twice=True)
    return [world.look()]


def foreign_key(world: World) -> list[str]:
    world.publish(1, signers=1, foreign=True)
    return [world.look()]


def rotation(world: World) -> list[str]:
    world.publish(1)
    first = world.look()
    world.rotate()
    world.publish(2)
    return [first, world.look()]


def rotation_with_a_stolen_key(world: World) -> list[str]:
    world.publish(1)
    first = world.look()
    world.rotate(stolen=True)
    world.publish(2)
    return [first, world.look()]


def lost_key(world: World) -> list[str]:
    """One of three is lost: the other two go on, and rotate it away."""
    world.publish(1, signers=THRESHOLD)
    first = world.look()
    world.rotate()
    world.publish(2)
    return [first, world.look()]


def endless_data(world: World) -> list[str]:
    world.publish(1)
    return [world.endless()]


BOTH: dict[str, tuple[Scenario, list[str]]] = {
    "plain": (plain, [installed(1), installed(2)]),
    "rollback": (rollback, [installed(2), REFUSED]),
    "freeze, expired": (freeze_expired, [installed(1), REFUSED]),
    "freeze, unexpired": (freeze_unexpired, [installed(1), installed(1)]),
    "mix and match": (mix_and_match, [REFUSED]),
    "one stolen key": (below_threshold, [REFUSED]),
    "the same key twice": (same_key_twice, [REFUSED]),
    "a foreign key": (foreign_key, [REFUSED]),
    "rotation": (rotation, [installed(1), installed(2)]),
    "rotation with one stolen key": (rotation_with_a_stolen_key, [installed(1), REFUSED]),
    "one key lost": (lost_key, [installed(1), installed(2)]),
    "endless data": (endless_data, [REFUSED]),
}


@pytest.mark.parametrize("name", BOTH)
def test_ours_and_python_tuf_say_the_same(name: str) -> None:
    scenario, wanted = BOTH[name]
    assert scenario(Theirs()) == wanted
    assert scenario(Ours()) == wanted


# -- rows where ours is stricter


def test_a_split_view_is_noticed_by_a_higher_word() -> None:
    """One victim is shown an older world; the first peer who is not in league tells of the newer one."""
    world = Ours()
    world.publish(1)
    world.publish(2)
    world.show_old(1)
    assert world.look() == installed(1)  # nothing here proves that there is more
    world._hear(world.said["now 2"])  # a round of gossip
    assert world.look() == REFUSED
    world._hear(world.said["release 2"])
    assert world.look() == installed(2)


def test_a_flipped_bit_is_refused_at_its_leaf_and_not_after_all_octets() -> None:
    data = bytes(range(256)) * 1_024
    hashes = [leaf_hash(data[at : at + LEAF]) for at in range(0, len(data), LEAF)]
    told = read_layer(b"".join(hashes), len(data), root_of(hashes))
    flipped = bytearray(data)
    flipped[3 * LEAF + 77] ^= 1
    wrong = [n for n in range(len(hashes)) if leaf_hash(bytes(flipped[n * LEAF : (n + 1) * LEAF])) != told[n]]
    assert wrong == [3]


def test_stolen_online_keys_alone_bring_nothing_in() -> None:
    world = Ours()
    world.publish(1)
    forged = world.app.release(2, signers=[Signer.from_seed(bytes(32)), *channel_keys(1, "thief")])
    world._hear(forged, world.app.now(forged))
    assert world.look() == REFUSED
    assert world.floor is not None and world.floor.revision == 0
