"""Commands that ask the node to say something: services, plain names, invitations. The node judges names and rights.

What only this machine's person can know to be wrong (a missing --port, an unknown health check) is refused here.
"""

from __future__ import annotations

from typing import Any

from overlay.cli.client import ask, put, put_json, say
from overlay.cli.grammar import Call
from overlay.cli.layout import shown, table, tree
from overlay.errors import UsageError


def invite(call: Call) -> None:
    """``overlay invite [PATH]``: the token alone on stdout."""
    values = call.values
    args = {"path": values["path"], "uses": values["uses"], "expires_s": int(values["expires"]), "shadow": values["shadow"] or None}
    found = ask(call, "invite", _given(args))
    warn(found)
    if call.json:
        put_json(found)
        return
    put(shown(found.get("token")))
    say(f"lets {shown(found.get('uses'))} into {shown(found.get('path') or 'any cluster')}: overlay join --invite TOKEN")


def service_add(call: Call) -> None:
    """``overlay service add NAME --port N``."""
    values = call.values
    if values["port"] is None:
        raise UsageError("`overlay service add` wants --port", "say on which port the service listens: --port N", rule="option-missing")
    health = values["health"] or "none"
    if health not in ("tcp", "none") and not health.startswith(("http://", "cmd:")):
        raise UsageError(f"{health[:60]!r} is no health check", "write tcp, http://HOST:PORT/PATH, cmd:COMMAND or none", rule="health")
    if health == "tcp" and values["proto"] == "udp":
        raise UsageError("a UDP service cannot be checked by connecting to it", "write --health cmd:COMMAND or none", rule="health")
    args = {key: values[key] for key in ("name", "port", "proto", "address", "weight", "shadow")}
    _done(call, ask(call, "service.add", _given({**args, "health": health})), f"carrying {values['name']}")


def service_list(call: Call) -> None:
    """``overlay service list``."""
    found = ask(call, "service.list", {})
    heads = ("name", "port", "proto", "address", "health", "weight", "node", "healthy")
    _list(call, found, heads, "no services")


def service_remove(call: Call) -> None:
    """``overlay service remove NAME``."""
    _done(call, ask(call, "service.remove", {"name": call.values["name"]}), f"no longer carrying {call.values['name']}")


def name_set(call: Call) -> None:
    """``overlay name set NAME TYPE VALUE...``."""
    values = call.values
    if not values["value"]:
        raise UsageError("`overlay name set` wants VALUE", "give the data of at least one record", rule="argument-missing")
    ttl = None if values["ttl"] is None else int(values["ttl"])
    args = {"name": values["name"], "type": values["type"].upper(), "values": list(values["value"]), "ttl": ttl, "shadow": values["shadow"]}
    _done(call, ask(call, "name.set", _given(args)), f"set {values['name']} {values['type'].upper()}")


def name_remove(call: Call) -> None:
    """``overlay name remove NAME [TYPE]``."""
    name, rtype = call.values["name"], call.values["type"].upper() if call.values["type"] else None
    _done(call, ask(call, "name.remove", _given({"name": name, "type": rtype})), f"removed {name} {rtype or ''}".rstrip())


def name_list(call: Call) -> None:
    """``overlay name list [PATH]``."""
    found = ask(call, "name.list", _given({"path": call.values["path"]}))
    _list(call, found, ("name", "type", "ttl", "values", "signer", "expires"), "no plain data")


def name_tree(call: Call) -> None:
    """``overlay name tree``."""
    found = ask(call, "name.tree", {})
    if call.json:
        put_json(found)
    else:
        put(tree(found))


def _given(args: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in args.items() if value is not None}


def warn(found: Any) -> None:
    """What the node warns of, where it did it all the same."""
    if isinstance(found, dict) and found.get("warning"):
        say(f"warning: {shown(found['warning'])}")


def _done(call: Call, found: Any, told: str) -> None:
    warn(found)
    if call.json:
        put_json(found)
    else:
        say(told)


def _list(call: Call, found: Any, heads: tuple[str, ...], none: str) -> None:
    if call.json:
        put_json(found)
    elif found:
        put(table([[row.get(head) for head in heads] for row in found], heads))
    else:
        say(none)
