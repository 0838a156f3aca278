"""The gateway under load, beside direct calls, a pass-through without billing, and LiteLLM's proxy.

``upstream`` is what all of them ask, ``sides`` starts them, ``load`` asks them, ``table`` compares, and ``soak``
runs long.
"""
