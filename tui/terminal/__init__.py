"""The terminal itself: what it can do, how it is left, and how it is given back."""
