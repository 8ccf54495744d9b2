"""Text as a terminal may show it: safe, short, with its unit."""
