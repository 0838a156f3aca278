"""``prepaid demo --chain``: the same promises kept by contracts, on a chain of one's own."""
