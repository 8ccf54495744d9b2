"""The run that trains, here or in another process: what it is doing, how well, and what can be
asked of it.
"""
