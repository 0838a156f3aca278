"""The wire formats of providers' APIs: what a request may say (spec P1), and what an answer says.

Of requests, ``fields`` has a table per API, ``messages`` and ``tools`` what their lists may hold, and
``dialects`` what more the common servers know. What is in none of them is refused by its name.
"""
