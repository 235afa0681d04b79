"""A node and those who share a key with it: transfers, notice of a change, dynamic updates, as configured in overlay.toml."""

from __future__ import annotations

import shutil
import socket
import subprocess

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


UPDATES = """\
[dns]
keys = ["acme:{secret}"]
update = ["web.cloud acme", "_acme-challenge.founder.hq.cloud.example.net acme"]
"""


def nsupdate(machine: Machine, *lines: str, key: str = "acme") -> str:
    """What nsupdate says of it: nothing where all is well."""
    script = "\n".join((f"server {machine.address} {PORT}", *lines, "send", ""))
    command = ["nsupdate", "-t", "20", "-y", f"hmac-sha256:{key}:{SECRET}"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=SOON + 20, check=False)
    return done.stderr.strip()


@pytest.mark.skipif(shutil.which("nsupdate") is None, reason="nsupdate is not installed (as root, make test installs it)")
def test_updates_by_nsupdate_become_data_and_go_again(village: Village) -> None:
    machine = village.machine()
    machine.configure(CONFIG.replace('dns = "off"', f'dns = ["{{address}}:{PORT}"]') + UPDATES.format(secret=SECRET))
    machine.done("init", "cloud.example.net", "--admission", "open", "--name", "founder", "--cluster", "hq", "--address", machine.address)
    machine.up()
    challenge = "_acme-challenge.founder.hq.cloud.example.net."
    assert nsupdate(machine, f'update add {challenge} 60 TXT "one"') == ""
    assert nsupdate(machine, f'update add {challenge} 60 TXT "two and a blank"') == ""
    name = "_acme-challenge.founder.hq.cloud"
    assert machine.ask(name, "TXT") == ['"one"', '"two and a blank"'], "at once, in the other tree as well"
    (row,) = machine.done("name", "list", "--json").json
    assert (row["type"], sorted(row["values"]), row["ttl"]) == ("TXT", ["one", "two and a blank"], 60)
    assert nsupdate(machine, f'update delete {challenge} TXT "one"') == ""
    assert machine.ask(name, "TXT") == ['"two and a blank"']
    assert nsupdate(machine, f"update delete {challenge} TXT") == ""
    assert machine.done("name", "list", "--json").json == []

    assert nsupdate(machine, "prereq nxdomain web.cloud", "update add web.cloud 30 A 192.0.2.1", "update add mail.web.cloud 30 MX 10 web.cloud") == ""
    assert (machine.ask("web.cloud"), machine.ask("mail.web.cloud", "MX")) == (["192.0.2.1"], ["10 web.cloud."])
    assert "YXDOMAIN" in nsupdate(machine, "prereq nxdomain web.cloud", "update add web.cloud 30 A 192.0.2.2")
    assert "NXRRSET" in nsupdate(machine, "prereq yxrrset web.cloud TXT", "update add web.cloud 30 A 192.0.2.2")
    assert "REFUSED" in nsupdate(machine, "update add founder.hq.cloud 30 A 192.0.2.2"), "not a name of that key"
    assert "REFUSED" in nsupdate(machine, "update add sub.web.cloud 30 NS ns1.cloud"), "cuts are made by the overlay"
    assert nsupdate(machine, "update add web.cloud 30 A 192.0.2.9", key="nobody"), "an unknown key"
    assert machine.ask("web.cloud") == ["192.0.2.1"]
