"""The external services a provider calls, one module each."""
