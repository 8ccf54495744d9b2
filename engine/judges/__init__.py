"""Judges: who decides which of two completions is better."""
