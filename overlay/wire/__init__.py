"""The wire: one bounded codec and the table of messages. Everything foreign passes through here first."""
