"""What depends on the machine's speed, and so differs between two equal runs."""

TIMING = (
    "sample_seconds",
    "judge_seconds",
    "update_seconds",
    "step_seconds",
    "sum_seconds",
    "wait_seconds",
    "longest_wait_seconds",
    "pairs_per_second",
    "sampled_tokens_per_second",
    "peak_memory_gb",
    "seconds",
    "elapsed_seconds",
)
