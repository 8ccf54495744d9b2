"""Online DPO: the loop, the update, what is measured, and what is kept."""
