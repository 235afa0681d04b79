"""What only the root keys may sign, while it is being signed: drafts that travel between the machines that hold keys.

A draft is the content of one record (the next root version, or a grant by the root keys), whose keys must sign it, and
the signatures gathered so far. Whoever holds a key adds its own; once every threshold is reached the draft is a record.
Pure: files and keys come as values. Whether the record counts is the judge's business (``records/trust.py``, R11, R17).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar, Self

from overlay.errors import Malformed, UsageError
from overlay.identity.keys import DIGEST, KEY, SIGNATURE, Signer, verify
from overlay.name import ROOT
from overlay.records import kinds
from overlay.records.kinds import MAX_ENTRIES, Grant, Root, version_item
from overlay.records.record import DOMAIN, NEVER, Draft, Record, parse
from overlay.records.trust import since
from overlay.units import b64, unb64
from overlay.wire.codec import decode, encode

_KEY_TITLE = "overlay root key 1"
LAST_DATE = 253_402_300_799  # UTC seconds: the end of the year 9999, where calendars end
SHOWN = 16  # characters of a key that a person compares: 96 bits
RENEW_AT = 0.5  # of its life: from then on `overlay root sign` renews what the root keys gave (guess: half a year of warning)


@dataclass(frozen=True, slots=True)
class Ruler:
    """A set of keys of which a threshold must sign."""

    threshold: int
    keys: frozenset[bytes]


@dataclass(slots=True)
class RootDraft:
    """A record on its way to its signatures. What else is signed by several has drafts of its own title and kinds."""

    TITLE: ClassVar[str] = "overlay root draft 1"
    KINDS: ClassVar[tuple[str, ...]] = ("root", "grant")

    overlay_id: bytes
    content: bytes
    rulers: tuple[Ruler, ...]
    sigs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def message(self) -> bytes:
        """What is signed."""
        return DOMAIN + self.overlay_id + self.content

    def sign(self, signers: Iterable[Signer]) -> int:
        """Add the signatures of those that are asked for; how many were new."""
        asked = frozenset[bytes]().union(*(ruler.keys for ruler in self.rulers))
        new = {s.public: s.sign(self.message) for s in signers if s.public in asked and s.public not in self.sigs}
        self.sigs.update(new)
        return len(new)

    def missing(self) -> int:
        """How many signatures are still wanted, at most."""
        return max(ruler.threshold - len(ruler.keys & self.sigs.keys()) for ruler in self.rulers)

    def record(self) -> Record:
        """The record, once nothing is missing."""
        if self.missing() > 0:
            todo = f"overlay {self.TITLE.split()[1]} sign DRAFT --key FILE, where a key is"
            raise UsageError(f"{self.missing()} signature(s) are missing", todo, rule="root-unsigned")
        return parse(encode([self.content, [[key, self.sigs[key]] for key in sorted(self.sigs)]]))

    def text(self) -> str:
        """As a file."""
        rulers = [f"of {ruler.threshold} {' '.join(b64(key) for key in sorted(ruler.keys))}" for ruler in self.rulers]
        sigs = [f"by {b64(key)} {b64(signature)}" for key, signature in sorted(self.sigs.items())]
        return "\n".join([self.TITLE, b64(self.overlay_id), b64(self.content), *rulers, *sigs]) + "\n"

    @classmethod
    def read(cls, text: str, where: str) -> Self:
        """The inverse of :meth:`text`; signatures that do not hold are an error, as is everything else that is odd."""
        try:
            title, overlay_id, content, *rest = text.split("\n")
            if title != cls.TITLE or rest[-1:] != [""]:
                raise ValueError
            draft = cls(unb64(overlay_id, DIGEST), unb64(content), ())
            for line in rest[:-1]:
                word, *parts = line.split(" ")
                if word == "of":
                    ruler = Ruler(int(parts[0]), frozenset(unb64(key, KEY) for key in parts[1:]))
                    draft = replace(draft, rulers=(*draft.rulers, ruler))
                elif word == "by" and len(parts) == 2 and verify(unb64(parts[0], KEY), unb64(parts[1], SIGNATURE), draft.message):
                    draft.sigs[unb64(parts[0], KEY)] = unb64(parts[1], SIGNATURE)
                else:
                    raise ValueError
            said = parse(encode([draft.content, [[bytes(KEY), bytes(SIGNATURE)]]]))
            kinds.read(said)
            if not draft.rulers or any(not 1 <= ruler.threshold <= len(ruler.keys) for ruler in draft.rulers) or said.kind not in cls.KINDS:
                raise ValueError
        except (ValueError, IndexError, UsageError, Malformed):
            what = f"{where} is no draft of `overlay {cls.TITLE.split()[1]}`, or is damaged"
            raise UsageError(what, "copy it again, whole", rule="root-draft") from None
        return draft

    def describe(self) -> str:
        """One line for the person who is about to sign: all that a draft from another machine could have otherwise."""
        header, body = decode(self.content)
        if header[2] == "root":
            keys = ", ".join(b64(key)[:SHOWN] for key in body[4])
            of = f"{body[5]} of {len(body[4])} keys" if len(body[4]) > 1 else "key"
            return f"root version {body[1]}: {of} {keys}, admission {body[6]}, zone {body[2]}, TLD {body[3]}"
        until = datetime.fromtimestamp(min(header[6], LAST_DATE), UTC).date()
        final = ", not to be renewed" if body.get(3) else ""
        return f"grant of {', '.join(body[1])} on {header[1] or 'the root'} to {b64(header[3])} until {until}{final}"


def next_version(
    roots: Sequence[Record], keys: Iterable[bytes], threshold: int, admission: str | None, at: int, entries: Sequence[bytes] = (),
) -> RootDraft:
    """Root version v+1 with these keys: the thresholds of v and of v+1 must sign.

    The first of ``entries`` signs the root zone from then on. The one before stays in reserve, so that whoever pinned it is not
    left alone: anchors change more slowly than keys (RFC 5011).
    """
    newest = kinds.read(roots[-1])
    assert isinstance(newest, Root)
    chosen = (*entries[:1], *newest.entries[:1], *entries[1:])[:MAX_ENTRIES] if entries else newest.entries
    body = Root(
        version=newest.version + 1, zone=newest.zone, tld=newest.tld, keys=tuple(sorted(keys)), threshold=threshold,
        admission=admission or newest.admission, previous=roots[-1].digest, entries=chosen,
    )
    draft = Draft(name=ROOT, kind="root", item=version_item(body.version), seq=body.version, issued=at, expires=NEVER, body=body.body())
    return RootDraft(roots[0].digest, draft.content(), (_ruler(newest), _ruler(body)))


def entrusted(roots: Sequence[Record], subject: bytes, rights: frozenset[str], at: int, life: int) -> RootDraft:
    """A grant over the root to a key, by the root keys: what outlives the node that held it before."""
    newest = kinds.read(roots[-1])
    assert isinstance(newest, Root)
    draft = Draft(
        name=ROOT, kind="grant", item=subject, seq=at * 1000, issued=at, expires=at + life, body=Grant(rights=rights).body(),
    )
    return RootDraft(roots[0].digest, draft.content(), (_ruler(newest),))


def renewal(roots: Sequence[Record], grant: Record, at: int) -> RootDraft:
    """A grant by the root keys once more, with its life anew: a threshold of the newest root keys must sign."""
    newest, first = kinds.read(roots[-1]), kinds.read(grant)
    assert isinstance(newest, Root) and isinstance(first, Grant)
    body = replace(first, since=since(grant)).body()
    draft = Draft(
        name=grant.name, kind="grant", item=grant.item, seq=max(at * 1000, grant.seq + 1), issued=at,
        expires=at + grant.expires - grant.issued, body=body,
    )
    return RootDraft(roots[0].digest, draft.content(), (_ruler(newest),))


def due(grant: Record, at: float) -> bool:
    """Whether a grant by the root keys wants to be renewed."""
    return at >= grant.issued + (grant.expires - grant.issued) * RENEW_AT


def _ruler(root: Root) -> Ruler:
    return Ruler(root.threshold, frozenset(root.keys))


def entry_keys(seeds: Sequence[bytes]) -> list[Signer]:
    """The key-signing keys of the root zone that belong to these root keys: one in use, one in reserve, at another key where there is one."""
    return [entry_key(seeds[0], 1), entry_key(seeds[1] if len(seeds) > 1 else seeds[0], 2)]


def entry_key(seed: bytes, number: int) -> Signer:
    """A key-signing key of the root zone, derived from a root key: whoever holds the one has the other."""
    return Signer.from_seed(hashlib.blake2s(b"overlay root zone entry %d" % number, key=seed).digest())


def held_entries(texts: Mapping[str, str], overlay_id: bytes, wanted: Collection[bytes]) -> list[Signer]:
    """Those of the ``wanted`` keys (public halves) that the root keys in these files (name -> text) give."""
    found = []
    for where, text in texts.items():
        try:
            their_overlay, seed = read_seed(text, where)
        except UsageError:
            continue
        keys = [entry_key(seed, number) for number in (1, 2)] if their_overlay == overlay_id else []
        found += [key for key in keys if key.public in wanted]
    return found


def key_file(overlay_id: bytes, seed: bytes) -> str:
    """The text of a file that holds one root key."""
    return f"{_KEY_TITLE}\n{b64(overlay_id)}\n{b64(seed)}\n"


def read_key(text: str, where: str) -> tuple[bytes, Signer]:
    """A root key's file -> (overlay id, the key); a ``UsageError`` that names the file otherwise."""
    overlay_id, seed = read_seed(text, where)
    return overlay_id, Signer.from_seed(seed)


def read_seed(text: str, where: str) -> tuple[bytes, bytes]:
    """A root key's file -> (overlay id, the secret that all is derived from)."""
    try:
        title, overlay_id, seed = text.splitlines()
        if title != _KEY_TITLE:
            raise ValueError
        return unb64(overlay_id, DIGEST), unb64(seed, KEY)
    except (ValueError, UsageError):
        raise UsageError(f"{where} does not hold a root key", "name a file that `overlay init` or `overlay root` wrote", rule="root-key") from None
