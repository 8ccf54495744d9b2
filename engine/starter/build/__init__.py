"""Makes the starter from nothing: its world, its policy and its judge."""
