"""The few shapes that batches are padded to where an update is compiled.

Each shape is a trace of its own, which is kept for as long as the run, so they have to be few
whatever lengths come: at most `MOST`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST = 32
# Widths as shares of the longest: prompts of a run differ most, and completions reach their limit.
PROMPT_SHARES = (1 / 81, 1 / 27, 1 / 9, 1 / 3, 1.0)
COMPLETION_SHARES = (1 / 4, 1 / 2, 1.0)
ROUNDED_TO = 16  # tokens


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a padded batch: its pairs, and the tokens of the longest prompt and completion."""

    pairs: int
    prompt: int
    completion: int

    @property
    def tokens(self) -> int:
        """Tokens that are run through the model, padding included."""
        return self.pairs * (self.prompt + 2 * self.completion)

    def holds(self, other: "Shape") -> bool:
        """Whether a batch of the other shape can be padded to this one."""
        return (
            other.pairs <= self.pairs
            and other.prompt <= self.prompt
            and other.completion <= self.completion
        )


def joint_shapes(pairs: int, prompt: int, completion: int, tokens_per_pass: int) -> list[Shape]:
    """The shapes of a run, fewest tokens first.

    Args:
        pairs: most of one batch.
        prompt, completion: tokens of the longest that can come.
        tokens_per_pass: most of one shape, unless a single pair has more.
    """
    shapes = set[Shape]()
    for prompt_width in _widths(prompt, PROMPT_SHARES):
        for completion_width in _widths(completion, COMPLETION_SHARES):
            one = Shape(1, prompt_width, completion_width)
            most = min(pairs, max(1, tokens_per_pass // one.tokens))
            for count in (most, (most + 1) // 2):
                shapes.add(Shape(count, prompt_width, completion_width))
    assert len(shapes) <= MOST
    return sorted(shapes, key=lambda shape: (shape.tokens, shape.pairs, shape.prompt))


def _widths(longest: int, shares: Sequence[float]) -> set[int]:
    rounded = (-(-int(longest * share) // ROUNDED_TO) * ROUNDED_TO for share in shares)
    return {max(1, min(longest, max(ROUNDED_TO, width))) for width in rounded}


def fitting(shapes: Sequence[Shape], batch: Shape) -> Shape | None:
    """The shape of fewest tokens that holds a batch, or None where none does."""
    return next((shape for shape in shapes if shape.holds(batch)), None)


def grouped(
    shapes: Sequence[Shape], sizes: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, Shape | None]]:
    """Pairs in groups, in their order, each with the shape that it is padded to.

    Args:
        sizes: of each pair, tokens of its prompt and of its longer completion.

    Yields:
        How many of the next pairs make a group, and its shape; None with a single pair that no
        shape holds.
    """
    start = 0
    while start < len(sizes):
        end, shape = start + 1, fitting(shapes, Shape(1, *sizes[start]))
        while shape and end < len(sizes):
            group = sizes[start : end + 1]
            more = Shape(len(group), max(p for p, _ in group), max(c for _, c in group))
            if (wider := fitting(shapes, more)) is None:
                break
            end, shape = end + 1, wider
        yield end - start, shape
        start = end
