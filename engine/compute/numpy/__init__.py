"""Models of a common kind computed in numpy, for MLX's CPU backend.

`backend` is what others see. `model` reads such a model's weights and runs it, `kv_cache` lets it
read, `decode` write. `logps` finds log-probabilities and their gradient, by `passes` forward and
back over a `layout` of the batch. `products` and `pointwise` are the arithmetic, `threads` spreads
a batch over the cores. Whether a model is of this kind is found by a trial
(`engine.compute.choose.is_numpy`); MLX computes any other, and everything on a GPU.

The kind is that of Llama, Qwen2 and Qwen3. Not taken are Gemma's layers, whose windows would be a
mask in every kernel, forward and back, for the few of its models that fit a CPU; and phi3's, whose
fused projections each carry one adapter for queries, keys and values together, which would need a
backward pass of its own.
"""
