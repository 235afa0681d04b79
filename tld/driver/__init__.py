"""Drivers of the virtual TLD: sockets, files, the host's resolver. The only part of ``tld`` that knows Trio."""
