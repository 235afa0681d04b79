"""What a newcomer asks and what it is told: the bodies of the calls ENROL and REDEEM, and their proofs (DESIGN 3.3).

A request is signed by the newcomer's own signing key over the session's hash, so it cannot be carried to another
session; with an invite the token's seed signs the same, so the secret never leaves the newcomer. The answer is a list:
a status, then the grants, the name grant first, with their chains.

    call     {1: request, 2: signature over "overlay enrol 1" 00 session's hash, request, 3: the seed's, over "overlay redeem 1" 00 ...}
    request  {1: label, 2: cluster, 3: node id, 4: exact, 5: invite's public key, 6: shadow}
    status   {1: code, 2: what, 3: todo, 4: [[exchange key, [address ...]] ...]}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from overlay.errors import Malformed, UsageError
from overlay.identity.keys import KEY, SIGNATURE, Identity, Signer, verify
from overlay.name import Path, parse_path
from overlay.records.record import Record, parse
from overlay.records.trust import Verifier
from overlay.wire.address import Address, unpack_address
from overlay.wire.codec import Fields, Value, decode, encode, ordered

_ENROL = b"overlay enrol 1\x00"
_REDEEM = b"overlay redeem 1\x00"

GRANTED = "granted"
TAKEN = "taken"
ELSEWHERE = "elsewhere"
LATER = "later"  # the answer is not known yet: ask again in a moment
REFUSED = "refused"
ASKING = "asking"  # the public DNS is being asked: never sent, the answer follows
WAITING = "waiting"  # a person has to say yes; what it says is the code to show
HOST = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 952 as RFC 1123 2.1 widened it


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A name is wanted: ``label`` below ``cluster``. ``exact``: the person chose the label, do not give another."""

    label: str
    cluster: Path | None  # None: the invite's, or a new one named after the node
    node_id: bytes
    exact: bool = False
    shadow: bool = False
    seed: bytes = b""  # the invite's public key

    def core(self) -> bytes:
        """What is signed, beside the session's hash."""
        return encode(ordered({
            1: self.label, 2: None if self.cluster is None else str(self.cluster), 3: self.node_id, 4: self.exact or None, 5: self.seed or None,
            6: self.shadow or None,
        }))

    def body(self, identity: Identity, session_hash: bytes, seed: Signer | None) -> dict[int, Value]:
        """The body of the call, with its proofs."""
        core = self.core()
        return ordered({
            1: core, 2: identity.signer.sign(_ENROL + session_hash + core), 3: seed.sign(_REDEEM + session_hash + core) if seed else None,
        })


def read_request(body: Value, session_hash: bytes, *, redeem: bool, verifier: Verifier = verify) -> Request:
    """A request from a session -> checked proofs and fields, or ``Malformed``."""
    outer = Fields(body, "enrol")
    core = outer.binary(1, 1, 700)
    fields = Fields(decode(core), "enrol")
    fields.only(frozenset(range(1, 7)))
    node_id, seed = fields.binary(3, KEY, KEY), fields.binary(5, KEY, KEY, default=b"")
    if not verifier(node_id, outer.binary(2, SIGNATURE, SIGNATURE), _ENROL + session_hash + core):
        raise Malformed("enrol: the newcomer's signature does not hold", rule="enrol-proof")
    if redeem and not verifier(seed, outer.binary(3, SIGNATURE, SIGNATURE), _REDEEM + session_hash + core):
        raise Malformed("redeem: the token's signature does not hold", rule="redeem-proof")
    text = fields.text(2, 255, default="\x00")
    label = fields.text(1, 63)
    if not HOST.fullmatch(label):
        raise Malformed("enrol: a node is named like a host: letters, digits and -", rule="record-name")
    try:
        cluster = None if text == "\x00" else parse_path(text)
    except UsageError as why:
        raise Malformed(why.what, rule="record-name") from None
    return Request(
        label=label, cluster=cluster, node_id=node_id, exact=fields.flag(4), seed=seed if redeem else b"", shadow=fields.flag(6),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the registrar says."""

    code: str
    what: str = ""
    todo: str = ""
    elsewhere: tuple[tuple[bytes, tuple[Address, ...]], ...] = ()  # (exchange key, addresses) of those to ask instead
    records: tuple[Record, ...] = ()

    def body(self) -> list[bytes]:
        """The body of the answer."""
        ways = [[key, [a.packed for a in addresses]] for key, addresses in self.elsewhere]
        status = encode(ordered({1: self.code, 2: self.what or None, 3: self.todo or None, 4: ways or None}))
        return [status, *(record.raw for record in self.records)]


def read_reply(body: Value) -> Reply:
    """An answer from a registrar -> Reply, or ``Malformed``."""
    if type(body) is not list or not 1 <= len(body) <= 16 or any(type(item) is not bytes for item in body):
        raise Malformed("an answer to a newcomer is a list of octets", rule="enrol-reply")
    fields = Fields(decode(body[0], limit=4_096), "enrol reply")
    ways = []
    for entry in fields.items(4, 8):
        if type(entry) is not list or len(entry) != 2 or type(entry[0]) is not bytes or len(entry[0]) != KEY or type(entry[1]) is not list:
            raise Malformed("enrol reply: a way is [key, addresses]", rule="enrol-reply")
        ways.append((entry[0], tuple(unpack_address(item) for item in entry[1][:8])))
    return Reply(
        code=fields.text(1, 16), what=fields.text(2, 400, default=""), todo=fields.text(3, 400, default=""), elsewhere=tuple(ways),
        records=tuple(parse(raw) for raw in body[1:]),
    )


def records_of(request_grants: Sequence[Record], chains: Sequence[Record]) -> tuple[Record, ...]:
    """Grants and their chains, each once, the grants first."""
    return tuple({record.digest: record for record in (*request_grants, *chains)}.values())
