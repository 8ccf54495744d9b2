"""What models compute: sampling, log-probabilities, and the caches under both."""
