"""Releases: the decision on the wire and its price beside python-tuf; the swarm in virtual time; one HTTP stream.

    python -m benchmarks.release            figures as JSON on stdout; committed as benchmarks/results/release.json

Ratios are taken in one interleaved run. python-tuf is a test dependency; the swarm's figures are those of
``tests/release/test_swarm.py`` at the sizes of GOALS.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import trio

from benchmarks.described import machine
from overlay.directory.book import Book
from overlay.driver.http import Request, Response, Site
from overlay.driver.release_pages import Pages, Shown
from overlay.driver.releases import Shelf
from overlay.identity.keys import verify
from overlay.name import parse_path
from overlay.records import kinds
from overlay.records.record import _parse, parse
from overlay.records.releases import Artifact, Delta, Release
from overlay.release.gate import decide
from tests.records.actors import AT, found, seed
from tests.records.publishing import open_channel
from tests.release.test_swarm import UPLINK, Town
from tests.release.test_tuf import Theirs

ROUNDS = 200
HOME = parse_path("eu/home")
STREAM = 256 * 1_048_576  # octets


def timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def decision() -> dict[str, object]:
    """A release with 3 deltas, 2 URLs, waves and a note, 2 of 3 signatures, and its freshness: octets, and what a cold look costs."""
    app = open_channel(found(), keys=3, threshold=2)
    deltas = tuple(Delta(base=number, length=10_000, root=seed(f"delta {number}")) for number in (4, 5, 6))
    artifact = Artifact(length=64 * 1_048_576, root=seed("root"), deltas=deltas)
    body = Release(
        revision=7, artifacts=(artifact,), lowest=3, soak=60, waves=(10, 50, 250), urls=("http://203.0.113.10/app/r7",), note="faster", home=HOME,
    )
    release = app.release(7, artifacts=body.artifacts, lowest=3, soak=60, waves=body.waves, urls=body.urls, note=body.note, home=HOME)
    now = app.now(release)
    theirs = Theirs()
    theirs.publish(1)

    def ours() -> None:
        _parse.cache_clear()
        kinds.read.cache_clear()  # what comes now is new; the channel and what it stands on are known
        trust = app.overlay.trust()
        book = Book(trust)
        for record in (app.overlay.root, *app.overlay.founder.grants, app.record):
            book.add(record, AT)
        began = time.perf_counter()
        for raw in (release.raw, now.raw):
            book.add(parse(raw), AT)
        assert decide(book.published["app"].values(), None, AT, here=HOME).why == ""
        took.append(time.perf_counter() - began)
        began = time.perf_counter()
        for record in (release, now):
            message = record.message(app.overlay.overlay_id)
            assert all(verify(key, signature, message) for key, signature in record.sigs)
        alone.append(time.perf_counter() - began)

    took: list[float] = []
    alone: list[float] = []
    tuf: list[float] = []
    for _ in range(ROUNDS):
        ours()
        theirs.kept = {"root": theirs.kept["root"]}
        tuf.append(timed(theirs.look))
    world = theirs.worlds[1]
    return {
        "release_octets": len(release.raw), "now_octets": len(now.raw), "decision_octets": len(release.raw) + len(now.raw),
        "verify_ms": round(statistics.median(took) * 1e3, 3), "its_3_signatures_alone_ms": round(statistics.median(alone) * 1e3, 3),
        "tuf_octets": sum(map(len, world.values())),
        "tuf_verify_ms": round(statistics.median(tuf) * 1e3, 3),
    }


def swarm() -> list[dict[str, object]]:
    """In units of one copy through one uplink."""
    rows: list[dict[str, object]] = []
    for nodes, pieces in ((8, 512), (63, 512)):
        town = Town(nodes, pieces)
        last = town.run()
        ends = sorted(town.done.values())
        unit = pieces / UPLINK
        rows.append({
            "nodes": nodes, "pieces": pieces, "last": round(last / unit, 3), "p50": round(ends[len(ends) // 2] / unit, 3),
            "source_copies": round(town.sent[0] / pieces, 3),
        })
    return rows


def stream() -> dict[str, object]:
    """One HTTP stream to curl over loopback, beside Python's own server; CPU of the server as a share of one core."""
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        put = shelf.put_in("app", bytes(STREAM))
        shelf.adopt("app", put.name, 1, put.length, put.root)
        shown = Shown("app", 1, put.length, put.root, list)
        pages = Pages(shelf, lambda channel: shown, lambda channel, revision, platform: shown, Counter())

        async def app(request: Request) -> Response:
            return pages.page(request) or Response(404)

        async def main() -> tuple[float, float]:
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Site(app).serve, [listener])
                url = f"http://127.0.0.1:{listener.getsockname()[1]}/app/r1"
                best, cpu = 0.0, 0.0
                for _ in range(5):
                    spent = time.process_time()
                    began = time.perf_counter()
                    await trio.run_process(["curl", "-s", "-o", "/dev/null", url])
                    rate = STREAM / (time.perf_counter() - began)
                    if rate > best:
                        best, cpu = rate, time.process_time() - spent
                nursery.cancel_scope.cancel()
            return best, cpu

        best, cpu = trio.run(main)
        plain = subprocess.Popen(
            [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", folder, "18923"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            time.sleep(1)
            rates = [STREAM / timed(lambda: subprocess.run(
                ["curl", "-s", "-o", "/dev/null", "http://127.0.0.1:18923/releases/app/r1"], check=True)) for _ in range(5)]
        finally:
            plain.kill()
            plain.wait()
    return {
        "MB_per_s": round(best / 1e6), "server_cpu_s_per_GB": round(cpu / (STREAM / 1e9), 3),
        "python_http_server_MB_per_s": round(max(rates) / 1e6),
    }


if __name__ == "__main__":
    print(json.dumps({"machine": machine(), "decision": decision(), "swarm": swarm(), "stream": stream()}, indent=2))
