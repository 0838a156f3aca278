"""Providers that are not real, spoken to over real HTTP on loopback."""
