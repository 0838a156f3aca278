"""``prepaid demo``: the product in one minute's reading, on a real ledger that is thrown away afterwards."""
