"""The wire formats of providers' APIs: what a request may say, and what an answer says."""
