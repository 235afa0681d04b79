"""Links between the pages of this tree lead somewhere."""

from __future__ import annotations

import re

from tests.house.source import ROOT, report

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")]
    assert len(pages) > 5
    links = [(page, target) for page in sorted(pages) for target in LINK.findall(page.read_text())]
    report([f"{page.relative_to(ROOT)}: {target}" for page, target in links if not (page.parent / target).exists()])
