"""Models of a common kind computed in numpy, for MLX's CPU backend.

`backend` is what others see. `model` reads such a model's weights and runs it, `kv_cache` lets it
read, `decode` write. `logps` finds log-probabilities and their gradient, by `passes` forward and
back over a `layout` of the batch. `products` and `pointwise` are the arithmetic, `threads` spreads
a batch over the cores. Whether a model is of this kind is found by a trial
(`engine.compute.choose.is_numpy`); MLX computes any other, and everything on a GPU.
"""
