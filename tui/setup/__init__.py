"""Setting up a run: the form by section, search or YAML, presets and config files, what the run
will cost, and its start.
"""
