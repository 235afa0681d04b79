"""What an idle node sends: octets an hour, headers of UDP and IP with them, by what stands before it (lab, virtual time).

    python -m benchmarks.quiet

Three public nodes and one behind each kind of NAT, each a cluster of its own; an hour after all are in. Writes results/quiet.json.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from benchmarks.described import machine
from overlay.lab.host import Host
from overlay.lab.nat import KINDS
from overlay.lab.world import World
from overlay.machine import Send

RESULTS = Path(__file__).with_name("results") / "quiet.json"
HEADERS = 28  # octets of IPv4 and UDP
HOUR = 3_600.0


class Counting(World):
    """A world that weighs what each host sends by UDP; what goes by TCP is counted with the same headers."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, delay=(0.01, 0.03))
        self.sent: Counter[str] = Counter()
        self.packets: Counter[str] = Counter()

    def _send_udp(self, host: Host, effect: Send) -> None:
        self._weigh(host, effect)
        super()._send_udp(host, effect)

    def _send_tcp(self, host: Host, effect: Send) -> None:
        self._weigh(host, effect)
        super()._send_tcp(host, effect)

    def _weigh(self, host: Host, effect: Send) -> None:
        self.sent[host.name] += len(effect.data) + HEADERS
        self.packets[host.name] += 1


def main() -> None:
    """Measure, print, write."""
    world = Counting(1)
    world.found("hub/hub")
    world.join("one/one")
    world.join("two/two")
    for kind in KINDS:
        world.join(f"{kind}/{kind}", nats=(KINDS[kind],))
    assert world.run_until(lambda: all(world.joined(host) for host in world.hosts.values()), 60) is not None
    world.run(600)
    world.sent.clear()
    world.packets.clear()
    world.run(HOUR)
    found = {
        name.partition("/")[0]: {"kB_an_hour": round(octets / 1_000), "packets_a_minute": round(world.packets[name] / 60, 1)}
        for name, octets in sorted(world.sent.items())
    }
    RESULTS.write_text(json.dumps({"machine": machine(), "nodes": len(world.hosts), "idle": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
