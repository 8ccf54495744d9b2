"""The settings, a file for each section of the form."""
