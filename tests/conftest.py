"""For all tests: how hypothesis searches, and the shares of time that each layer keeps to (GOALS, "Reliability").

A layer is a folder of `tests`. Its share is the wall time that its tests may take together in one run; the closing lines
tell what each took, and a run in which a layer took more has failed. On a machine busy with other things the limit may be
stretched: OVERLAY_TEST_PATIENCE=3 triples it.
"""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A test run that a shell started in the background ignores SIGINT, and its children would inherit that (POSIX, 2.11).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS = Path(__file__).parent
# Seconds, with room for a machine that does other work at the same time (GOALS: 180 unit, 120 lab, 300 netns); of fuzz 5
# for each of the 86 decoders and walks. What is not named here shares "unit and property".
SHARES = {
    "netns": 600.0, "lab": 900.0, "scale": 120.0, "scenarios": 120.0, "interop": 120.0, "process": 600.0, "fuzz": 5.0 * 86,
    "unit and property": 450.0,
}  # fmt: skip
_spent: defaultdict[str, float] = defaultdict(float)

# Machines differ in speed, so no deadline for a single example. Where CI is set every run tries the same examples.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def _layer(path: Path) -> str:
    inside = path.relative_to(TESTS).parts
    return inside[0] if inside[0] in SHARES else "unit and property"


def _late() -> list[str]:
    patience = float(os.environ.get("OVERLAY_TEST_PATIENCE", "1"))
    return [layer for layer, spent in sorted(_spent.items()) if spent > SHARES[layer] * patience]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _spent[_layer(TESTS.parent / report.location[0])] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _late() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    took = ", ".join(f"{layer} {spent:.0f} s of {SHARES[layer]:.0f} s" for layer, spent in sorted(_spent.items()))
    terminalreporter.write_line(f"time: {took}" if took else "time: none")
    for layer in _late():
        terminalreporter.write_line(f"FAILED: {layer} took more than its share of time", red=True)
