"""DNSSEC: zones that any validator accepts (RFC 4033 to 4035, Ed25519 by RFC 8080, NSEC)."""
