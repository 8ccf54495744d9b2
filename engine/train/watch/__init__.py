"""What watches over a run: its health, its judge, its text, its abilities, its memory."""
