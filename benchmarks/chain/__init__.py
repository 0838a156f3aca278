"""The node beside the chain it works on: anvil, contracts, and ``prepaid node`` as a process of its own."""
