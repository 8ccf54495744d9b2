"""Who judges in a run, and what for: each as settings of their own, by which a judge is made."""

from engine.settings.judge_names import BETWEEN, judge_kind
from engine.settings.schema import Settings

_EVALUATORS = ("eval_judge", "eval_judge_system", "eval_judge_model", "eval_judge_key_env")
_NO_EVALUATOR: dict[str, object] = {key: None for key in _EVALUATORS}  # noqa: C420


def training_judge(settings: Settings) -> Settings | None:
    """The settings by which a judge that is no person judges the pairs that are trained on, and
    nobody else; None where a person alone does."""
    if settings.human_judge:
        return None
    names = BETWEEN.join(settings.judges)
    return settings.model_copy(update={**_NO_EVALUATOR, "judge": names})


def evaluator(settings: Settings) -> Settings | None:
    """The settings by which a win rate is measured, where that is not by the judge of the run:
    `judge`, the rubric, and what belongs to a server are the evaluator's."""
    if not settings.measures:
        return None
    judge = training_judge(settings)
    names = settings.eval_judges or settings.judges
    changes: dict[str, object] = {**_NO_EVALUATOR, "judge": BETWEEN.join(names)}
    if names != settings.judges:
        changes["judge_weights"] = []
    if settings.eval_judge_system is not None:
        changes |= {"judge_system": settings.eval_judge_system, "judge_criteria": []}
    if _server(names) == _server(settings.judges):
        changes["judge_model"] = settings.eval_judge_model or settings.judge_model
        changes["judge_key_env"] = settings.eval_judge_key_env or settings.judge_key_env
    else:  # a key is for its own server alone
        changes["judge_model"] = settings.eval_judge_model
        changes["judge_key_env"] = settings.eval_judge_key_env
    other = settings.model_copy(update=changes)
    return None if judge and _same(other, judge) else other


def _server(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if judge_kind(name) == "server"), None)


def _same(one: Settings, other: Settings) -> bool:
    """Whether two judges say the same of any pair."""
    if (one.judges, one.judge_weights) != (other.judges, other.judge_weights):
        return False
    kinds = {judge_kind(name) for name in one.judges}
    rubrics = [(each.judge_system, each.judge_criteria) for each in (one, other)]
    if kinds & {"model", "server"} and rubrics[0] != rubrics[1]:
        return False
    return "server" not in kinds or one.judge_model == other.judge_model
