"""A person picks the better of two answers."""
