"""What all screens share: keys, places, themes, questions."""
