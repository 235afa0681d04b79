"""Every bound of the program in one table: what, per whom, the number, its origin, and the counter that shows it.

Code takes its numbers from here (``limits.DATAGRAM``); ``docs/limits.md`` is generated from ``TABLE``. A limit that nobody
can see being reached is a defect, so each names its counter, or, as ``told:RULE``, the error that a person gets at once;
``tests/house/test_limits_counted.py`` looks for it in the code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """One bound. ``per`` says whose budget it is, ``origin`` where the number comes from, ``counter`` what counts it."""

    name: str
    number: int
    unit: str
    per: str
    origin: str
    counter: str


TABLE: dict[str, Limit] = {}


def _limit(name: str, number: int, unit: str, per: str, origin: str, counter: str) -> int:
    TABLE[name] = Limit(name, number, unit, per, origin, counter)
    return number


# Datagrams and sessions (DESIGN 3.4)
DATAGRAM = _limit("datagram", 1_180, "octets", "session datagram", "DESIGN 3.4: 1,232 less a relay's wrapping", "drop:sealed-size")
WRAPPED = _limit("wrapped", 1_232, "octets", "relayed datagram", "IPv6 minimum MTU 1,280 less headers", "drop:too-long")
DRAIN = _limit("drain", 64, "datagrams", "wake-up of a socket", "measured 2026-11: 64 x 9 us = 0.6 ms stall", "udp_drained_full")
CALLS_OUTSTANDING = _limit("calls-outstanding", 8, "calls", "session", "DESIGN 3.4", "calls_queued")
CALLS_QUEUED = _limit("calls-queued", 256, "calls", "session", "guess, to be measured", "drop:call-queue-full")
REPLY_OCTETS = _limit("reply-octets", 1_048_576, "octets", "paged reply", "DESIGN 3.5: a zone has 10 to 1,000 KiB", "drop:reply-too-long")
REPLIES_KEPT = _limit("replies-kept", 64, "replies", "session", "8 outstanding calls, with room for retries", "drop:calls-full")
SESSIONS = _limit("sessions", 4_096, "sessions", "node", "measured 2026-11: 24 KiB each at the worst, 96 MiB", "drop:sessions-full")
KEYED_PER_SOURCE = _limit(
    "keyed-per-source", 64, "sessions not admitted", "IPv4 address or /64", "guess: an office that comes in together", "drop:keyed-source-full",
)
HANDSHAKES_PENDING = _limit("handshakes-pending", 256, "handshakes", "node", "guess, to be measured", "drop:handshakes-full")
HANDSHAKES_LOADED = _limit("handshakes-loaded", 200, "handshakes a second", "node", "research F3: a tenth of what a core can do", "cookies_sent")
HANDSHAKES_PER_SOURCE = _limit(
    "handshakes-per-source", 20, "handshakes a second", "IPv4 address or /64, loaded", "WireGuard's; loopback is not counted", "drop:handshake-rate",
)
ASKS_PER_SOURCE = _limit(
    "asks-per-source", 10, "ENROL and REDEEM a second", "IPv4 address or /64", "a signature check each, 2 ms a second; guess", "drop:ask-rate",
)
THROTTLED = _limit("throttled", 4_096, "sources", "rate kept by source", "0.5 MiB; guess", "throttled_forgotten")
TIMESTAMPS = _limit("timestamps", 65_536, "keys", "node", "research F3", "timestamps_forgotten")
REPLAY_WINDOW = _limit("replay-window", 8_128, "packets", "session", "WireGuard's window", "drop:replay")

# Ways of a session (DESIGN 3.7)
TRIES = _limit("tries", 16, "ways", "session", "8 addresses, two relays, TCP, and as many again after a move; guess", "drop:tries-full")
PUNCHES = _limit("punches", 8, "addresses", "PUNCH", "as in records: MAX_ADDRESSES; 10 probes of 93 octets each", "drop:punch-addresses")
PUNCHES_PER_PEER = _limit("punches-per-peer", 4, "PUNCH, then one each 2 s", "session", "a victim gets 4 kB a second; guess", "drop:punch-rate")
DIAL_BACKS = _limit("dial-backs", 20, "calls a second", "node", "60 knocks of 17 octets; guess", "drop:dial-back-rate")
DIAL_BACK_KNOWN = _limit("dial-back-known", 64, "keys", "DIAL_BACK", "640 octets of a datagram", "drop:field-range")
GUESSING = _limit("guessing", 4, "sessions that guess ports", "node", "at 100 probes a second each; guess", "drop:guess-busy")
GUESS_SOCKETS = _limit("guess-sockets", 256, "sockets", "run of guesses, hard end", "DESIGN 3.7", "guesses")
GUESSES = _limit("guesses", 1_024, "ports", "run of guesses", "98 % of runs find one of 256 in 64,512", "guesses")
UDP_EXTRA = _limit("udp-extra", 320, "sockets", "node", "one run of guesses and what earlier ones found", "drop:udp-extra-full")
RELAYED_WAYS = _limit("relayed-ways", 4_096, "far ends behind relays", "node", "as many as sessions", "relayed_ways_forgotten")
RELAY_RATE = _limit("relay-rate", 1_048_576, "octets a second", "session that is carried", "8 Mbit/s: a call with pictures", "drop:relay-rate")
RELAY_BURST = _limit("relay-burst", 2_097_152, "octets at once", "the same", "2 s of it", "drop:relay-rate")
RELAY_ALL = _limit("relay-all", 8_388_608, "octets a second", "node", "64 Mbit/s; half of a core of a rented server", "drop:relay-rate")
RELAY_STRANGER = _limit(
    "relay-stranger", 65_536, "octets in all", "keyed session, as either end", "a newcomer that joins by a relay takes 12 kB", "drop:relay-rate",
)

# Streams over sessions (DESIGN 3.4)
STREAMS = _limit("streams", 16, "streams", "end of a session", "guess, to be measured", "drop:stream-limit")
STREAM_HEAD = _limit("stream-head", 512, "octets", "head of a stream", "it shares a packet with the first octets", "drop:stream-head")
STREAM_FIRST = _limit("stream-first", 65_536, "octets", "stream and session, at first", "wire: 4,096 sessions hold 256 MiB", "drop:stream-credit")
STREAM_WINDOW = _limit("stream-window", 262_144, "octets", "stream", "20 Mbit/s at 100 ms", "drop:stream-credit")
STREAMS_WINDOW = _limit("streams-window", 1_048_576, "octets", "session", "four streams at full speed", "drop:stream-credit")
STREAMS_WIDE = _limit("streams-wide", 64, "sessions with more than the first credit", "node", "64 MiB; guess", "streams_kept_narrow")
STREAM_BUFFER = _limit("stream-buffer", 262_144, "octets written, not arrived", "stream", "as much as may be in flight", "streams_blocked")
STREAMS_BUFFER = _limit("streams-buffer", 1_048_576, "octets written, not arrived", "session", "as much as may be in flight", "streams_blocked")
STREAM_GAPS = _limit("stream-gaps", 128, "gaps", "stream", "230 packets fill a window: every second one lost", "drop:stream-gaps")
STREAM_ACKS = _limit("stream-acks", 32, "spans of packets", "link", "RFC 9000, 13.2.3: the newest count", "stream_acks_forgotten")

# Records (DESIGN 3.1, 3.2)
RECORD = _limit("record", 1_000, "octets", "record", "DESIGN 3.1", "drop:record-too-long")
CLUSTER_RECORD = _limit("cluster-record", 400, "octets", "cluster record", "DESIGN 3.5", "drop:record-too-long")
CHAIN = _limit("chain", 4, "grants", "record", "DESIGN 3.2", "drop:R08")
PASSPORT_GRANTS = _limit("passport-grants", 7, "grants", "passport", "a chain of 4, and what a renewal stands on (R21)", "reject:passport-form")
FUTURE = _limit("future", 300, "seconds", "record", "DESIGN 3.1: tolerance of clocks", "drop:R02")
LAPSED = _limit("lapsed", 30 * 86_400, "seconds", "grant", "DESIGN 3.2: 30 days of old names", "drop:R13")
ROOT_VERSIONS = _limit("root-versions", 64, "records", "passport", "a change a year for a lifetime: newcomers need all", "reject:passport-form")
VERDICTS_LATELY = _limit("verdicts-lately", 4_096, "verdicts", "node", "of what nothing stands on: 0.5 MiB", "verdicts_forgotten")
VERDICTS = _limit("verdicts", 65_536, "verdicts", "node", "8 MiB of remembered signature checks", "verdicts_forgotten")

# Directory (DESIGN 3.5)
BOOK = _limit("book", 65_536, "records", "node", "10,000 clusters and as many zones' records", "drop:book-full")
PER_SIGNER = _limit("per-signer", 4_096, "records", "signer", "guess: a node that carries 1,000 names needs 3,000", "drop:signer-full")
ENDS_PER_OWNER = _limit("ends-per-owner", 16_384, "revocations", "owner and all below its grant", "a quarter of the book; guess", "drop:owner-full")
FORGED = _limit("forged", 8, "records", "session", "an honest peer passes on none; 1 ms of checks", "drop:forged")
FANOUT = _limit("fanout", 3, "peers", "changed record", "DESIGN 3.5", "pushes")
RECONCILE = _limit("reconcile", 30, "seconds", "node", "DESIGN 3.5", "reconciliations")
PENDING = _limit("pending", 512, "records", "node", "records that wait for their chain; guess", "drop:pending-full")
SMALL_OVERLAY = _limit("small-overlay", 16, "clusters", "overlay", "below it every node holds all zones", "watches_begun")
MEMBERS = _limit("members", 512, "members", "cluster", "a LAN: SWIM and the lease are measured for 100", "drop:members-full")
MEMBER_HINTS = _limit("member-hints", 32, "nodes", "node", "named by others, asked and not heard yet; guess", "drop:members-hints")
LETTERS = _limit("letters", 64, "messages", "node", "among members, while a session is opened; guess", "drop:letters-full")
SMALL_NODES = _limit("small-nodes", 256, "nodes", "overlay", "the same; 1,000 that hold 1,000 names move a million", "watches_begun")
CUSTODIANS = _limit("custodians", 3, "nodes", "zone", "DESIGN 3.5", "watches_refused")
WATCH_LEASE = _limit("watch-lease", 60, "seconds", "watch", "DESIGN 3.5", "watches_lapsed")
WHOLE_TABLE = _limit("whole-table", 10_000, "clusters", "node", "DESIGN 3.5: above it the table is shared out", "tables_spread")
COPIES = _limit("copies", 8, "nodes", "zone above whole-table", "0.2**8 are all hostile; benchmarks/lookup.py", "searches_short")
SEARCHES = _limit("searches", 16, "searches", "node", "two dozen sessions each; guess", "drop:searches-full")
BUCKET = _limit("bucket", 16, "contacts", "bucket of contacts", "DESIGN 3.5: Kademlia's k", "contacts_waiting")
NEAREST = _limit("nearest", 16, "cluster records", "answer to FIND", "DESIGN 3.5: Kademlia's k", "drop:find-too-long")
SAME_NETWORK = _limit("same-network", 2, "nodes", "/24 or /48 near a key", "DESIGN 3.5", "contacts_same_network")
REACHING = _limit("reaching", 256, "nodes", "node", "questions that wait for a session: four searches at once", "drop:reaching-full")
QUESTIONS = _limit("questions", 64, "questions", "search", "four paths of 16: twice what a search takes", "searches_cut")
MEMBERS_PAGE = _limit("members-page", 64, "nodes", "answer to MEMBERS", "6 datagrams of names and ids; guess", "members_cut")
WATCHES = _limit("watches", 1_000, "watches", "node", "research F2", "drop:watches-full")

# Clusters (DESIGN 3.6)
TERM_AHEAD = _limit(
    "term-ahead", 1_000, "numbers a second", "node", "a part alone for years takes fewer terms; 2**62 last for ages", "lease_numbers_bounded",
)

# Admission (DESIGN 3.3)
NAMES_PER_PREFIX = _limit("names-per-prefix", 5, "names an hour", "/24 or /48", "research F5; loopback is not counted", "drop:enrol-rate")

NAMES_PER_LAN = _limit("names-per-lan", 64, "names an hour", "node, to its LANs", "an office set up in a day; guess", "drop:enrol-rate")
PREFIXES = _limit("prefixes", 4_096, "prefixes", "node", "whose names of the last hour are remembered; guess", "prefixes_forgotten")
WAITING = _limit("waiting", 32, "newcomers", "node", "DESIGN 3.3", "drop:waiting-full")
WAITING_TIME = _limit("waiting-time", 900, "seconds", "newcomer", "DESIGN 3.3: 15 min", "waiting_ended")
WAITING_PER_PREFIX = _limit("waiting-per-prefix", 4, "newcomers", "/24 or /48", "guess: one office must not fill the room", "drop:waiting-full")

# The LAN (DESIGN 3.6)
LAN_LINKS = _limit("lan-links", 16, "addresses", "node", "guess: below the 20 groups that Linux lets one socket join", "drop:lan-links")
BEACON_DIALS = _limit("beacon-dials", 8, "dials at once, then one each 10 s", "node", "what a flood of forgeries costs; guess", "drop:beacon-dials")
BEACON_NEWS = _limit("beacon-news", 4, "new keys at once, then one each 10 s", "address on the LAN", "guess: nodes on it", "drop:beacon-source")
BEACON_ASKS = _limit("beacon-asks", 4, "answers at once, then one a second", "address on the LAN", "guess", "drop:beacon-source")
BEACON_ANSWERS = _limit("beacon-answers", 32, "answers at once, then 20 a second", "node", "44 octets for 44; guess", "drop:beacon-answers")
BEACON_KEYS = _limit("beacon-keys", 1_024, "keys", "node", "heard of late: 0.3 MiB", "beacons_forgotten")
BEACON_SOURCES = _limit("beacon-sources", 256, "addresses", "node", "a /24, whose budgets are remembered", "beacons_forgotten")
LAN_KNOWN = _limit("lan-known", 8, "last-known neighbours told by unicast", "round of beacons", "guess; the others come by them", "beacons_untold")

# Bootstrap (DESIGN 3.7; CONTRACT, DNS and HTTP)
LAN_SENDERS = _limit("lan-senders", 32, "senders of beacons", "join, a minute", "a busy LAN; guess", "drop:beacon-senders")
WAYS_IN = _limit("ways-in", 16, "ways", "source of ways in", "guess: a zone's TXT set of 2 KiB", "drop:ways-too-many")
WAY_ADDRESSES = _limit("way-addresses", 8, "addresses", "way in", "as in records: MAX_ADDRESSES", "drop:at-too-many")
WAY_TEXT = _limit("way-text", 1_024, "octets", "TXT record", "8 IPv6 addresses and a key take 450", "drop:txt-too-long")
TOKEN = _limit("token", 2_048, "characters", "invite token", "4 ways in of 8 addresses take 1,100", "told:token-damaged")
TOKEN_WAYS = _limit("token-ways", 4, "ways", "invite token", "a token fits into two lines of chat", "told:token-damaged")
KNOCKS = _limit("knocks", 6, "attempts", "kind of attempt, at once", "guess: RFC 8305 bounds none", "knocks_waiting")
LOOKUP_ANSWER = _limit("lookup-answer", 65_535, "octets", "DNS answer", "RFC 1035 4.2.2", "lookup_tcp")
FETCH_BODY = _limit("fetch-body", 65_536, "octets", "HTTP answer of a stranger", "a way in takes 2 KiB", "drop:fetch-too-long")

# Names (DESIGN 3.8)
EDNS = _limit("edns", 1_232, "octets", "DNS datagram", "DNS flag day 2020; DESIGN 3.8", "dns_truncated")
DNS_TCP = _limit("dns-tcp", 100, "connections", "IPv4 address or /64", "research dns.md, 6", "drop:dns-tcp-full")
DNS_TCP_IDLE = _limit("dns-tcp-idle", 10, "seconds", "connection", "RFC 7766 6.2.3", "dns_tcp_idle_closed")
ANSWERS_OCTETS = _limit("answers-octets", 4_194_304, "octets", "level of the answer cache", "as many answers of 256 octets", "dns_cache_evicted")
DNS_TCP_ALL = _limit("dns-tcp-all", 1_024, "connections", "listener", "4 KiB and two descriptors' room each; guess", "drop:dns-tcp-full")
DNS_RATE = _limit("dns-rate", 20, "answers a second", "/24 or /56, and answer", "guess: BIND and NSD take 5 to 200; not on loopback", "dns_limited")
DNS_RATE_ALL = _limit("dns-rate-all", 200, "answers a second", "/24 or /56", "ten times that: a wildcard has many names", "dns_limited")
DNS_RATES = _limit("dns-rates", 32_768, "counts", "listener", "two generations of them: 16 MiB at worst", "dns_rates_forgotten")
DNS_FORWARDS = _limit("dns-forwards", 512, "queries", "listener", "guess: 500 qps of misses at 1 s each", "drop:dns-forwards-full")
DNS_PIPELINE = _limit("dns-pipeline", 64, "queries", "TCP connection", "RFC 7766 6.2.1.1; guess", "dns_tcp_waits")
MASTER_FILE = _limit("master-file", 64 * 1_048_576, "characters", "zone", "a million records; guess", "told:master")
ANSWERS_CACHED = _limit("answers-cached", 16_384, "answers", "listener", "about 4 MiB of rendered answers", "dns_cache_evicted")
UPSTREAM = _limit("upstream", 512, "queries", "node", "guess: 512 sockets at most", "drop:upstream-full")
UPSTREAM_SAME = _limit("upstream-same", 16, "queries", "question under way", "a loop feeds on repeats; people do not", "drop:upstream-full")

RRSIGS = _limit("rrsigs", 4_096, "signatures", "node", "those that held; 1 MiB with their sets", "rrsigs_forgotten")

# WHOIS (RFC 3912)
WHOIS_QUERY = _limit("whois-query", 512, "octets", "query", "a name of 255 and room; RFC 3912 bounds none", "drop:whois-too-long")
WHOIS_CONNECTIONS = _limit("whois-connections", 64, "connections", "listener", "guess: people, not programs", "drop:whois-full")
WHOIS_PER_SOURCE = _limit("whois-per-source", 8, "connections", "IPv4 address or /64", "guess; loopback is not counted", "drop:whois-full")
WHOIS_TIME = _limit("whois-time", 10, "seconds", "connection", "guess: one round trip and a person's line", "whois_timeouts")

# HTTP and control
HTTP_HEAD = _limit("http-head", 8_192, "octets", "request", "usual for servers of small resources", "drop:http-head")
HTTP_CONNECTIONS = _limit("http-connections", 256, "connections", "node", "guess, to be measured", "drop:http-full")
CONTROL_REQUEST = _limit("control-request", 1_048_576, "octets", "request", "a master file's worth of name data", "drop:control-too-long")

# Drivers (DESIGN 3.4, 3.13)
TCP_CONNECTIONS = _limit("tcp-connections", 512, "connections", "node", "guess, to be measured", "drop:tcp-full")
TCP_PER_SOURCE = _limit("tcp-per-source", 32, "connections", "IPv4 address or /64", "guess; loopback is not counted", "drop:tcp-source-full")
TCP_FIRST = _limit("tcp-first", 2, "seconds", "inbound connection", "research F4: first valid message", "tcp_closed:no-valid-message")
TCP_IDLE = _limit("tcp-idle", 180, "seconds", "connection", "guess: several keepalives of a session", "tcp_closed:idle")
TCP_CONNECT = _limit("tcp-connect", 5, "seconds", "outbound connection", "guess: one lost SYN and its repeat", "tcp_closed:timeout")
TCP_QUEUE = _limit("tcp-queue", 65_536, "octets", "connection", "research F4: then dropped as UDP would", "drop:tcp-queue-full")
UDP_BUFFER = _limit("udp-buffer", 1_048_576, "octets", "socket", "guess: 0.1 s of small datagrams at 20,000 a second", "drop:udp-send-full")
HTTP_PER_SOURCE = _limit("http-per-source", 64, "connections", "IPv4 address or /64", "guess; loopback is not counted", "drop:http-source-full")
HTTP_BODY = _limit("http-body", 16_384, "octets", "request", "no resource takes a body; read past and forgotten", "drop:http-body")
HTTP_HEAD_TIME = _limit("http-head-time", 10, "seconds", "request", "guess; slow senders (slowloris) end here", "http_timeouts")
HTTP_IDLE = _limit("http-idle", 15, "seconds", "connection", "guess, as usual for keep-alive", "http_idle_closed")
HTTP_WRITE = _limit("http-write", 30, "seconds", "64 KiB of answer", "guess: 2 KiB a second is the slowest reader", "http_timeouts")
HTTP_APP = _limit("http-app", 30, "seconds", "request", "guess", "http_app_timeouts")
UPLOADS = _limit("uploads", 16, "downloads of releases", "node", "guess: each gets 1/16 of a home's uplink", "drop:uploads-full")
MATES = _limit("mates", 64, "mates", "release", "guess: each has a stream of 0.5 MiB", "drop:mates-full")
MIRRORS = _limit("mirrors", 3, "mirrors of a channel", "cluster", "the gateway, its standby and one more; guess", "mirrors_enough")
CONTROL_CONNECTIONS = _limit("control-connections", 64, "connections", "node", "guess: people and scripts of one machine", "drop:control-full")
LOTS_PENDING = _limit("lots-pending", 1_024, "steps", "node", "0.25 ms a commit: far beyond a healthy disk", "store_pressed")
OWED = _limit("owed", 131_072, "values", "node", "a full book twice over, while the disk takes nothing", "owed_full")
LOG_FILE = _limit("log-file", 10_485_760, "octets", "log and its predecessor", "guess: days of a busy node", "log_rotated")
LOG_EVENT = _limit("log-event", 120, "lines a minute", "event", "guess: a node of 100 peers that all come back", "log_left_out")
LOG_LINE = _limit("log-line", 4_096, "octets", "line", "one write(2) stays whole", "log_cut")
FLIGHT = _limit("flight", 1_048_576, "octets", "node", "2 % of an idle node's memory: docs/decisions/0012", "flight_forgotten")

STUN = _limit("stun", 50, "answers a second", "IPv4 address or /64", "44 octets for 20; a client asks thrice; guess", "drop:stun-rate")

# Ports mapped at the router (DESIGN 3.6, 3.7)
PORTMAPS = _limit("portmaps", 8, "mappings", "node", "UDP and TCP of four listeners", "drop:portmaps-full")
PORTMAP_BODY = _limit("portmap-body", 65_536, "octets", "HTTP answer of a router", "descriptions take 2 to 20 KiB; guess", "drop:markup-too-long")
PORTMAP_ELEMENTS = _limit("portmap-elements", 2_000, "elements", "answer of a router", "miniupnpd's description has 90", "drop:markup-too-long")
PORTMAP_TRIES = _limit("portmap-tries", 4, "datagrams", "question to a router", "RFC 6886 3.1: 250 ms doubling; 9 take 64 s", "portmap_silent")
PORTMAP_PORTS = _limit("portmap-ports", 6, "external ports", "mapping by UPnP", "guess: so many are not all taken", "portmap_crowded")
PORTMAP_REST = _limit("portmap-rest", 3_600, "seconds", "silent router", "between rounds of questions, doubling from 60 s; guess", "portmap_silent")
PORTMAP_DOUBTS = _limit("portmap-doubts", 20, "looks a minute", "node", "announcements are unsigned: guess", "drop:portmap-doubt")
