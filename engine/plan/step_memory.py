"""What a step needs on top of weights and optimizer: an estimate from a model's shape.

It is of the longest prompts and completions that the settings allow. `float32`: numbers
have 32 bits, as on a CPU; else 16.
"""

from engine.compute import limits
from engine.judges.contest import judgements_at_once
from engine.machine.device import cores
from engine.model.files import Shape
from engine.settings.schema import Settings


def sampling(shape: Shape, settings: Settings, float32: bool) -> int:
    """Bytes of sampling, for the longest prompts."""
    prompt, completion = _lengths(settings)
    copies = settings.completions
    most = limits.SAMPLED_TOKENS // (copies * (prompt + completion))
    prompts = min(settings.batch_size, max(1, most))
    rows = copies * prompts
    cached = _cached(shape, float32) * (prompts * prompt + 2 * rows * (prompt + completion))
    return cached + 3 * 4 * rows * shape.vocabulary


def scoring(shape: Shape, settings: Settings, float32: bool, by_numpy: bool) -> int:
    """Bytes of scoring with its backward pass, for the longest prompts, and for the longest answers
    that a warm start may bring."""
    if settings.warm_start:
        own = settings.model_copy(update={"warm_start": None})
        brought = own.model_copy(update={"max_completion_length": settings.max_seq_length - 1})
        return max(scoring(shape, each, float32, by_numpy) for each in (own, brought))
    return _by_numpy(shape, settings) if by_numpy else _by_mlx(shape, settings, float32)


def _by_mlx(shape: Shape, settings: Settings, float32: bool) -> int:
    width = 4 if float32 else 2
    prompt, completion = _lengths(settings)
    pairs = _pairs(settings, _tokens_per_pass(shape, settings, cpu=float32))
    tokens = pairs * (prompt + 2 * completion)
    inside = width * tokens * _values_in_a_layer(shape)
    scores = 3 * _scores(shape, settings, pairs)
    cache = _cached(shape, float32) * pairs * (prompt + 2 * prompt + 2 * (prompt + completion))
    if settings.grad_checkpoint:
        scoring = (
            cache + shape.layers * 2 * width * tokens * shape.hidden + 3 * (inside + scores) // 2
        )
    else:
        scoring = cache + (_trained_layers(shape, settings) + 1) * (inside + scores)
    values = 2 * pairs * completion * shape.vocabulary
    return scoring + 4 * 4 * min(values, max(limits.LOGIT_VALUES, shape.vocabulary))


def _by_numpy(shape: Shape, settings: Settings) -> int:
    prompt, completion = _lengths(settings)
    pairs = _pairs(settings, _tokens_per_pass(shape, settings, cpu=True, numpy=True))
    tokens = pairs * (prompt + 2 * completion)
    heads = (shape.heads + shape.kv_heads) * shape.head_width
    values = 2 * shape.hidden + 3 * heads + 2 * shape.feed_forward
    layer = 4 * tokens * values + _scores(shape, settings, pairs)
    if settings.grad_checkpoint:
        activations = 4 * tokens * shape.hidden * shape.layers + layer
    else:
        activations = layer * _trained_layers(shape, settings)
    passing = 4 * tokens * (4 * shape.hidden + 3 * heads + 2 * shape.feed_forward)
    parts = min(pairs, cores())  # a part of the pairs on each core
    logits = min(2 * pairs * completion, parts * max(1, limits.LOGIT_VALUES // shape.vocabulary))
    return activations + passing + 4 * logits * shape.vocabulary


def _lengths(settings: Settings) -> tuple[int, int]:
    """Tokens of the longest prompts and completions."""
    completion = min(settings.max_completion_length, settings.max_seq_length - 1)
    return settings.max_seq_length - completion, completion


def _tokens_per_pass(shape: Shape, settings: Settings, *, cpu: bool, numpy: bool = False) -> int:
    recompute = settings.grad_checkpoint
    return limits.scored_tokens(
        shape.layers, shape.hidden, recompute=recompute, cpu=cpu, numpy=numpy
    )


def _pairs(settings: Settings, most: int) -> int:
    """How many pairs are in a pass of no more than `most` tokens, but at least one."""
    prompt, completion = _lengths(settings)
    pairs = settings.batch_size
    if settings.human_judge and settings.pairs_per_pick == "all":
        pairs *= settings.completions - 1
    return min(pairs, max(1, most // (prompt + 2 * completion)))


def _trained_layers(shape: Shape, settings: Settings) -> int:
    return shape.layers if settings.num_layers < 0 else min(settings.num_layers, shape.layers)


def _cached(shape: Shape, float32: bool) -> int:
    """Bytes of keys and values of a token."""
    return 2 * shape.layers * shape.kv_heads * shape.head_width * (4 if float32 else 2)


def _scores(shape: Shape, settings: Settings, pairs: int) -> int:
    """Bytes of the scores of attention of one layer."""
    prompt, completion = _lengths(settings)
    return 4 * shape.heads * pairs * (prompt**2 + 2 * completion * (prompt + completion))


def judging(shape: Shape, settings: Settings, float32: bool) -> int:
    """Bytes of a forward pass over pairs in both orders."""
    width = 4 if float32 else 2
    completion = _lengths(settings)[1]
    pair = min(settings.max_seq_length + completion, settings.judged_tokens)
    rubrics = (settings.judge_system, settings.eval_judge_system or "")
    rubric = max(len(each.encode()) for each in rubrics) // 3
    asked = settings.batch_size * judgements_at_once(settings.completions)
    rows = min(2 * asked, max(1, limits.JUDGED_TOKENS // pair))
    cached = _cached(shape, float32)
    inside = width * rows * pair * _values_in_a_layer(shape)
    scores = 4 * 2 * shape.heads * min(rows * pair * (pair + rubric), limits.ATTENTION_SCORES)
    return cached * rows * (2 * rubric + pair) + inside + scores


def _values_in_a_layer(shape: Shape) -> int:
    """Numbers a token that one layer makes on its way."""
    attention = 2 * (shape.heads + shape.kv_heads) * shape.head_width
    return 5 * shape.hidden + attention + 4 * shape.feed_forward
