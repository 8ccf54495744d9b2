"""Models: found, loaded, quantised, given adapters, and described to the rest."""
