"""The gateway: OpenAI's API and our own REST API on one port, paid from sessions (spec D1 to D5).

``asgi`` is the vocabulary of the hot path, ``app`` sends each request to its handler, ``failures`` turns
every error into a reply, ``parts`` is what handlers work with. ``openai`` and ``rest`` are what they say.
"""
