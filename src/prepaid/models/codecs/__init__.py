"""What may stand in a request to a provider's API, for every way by which requests reach one (spec P1).

``fields`` has a table per API, ``messages`` and ``tools`` what their lists may hold, ``dialects`` what more
the common servers know. All are lists of what may pass: what is in none is refused by its name.
"""
