"""The guide: its text, and the screen that shows it."""
