"""Setting up a run: the form, what it will cost, and its start."""
