"""Published vectors: a founding record, a chain, one record of each kind and a passport, from fixed seeds.

They pin the format: a change of one octet here is a wire change, which takes a new protocol version and a line in the
changelog. ``python -m tests.records.test_vectors`` prints the file anew.
"""

from __future__ import annotations

import json
from pathlib import Path as File

from overlay.identity.keys import Identity
from overlay.records import passport
from overlay.records.record import parse
from overlay.records.trust import Trust
from tests.records.actors import AT, found, seed

FILE = File(__file__).parent.parent / "vectors" / "records" / "records.json"


def vectors() -> dict[str, object]:
    """The whole file, computed."""
    overlay = found(keys=3, threshold=2)
    founder, first, member, own_only = overlay.founder, overlay.first, overlay.member, overlay.own_only
    records = {
        "root": overlay.root,
        "grant: registrar, by the root keys": founder.grants[0],
        "grant: founder's cluster": founder.grants[1],
        "grant: founder's name": founder.grants[2],
        "grant: first's name": first.grants[0],
        "grant: first's cluster": first.grants[1],
        "grant: member's name": member.grants[0],
        "grant: member's rights": member.grants[1],
        "grant: own-only's name": own_only.own,
        "grant: member's claim": overlay.claim(member, "eu/home/www"),
        "bind": overlay.binding(member),
        "host": overlay.host(member),
        "cluster": overlay.cluster(first),
        "carry": overlay.carry(member, "eu/home/www"),
        "data": overlay.data(member, "eu/home/member", "TXT", "hello", "world"),
        "data: tombstone": overlay.data(member, "eu/home/member", "TXT"),
        "head": overlay.head(first, "eu/home"),
        "invite": overlay.invite(first, "eu/home"),
        "revoke": overlay.revoke(first, own_only.own),
        "root: version 2": overlay.next_root(keys=overlay.keys[:2], threshold=1, signers=overlay.keys[:2]),
    }
    pages = overlay.passport(member)
    return {
        "about": "overlay records, format 1; in hexadecimal; secrets are SHA-256 of 'actors: <label>'; see tests/records/actors.py",
        "at": AT,
        "overlay_id": overlay.overlay_id.hex(),
        "root_keys": [key.public.hex() for key in overlay.keys],
        "identities": [
            {
                "label": who.label,
                "secret": who.identity.secret.hex(),
                "node_id": who.node_id.hex(),
                "exchange": who.identity.exchange_public.hex(),
            }
            for who in (founder, first, member, own_only)
        ],
        "records": [{"what": what, "digest": record.digest.hex(), "raw": record.raw.hex()} for what, record in records.items()],
        "passport": {
            "of": "member",
            "digest": passport.passport_digest([parse(page) for page in pages]).hex(),
            "pages": [page.hex() for page in pages],
        },
    }


def test_the_format_has_not_drifted() -> None:
    assert json.loads(FILE.read_text()) == vectors()


def test_the_published_bytes_are_judged_good_without_our_own_signer() -> None:
    """From the file alone: what another implementation would do."""
    published = json.loads(FILE.read_text())
    trust = Trust(bytes.fromhex(published["overlay_id"]))
    records = [parse(bytes.fromhex(entry["raw"])) for entry in published["records"]]
    grants = {record.digest: record for record in records if record.kind == "grant"}
    for entry, record in zip(published["records"], records, strict=True):
        assert record.digest.hex() == entry["digest"]
        trust.judge(record, published["at"], grants.get)
        if record.kind == "root":
            trust.adopt_root(record)
    pages = [bytes.fromhex(page) for page in published["passport"]["pages"]]
    member = next(entry for entry in published["identities"] if entry["label"] == "member")
    shown = passport.check(pages, bytes.fromhex(member["exchange"]), published["at"], trust)
    assert (shown.node_id.hex(), shown.digest.hex()) == (member["node_id"], published["passport"]["digest"])


def test_keys_come_from_the_secret_as_published() -> None:
    for entry in json.loads(FILE.read_text())["identities"]:
        identity = Identity.from_secret(seed(entry["label"]))
        assert (identity.secret.hex(), identity.node_id.hex(), identity.exchange_public.hex()) == (
            entry["secret"],
            entry["node_id"],
            entry["exchange"],
        )


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
