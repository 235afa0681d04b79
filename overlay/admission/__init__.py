"""Admission: who gets in, under which name, with which rights (DESIGN 3.2, 3.3)."""
