"""Parts that screens are built of: lists, charts, editors, the key line."""
