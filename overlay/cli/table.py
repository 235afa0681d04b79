"""The table of commands: what one may type, what it means, which function does it (CONTRACT, "the commands").

Reading, help and shell completion all come from here. Text and plain values only, so that asking a running node stays
cheap; the function behind a command is named, and imported when it is called.
"""

from __future__ import annotations

from typing import Final

from overlay.cli.grammar import JSON, Argument, Command, Option, number, one_of, seconds, span

IN, RIGHTS, LOOK, NAMES, RELEASES, MACHINE = "Getting in", "Rights", "Looking", "Names", "Releases", "Machine"
GROUPS: Final = (IN, LOOK, NAMES, RELEASES, RIGHTS, MACHINE)

_LISTEN: Final = (
    Option("--listen-overlay", "IP:PORT", "where overlay sessions listen, or off", many=True),
    Option("--listen-tls", "IP:PORT", "where sessions inside TLS listen, or off", many=True),
    Option("--listen-http", "IP:PORT", "where mirror and releases listen, or off", many=True),
    Option("--listen-dns", "IP:PORT", "where DNS for the world listens, or off", many=True),
    Option("--listen-stub", "IP:PORT", "where this machine's resolver listens, or off", many=True),
    Option("--no-lan", "", "do not look for neighbours on the LAN"),
)
_SHADOW: Final = Option("--shadow", "", "allow a second-level name that exists publicly below the TLD")
_CLUSTER: Final = Option("--cluster", "PATH", "the cluster it belongs to, such as eu/home")
_NAME_OPTION: Final = Option("--name", "LABEL", "this node's name in its cluster (otherwise the host's)")
_DETACH: Final = Option("--detach", "", "return when usable and leave it running")
_NAME: Final = Argument("NAME", "a name such as web.home.eu or eu/home/web", dashed=True)
_NODE: Final = Argument("NODE", "a node's name or id", dashed=True)
SCENARIOS: Final = ("join", "partition", "churn", "crash", "storm")  # overlay/lab/scenarios.py
_CHANNEL: Final = Argument("CHANNEL", "a channel: one label, such as app")
_REVISION: Final = Argument("N", "a revision's number", number(1, 2**31 - 1))
_RELEASE_KEY: Final = Option("--key", "FILE", "a key of the channel (those in the home)", many=True)
_ROOT_KEYS: Final = "K of N root keys must sign changes of the root; needs --root-out"

COMMANDS: Final = (
    Command(
        ("init",), IN, "found an overlay; prints the DNS records to publish", "overlay.cli.entering:init",
        (Argument("ZONE", "a DNS domain of yours, not below the TLD: cloud.example.org"),),
        (
            Option("--tld", "TLD", "the virtual top-level domain (cloud)", default="cloud"),
            Option("--admission", "invite|open", "who may join: the invited, or whoever asks (invite)", one_of("invite", "open"), "invite"),
            _CLUSTER, _NAME_OPTION,
            Option("--address", "IP", "an address of this node that others reach", many=True),
            Option("--root-keys", "K/N", _ROOT_KEYS), Option("--root-out", "DIR", "where the root keys are written"), _SHADOW, *_LISTEN,
        ),
        "Founds the overlay and this node's identity; does not start the node. Data to publish go to stdout.",
    ),
    Command(
        ("join",), IN, "join an overlay and run the node", "overlay.cli.starting:join",
        (Argument("WHERE", "a domain, IP[:port] of a node, or lan", required=False),),
        (
            Option("--invite", "TOKEN", "a token of `overlay invite`"), _CLUSTER, _NAME_OPTION,
            Option("--id", "OVERLAY_ID", "the overlay that is meant"),
            Option("--timeout", "S", "give up after so many seconds (with --detach: 60)", seconds), _DETACH, _SHADOW, *_LISTEN,
        ),
        "Enrols if need be, then runs in the foreground until stopped. Repeats until answered.",
    ),
    Command(
        ("up",), IN, "run the enrolled node", "overlay.cli.starting:up", (), (_DETACH, *_LISTEN),
        "Runs in the foreground until SIGTERM or SIGINT, which stop it cleanly.",
    ),
    Command(("down",), IN, "stop the running node", "overlay.cli.stopping:down"),
    Command(
        ("leave",), IN, "withdraw this node's records and forget the overlay", "overlay.cli.stopping:leave", (),
        (Option("--yes", "", "do not ask"),),
    ),
    Command(
        ("invite",), IN, "print a token that lets others in", "overlay.cli.asking:invite",
        (Argument("PATH", "the cluster to invite into", required=False, dashed=True),),
        (
            Option("--uses", "N", "how often it works (1)", number(1, 1_000_000), 1),
            Option("--expires", "24h", "how long it works (24h)", span, 86_400.0), _SHADOW, JSON,
        ),
    ),
    Command(
        ("admit",), IN, "admit a newcomer that waits, by the code that it shows", "overlay.cli.granting:admit",
        (Argument("CODE", "the code on the newcomer's screen, or list"),), (_SHADOW, JSON),
    ),
    Command(
        ("grant",), RIGHTS, "give rights over a name-path", "overlay.cli.granting:grant",
        (Argument("PATH", "where the rights hold: eu/home, or / for the root", dashed=True),),
        (
            Option("--to", "KEY|NODE", "a node's id or name"),
            Option("--rights", "R,...", "own, member, carry, speak, grant, sign, operate, attest, release:CHANNEL"),
            Option("--expires", "30d", "when it ends for good (otherwise 30 days, renewed while the node lives)", span), _SHADOW, JSON,
        ),
        "Nobody gives more than it holds, nor for longer. overlay grants shows who holds what.",
    ),
    Command(
        ("grants",), RIGHTS, "who holds which rights", "overlay.cli.granting:grants",
        (Argument("PATH", "only at and below this path", required=False, dashed=True),), (JSON,),
    ),
    Command(
        ("revoke",), RIGHTS, "end a grant, and every session that stands on it", "overlay.cli.granting:revoke",
        (Argument("GRANT", "its id, as overlay grants shows it, or a token that is about", dashed=True),), (JSON,),
    ),
    Command(
        ("root", "export"), RIGHTS, "move the root keys of this home elsewhere", "overlay.cli.rooting:export",
        (Argument("DIR", "a directory, such as a memory stick's"),), (JSON,),
    ),
    Command(
        ("root", "rotate"), RIGHTS, "change the root keys, or who may join", "overlay.cli.rooting:rotate", (),
        (
            Option("--root-keys", "K/N", "K of N new root keys must sign from now on (1/1)"),
            Option("--root-out", "DIR", "where the new keys are written (the home)"),
            Option("--key", "FILE", "a root key of the present version (those in the home)", many=True),
            Option("--admission", "invite|open", "who may join from now on", one_of("invite", "open")), JSON,
        ),
        "Both the present keys and the new ones must sign. Where keys are on other machines it writes a draft: see root sign.",
    ),
    Command(
        ("root", "grant"), RIGHTS, "have the root keys give a node rights over the root", "overlay.cli.rooting:grant", (_NODE,),
        (
            Option("--rights", "R,...", "own, grant, sign, operate, attest (all of them)"),
            Option("--key", "FILE", "a root key (those in the home)", many=True), Option("--out", "FILE", "where a draft is written"), JSON,
        ),
        "For when the node that held them is lost: what it gave itself ends with it, what the root keys give does not.",
    ),
    Command(
        ("root", "sign"), RIGHTS, "sign a draft with root keys, or renew what they gave", "overlay.cli.rooting:sign",
        (Argument("DRAFT", "a file of root rotate or root sign (without: renew the registrar's grant)", required=False),),
        (Option("--key", "FILE", "a root key (those in the home)", many=True), Option("--out", "FILE", "where a draft is written"), JSON),
    ),
    Command(("status",), LOOK, "this node in one look", "overlay.cli.looking:status", (), (JSON,)),
    Command(("peers",), LOOK, "the nodes it has sessions with", "overlay.cli.looking:peers", (), (JSON,)),
    Command(
        ("clusters",), LOOK, "all clusters of the overlay, or the nodes of one", "overlay.cli.looking:clusters",
        (Argument("PATH", "the cluster whose nodes are asked for", required=False, dashed=True),), (JSON,),
    ),
    Command(
        ("ping",), LOOK, "reach a node, and say by which path", "overlay.cli.looking:ping", (_NODE,),
        (Option("--count", "N", "how many (3)", number(1, 1_000), 3, short="-c"), JSON),
    ),
    Command(("netcheck",), LOOK, "what gets through from here: UDP, TCP, the kind of NAT", "overlay.cli.looking:netcheck", (), (JSON,)),
    Command(("why",), LOOK, "which paths to a node were tried, and why they lost", "overlay.cli.looking:why", (_NODE,), (JSON,)),
    Command(
        ("resolve",), LOOK, "what the resolver would answer, and why", "overlay.cli.looking:resolve",
        (_NAME, Argument("TYPE", "a record type (A)", required=False)), (JSON,),
    ),
    Command(("expand",), LOOK, "who carries a name", "overlay.cli.looking:expand", (_NAME,), (JSON,)),
    Command(
        ("doctor",), LOOK, "check this machine, its node and the bootstrap zone", "overlay.cli.doctor:doctor", (), (JSON,),
        "Each check says what to do. Exit 1 where one failed; warnings, and what could not be checked, do not count.",
    ),
    Command(
        ("log",), LOOK, "the node's log", "overlay.cli.log_reading:log", (),
        (
            Option("--follow", "", "go on as it grows, from the last 10 lines", short="-f"),
            Option("--lines", "N", "the last N lines", number(0, 1_000_000), short="-n"),
        ),
    ),
    Command(
        ("service", "add"), NAMES, "carry a service under a name", "overlay.cli.asking:service_add", (_NAME,),
        (
            Option("--port", "N", "the port it listens on", number(1, 65_535)),
            Option("--proto", "tcp|udp", "its protocol (tcp)", one_of("tcp", "udp"), "tcp"),
            Option("--address", "IP", "where it is reached, if not at this node's own addresses"),
            Option("--health", "CHECK", "tcp, http://..., cmd:... or none (none)"),
            Option("--weight", "N", "its share beside other carriers (10)", number(0, 65_535), 10), _SHADOW, JSON,
        ),
    ),
    Command(("service", "list"), NAMES, "the services of the overlay", "overlay.cli.asking:service_list", (), (JSON,)),
    Command(("service", "remove"), NAMES, "no longer carry a service", "overlay.cli.asking:service_remove", (_NAME,), (JSON,)),
    Command(
        ("name", "set"), NAMES, "set plain DNS data, replacing that set", "overlay.cli.asking:name_set",
        (
            _NAME, Argument("TYPE", "a record type such as A, TXT or MX"),
            Argument("VALUE", "one record's data as in a master file; for TXT one string as it stands", str, many=True, dashed=True),
        ),
        (Option("--ttl", "S", "how long others may keep it, in seconds", seconds), _SHADOW, JSON),
    ),
    Command(
        ("name", "remove"), NAMES, "remove plain DNS data", "overlay.cli.asking:name_remove",
        (_NAME, Argument("TYPE", "only this record type", required=False)), (JSON,),
    ),
    Command(
        ("name", "list"), NAMES, "plain DNS data at and below a path", "overlay.cli.asking:name_list",
        (Argument("PATH", "where to begin", required=False, dashed=True),), (JSON,),
    ),
    Command(("name", "tree"), NAMES, "draw the tree of names", "overlay.cli.asking:name_tree", (), (JSON,)),
    Command(
        ("zone", "serve"), NAMES, "serve a master file, alone", "overlay.cli.local:zone_serve",
        (Argument("FILE", "a master file, or - for paths on stdin"),),
        (Option("--listen", "IP:PORT", "where it answers, UDP and TCP"),),
        "Joins nothing. With - each line of stdin names a file that replaces the zone before.",
    ),
    Command(
        ("zone", "export"), NAMES, "a zone as a signed master file", "overlay.cli.zoning:export",
        (Argument("PATH", "where the zone begins; / is the root", dashed=True),),
        (Option("--bootstrap", "", "as it stands below the bootstrap zone"), JSON),
        "From any node that holds the zone. On one that may sign it, with the digest over all of it (ZONEMD).",
    ),
    Command(
        ("zone", "roll"), NAMES, "change a zone's key-signing key", "overlay.cli.zoning:roll",
        (Argument("PATH", "where the zone begins", dashed=True),), (JSON,),
        "On a node that holds `sign` there. Nothing is interrupted: both keys stand until every resolver has heard of the new one.",
    ),
    Command(
        ("dns", "anchor"), NAMES, "the trust anchor for validating resolvers", "overlay.cli.zoning:anchor", (),
        (
            Option("--dnskey", "", "as DNSKEY instead of DS"),
            Option("--bootstrap", "", "for the bootstrap zone: DS records for the zone above it"), JSON,
        ),
        "An installed anchor goes with the policy exclusive.",
    ),
    Command(
        ("release", "init"), RELEASES, "open a channel, or renew or change its keys", "overlay.cli.releases:init", (_CHANNEL,),
        (
            Option("--threshold", "K", "so many keys must sign (1)", number(1, 8)), Option("--keys", "N", "make so many keys (1)", number(1, 8)),
            Option("--auto-publish", "", "what is put into HOME/publish/CHANNEL is published by itself"),
            Option("--key-out", "DIR", "where the keys are written (the home)"), _RELEASE_KEY, JSON,
        ),
        "Keys are encrypted where a passphrase is typed or stands in OVERLAY_PASSPHRASE. Again on a known channel: the next version of its keys.",
    ),
    Command(
        ("release", "sign"), RELEASES, "sign a draft with a channel's keys", "overlay.cli.releases:sign",
        (Argument("DRAFT", "a file of release publish, init, resume or sign"),),
        (_RELEASE_KEY, Option("--out", "FILE", "where the draft is written (the same file)"), JSON),
        "Needs no running node: keys may lie where none runs.",
    ),
    Command(
        ("release", "publish"), RELEASES, "publish a file as the next revision", "overlay.cli.releases:publish",
        (_CHANNEL, Argument("FILE", "what is published")),
        (
            Option("--revision", "N", "its number (one above the highest)", number(1, 2**31 - 1)), Option("--note", "T", "a line for people"),
            Option("--platform", "P", "for which machines FILE is, such as linux-x86_64, linux, any", default="any"),
            Option("--artifact", "P=FILE", "what is for other machines", many=True),
            Option("--waves", "default|none", "by waves, or everybody at once", one_of("default", "none"), "default"),
            Option("--soak", "60s", "how long a node is to be healthy before it counts", span),
            Option("--lowest", "N", "the lowest revision that it may replace", number(1, 2**31 - 1)), _RELEASE_KEY,
            Option("--signed", "DRAFT", "a draft that all have signed"), Option("--out", "FILE", "where a draft is written"), JSON,
        ),
        "Prints what was published as JSON. Where keys are on other machines it writes a draft: see release sign.",
    ),
    Command(
        ("release", "list"), RELEASES, "channels and their revisions", "overlay.cli.releases:listing",
        (Argument("CHANNEL", "only this one", required=False),), (JSON,),
    ),
    Command(
        ("release", "show"), RELEASES, "one revision in full", "overlay.cli.releases:show",
        (_CHANNEL, Argument("N", "its number (the newest)", number(1, 2**31 - 1), required=False)), (JSON,),
    ),
    Command(
        ("release", "verify"), RELEASES, "whether a file is what was published", "overlay.cli.releases:verify",
        (Argument("FILE", "what is asked about"),),
        (
            Option("--channel", "C", "only this one counts"), Option("--strip", "FILE", "write exactly the signed octets there, a hint beside it"),
            JSON,
        ),
        "Exit 4 where it is not.",
    ),
    Command(
        ("release", "fetch"), RELEASES, "fetch a release without joining", "overlay.cli.releases:fetch",
        (Argument("WHERE", "a domain, or IP[:port] of a node's HTTP"), Argument("CHANNEL", "its channel (kernel)", required=False)),
        (
            Option("--id", "OVERLAY_ID", "the overlay that is meant"), Option("--out", "FILE", "write a copy there"),
            Option("--timeout", "S", "give up after so many seconds (120)", seconds), JSON,
        ),
        "Judged by the overlay's id alone, proved leaf by leaf, kept below releases/ of the home with the hint of who gave it.",
    ),
    Command(
        ("release", "halt"), RELEASES, "stop a revision everywhere; one key is enough", "overlay.cli.releases:halt", (_CHANNEL, _REVISION),
        (Option("--note", "T", "a line for people"), _RELEASE_KEY, JSON),
    ),
    Command(
        ("release", "resume"), RELEASES, "lift a halt; takes the channel's threshold", "overlay.cli.releases:resume", (_CHANNEL, _REVISION),
        (Option("--note", "T", "a line for people"), _RELEASE_KEY, JSON),
    ),
    Command(
        ("release", "status"), RELEASES, "how far a channel is here", "overlay.cli.releases:status", (_CHANNEL,),
        (Option("--why", "", "why nothing newer is installed, and who holds it back"), JSON),
    ),
    Command(
        ("subscribe",), RELEASES, "take a channel's releases", "overlay.cli.releases:subscribe", (_CHANNEL,),
        (
            Option("--activate", "CMD", "run once for each revision; gets OVERLAY_RELEASE_FILE, OVERLAY_REVISION, OVERLAY_CHANNEL"),
            Option("--health", "CMD|URL", "whether it went well: a command, or a page"), JSON,
        ),
    ),
    Command(("unsubscribe",), RELEASES, "take a channel's releases no longer", "overlay.cli.releases:unsubscribe", (_CHANNEL,), (JSON,)),
    Command(
        ("upgrade",), RELEASES, "look for something newer at once", "overlay.cli.releases:upgrade",
        (Argument("NODE", "another node, over which this one holds `operate`", required=False, dashed=True),),
        (Option("--channel", "C", "only this one"), Option("--now", "", "do not wait for a turn; try again what failed"), JSON),
    ),
    Command(("config", "check"), MACHINE, "check overlay.toml", "overlay.cli.local:config_check", (), (JSON,)),
    Command(
        ("config", "show"), MACHINE, "print the settings", "overlay.cli.local:config_show", (),
        (Option("--effective", "", "with all defaults"), JSON),
    ),
    Command(
        ("lab", "run"), MACHINE, "rehearse a story in the simulator", "overlay.cli.rehearsing:run",
        (Argument("SCENARIO", " or ".join((", ".join(SCENARIOS[:-1]), SCENARIOS[-1])), one_of(*SCENARIOS)),),
        (Option("--seed", "N", "where its chance begins (1)", number(0, 2**31), 1), JSON),
        "Real nodes in virtual time, in this process alone. The same seed gives the same story.",
    ),
    Command(
        ("lab", "replay"), MACHINE, "play a node's recording again", "overlay.cli.rehearsing:replayed",
        (Argument("FILE", "the file run/flight of a home: a crash wrote it, or SIGUSR2"),), (JSON,),
        "Needs the identity of that node: the home that the file lies in, or --home.",
    ),
    Command(
        ("completion",), MACHINE, "print a completion script", "overlay.cli.completion:completion",
        (Argument("SHELL", "bash, zsh or fish; or nodes: the names that the script completes", one_of("bash", "zsh", "fish", "nodes")),),
    ),
    Command(("version",), MACHINE, "print the version", "overlay.cli.local:version", (), (JSON,)),
)  # fmt: skip
