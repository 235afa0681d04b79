"""The machine's own place behind its router: mapped ports now, mapping kinds and punching later (DESIGN 3.7)."""
