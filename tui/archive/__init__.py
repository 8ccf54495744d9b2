"""Runs that were: the list of them, one of them with its pairs, several beside one another,
export, and trying one.
"""
