"""Sessions: authenticated, encrypted exchange between two nodes, named by index, not by address (DESIGN 3.4)."""
