"""Records: signed, expiring, versioned statements about name-paths; who may make them; which of two counts."""
