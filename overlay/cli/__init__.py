"""The command line: ``entry.py`` runs a command, ``grammar.py`` reads one, ``table.py`` lists them all."""

from overlay.cli.entry import main

__all__ = ["main"]
