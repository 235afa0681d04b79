"""The lab: nodes on one heap with virtual time, for tests and for operators who rehearse (DESIGN 4)."""
