"""Bootstrap: how a newcomer gets in, from a domain, an address, a token, or what it remembers (DESIGN 3.7, CONTRACT DNS)."""
