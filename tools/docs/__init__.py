"""Reference pages from the program's own tables, so that they cannot say anything else than the code does."""
