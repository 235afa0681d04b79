"""``docs/wire.md``: what stands on the wire, from the tables and layouts of ``overlay/wire``, ``session``, ``records`` and the bootstrap."""

from __future__ import annotations

import inspect

from bootstrap import domain, invite
from overlay import limits
from overlay.admission import request
from overlay.cluster import beacon
from overlay.driver import tcp
from overlay.records import kinds, record
from overlay.records.kinds import KINDS, UNIONS
from overlay.release import hint, speech
from overlay.session import cookie, handshakes, hello, noise, packet, relation
from overlay.session import machine as sessions
from overlay.wire import messages
from overlay.wire.messages import FRAMES, METHODS, NOTES, RESERVED, Packet
from tools.docs.kinds import fields_of
from tools.docs.markdown import duration, head, layout, number, prose, table

INTRODUCTION = """
What two nodes say to each other, and what they sign. Structured values are MessagePack in one spelling alone: integer map keys
ascending, shortest forms, no floats, no extensions, at most six levels deep (`overlay/wire/codec.py`); any other spelling is
refused. Octets are named in hexadecimal, lengths in octets behind a colon.
"""

RECORDS = """
A record's octets are kept, hashed and passed on exactly as they came. Its digest is BLAKE2s-256 over the content; its identity is
name, kind, item and signer; of two with one identity the higher `seq` counts, then the lower digest.

"""

# What no single right entitles to, by the rules of docs/rights.md.
ENTITLED = {
    "root": "a threshold of root keys (R17)", "grant": "R04 to R15, R21", "revoke": "R16", "bind": "nothing: its key signs (R19)",
    "release": "a threshold of its channel (R23)", "halt": "one key of its channel; a threshold to lift it (R23)",
}


def page() -> str:
    """The whole page."""
    return "".join([
        head("The wire", "`overlay/wire`", "`overlay/session`", "`overlay/records`", "`bootstrap`"), INTRODUCTION,
        "\n## Versions\n\n", table(("what", "version"), _versions()),
        "\n## Datagrams\n\n", layout(packet),
        f"\nAn initiation has exactly {number(limits.DATAGRAM)} octets, everything else at most as many. Over TCP the same datagrams stand\n"
        "behind a length:\n\n", layout(tcp),
        "\n## Handshake\n\n", f"`{noise.PROTOCOL_NAME.decode()}`, prologue `{messages.PROTOCOL}` and the overlay's id.\n\n", layout(noise),
        "\nIts payloads:\n\n", layout(hello),
        "\n", table(("number", "value"), _numbers()),
        "\n## Frames\n\nA sealed packet carries a list of frames.\n\n",
        table(("frame", "form", "says"), ((f.name.lower(), f"`{rule.form}`", rule.says) for f, rule in FRAMES.items())),
        table(("message", "kind", "body", "says"), ((n.name.lower(), n.value, rule.body, rule.says) for n, rule in NOTES.items())),
        "\n## Methods\n\n*keyed*: both ends hold the keys that they showed. *admitted*: both passports are checked. *early*: may ride in the\n"
        "first message of the handshake.\n\n",
        table(("number", "method", "grade", "asks", "gets", "says"), _methods()),
        "\nENROL and REDEEM:\n\n", layout(request),
        "\n## Records\n", RECORDS, layout(record), "\n",
        table(("kind", "lives at most", "needs one of", "item", "octets", "several signers"), map(_kind, KINDS)), *map(_fields, KINDS),
        f"\n## Releases between nodes\n\nStreams of kind {speech.KIND}; the head names the release: `{{1 channel, 2 revision, 3 root}}`.\n\n",
        layout(speech),
        "\nBehind a release, as a hint:\n\n", layout(hint),
        "\n## Tokens\n\nBase64url of three parts; ways in and redeemers may be absent.\n\n", layout(invite),
        "\n## DNS texts\n\n", layout(domain), "\n", prose(inspect.cleandoc(domain.__doc__ or "").split("\n\n")[-1]), "\n",
        "\n## Kept for later\n\n", table(("where", "what", "why"), ((one.where, one.what, one.why) for one in RESERVED)),
    ])  # fmt: skip


def _versions() -> list[tuple[str, str]]:
    return [
        ("protocol (in the handshake's prologue)", f"`{messages.PROTOCOL}`"),
        ("messages of the handshake", f"{messages.VERSION_LOWEST} to {messages.VERSION_HIGHEST}; the highest common one is used"),
        ("records (in what is signed)", f"`{record.DOMAIN.rstrip(bytes(1)).decode()}`"),
        ("invite tokens (first octet)", str(invite.VERSION)),
        ("DNS texts", f"`v={domain.VERSION}`"),
    ]


def _numbers() -> list[tuple[str, str]]:
    return [
        ("room in message 1, in message 2", f"{number(packet.PAYLOAD_1)} and {number(packet.PAYLOAD_2)} octets"),
        ("a sealed packet adds", f"{packet.SEALED.size + packet.TAG} octets"),
        ("replay window", f"{number(limits.REPLAY_WINDOW)} packets"),
        ("a cookie is wanted above", f"{limits.HANDSHAKES_LOADED} initiations a second; its secret lives {duration(cookie.COOKIE_LIFE)}"),
        ("a responder waits for the first sealed packet", duration(handshakes.UNCONFIRMED)),
        ("an initiation is repeated after", f"{handshakes.RETRY:g} s, doubling to {handshakes.LAST_RETRY:g} s, for {handshakes.GIVE_UP:g} s"),
        ("TCP is raced after", f"{handshakes.TCP_AFTER:g} s"),
        ("keepalive after; dead after, unanswered", f"{relation.KEEPALIVE:g} s; {relation.SILENT:g} s"),
        ("new keys after", f"{duration(sessions.REKEY_AFTER)} or {number(sessions.REKEY_PACKETS)} packets"),
        ("a beacon", f"{beacon.LENGTH} octets, to `{beacon.GROUP_4}`, `{beacon.GROUP_6}` and `{beacon.BROADCAST}`; by unicast to a node's own port"),
        ("packet types", ", ".join(f"{one.value} {one.name.lower()}" for one in Packet)),
    ]


def _methods() -> list[tuple[object, ...]]:
    return [
        (method.value, f"`{method.name}`", f"{rule.grade.name.lower()}{', early' * rule.early}", f"`{rule.asks}`", f"`{rule.gets}`", rule.says)
        for method, rule in METHODS.items()
    ]


def _kind(name: str) -> tuple[str, ...]:
    kind = KINDS[name]
    low, high = kind.item
    needs = ", ".join(f"`{right}`" for right in sorted(kind.needs)) or ENTITLED[name]
    item = "none" if not high else f"{low} octets" if low == high else f"{low} to {high} octets"
    return (
        f"`{name}`", duration(kind.life) if kind.life else "never ends", needs, item, number(kind.limit),
        "stand beside each other" if name in UNIONS else "may sign one record together" if kind.threshold else "each its own",
    )


def _fields(name: str) -> str:
    body = inspect.signature(KINDS[name].read).return_annotation
    found = fields_of(getattr(kinds, body))
    said = prose(inspect.cleandoc(getattr(kinds, body).__doc__ or ""))
    return f"\n### {name}\n\n{said}\n" + ("\n" + table(("field", "name", "holds"), found) if found else "")
