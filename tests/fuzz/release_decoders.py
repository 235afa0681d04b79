"""Decoders of releases: what mates say on a stream, hashes of leaves, hints, rows of the store, drafts and keys that a person brings."""

from __future__ import annotations

from random import Random

from overlay.cli.release_client import judged
from overlay.errors import Malformed, TrustError, UsageError
from overlay.identity.keys import DIGEST
from overlay.release import hint, speech
from overlay.release.draft import ReleaseDraft, read_release_key, release_draft, release_key_file
from overlay.release.gate import Floor
from overlay.release.hint import Hint
from overlay.release.merkle import LEAF, layer, leaf_hash, read_layer, root_of
from overlay.release.subscription import ACTIVE, Outcome, Subscription, Subscriptions
from overlay.release.swarm import Swarm
from overlay.wire.address import Address
from overlay.wire.codec import decode, encode, octet_list
from tests.fuzz.hunt import Decoder
from tests.records import actors, publishing
from tests.records.actors import AT, seed

LENGTH = 9 * LEAF + 5  # three pieces
HASHES = [leaf_hash(bytes([number])) for number in range(10)]
SAID = (
    speech.bits([0, 2], 3), speech.have([1, 2]), speech.want(2), speech.gives(1, 1, b"x" * 100), speech.no(2, [bytes(32)]), speech.ask_layer(),
    speech.tell_layer(layer(HASHES)),
)
OVERLAY = actors.found()
CHANNEL = publishing.open_channel(OVERLAY)
RELEASE = CHANNEL.release(1)
NOW = CHANNEL.now(RELEASE)
ME = actors.actor("hint")
TRAILER = Hint(
    overlay_id=OVERLAY.overlay_id, zone="cloud.example.org", tld="cloud", addresses=(Address("192.0.2.1", 7653), Address("2001:db8::1", 7653)),
    exchange=ME.identity.exchange_public, node_id=ME.node_id, expires=AT + 100, root=seed("root"),
).trailer(ME.signer)
DRAFT = release_draft(OVERLAY.overlay_id, RELEASE.content, [(1, [CHANNEL.keys[0].public])])
SIGNED = release_draft(OVERLAY.overlay_id, RELEASE.content, [(1, [CHANNEL.keys[0].public])])
SIGNED.sign(CHANNEL.keys)
ROWS = (
    (b"sub:app", Subscription(channel="app", activate="true").row()), (b"floor:app", Floor(channel=CHANNEL.record.raw, revision=1).row()),
    (b"last:app", Outcome(revision=1, content=bytes(DIGEST), state=ACTIVE).row()),
    (b"starts:app", encode([AT - 50, AT - 20, AT])), (b"bad:app:x", Outcome(revision=1, content=bytes(32), state=ACTIVE).row()),
)


def _speech(data: bytes) -> None:
    """Whatever a mate says, in whatever pieces, the scheduler takes it or says why not."""
    dice = Random(data)
    hearing, swarm = speech.Hearing(LENGTH), Swarm[str](3, (), dice.randbytes)
    swarm.joined("mate", near=False)
    at = 0
    while at < len(data):
        size = dice.choice((1, 7, len(data)))
        for said in hearing.hear(data[at : at + size]):
            if said.what in (speech.Say.BITS, speech.Say.HAVE):
                swarm.has("mate", said.numbers)
            elif said.what is speech.Say.WANT:
                swarm.give("mate", said.numbers[0], 0.0)
            elif said.what is speech.Say.PIECE:
                swarm.came("mate", said.numbers[1], said.numbers[0])
        at += size
    assert all(ask.piece < 3 for ask in swarm.to_ask(0.0))


def _hint(data: bytes) -> None:
    assert hint.read(data, AT).trailer(ME.signer)[-8:] == hint.MAGIC


def _row(data: bytes) -> None:
    """Key and row: whatever the disk kept, what can be read is."""
    key, _, row = data.partition(b"|")
    kept = Subscriptions({key: row})
    assert kept.damaged + len(kept.channels) >= 1


def _draft(data: bytes) -> None:
    draft = ReleaseDraft.read(data.decode("utf-8", "surrogateescape"), "draft")
    assert ReleaseDraft.read(draft.text(), "draft").text() == draft.text() and "\n" not in draft.describe()


def _key(data: bytes) -> None:
    read_release_key(data.decode("utf-8", "surrogateescape"), "key")


def _record(data: bytes) -> None:
    """What a server says are the signed records of a release."""
    judged(octet_list(decode(data), 64), OVERLAY.overlay_id, "app", AT)


DECODERS = (
    Decoder(name="mates", run=_speech, errors=(Malformed,), seeds=(*SAID, b"".join(SAID)), words=(b"\x03\x00\x00\x00\x04", bytes(4)), longest=8_192),
    Decoder(
        name="stream-head", run=lambda data: speech.read_head(decode(data)), errors=(Malformed,), packed=True,
        seeds=(encode(speech.head("app", 7, bytes(32))), encode({1: "app"}), encode([])),
    ),
    Decoder(
        name="layer", run=lambda data: read_layer(data, LENGTH, root_of(HASHES)), errors=(Malformed,), seeds=(layer(HASHES), layer(HASHES[1:])),
    ),
    Decoder(name="hint", run=_hint, errors=(Malformed,), seeds=(TRAILER, TRAILER[:-8], hint.MAGIC), words=(hint.MAGIC, b"PK\x05\x06")),
    Decoder(
        name="subscription-row", run=_row, errors=(), seeds=tuple(key + b"|" + row for key, row in ROWS), words=(b"sub:app|", b"floor:app|", b"\x94"),
    ),
    Decoder(
        name="release-draft", run=_draft, errors=(UsageError,), text=True, seeds=(DRAFT.text().encode(), SIGNED.text().encode()),
        words=(b"of 1 ", b"by ", b"overlay release draft 1\n"),
    ),
    Decoder(
        name="release-key", run=_key, errors=(UsageError, TrustError), text=True, words=(b"clear ", b"sealed "),
        seeds=(release_key_file("app", bytes(32), "", bytes(16)).encode(), b"overlay release key 1\napp\nclear AAAA\n"),
    ),
    Decoder(
        name="release-records", run=_record, errors=(Malformed, TrustError), packed=True,
        seeds=(
            encode([r.raw for r in (RELEASE, NOW, CHANNEL.record, *OVERLAY.founder.grants, OVERLAY.root)]), encode([RELEASE.raw, OVERLAY.root.raw]),
        ),
    ),
)
