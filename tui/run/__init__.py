"""The run that trains: what it is doing, how well, and what can be asked of it."""
