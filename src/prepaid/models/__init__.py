"""What answers requests: the Model contract, the offline model, upstreams, and the catalogue of all."""
