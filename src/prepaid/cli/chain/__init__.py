"""``prepaid chain``: a local chain, and sessions, requests and nodes on any."""
