"""``docs/metrics.md``: what ``GET /metrics`` shows, from the tables of ``overlay/cli/metrics.py``."""

from __future__ import annotations

from overlay.cli.metrics import COUNTED, MEASURED, REASONED, name_of
from tools.docs.markdown import head, table

INTRODUCTION = """
`GET /metrics` on the HTTP listener, or on the TCP side of the overlay's port, gives Prometheus text (format 0.0.4) to whoever asks
from this machine; everybody else gets 403. To gather from elsewhere, let an agent on the machine pass it on.

    curl http://127.0.0.1:7653/metrics

Names and labels are stable. How many series there are is bounded by the program: nothing that others send becomes a name or a label.
A bound of [limits.md](limits.md) that was reached is counted here, with `:` as in `drop:R07` for `{reason="R07"}`.

## Measured

"""

COUNTERS = """
## Counted

Since the start of the run. `part` is the part of the program that counted, `reason` a rule of [rights.md](rights.md) or a word.

"""


def page() -> str:
    """The whole page."""
    rows = [(f"`{name_of(word)}`", "`part`, `reason`" if word in REASONED else "", meaning) for word, meaning in sorted(COUNTED.items())]
    return "".join([
        head("Metrics", "`overlay/cli/metrics.py`"), INTRODUCTION, table(("metric", "is"), [(f"`{name}`", told) for name, told in MEASURED.items()]),
        COUNTERS, table(("metric", "labels", "counts"), rows),
    ])  # fmt: skip
