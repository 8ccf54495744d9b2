"""The engine: trains with Online DPO and knows nothing of any screen."""
