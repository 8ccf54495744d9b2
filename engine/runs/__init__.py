"""Runs on disk: written so that nothing is lost, read while others write."""
