"""The virtual TLD: names of the overlay as ordinary DNS (DESIGN 3.8)."""
