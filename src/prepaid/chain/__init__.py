"""Sessions on an EVM chain: contracts as compiled, and the client that speaks to them (spec A, B)."""
