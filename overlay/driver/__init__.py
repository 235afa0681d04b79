"""Drivers: Trio, sockets, files, time and chance. They move bytes and decide nothing (DESIGN 4)."""
