"""The wire formats of providers' APIs: what a request may say (spec P1), and what an answer says.

For requests, ``fields`` has a table per API, ``messages`` and ``tools`` say what their lists may hold, and
``dialects`` what else the common servers know. Anything else is refused by name.
"""
