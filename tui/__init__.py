"""The terminal: the `lora-studio` command, its screens, widgets and keys."""
