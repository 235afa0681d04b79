"""``python -m tools.docs`` writes the reference pages anew and says which of them changed (``make docs``)."""

from __future__ import annotations

import sys

from tools.docs.pages import FOLDER, PAGES


def main() -> None:
    """Write every page that is not as its tables want it."""
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote docs/{name}\n")


main()
