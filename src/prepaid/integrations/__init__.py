"""Other libraries' agents on our sessions: persisted, owned, and paid (spec D9).

``pydantic_ai`` and ``openai_agents`` are named for what they serve, and imported by whoever uses that.
"""
