"""The directory: the table of clusters, the zones of names, who keeps them and who is told (DESIGN 3.5)."""
