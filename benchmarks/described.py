"""What a measurement was taken on: written beside every result."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def machine() -> dict[str, object]:
    """Processor, cores that may be used, kernel, Python, how busy it was, and the date."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return {
        "cpu": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()),
        "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "python": platform.python_version(),
        "load_1_min": round(os.getloadavg()[0], 2), "date": time.strftime("%Y-%m-%d"),
    }
