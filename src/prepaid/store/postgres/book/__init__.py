"""The hot path: the rows that a batch of holds and settlements needs, in memory from lock to commit.

A batch locks its sessions' accounts, reads what its operations need in one statement, applies them here in
the order of submission, and writes what became of it in one statement. So a session with hundreds of requests
in one batch has its row written once, and a batch costs as many round trips as a single operation.
"""
