"""Models of ours as if they were an upstream: asked in OpenAI's words, answering in OpenAI's words."""

from prepaid.relay.own.host import OwnHost

__all__ = ["OwnHost"]
