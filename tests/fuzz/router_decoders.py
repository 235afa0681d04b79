"""What routers say of mapped ports: PCP, NAT-PMP, SSDP, descriptions and replies of UPnP; and a walk through the port mapper."""

from __future__ import annotations

from random import Random

from overlay import limits
from overlay.errors import Malformed
from overlay.nat import markup, natpmp, pcp, stun, upnp
from overlay.nat.outputs import Fetch, Mapped, SendTo
from overlay.nat.portmap import PortMaps
from overlay.wire.address import Address
from tests.fuzz.hunt import Decoder
from tests.fuzz.mutate import Mutator
from tests.nat.gateway import ROUTER, Router
from tests.nat.test_upnp import IP1, URL, description, fault, found, reply

OWN = "192.168.1.2"
PCP_SEEDS = (
    bytes((2, 0x80, 0, 0)) + bytes(20), bytes((2, 0x80, 0, 4)) + bytes(20),
    bytes((2, 0x81, 0, 0)) + bytes(32) + b"\x11\0\0\0\x1d\xe5\x1d\xe5" + bytes(10) + b"\xff\xff\xcb\x00\x71\x07",
    bytes((2, 0x81, 0, 8)) + bytes(32) + b"\x06\0\0\0\x1d\xe5\0\0" + bytes(16),
)  # fmt: skip
NATPMP_SEEDS = tuple(
    bytes.fromhex(text)
    for text in ("0080000000000009cb007107", "00810000000000091de59c4000001c20", "00820002000000091de5000000000000", "0080000100000009")
)
XML_WORDS = (
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"&amp;", b"&#x41;", b"&#0;", b"&lol;", b"<a>", b"</a>", b"<?",
    b"?>", b'"', b" x='", b"<service>", b"</service>", b"<controlURL>", b"</controlURL>", b"<URLBase>", b"http://192.168.1.1/",
    b"http://127.0.0.1/", b"<errorCode>",
)  # fmt: skip
DESCRIPTION = description((IP1, "/ctl"), (upnp.SERVICES[2], f"http://{ROUTER}/ppp"), base=f"<URLBase>http://{ROUTER}:49152/</URLBase>")
REPLIES = (reply("X", NewExternalIPAddress="203.0.113.7", NewInternalPort="7653"), fault(718), reply("X"))


def _leaves(data: bytes) -> None:
    found = markup.leaves(data)
    assert len(found) <= limits.PORTMAP_ELEMENTS and sum(len(leaf.text) for leaf in found) <= len(data)


def _found(data: bytes) -> None:
    assert upnp.read_found(data, ROUTER).startswith(f"http://{ROUTER}:")


def _description(data: bytes) -> None:
    for service in upnp.read_description(data, URL, ROUTER):
        assert service.url.startswith(f"http://{ROUTER}:") and "\n" not in service.url and service.kind in upnp.SERVICES


def _reply(data: bytes) -> None:
    upnp.read_reply(200, data, "X").number("NewInternalPort")


def _nearly(mutator: Mutator, data: bytes) -> bytes:
    mutator.pool = [data]
    return mutator.next()


def _walk(data: bytes) -> None:
    """Half of what is heard is nearly right; in the end an honest router maps the port, and little was sent."""
    dice = Random(data)
    datagrams, bodies = Mutator(dice, (), longest=1_200), Mutator(dice, (), words=XML_WORDS, text=True)
    router, now, sent = Router(), 0.0, 0
    machine = PortMaps(dice.randbytes, now, secret=b"s")
    machine.router(ROUTER, OWN, now)
    machine.want(7653, "udp", now)
    mapped = False
    for step in range(160):
        honest = step > 80
        if step == 80:
            router.reboot(now)
            mapped = False
        outputs = machine.take()
        sent += sum(isinstance(out, SendTo | Fetch) for out in outputs)
        for out in outputs:
            mapped = mapped or step >= 80 and isinstance(out, Mapped)
            if isinstance(out, SendTo):
                for source, answer in router.datagram(OWN, out.data, out.address, now):
                    machine.receive(source, answer if honest or dice.random() < 0.5 else _nearly(datagrams, answer), now)
            elif isinstance(out, Fetch):
                status, body = router.http(OWN, out, now)
                machine.http_done(out.ticket, status, body if honest or dice.random() < 0.5 else _nearly(bodies, body), now)
        if not honest and dice.random() < 0.2:
            machine.announced(Address(ROUTER, 5351), now)
        wake = machine.wake_at()
        assert wake is not None, "it waits for nothing"
        now = max(now + 0.001, wake)
        machine.wake(now)
    assert mapped and sent < 800


DECODERS = (
    Decoder(name="pcp", run=lambda data: pcp.read(data), errors=(Malformed,), seeds=PCP_SEEDS, longest=1_200),
    Decoder(name="nat-pmp", run=lambda data: natpmp.read(data), errors=(Malformed,), seeds=NATPMP_SEEDS, longest=64),
    Decoder(name="ssdp", run=_found, errors=(Malformed,), seeds=(found(URL),), words=(b"Location:", b"http://", b"@"), text=True),
    Decoder(name="markup", run=_leaves, errors=(Malformed,), seeds=(DESCRIPTION, *REPLIES), words=XML_WORDS, text=True),
    Decoder(name="upnp-description", run=_description, errors=(Malformed,), seeds=(DESCRIPTION,), words=XML_WORDS, text=True),
    Decoder(name="upnp-reply", run=_reply, errors=(Malformed,), seeds=(REPLIES[0],), words=XML_WORDS, text=True),
    Decoder(
        name="stun", run=lambda data: stun.answer(data, Address("203.0.113.7", 40_000)), errors=(Malformed,),
        words=(b"\x21\x12\xa4\x42", b"\x80\x28\0\4"),
        seeds=(bytes.fromhex("000100002112a442") + bytes(12), bytes.fromhex("000100082112a442") + bytes(12) + bytes.fromhex("00060004") + b"user"),
    ),
    Decoder(name="walk-portmap", run=_walk, errors=(), seeds=(), walk=True),
)
