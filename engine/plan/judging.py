"""What a run asks of its judge, told before anything is loaded."""

from engine.judges.contest import judgements
from engine.model import files
from engine.settings.judge_names import judge_kind
from engine.settings.schema import Settings


def judging_cost(settings: Settings) -> str | None:
    """How many judgements, each of two answers in both orders, the choice among more than two
    answers takes; None where there are two, or a person picks."""
    count = settings.completions
    if count == 2 or settings.human_judge:
        return None
    scores = [_scores(name) for name in settings.judges]
    if all(scores):
        return f"each of {count} answers a prompt is scored once"
    each = judgements(count)
    # What is not known before it is loaded may score, and then compares nothing.
    most = "" if any(each is False for each in scores) else "at most "
    cost = f"{most}{each:,} judgements a prompt"
    if settings.epochs:
        return cost
    return f"{cost}, {each * settings.batch_size * settings.iters:,} in all"


def _scores(name: str) -> bool | None:
    """Whether a judge scores answers one at a time; None where that is not known yet."""
    match judge_kind(name):
        case "rule":
            return True
        case "function":
            return None
        case "model":
            folder = files.find(name, "judge")
            return files.is_reward_model(folder) if folder else None
        case _:
            return False
