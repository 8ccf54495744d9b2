"""The starter: a bundled policy, judge and prompts, made only by this project."""
