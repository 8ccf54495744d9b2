"""Text as a terminal may show it: safe, short, with its unit; verdicts and phases in words."""
