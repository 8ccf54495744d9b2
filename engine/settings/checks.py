"""Settings that are right one by one and wrong together, found before anything is loaded."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.data_folder import at_home
from engine.errors import UserError
from engine.machine.backend import backend
from engine.secrets import hide
from engine.settings.judge_names import (
    HYBRID,
    KEY_IN_ADDRESS,
    RULE,
    RULES,
    SETTINGS,
    address_problem,
    judge_kind,
)
from engine.settings.optimizer_arguments import (
    SCHEDULE_ARGUMENTS,
    SCHEDULE_STEPS,
    optimizer_problems,
)
from engine.settings.schema import Settings
from engine.settings.trackers import tracker_problems

FEWEST_FOR_LOW = 4  # answers whose scores tell a spread
PEOPLE = {"human", HYBRID}
SECRET = "holds a token or a password, which a run would keep; log in to the hub"
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a run from starting: the setting to mend, and a sentence that says how."""

    key: str
    message: str


def problems(settings: Settings) -> list[Problem]:
    """All problems between settings; empty where a run can start."""
    return [
        *_judge(settings),
        *_secrets(settings),
        *_data(settings),
        *_lengths(settings),
        *_weights(settings),
        *_compile(settings),
        *_labels(settings),
        *_answers(settings),
        *_warm_start(settings),
        *(Problem("optimizer_config", each) for each in optimizer_problems(settings)),
        *_schedule(settings),
        *_followers(settings),
        *_guard(settings),
        *_output(settings),
    ]


SOURCE_TEXTS = ("data_config", "data_split", "prompt_feature", "system_feature")


def check(settings: Settings) -> None:
    """Raise `UserError` naming the first problem, if there is one."""
    for problem in problems(settings):
        raise UserError(f"{problem.key}: {problem.message}")


def _judge(settings: Settings) -> Iterator[Problem]:
    if settings.judge == HYBRID:
        yield from _hybrid(settings)
    else:
        for name in settings.judges:
            yield from _one_judge(name, "judge")
        if len(settings.judges) > 1 and not PEOPLE.isdisjoint(settings.judges):
            yield Problem("judge", "a person cannot be one of several judges; say human alone")
        yield from _one_server(settings.judges, "judge")
    yield from _evaluator(settings)
    yield from _weights_of(settings)
    yield from _criteria(settings)
    rules = settings.judge_names("rule")
    if RULE + "matches" in rules:
        yield from _pattern(settings.judge_pattern)
    if RULE + "avoid" in rules and not any(word.strip() for word in settings.judge_words):
        yield Problem("judge_words", "rule:avoid needs words; list some, as [very, really]")
    for key in ("judge_key_env", "eval_judge_key_env"):
        name = getattr(settings, key)
        if name is not None and not ENVIRONMENT_NAME.fullmatch(name):
            yield _no_variable(key, "OPENAI_API_KEY", "key")


def _one_judge(name: str, key: str) -> Iterator[Problem]:
    kind = judge_kind(name)
    if kind == "server":
        if problem := address_problem(name) or (hide(name) != name and KEY_IN_ADDRESS):
            yield Problem(key, problem)
    elif hide(name) != name:
        yield Problem(key, f"it {SECRET}")
    elif not name.strip():
        yield Problem(key, "it names no judge")
    elif kind == "model" and (file := name.removesuffix(":")).endswith(".py"):
        yield Problem(key, f"it names no function of {file}; write it as {file}:FUNCTION")
    if kind == "rule" and name.removeprefix(RULE) not in RULES:
        rules = ", ".join(RULE + each for each in RULES)
        yield Problem(key, f"there is no {name}; the rules are {rules}")


def _guard(settings: Settings) -> Iterator[Problem]:
    name = settings.guard_function
    if name is not None and judge_kind(name) != "function":
        yield Problem("guard_function", "it names no function; write it as FILE.py:NAME")
    elif name is not None and settings.guard != "off" and not settings.guard_suites:
        yield Problem("guard_function", "it scores suites of your own; name them in guard_suites")


def _output(settings: Settings) -> Iterator[Problem]:
    root = at_home(settings.output_root or ".")
    if str(root).startswith("~"):  # it would be made as a folder of that name
        user = root.parts[0]
        yield Problem("output_root", f"there is no home folder {user}; did you mean ~/{user[1:]}?")


def _one_server(names: Sequence[str], key: str) -> Iterator[Problem]:
    if len({name for name in names if judge_kind(name) == "server"}) > 1:
        yield Problem(key, "only one of several judges can be on a server; keep one")


def _no_variable(key: str, example: str, secret: str) -> Problem:
    """Its value may be the secret, and so is not quoted."""
    return Problem(
        key,
        f"it has to be the name of an environment variable, such as {example}, never the {secret} "
        "itself",
    )


def _hybrid(settings: Settings) -> Iterator[Problem]:
    if not settings.judges:
        yield Problem(
            "hybrid_model",
            "judge: hybrid needs a model beside the person; name one, such as starter",
        )
    for name in settings.judges:
        if name in PEOPLE:
            yield Problem(
                "hybrid_model",
                "the person is there already; name a model, a server or a function",
            )
        else:
            yield from _one_judge(name, "hybrid_model")
    yield from _one_server(settings.judges, "hybrid_model")


def _evaluator(settings: Settings) -> Iterator[Problem]:
    for name in settings.eval_judges:
        if name in PEOPLE:
            yield Problem(
                "eval_judge",
                "a person is never asked for an evaluation; name a model, a server or a function",
            )
        else:
            yield from _one_judge(name, "eval_judge")
    yield from _one_server(settings.eval_judges, "eval_judge")


def _weights_of(settings: Settings) -> Iterator[Problem]:
    weights = settings.judge_weights
    if weights and len(weights) != len(settings.judges):
        yield Problem(
            "judge_weights",
            f"{len(weights)} weights for {len(settings.judges)} judges; give each one, or none",
        )
    if any(weight <= 0 for weight in weights):
        yield Problem("judge_weights", "a weight has to be above 0; leave out who shall not count")


def _criteria(settings: Settings) -> Iterator[Problem]:
    for criterion in settings.judge_criteria:
        texts = [criterion.get(key) for key in ("name", "text")]
        weight = criterion.get("weight", 1.0)
        if (
            not all(isinstance(text, str) and text.strip() for text in texts)
            or not isinstance(weight, float)
            or weight <= 0
            or criterion.keys() - {"name", "text", "weight"}
        ):
            yield Problem(
                "judge_criteria",
                "each is {name: ..., text: ..., weight: ...}, with a weight above 0, or none for 1",
            )
            return


def _pattern(pattern: str | None) -> Iterator[Problem]:
    if not pattern:
        yield Problem("judge_pattern", "rule:matches needs a regular expression; give one")
        return
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        yield Problem("judge_pattern", f"it is no regular expression of Python: {error}")


def _secrets(settings: Settings) -> Iterator[Problem]:
    """All settings are kept in the run's folder, where no token belongs."""
    # What a mix names is looked at there; data but repeats it.
    elsewhere = {*SETTINGS, "data"} if settings.data_mix else SETTINGS
    for key, value in settings.model_dump().items():
        if key not in elsewhere and isinstance(value, str) and hide(value) != value:
            yield Problem(key, f"it {SECRET}")


def _data(settings: Settings) -> Iterator[Problem]:
    for source in settings.data_mix:
        name, weight = source.get("data"), source.get("weight", 1.0)
        texts = [source[key] for key in SOURCE_TEXTS if key in source]
        if (
            not isinstance(name, str)
            or not name.strip()
            or not all(isinstance(text, str) for text in texts)
            or not isinstance(weight, float)
            or weight <= 0
            or source.keys() - {"data", "weight", *SOURCE_TEXTS}
        ):
            keys = ", ".join(SOURCE_TEXTS)
            yield Problem(
                "data_mix",
                "each source is {data: NAME, weight: ...}, with a weight above 0 or none, and may "
                f"have {keys} as texts",
            )
            break
        if any(hide(str(value)) != value for value in (name, *texts)):
            yield Problem("data_mix", f"it {SECRET}")
            break
    weighted = sum("weight" in source for source in settings.data_mix)
    if 0 < weighted < len(settings.data_mix):
        yield Problem("data_mix", "give each source a weight, or none")
    if settings.data_streaming and not settings.max_prompts:
        yield Problem(
            "data_streaming", "a stream has no end; say max_prompts, how many are to be read of it"
        )


def _lengths(settings: Settings) -> Iterator[Problem]:
    if settings.max_completion_length >= settings.max_seq_length:
        yield Problem(
            "max_completion_length",
            f"{settings.max_completion_length} leaves no room for a prompt in max_seq_length "
            f"{settings.max_seq_length}; lower it or raise max_seq_length",
        )
    if settings.steps_per_eval == 0:
        yield Problem("steps_per_eval", "0 is no interval; -1 turns evaluation off")
    if settings.val_batches == 0:
        yield Problem("val_batches", "0 evaluates nothing; steps_per_eval: -1 turns evaluation off")
    if settings.test and settings.test_batches == 0:
        yield Problem("test_batches", "0 tests nothing; test: false turns the test off")


def _weights(settings: Settings) -> Iterator[Problem]:
    if settings.train_type == "full" and settings.quantization != "none":
        yield Problem(
            "quantization",
            f"{settings.quantization} weights cannot be trained in full; say quantization: none, "
            "or train_type: lora",
        )
    if settings.num_layers == 0:
        yield Problem("num_layers", "0 trains nothing; -1 means all layers")
    if settings.lora_parameters.keys == []:
        yield Problem("lora_parameters.keys", "an empty list adapts nothing; leave it out for all")


def _compile(settings: Settings) -> Iterator[Problem]:
    if settings.compile != "on":
        return
    if settings.lora_parameters.dropout:
        yield Problem("compile", "an update with dropout is never compiled; set it to auto or off")
    elif backend() == "cpu" and not shutil.which("g++"):
        yield Problem("compile", "on a CPU it takes g++, which is not here; set it to auto or off")


def _labels(settings: Settings) -> Iterator[Problem]:
    sigmoid = settings.dpo_cpo_loss_type == "sigmoid"
    if settings.soft_labels == "geometric" and not sigmoid:
        yield Problem(
            "soft_labels",
            f"geometric is of the sigmoid loss alone, not of {settings.dpo_cpo_loss_type}; say "
            "soft_labels: mix, or dpo_cpo_loss_type: sigmoid",
        )
    if settings.length_normalize and settings.dpo_cpo_loss_type not in ("sigmoid", "hinge"):
        why = {"ipo": "and ipo does so by itself"}.get(settings.dpo_cpo_loss_type, "not of dpop")
        yield Problem(
            "length_normalize",
            f"it is of the sigmoid and hinge losses alone, {why}; say length_normalize: false, or "
            "dpo_cpo_loss_type: sigmoid",
        )
    if settings.label_smoothing and not sigmoid:
        yield Problem(
            "label_smoothing",
            f"it is of the sigmoid loss alone, not of {settings.dpo_cpo_loss_type}; set it to 0, "
            "or say dpo_cpo_loss_type: sigmoid",
        )
    if settings.label_smoothing and settings.soft_labels != "off":
        yield Problem(
            "label_smoothing",
            f"soft_labels: {settings.soft_labels} says already how sure a label is; use one of "
            "the two",
        )


def _answers(settings: Settings) -> Iterator[Problem]:
    low, person = settings.rejected == "low", settings.human_judge
    if low and settings.completions < FEWEST_FOR_LOW:
        yield Problem(
            "rejected",
            f"low goes by the spread of scores, which {settings.completions} answers do not tell; "
            f"say completions: {FEWEST_FOR_LOW} or more, or rejected: worst",
        )
    elif low and person and settings.pairs_per_pick == "one":
        yield Problem(
            "rejected",
            "low goes by scores, which a person does not give; say worst or random, or "
            "pairs_per_pick: all",
        )
    if settings.pairs_per_pick == "all" and settings.completions > 2 and not person:
        yield Problem(
            "pairs_per_pick", "all is of a person's picks alone; say one, or judge: human"
        )


def _warm_start(settings: Settings) -> Iterator[Problem]:
    if settings.warm_start is None:
        return
    if not settings.warm_start.strip():
        yield Problem("warm_start", "it names no file, dataset or run; leave it out for none")
    elif not (settings.warm_start_epochs or settings.replay):
        yield Problem(
            "warm_start",
            "nothing would be learned from it; set warm_start_epochs or replay above 0",
        )


def _schedule(settings: Settings) -> Iterator[Problem]:
    schedule = settings.lr_schedule
    if schedule.name == "constant":
        if schedule.arguments:
            yield Problem(
                "lr_schedule.arguments",
                "a constant rate takes none; name a schedule in lr_schedule.name",
            )
        return
    if schedule.arguments is not None:
        least, most = SCHEDULE_ARGUMENTS[schedule.name]
        if not least <= len(schedule.arguments) <= most:
            count = f"{least}" if least == most else f"{least} or {most}"
            yield Problem(
                "lr_schedule.arguments",
                f"{schedule.name} takes {count} arguments, not {len(schedule.arguments)}",
            )
        elif schedule.name in SCHEDULE_STEPS:
            at = SCHEDULE_STEPS[schedule.name]
            if schedule.arguments[at] <= 0:
                yield Problem(
                    "lr_schedule.arguments",
                    f"argument {at + 1} of {schedule.name} is a number of updates, and has to be "
                    f"above 0, not {schedule.arguments[at]:g}",
                )
        return
    if schedule.final_rate > settings.learning_rate:
        yield Problem(
            "lr_schedule.final_rate",
            f"{schedule.final_rate:g} is above learning_rate {settings.learning_rate:g}, so the "
            "rate would rise; lower it",
        )
    if schedule.final_rate == 0 and schedule.name in ("exponential_decay", "step_decay"):
        yield Problem(
            "lr_schedule.final_rate",
            f"{schedule.name} never reaches 0; give a rate above 0",
        )


def _followers(settings: Settings) -> Iterator[Problem]:
    for message in tracker_problems(settings.report_to):
        yield Problem("report_to", message)
    if settings.report_to and not settings.project_name.strip():
        yield Problem("project_name", "it names no project; leave it out for lora-studio")
    name = settings.notify_env
    if name is not None and not ENVIRONMENT_NAME.fullmatch(name):
        yield _no_variable("notify_env", "NOTIFY_URL", "address")
