"""Every event of the node's log: its level, its fields, what it says and what to do (``docs/log.md`` is made from this table).

The code that writes an event names it with exactly these fields; ``tests/house/test_log_events.py`` compares both. So a
line can be read by a program: time, level, event, then ``field=value``, in any order. Only text: it refuses to know when
something is worth a line.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Event(NamedTuple):
    """One event. ``fields``: name -> what stands there; ``todo``: what a person does, of warnings and errors alone."""

    level: str
    fields: dict[str, str]
    meaning: str
    todo: str = ""


_NAME: Final = "the node's name, without the TLD"

EVENTS: Final[dict[str, Event]] = {
    "started": Event("info", {"incarnation": "how often this node has started"}, "the run begins"),
    "stopped": Event("info", {}, "the run ends as it was asked to; a run without this line was killed, or crashed"),
    "member": Event(
        "info", {"name": _NAME + ", or its id", "life": "`alive`, `dead` (silent, and nobody hears it), `left`"},
        "a member of this cluster came or went",
    ),
    "role": Event(
        "info", {"role": "`gateway`, `standby`, `member`", "gateway": "the name of the gateway, or its id", "term": "the number of its term"},
        "who speaks for the cluster changed, or what this node is in it",
    ),
    "port-mapped": Event(
        "info", {"proto": "`udp` or `tcp`", "port": "ours", "at": "the router's address and port", "by": "`pcp`, `nat-pmp` or `upnp`"},
        "the router says that it passes on what arrives there",
    ),
    "port-unmapped": Event(
        "info", {"proto": "`udp` or `tcp`", "port": "ours", "reason": "see `overlay/nat/outputs.py`"}, "a mapping ended, or was refused",
    ),
    "peer": Event("info", {"name": _NAME, "way": "its address", "proto": "`udp` or `tcp`"}, "a session with a node of the overlay was admitted"),
    "peer-gone": Event(
        "info", {"name": _NAME, "reason": "`leaving`, `silent`, `restarted`, `connection-closed`, `sessions-full`, or what the peer said"},
        "an admitted session ended",
    ),
    "newcomer": Event(
        "info", {"outcome": "`granted`, or the code of the refusal", "label": "the name asked for", "what": "the refusal in words"},
        "somebody asked for a name here",
    ),
    "name-renewed": Event("info", {"name": _NAME, "until": "UTC seconds"}, "the grant of this node's name was renewed"),
    "flight": Event(
        "info", {"file": "the recording", "whole": "`True`: it goes back to the start"},
        "the last inputs of this node were written down, as SIGUSR2 asked or because it crashed; `overlay lab replay` plays them",
    ),
    "service-up": Event("info", {"name": "of the service", "proto": "`tcp` or `udp`"}, "a service that this node carries passes its check"),
    "virtual-ip-carried": Event("info", {"address": "`[lan] virtual_ip`"}, "this node leads its cluster and has taken the virtual address"),
    "virtual-ip-dropped": Event("info", {"address": "`[lan] virtual_ip`", "why": "in words"}, "it has the virtual address no more"),
    "operated": Event("info", {"name": "who asked", "channel": "what for, or all"}, "a holder of `operate` had this node look for something newer"),
    "release-published": Event(
        "info", {"channel": "its name", "revision": "its number", "file": "the name of what was put there"}, "a file was published by itself",
    ),
    "release-here": Event("info", {"channel": "its name", "revision": "its number"}, "all octets of a release are here, and proved"),
    "release-active": Event("info", {"channel": "its name", "revision": "its number"}, "the command for a revision has run, and all is well"),
    "mended": Event("info", {"about": "as in `problem`", "what": "what it was"}, "a problem is gone"),
    "peer-rejected": Event(
        "warning", {"reason": "a rule of [rights.md](rights.md), `passport-form`, `no-answer` or `twin`"},
        "a node showed a passport that does not count",
        "one line now and then is a node that lapsed or was revoked; many are somebody who tries: see `overlay peers`",
    ),
    "fallback": Event(
        "warning", {"what": "which listener, who holds its port, what it got instead"}, "a listener is not where the configuration wants it",
        "end what holds the port, let the program bind low ports, or choose another in `overlay.toml`",
    ),
    "service-down": Event(
        "warning", {"name": "of the service", "proto": "`tcp` or `udp`", "check": "as `service add --health` has it"},
        "a service that this node carries has failed its check twice: names no longer lead to it here",
        "mend it; `overlay expand NAME` shows who else carries it",
    ),
    "unsaid": Event(
        "warning", {"kind": "of the record", "name": "of the record", "reason": "the rule that it breaks"},
        "a statement of this node's own that it is not entitled to any more, or that has no room, was left unsaid",
        "`overlay doctor` shows the right that ended; who gave it may give it again",
    ),
    "flight-lost": Event(
        "warning", {"file": "the recording", "reason": "of the system"}, "the last inputs of this node could not be written down",
        "make room, or mend that directory",
    ),
    "virtual-ip-held": Event(
        "warning", {"address": "`[lan] virtual_ip`", "by": "hardware address of who answers for it"},
        "another machine of the LAN has the virtual address: it is not taken, and tried again later",
        "choose a free address, or give that machine another; right after a gateway was lost it passes by itself",
    ),
    "virtual-ip-refused": Event(
        "warning", {"address": "`[lan] virtual_ip`", "why": "in words"}, "the virtual address could not be taken or announced; tried again later",
        "start the node as root (it drops its rights by itself); the address must lie in the network of one of this machine's interfaces",
    ),
    "left-out": Event(
        "warning", {"event": "which", "lines": "how many"}, "in the minute before, an event happened more often than it may fill the log",
        "the counters (`/metrics`) go on; many `newcomer` or `peer-rejected` lines are somebody who tries",
    ),
    "way-in": Event(
        "warning", {"what": "what it leads to"}, "while looking for the others: the bootstrap zone names another overlay than this node's",
        "`overlay doctor` compares both; mend the TXT records, or leave this overlay",
    ),
    "release-failed": Event(
        "error", {"channel": "its name", "revision": "its number", "what": "what went wrong"},
        "the command for a revision failed, or what it started is not well; the revision before stays",
        "mend the command or the release; `overlay upgrade --now` tries once more",
    ),
    "problem": Event(
        "error", {"about": "`disk`: nothing can be stored; `clock`: this machine's is not believed", "what": "the reason in words"},
        "something that a person should mend; also in `overlay status`",
        "`disk`: make room or mend it; names are served on, changes are refused, and what is owed is written then. `clock`: set it",
    ),
    "crash": Event(
        "error", {"what": "the exception", "where": "file and function"}, "a defect of this program ended the node",
        "report it, with what `overlay lab replay` prints of the recording; the recording itself tells who talks to whom: keep it",
    ),
    "own-name-revoked": Event(
        "error", {"name": _NAME}, "somebody above has ended this node's right to its name",
        "ask whoever runs the overlay; to come back, move `identity` and `state.db` aside and join again",
    ),
    "twin": Event(
        "error", {"kind": "of the record that we did not write", "name": "of that record"}, "another machine speaks with this node's identity",
        "stop one of both, move its `identity` and `state.db` aside, and let it join under a name of its own",
    ),
}  # fmt: skip
