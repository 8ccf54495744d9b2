"""Small suites of questions that a rule can score: what a model could do before a run, and after.

`items.py` reads and scores them, `changes.py` compares two measurements. Those that come with the
program lie in `bundled/`, a JSON object a line: prompt, check, value.
"""
