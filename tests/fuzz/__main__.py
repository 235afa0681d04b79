"""Fuzzing by hand: ``python -m tests.fuzz --seconds 3600 [--decoder NAME]...``; crashers go to a file, figures to another.

Each decoder gets so many seconds of CPU. Exit status 1 where anything crashed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

from tests.fuzz.hunt import Figures, hunt
from tests.fuzz.table import DECODERS

ADDRESS_SPACE = 4 * 1024**3  # octets: an input that wants more fails here and not by the machine


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _row(figures: Figures) -> dict[str, object]:
    return {
        "inputs": figures.inputs, "cpu_s": round(figures.seconds, 1), "per_s": round(figures.inputs / max(figures.seconds, 1e-9)),
        "accepted": figures.accepted, "ways": figures.ways, "crashes": len(figures.crashes),
    }


def _merged(path: Path, rows: dict[str, dict[str, object]]) -> None:
    """Put rows into the file of figures, beside those of other decoders."""
    before = json.loads(path.read_text()) if path.exists() else {}
    decoders = {**before.get("decoders", {}), **rows}
    kept = {"machine": _machine(), "decoders": {name: decoders[name] for name in sorted(decoders) if name in DECODERS}}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def main() -> int:
    """Hunt, tell, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU for each decoder (60)")
    parser.add_argument("--decoder", action="append", choices=sorted(DECODERS), help="only these (all)")
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="of the dice (the time)")
    parser.add_argument("--crashers", type=Path, default=Path("build/crashers.txt"), help="where to add what crashed: NAME HEX # WHAT")
    parser.add_argument("--figures", type=Path, help="a file of figures to put the outcome into")
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    crashed = 0
    print(f"seed {chosen.seed}")
    for name in chosen.decoder or sorted(DECODERS):
        figures = hunt(DECODERS[name], seed=chosen.seed, seconds=chosen.seconds)
        row = _row(figures)
        print(f"{name:18} {row['inputs']:>9} inputs {row['per_s']:>7} a second {row['ways']:>4} ways out {row['crashes']} crashes", flush=True)
        crashed += len(figures.crashes)
        if figures.crashes:
            chosen.crashers.parent.mkdir(parents=True, exist_ok=True)
            with chosen.crashers.open("a") as file:
                file.writelines(f"{name} {crash.data.hex()}  # {crash.what}\n" for crash in figures.crashes)
        if chosen.figures is not None:
            _merged(chosen.figures, {name: {"date": time.strftime("%Y-%m-%d"), **row}})
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
