"""A real language model, where the package that brings it is installed."""
