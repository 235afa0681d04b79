"""``overlay dns anchor``, ``overlay zone export`` and ``roll``: what validators and other name servers are given (CONTRACT)."""

from __future__ import annotations

from overlay.cli.client import ask, put, put_json, say
from overlay.cli.grammar import Call


def anchor(call: Call) -> None:
    """``overlay dns anchor``: the lines on stdout, what goes with them on stderr."""
    found = ask(call, "dns.anchor", {"dnskey": call.values["dnskey"], "bootstrap": call.values["bootstrap"]})
    if call.json:
        put_json(found)
        return
    for line in found["lines"]:
        put(line)
    if found["policy"] != "exclusive" and not call.values["bootstrap"]:
        say(f'the policy here is {found["policy"]}: a validator with this anchor takes public names below the TLD for forged.')
        say('give it to validators of machines where `[names] policy` is "exclusive", or give others a negative anchor')


def export(call: Call) -> None:
    """``overlay zone export PATH``: a signed master file on stdout."""
    found = ask(call, "zone.export", {"path": call.values["path"], "bootstrap": call.values["bootstrap"]}, timeout=60.0)
    if call.json:
        put_json(found)
    else:
        put(found["text"].rstrip("\n"))


def roll(call: Call) -> None:
    """``overlay zone roll PATH``."""
    found = ask(call, "zone.roll", {"path": call.values["path"]})
    if call.json:
        put_json(found)
    else:
        say(f"{found['zone']} has {found['keys']} key-signing keys now; the new one signs after 5 minutes, the old one is retired 15 minutes later")
