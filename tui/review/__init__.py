"""A person picks the better of two answers, takes a label back, and changes one later."""
