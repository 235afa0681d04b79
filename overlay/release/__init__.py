"""Releases: what a subscriber may install, how bytes prove themselves, who is asked for which piece. Machines without I/O."""
