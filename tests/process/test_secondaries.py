"""A node that gives its zones to secondaries: transfers under a key, notice of a change, as configured in overlay.toml."""

from __future__ import annotations

import socket

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone
import pytest

from tests.process.machines import CONFIG, SOON, Machine, Village

SECRET = "c2Vjb25kYXJ5LXNlY3JldC1vZi0zMi1vY3RldHMhISE="
KEY = dns.tsig.Key("secondary1.", SECRET, "hmac-sha256")
PORT = 5353
KEYS = """\
[dns]
keys = ["hmac-sha256:secondary1:{secret}"]
transfer = ["secondary1"]
notify = ["cloud. {{address}}:{port} secondary1"]
"""


@pytest.fixture
def secondary(village: Village) -> socket.socket:
    """Where the secondary would listen; the address is the node's own."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(SOON)
    return sock


def notice(sock: socket.socket) -> dns.message.Message:
    """The next NOTIFY, answered as a secondary would."""
    data, source = sock.recvfrom(4_096)
    message = dns.message.from_wire(data, keyring={KEY.name: KEY})
    sock.sendto(dns.message.make_response(message).to_wire(), source)
    return message


def transferred(machine: Machine, key: dns.tsig.Key | None = KEY) -> dns.zone.Zone:
    zone = dns.zone.Zone("cloud.")
    query, _ = dns.xfr.make_query(zone, keyring=key)
    dns.query.inbound_xfr(machine.address, zone, query, port=PORT, timeout=SOON)
    return zone


def test_a_secondary_with_the_key_takes_the_zone_and_hears_of_changes(village: Village, secondary: socket.socket) -> None:
    with secondary:
        machine = village.machine()
        own = CONFIG.replace('dns = "off"', f'dns = ["{{address}}:{PORT}"]')
        keys = KEYS.format(secret=SECRET, port=secondary.getsockname()[1]).replace("{address}", "127.0.0.1")
        machine.configure(own + keys)
        machine.done("init", "cloud.example.net", "--admission", "open", "--name", "founder", "--cluster", "hq", "--address", machine.address)
        machine.up()
        first = notice(secondary)
        assert first.opcode() == dns.opcode.NOTIFY and first.question[0].name.to_text() == "cloud." and first.had_tsig
        before = transferred(machine)
        assert dns.rdatatype.RRSIG in {rdataset.rdtype for node in before.nodes.values() for rdataset in node}, "signed, as validators want it"
        with pytest.raises(dns.xfr.TransferError):
            transferred(machine, None)
        machine.done("name", "set", "web.cloud", "TXT", "hello")
        while True:  # a change or two of the node's own may come before
            notice(secondary)
            after = transferred(machine)
            if after.get_node("web") is not None:
                break
        assert after.get_soa().serial > before.get_soa().serial
