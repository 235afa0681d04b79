"""``GET /metrics``: what this node counts and measures, as Prometheus reads it (text format 0.0.4).

It decides names and labels: a counter ``word`` is the sum over all parts of the program, ``overlay_word_total``, shown from the
start; a counter ``word:reason`` becomes ``overlay_word_total{part="sessions",reason="..."}``. It refuses to count anything itself.
How many series there are is bounded: words, parts and reasons come from the program, never from what others send
(``tests/house/test_counters.py``).
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, NamedTuple

from overlay import __version__
from overlay.driver.http import Request, Response, text
from overlay.node import Node

PATH: Final = "/metrics"
FORM: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"  # what stands for a reason that does not look like one of ours
_WORD: Final = re.compile(r"[a-z][a-z0-9_-]{0,48}")
_REASON: Final = re.compile(r"[A-Za-z0-9_.-]{1,48}")

COUNTED: Final[dict[str, str]] = {
    "beacons_foreign": "beacons of other overlays",
    "beacons_forgotten": "keys and sources of beacons that were forgotten for newer ones",
    "beacons_heard": "beacons of this overlay, and of newcomers, from a LAN of ours",
    "beacons_untold": "last-known neighbours that a round of beacons had no room for",
    "call-failed": "calls to peers that were not answered",
    "calls_held": "calls above a session's grade, kept until it is admitted",
    "calls_queued": "calls that waited for one of a session's places",
    "calls_repeated": "calls of peers that came again",
    "calls_retried": "calls to peers, or pages of answers, asked for again",
    "calls_timed_out": "calls to peers given up",
    "claimed_unasked": "second-level names given although the public DNS could not be asked",
    "contacts_same_network": "contacts left out, being too many of one network",
    "contacts_waiting": "contacts that wait for room in their bucket",
    "control_hung_up": "control clients that went away before their answer",
    "control_refused": "control requests refused",
    "control_requests": "control requests carried out",
    "cookies_sent": "handshakes answered with a cookie, under load",
    "crowded_out": "records of whoever said the most, let go because the book was full",
    "dns_bogus": "answers of the stub held back, because what signs them does not hold",
    "dns_cache_evicted": "answers pushed out of the answer cache",
    "dns_chase_failed": "aliases of public names whose end could not be asked for",
    "dns_fault": "queries answered with an error of form",
    "dns_limited": "answers to strangers over the rate: cut short, or not sent",
    "dns_rates_forgotten": "counts of answers that were forgotten",
    "dns_notifies": "messages that told secondaries of a change",
    "dns_notify_heard": "secondaries that took note of a change",
    "dns_notify_refused": "secondaries that would not take note of a change",
    "dns_notify_unheard": "changes that a secondary was told in vain",
    "dns_refused_world": "queries refused by the stub: not joined, or no proof of absence",
    "dns_tcp": "queries over TCP",
    "dns_tcp_broken": "DNS connections that broke",
    "dns_tcp_idle_closed": "DNS connections closed for saying nothing",
    "dns_tcp_waits": "queries over TCP that waited for those before them",
    "dns_transfers": "zones given to secondaries",
    "dns_tsig_refused": "DNS messages whose TSIG does not hold",
    "dns_truncated": "answers cut to fit a datagram",
    "dns_udp": "queries over UDP",
    "dns_updates": "dynamic updates carried out",
    "dns_updates_refused": "dynamic updates that were not carried out",
    "dns_unfetched": "zones that could not be fetched in time",
    "drop": "what was dropped, by rule or bound",
    "duplicates": "records that came again",
    "enrol": "requests for a name, by outcome",
    "equivocations": "two records of one signer with the same seq",
    "flight_forgotten": "steps that fell out of the flight recorder",
    "flight_unsaid": "inputs that the flight recorder could not write down",
    "guesses": "probes sent to find a way through a NAT by chance",
    "handshakes_unconfirmed": "sessions whose initiator never sent a sealed packet",
    "handshakes_yielded": "handshakes given up for the other end's",
    "http_app_timeouts": "HTTP requests whose answer took too long",
    "http_broken": "HTTP connections that broke",
    "http_idle_closed": "HTTP connections closed for saying nothing",
    "http_requests": "HTTP requests",
    "http_timeouts": "HTTP clients that sent or read too slowly",
    "keepalives_shortened": "times that a way died after a silence, so that NATs are reminded sooner from then on",
    "knocks_waiting": "ways in that waited for their turn",
    "lan_woken": "times that beacons began anew because the machine had slept or its clock was set",
    "lease_claims": "terms that this node took as gateway of its cluster",
    "lease_handed": "planned hand-overs of the gateway's lease that this node began",
    "lease_lapsed": "times that this node found its lease run out: it had stalled",
    "lease_numbers_bounded": "terms with a number too far ahead, counted as the bound",
    "leaves_fetched": "leaves of releases that came from others and were proved",
    "log_cut": "lines of the log that were cut",
    "log_left_out": "lines of events that happened too often in a minute",
    "log_lost": "lines of the log that were lost",
    "log_rotated": "times that the log was turned over",
    "lookup_refused": "resolvers that refused, looking for ways in",
    "lookup_silent": "resolvers that said nothing, looking for ways in",
    "lookup_tcp": "lookups of ways in over TCP",
    "mates_slow": "pieces of releases that a mate owed for too long",
    "members_cut": "answers to who asks for a cluster's members that have another page",
    "members_dead": "members of the cluster that this node found dead: silent, and suspected for long enough",
    "members_late": "times that this node woke late and blamed nobody else for the silence",
    "members_refuted": "times that this node answered what others said of it",
    "members_suspected": "members that this node began to suspect, on its own or on others' word",
    "mirrors_enough": "times that a release was not offered, enough of the cluster doing so",
    "offers": "records named to peers that should have heard of them",
    "owed_full": "times that the disk was owed more than memory may hold",
    "patches_applied": "releases made of the one before and a patch",
    "patches_failed": "patches of releases that could not be had or did not make what was signed",
    "pieces_elsewhere": "questions for pieces of releases that were sent on to others",
    "pieces_given": "pieces of releases given to mates",
    "pieces_taken": "pieces of releases that came from mates and were proved",
    "portmap_crowded": "ports that could not be mapped by UPnP, others holding all that were tried",
    "portmap_deaf": "sockets towards the router, or for its announcements, that could not be had",
    "portmap_reboots": "times that the router had lost mappings",
    "portmap_silent": "questions that the router did not answer, and rounds of them",
    "prefixes_forgotten": "networks whose names of the last hour were forgotten",
    "pushes": "records told to peers",
    "questions_silent": "questions of searches that nobody answered",
    "reconciliations": "comparisons of tables and zones with a peer",
    "reconciliations_slow": "comparisons that took longer than a peer's share of time",
    "reject": "sessions ended because a passport does not count",
    "relay_refused": "datagrams that were to be carried to who is not connected here",
    "relayed": "datagrams carried for others",
    "relayed_ways_forgotten": "far ends behind relays that were forgotten",
    "releases_failed": "revisions whose command failed here",
    "releases_fetched": "releases fetched",
    "releases_run": "revisions whose command ran well here",
    "replies_forgotten": "answers whose pages were let go before they were asked for",
    "revoked": "revocations taken",
    "rrsigs_checked": "signatures of names that were verified",
    "rrsigs_forgotten": "signatures of names that held and are looked at again",
    "searches": "searches for nodes near a key, where the table is shared out",
    "searches_cut": "searches that reached their bound",
    "searches_short": "searches that found fewer nodes than are to keep a zone",
    "sends_kept_back": "datagrams kept back until what they tell of is stored",
    "shelf_unread": "pieces of releases that the disk did not give",
    "skip": "statements left out of zones",
    "sources_banned": "sources of releases that sent what was never signed",
    "store_commits": "commits to disk",
    "store_pressed": "times that reading waited for the disk",
    "stream_acks_forgotten": "spans of packets that were too many to acknowledge",
    "streams_blocked": "writes to streams that were not taken in full",
    "streams_kept_narrow": "sessions whose streams got no more than the first credit, other sessions having it all",
    "stun": "STUN requests answered",
    "swarms_stalled": "fetches from mates that were given up for plain HTTP",
    "tables_spread": "times that the table turned out too large for one node",
    "tcp_accept": "connections that could not be accepted",
    "tcp_closed": "overlay connections over TCP that ended",
    "tcp_http": "connections to the overlay's port that spoke HTTP",
    "tcp_tls": "overlay connections inside TLS",
    "tcp_upgraded": "overlay connections that began as HTTP",
    "throttled_forgotten": "sources whose rate was forgotten",
    "timestamps_forgotten": "keys whose last handshake was forgotten",
    "twins": "signs of a second holder of this identity",
    "udp_drained_full": "wake-ups that left datagrams waiting",
    "udp_receive": "errors on receiving datagrams",
    "unsaid": "statements of this node's own that it may not make any more",
    "upstream_asked": "queries passed on",
    "upstream_failed": "queries passed on that got no answer",
    "upstream_loop": "resolvers left out, being this node itself",
    "upstream_silent": "resolvers that did not answer in time",
    "upstream_unreachable": "resolvers that could not be sent to",
    "verdicts_forgotten": "verdicts of signatures forgotten",
    "waiting_ended": "newcomers whose time to be admitted ran out",
    "watches_begun": "zones of others watched",
    "watches_lapsed": "watches that were not renewed",
    "watches_refused": "watches refused: not a custodian",
    "ways_failed": "ways in that did not lead in",
    "whois_broken": "WHOIS connections that broke",
    "whois_requests": "WHOIS queries answered",
    "whois_timeouts": "WHOIS clients that took too long",
    "zone_entry_keys_made": "key-signing keys of zones made here",
    "zone_entry_keys_retired": "key-signing keys of zones retired here",
    "zone_keys_signed": "key sets of zones signed here",
    "zones_signed": "versions of zones signed here",
    "zones_signed_shown": "signed versions of zones, of anybody, that were put to use",
    "zones_unsigned": "times that a zone could not be signed",
}

REASONED: Final = ("call-failed", "dns_fault", "drop", "enrol", "reject", "skip", "tcp_accept", "tcp_closed", "udp_receive", "unsaid")

MEASURED: Final[dict[str, str]] = {
    "overlay_info": "which program runs: its version as a label",
    "overlay_uptime_seconds": "since the start of this run",
    "overlay_sessions": "sessions, admitted or not",
    "overlay_peers": "admitted sessions",
    "overlay_clusters": "clusters known",
    "overlay_records": "records held",
    "overlay_load_ratio": "how busy this node says it is",
    "overlay_warnings": "how many warnings and problems overlay status shows, counted once a minute",
    "process_cpu_seconds_total": "processor time used",
    "process_resident_memory_bytes": "memory held (Linux alone)",
    "process_open_fds": "open descriptors (Linux alone)",
}

Labels = tuple[tuple[str, str], ...]
Parts = Mapping[str, Mapping[str, int]]  # part of the program -> what it has counted


class Gauge(NamedTuple):
    """One measured value under a name of ``MEASURED``. ``labels`` are free text."""

    name: str
    value: float
    labels: Labels = ()


def of_machines(node: Node) -> Parts:
    """What the machines of a node have counted."""
    parts: dict[str, Mapping[str, int]] = {
        "node": node.counters, "peers": node.peers.counters, "trust": node.trust.counters, "book": node.book.counters,
        "sessions": node.sessions.counters, "lan": node.lan.counters,
        "reach": node.reach.counters, "outlook": node.outlook.counters, "stun": node.stun.counters,
    }  # fmt: skip
    if node.directory is not None:
        parts["directory"] = node.directory.counters
    if node.belonging is not None:
        parts |= {"belonging": node.belonging.counters, "members": node.belonging.members.counters, "lease": node.belonging.lease.counters}
    if node.registrar is not None:
        parts["admission"] = node.registrar.counters
    return parts


def gauges(node: Node, *, uptime: float, warnings: int) -> list[Gauge]:
    """What is measured of a node and of its process, just now."""
    found = [
        Gauge("overlay_info", 1, (("version", __version__),)), Gauge("overlay_uptime_seconds", uptime),
        Gauge("overlay_sessions", len(node.peers.peers)), Gauge("overlay_peers", len(node.peers.admitted())),
        Gauge("overlay_clusters", len(node.book.cuts)), Gauge("overlay_records", len(node.book)),
        Gauge("overlay_load_ratio", node.load / 1000), Gauge("overlay_warnings", warnings),
        Gauge("process_cpu_seconds_total", time.process_time()),
    ]  # fmt: skip
    with suppress(OSError):
        with open("/proc/self/statm", "rb") as file:
            pages = int(file.read().split()[1])
        found.append(Gauge("process_resident_memory_bytes", pages * os.sysconf("SC_PAGESIZE")))
        found.append(Gauge("process_open_fds", len(os.listdir("/proc/self/fd"))))
    return found


def answer(request: Request, page: Callable[[], str]) -> Response:
    """The page, for whoever asks from this machine; others learn nothing, and make nobody count."""
    if not ip_address(request.peer.host.partition("%")[0]).is_loopback:
        return text("metrics are for this machine alone", 403)
    return Response(200, page().encode(), (("content-type", FORM), ("cache-control", "no-store")))


def render(parts: Parts, measured: list[Gauge]) -> str:
    """The whole page."""
    lines: list[str] = []
    for gauge in measured:
        kind = "counter" if gauge.name.endswith("_total") else "gauge"
        lines += [*_head(gauge.name, MEASURED[gauge.name], kind), f"{gauge.name}{_labels(gauge.labels)} {_number(gauge.value)}"]
    plain = dict.fromkeys((_word(word) for word in COUNTED if word not in REASONED), 0)
    reasoned: dict[str, Counter[Labels]] = {_word(word): Counter() for word in REASONED}
    meanings = {_word(word): meaning for word, meaning in COUNTED.items()}
    for part, counters in parts.items():
        for key, count in counters.items():
            first, colon, reason = key.partition(":")
            word = _word(first)
            if colon:
                labels = (("part", part), ("reason", reason if _REASON.fullmatch(reason) else OTHER))
                reasoned.setdefault(word, Counter())[labels] += count
            else:
                plain[word] = plain.get(word, 0) + count
    for word in sorted({*plain, *reasoned}):
        name = name_of(word)
        lines += _head(name, meanings.get(word, "counted by the program"), "counter")
        lines += [f"{name} {plain[word]}"] if word in plain else []
        lines += [f"{name}{_labels(labels)} {count}" for labels, count in sorted(reasoned.get(word, {}).items())]
    return "\n".join(lines) + "\n"


def name_of(word: str) -> str:
    """The metric of a counted word."""
    return f"overlay_{_word(word)}_total"


def _word(counted: str) -> str:
    """The first part of a counter's key, as it stands in the name of a metric."""
    return counted.replace("-", "_") if _WORD.fullmatch(counted) else OTHER


def _head(name: str, meaning: str, kind: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]  # our own words: nothing to be escaped (test_metrics.py)


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
