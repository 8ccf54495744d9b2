"""When settings have an effect, and the reason that the form gives when they have none."""

from engine.settings.fields import Condition
from engine.settings.judge_names import HYBRID, RULE, judge_kind

LLM = Condition(lambda s: not s.human_judge, "a person judges this run")
PERSON = Condition(lambda s: s.asks_person, "no person judges this run")
HYBRID_JUDGE = Condition(lambda s: s.judge == HYBRID, "judge is not hybrid")
READER = Condition(
    lambda s: not s.judge_kinds.isdisjoint(("model", "server")),
    "no language model judges this run, so no rubric is read",
)
RUBRIC_READ = Condition(
    lambda s: READER.holds(s) and not s.judge_criteria,
    "no language model judges this run, or judge_criteria stand in its place",
)
LOCAL = Condition(lambda s: "model" in s.judge_kinds, "no model on this machine judges this run")
SERVER = Condition(lambda s: "server" in s.judge_kinds, "no server judges this run")
SEVERAL = Condition(lambda s: len(s.judges) > 1, "one judge judges this run")
MEASURED = Condition(lambda s: s.measures, "a person judges this run, and there is no eval_judge")
VERDICTS = Condition(lambda s: s.measures, "a person judges this run")
EVAL_RUBRIC_READ = Condition(
    lambda s: s.measures and READER.holds(s),
    "no language model measures a win rate in this run, so no rubric is read",
)
EVAL_SERVER = Condition(
    lambda s: any(judge_kind(name) == "server" for name in s.eval_judges),
    "eval_judge is on no server",
)
TIMED = Condition(
    lambda s: not s.judge_kinds.isdisjoint(("server", "function")) or s.guard_function is not None,
    "neither a server nor a function judges this run, and guard_function is empty",
)


def rule(name: str) -> Condition:
    """That a rule judges."""
    judge = RULE + name
    return Condition(lambda s: judge in s.judge_names("rule"), f"{judge} does not judge this run")


MANY_ANSWERS = Condition(lambda s: s.completions > 2, "a prompt has two answers")
PICKED = Condition(
    lambda s: s.completions > 2 and s.human_judge,
    "no person picks the best of more than two answers",
)
WARM_STARTED = Condition(lambda s: s.warm_start is not None, "warm_start is empty")
ADAPTERS = Condition(lambda s: s.train_type != "full", "full fine-tuning has no adapters")
DPOP = Condition(lambda s: s.dpo_cpo_loss_type == "dpop", "only the dpop loss has this term")
SUMMED = Condition(
    lambda s: s.dpo_cpo_loss_type in ("sigmoid", "hinge"),
    "ipo does so always, and dpop never",
)
SMOOTHED = Condition(lambda s: s.label_smoothing > 0, "label_smoothing is 0")
SCHEDULED = Condition(lambda s: s.lr_schedule.name != "constant", "the rate is constant")
SHAPED = Condition(
    lambda s: s.lr_schedule.name != "constant" and not s.lr_schedule.arguments,
    "lr_schedule.arguments say it, or the rate is constant",
)
WARMED = Condition(lambda s: s.lr_schedule.warmup_steps > 0, "there is no warmup")
UNSCHEDULED_RATE = Condition(
    lambda s: not s.lr_schedule.arguments, "lr_schedule.arguments give the rate"
)
COUNTED = Condition(lambda s: s.epochs == 0, "epochs is above 0 and decides the length")
EVALUATED = Condition(
    lambda s: s.measures and s.steps_per_eval != -1 and s.eval_prompts != 0,
    "nothing is evaluated: evaluation is off, or a person judges and is never asked for it",
)
TESTED = Condition(lambda s: s.test and s.measures, "no test is made at the end")
CHUNKED = Condition(lambda s: s.efficient_long_context, "efficient_long_context is off")
FUSED = Condition(lambda s: s.fuse, "fuse is off")
FUSED_ADAPTERS = Condition(lambda s: s.fuse and s.train_type != "full", "no adapters are fused")
DEQUANTIZED = Condition(lambda s: s.fuse and s.quantization != "none", "nothing quantized is fused")
UNATTENDED = Condition(lambda s: not s.human_judge, "without its person a run always stops")
ONE_SOURCE = Condition(lambda s: not s.data_mix, "each source of data_mix has its own")
TRACKED = Condition(lambda s: bool(s.report_to), "report_to names no program")
NOTIFIED_PERSON = Condition(
    lambda s: s.asks_person and s.notify_env is not None,
    "no person judges this run, or notify_env names no address",
)
GUARDED = Condition(lambda s: s.guard != "off", "guard is off")
NEVER = Condition(lambda s: s.mask_prompt, "prompt tokens never carry loss here")
