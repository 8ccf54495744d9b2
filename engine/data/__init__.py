"""From a dataset to prompts as token ids, and from completions to pairs."""
