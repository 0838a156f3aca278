"""What answers a request: the contract, the offline model, OpenAI-compatible upstreams, the catalogue."""
