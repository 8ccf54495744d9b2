"""The commands: what can be done without the app."""
