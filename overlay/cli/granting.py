"""Commands about rights: admit, grant, grants, revoke. The node judges; here words are passed on and answers shown."""

from __future__ import annotations

import time
from typing import Final

from overlay.cli.asking import warn
from overlay.cli.client import ask, put, put_json, say
from overlay.cli.grammar import Call
from overlay.cli.layout import shown, span, table
from overlay.errors import UsageError

HEADS: Final = ("path", "rights", "to", "expires", "state", "grant")


def admit(call: Call) -> None:
    """``overlay admit CODE|list``."""
    if call.values["code"] == "list":
        found = ask(call, "admit.list", {})
        if call.json:
            put_json(found)
        elif found:
            rows = [[row["code"], row["name"], row["cluster"] or row["name"], row["address"], span(row["since_s"])] for row in found]
            put(table(rows, ("code", "name", "cluster", "address", "waits")))
        else:
            say("nobody waits at this node")
        return
    found = ask(call, "admit", {"code": call.values["code"], "shadow": call.values["shadow"] or None})
    warn(found)
    if call.json:
        put_json(found)
    else:
        say(f"admitted {shown(found.get('name'))}")


def grant(call: Call) -> None:
    """``overlay grant PATH --to KEY|NODE --rights R,...``: the grant's id on stdout."""
    values = call.values
    for option in ("to", "rights"):
        if not values[option]:
            raise UsageError(f"`overlay grant` wants --{option}", "overlay grant PATH --to NODE --rights member,carry", rule="option-missing")
    expires = None if values["expires"] is None else int(values["expires"])
    args = {"path": values["path"], "to": values["to"], "rights": values["rights"], "expires_s": expires, "shadow": values["shadow"] or None}
    found = ask(call, "grant", {key: value for key, value in args.items() if value is not None})
    warn(found)
    if call.json:
        put_json(found)
        return
    put(shown(found.get("grant")))
    say(f"granted {shown(found.get('rights'))} on {shown(found.get('path') or 'the root')} for {_left(found.get('expires'))}")


def grants(call: Call) -> None:
    """``overlay grants [PATH]``."""
    found = ask(call, "grants", {"path": call.values["path"]} if call.values["path"] else {})
    if call.json:
        put_json(found)
    elif found:
        rows = [[row["path"] or "/", row["rights"], row["name"] or row["to"], _left(row["expires"]), row["state"], row["grant"]] for row in found]
        put(table(rows, HEADS))
    else:
        say("no grants there")


def revoke(call: Call) -> None:
    """``overlay revoke GRANT``."""
    found = ask(call, "revoke", {"grant": call.values["grant"]})
    if call.json:
        put_json(found)
    else:
        say("revoked" if found.get("revoked") else "it was revoked already")


def _left(expires: object) -> str:
    if not isinstance(expires, int):
        return "-"
    seconds = expires - time.time()
    return span(seconds) if seconds > 0 else f"{span(-seconds)} ago"
