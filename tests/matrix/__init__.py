"""The matrix (spec P): whatever a provider and a client do, what was billed is charged or booked, nothing more.

``cells`` says what there is, ``provider`` is the upstream that knows its bill, ``scripts`` what it says in each cell,
``callers`` who asks, ``verdict`` what must be true, ``playing`` runs many at once, ``mutants`` shows that it can fail.
"""
