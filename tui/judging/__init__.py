"""A judge tried before anything is trained: how far it can be trusted, and with a person."""
