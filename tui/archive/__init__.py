"""Runs that were: the list of them, one of them, several beside one another, and trying one."""
