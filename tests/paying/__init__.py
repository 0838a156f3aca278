"""What the tests of paid turns share: a desk with real books, and models that misbehave as told."""
