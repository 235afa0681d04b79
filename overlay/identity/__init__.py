"""Keys: one secret file, two keys, and the checks made with their public halves."""
