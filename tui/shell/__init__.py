"""What all screens share: keys, palette, themes, questions."""
