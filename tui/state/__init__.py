"""What the program knows of a run, and the control of the one that trains: nothing here draws."""
