"""Settings that are right one by one and wrong together, found before anything is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import UserError
from engine.secrets import hide
from engine.settings.schema import Settings

# The arguments that MLX's optimizers take besides the learning rate.
OPTIMIZER_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "weight_decay", "dampening", "nesterov"),
    "rmsprop": ("alpha", "eps"),
    "adagrad": ("eps",),
    "adadelta": ("rho", "eps"),
    "adam": ("betas", "eps", "bias_correction"),
    "adamw": ("betas", "eps", "weight_decay", "bias_correction"),
    "adamax": ("betas", "eps"),
    "lion": ("betas", "weight_decay"),
    "adafactor": (
        "eps",
        "clip_threshold",
        "decay_rate",
        "beta_1",
        "weight_decay",
        "scale_parameter",
        "relative_step",
        "warmup_init",
    ),
    "muon": ("momentum", "weight_decay", "nesterov", "ns_steps"),
}

# How many arguments each of MLX's schedules takes: at least, at most.
SCHEDULE_ARGUMENTS = {
    "cosine_decay": (2, 3),
    "linear_schedule": (3, 3),
    "exponential_decay": (2, 2),
    "step_decay": (3, 3),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A contradiction: the setting to mend, and a sentence that says how."""

    key: str
    message: str


def problems(settings: Settings) -> list[Problem]:
    """All contradictions between settings; empty where a run can start."""
    return [
        *_secrets(settings),
        *_lengths(settings),
        *_weights(settings),
        *_labels(settings),
        *_optimizer(settings),
        *_schedule(settings),
    ]


def check(settings: Settings) -> None:
    """Raise `UserError` naming the first contradiction, if there is one."""
    for problem in problems(settings):
        raise UserError(f"{problem.key}: {problem.message}")


def _secrets(settings: Settings) -> Iterator[Problem]:
    """All settings are kept in the run's folder, where no token belongs."""
    for key, value in settings.model_dump().items():
        if isinstance(value, str) and hide(value) != value:
            yield Problem(
                key, "it holds a token or a password, which a run would keep; log in to the hub"
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


def _labels(settings: Settings) -> Iterator[Problem]:
    sigmoid = settings.dpo_cpo_loss_type == "sigmoid"
    if settings.soft_labels == "geometric" and not sigmoid:
        yield Problem(
            "soft_labels",
            f"geometric is of the sigmoid loss alone, not of {settings.dpo_cpo_loss_type}; say "
            "soft_labels: mix, or dpo_cpo_loss_type: sigmoid",
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


def _optimizer(settings: Settings) -> Iterator[Problem]:
    for name, arguments in settings.optimizer_config.items():
        known = OPTIMIZER_ARGUMENTS.get(name)
        if known is None:
            yield Problem(
                "optimizer_config",
                f"there is no optimizer {name!r}; they are {', '.join(OPTIMIZER_ARGUMENTS)}",
            )
            continue
        for argument in arguments:
            if argument not in known:
                yield Problem(
                    "optimizer_config",
                    f"{name} has no argument {argument!r}; it takes {', '.join(known)}",
                )


def _schedule(settings: Settings) -> Iterator[Problem]:
    schedule = settings.lr_schedule
    if schedule.name == "constant":
        return
    if schedule.arguments is not None:
        least, most = SCHEDULE_ARGUMENTS[schedule.name]
        if not least <= len(schedule.arguments) <= most:
            count = f"{least}" if least == most else f"{least} or {most}"
            yield Problem(
                "lr_schedule.arguments",
                f"{schedule.name} takes {count} arguments, not {len(schedule.arguments)}",
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
