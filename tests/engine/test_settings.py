"""Settings: their schema, reading and writing them, and the sentences that errors are."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import UserError
from engine.settings.checks import check, problems
from engine.settings.fields import Setting
from engine.settings.files import apply_overrides, from_mapping, load, notes, preset, to_yaml
from engine.settings.optimizer_arguments import OPTIMIZER_ARGUMENTS, SCHEDULE_ARGUMENTS
from engine.settings.presets import PRESETS
from engine.settings.schema import SECTIONS, Settings, changed, fields, no_effect
from engine.settings.yaml_text import parse_yaml
from tests.real import cases

pytestmark = pytest.mark.quick


def read_text(text: str) -> Settings:
    return from_mapping(parse_yaml(text, "my.yaml"), "my.yaml")


def error_of(text: str) -> str:
    with pytest.raises(UserError) as caught:
        read_text(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("my.yaml")
    return message


def plain_text() -> st.SearchStrategy[str]:
    """Text that UTF-8 can hold."""
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def values(field: Setting) -> st.SearchStrategy[Any]:
    """Values that a field allows."""
    if field.kind == "switch":
        return st.booleans()
    if field.kind == "choice":
        return st.sampled_from(field.choices)
    if field.kind in ("integer", "number"):
        low = field.ge if field.ge is not None else field.gt
        high = field.le if field.le is not None else field.lt
        assert low is not None
        assert high is not None
        if field.kind == "integer":
            return st.integers(int(low), int(high) - (field.lt is not None))
        return st.floats(
            low, high, exclude_min=field.gt is not None, exclude_max=field.lt is not None
        )
    if field.kind == "list":
        numbers = field.key in ("lr_schedule.arguments", "judge_weights")
        each: st.SearchStrategy[Any] = st.floats(0, 1) if numbers else plain_text()
        if field.key == "judge_criteria":
            weighed = {"name": plain_text(), "text": plain_text(), "weight": st.floats(0, 9)}
            each = st.fixed_dictionaries(weighed)
        if field.key == "data_mix":
            each = st.fixed_dictionaries({"data": plain_text(), "weight": st.floats(0, 9)})
        return st.lists(each, max_size=3)
    if field.kind == "mapping":
        return st.just({"adamw": {"betas": [0.9, 0.95], "weight_decay": 1e-05}})
    return plain_text()


BY_KEY = {field.key: field for field in fields()}
SOME_SETTINGS = st.lists(st.sampled_from(list(BY_KEY)), unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: values(BY_KEY[key]) for key in keys})
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def test_every_setting_says_what_it_changes() -> None:
    for field in fields():
        assert field.help.strip(), field.key
        assert field.help.endswith("."), field.key
        assert field.section in SECTIONS


def test_an_empty_file_is_the_defaults() -> None:
    assert read_text("{}") == Settings()
    assert changed(Settings()) == {}


@given(SOME_SETTINGS)
@example({"data": "\x85", "judge_system": "\u2028a\n\n b\t", "model": "\ufeff\x00"})
def test_what_is_written_loads_back_equal(data: dict[str, Any]) -> None:
    settings = from_mapping(data, "test")
    for commented in (True, False):
        assert read_text(to_yaml(settings, commented)) == settings


@given(SOME_SETTINGS)
def test_what_is_written_reads_the_same_in_plain_yaml(data: dict[str, Any]) -> None:
    import yaml

    written = to_yaml(from_mapping(data, "test"))
    assert yaml.safe_load(written) == parse_yaml(written, "test")


def test_the_written_file_holds_every_setting() -> None:
    written = parse_yaml(to_yaml(Settings()), "test")
    for field in fields():
        group, _, inner = field.key.partition(".")
        assert group in written
        assert not inner or inner in written[group]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("betaa: 0.2", "there is no setting 'betaa'; the nearest is beta"),
        ("lora_parameters: {rnk: 4}", "nearest is lora_parameters.rank"),
        ("lora_parameters: 4", "lora_parameters is 4, but has to hold settings"),
        ("beta: -1", "beta is -1, but has to be a number, above 0, at most 1000"),
        ("beta: .nan", "beta is nan"),
        ("iters: 0", "iters is 0, but has to be a whole number, at least 1"),
        ("iters: 2.5", "iters is 2.5, but has to be a whole number"),
        ("seed: 1e99", "but has to be a whole number, at least 0, below 4,294,967,296"),
        ("iters: 99999999999999999999", "iters is 99999999999999999999"),
        ("batch_size: true", "batch_size is a switch where a number belongs"),
        ("train_type: qlora", "train_type is 'qlora', but has to be one of lora, dora, full"),
        ("lookahead: 65", "lookahead is 65, but has to be auto or at least 0, at most 64"),
        ("lr_schedule: {name: sine}", "lr_schedule.name is 'sine'"),
        ("lr_schedule: {arguments: [1, x]}", "lr_schedule.arguments is 'x'"),
        ("fuse: perhaps", "fuse is 'perhaps', but has to be true or false"),
        ("beta: 0.1\nbeta: 0.2", "line 2: 'beta' is given twice"),
        ("beta: 1\njudge_system: Prefer this: that", "line 2: a ':' out of place: keys of one"),
        ("beta: 1\n iters: 2", "line 2: a ':' out of place: keys of one level begin in one column"),
        ("beta: 1\niters\nseed: 2", "line 2: this is no `key: value`"),
        ("lora_parameters:\n\trank: 4", "line 2: a tab, where YAML reads spaces alone"),
        ("judge: @me", "line 1: a text that begins with such a sign is put in quotes"),
        ("judge_system: *short* ones", "line 1: a text that begins with * or & is put in quotes"),
        ("judge_system: - short", "line 1: a text that begins with '- ' is put in quotes"),
        ("judge_system: 'short\nbeta: 1\n", "line 1: the quote that begins here is not closed"),
        ("judge_system: 'it's'", "there is more after the closing quote: quote the whole text"),
        ("beta: [1\nseed: 1", "line 1: the bracket that begins here is not closed"),
        (
            "lora_parameters: {rank: 1\nseed: 1",
            "line 1: the bracket that begins here is not closed",
        ),
        ("beta: [1", "line 1"),
        ("beta: 1\n---\nbeta: 2", "expected a single document in the stream, but found another"),
        ("- beta", "holds no settings"),
        ("a: &a [x]\nb: *a", "line 2: aliases"),
        ("load_in_4bits: true\nload_in_8bits: true", "more than one quantization"),
        ("quantization: 8-bit\nload_in_4bits: true", "more than one quantization"),
        ("load_in_4bits: 4", "load_in_4bits is 4, but has to be true or false"),
        ("judge_system: a\njudge_config: {system_prompt: b}", "name the same setting"),
        ('"\\e[31m": 1', "there is no setting"),
        ('judge_system: "a\\udcff"', "'a\\udcff', but has to be text that is UTF-8"),
        ('judge_criteria: [{name: "a\\udcff"}]', "has to be text that is UTF-8"),
    ],
)
def test_errors_name_file_key_and_what_to_do(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load(file)
    message = str(caught.value)
    assert expected in message
    assert str(file) in message
    assert message.isprintable()


def test_the_other_problems_are_counted() -> None:
    assert "(and 2 more to mend)" in error_of("beta: -1\niters: 0\nseed: -1")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"beta: \xff", "line 1: not UTF-8"),
        (b"a" * 1_000_001, "larger than 1,000,000 bytes"),
        (b"[" * 20_000, "nested too deeply"),
        (b"\x00", "special characters are not allowed"),
        (b"beta: " + b"9" * 5000, "a value that YAML cannot hold"),
    ],
)
def test_files_that_are_no_config(content: bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=expected):
        load(file)


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        load(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a folder"):
        load(tmp_path)


def complaint(data: Any) -> str:
    """The sentence that reading `data` ends in, if it does."""
    try:
        from_mapping(data, "my.yaml")
    except UserError as error:
        return str(error)
    return ""


@given(st.text(max_size=200))
def test_no_text_ends_in_anything_but_a_value_or_one_sentence(text: str) -> None:
    try:
        parse_yaml(text, "my.yaml")
    except UserError as error:
        assert str(error).isprintable()  # noqa: PT017 - most texts are fine


@given(st.dictionaries(st.sampled_from(list(BY_KEY)) | st.text(max_size=10), ANYTHING, max_size=5))
def test_values_of_any_type_end_in_settings_or_one_sentence(data: dict[str, Any]) -> None:
    assert complaint(data).isprintable()


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "0.00001", "1.0e-05", "'1e-5'"])
def test_numbers_are_numbers_however_they_are_written(text: str) -> None:
    assert read_text(f"learning_rate: {text}").learning_rate == 1e-5


def test_yes_and_no_stay_text_where_text_belongs() -> None:
    settings = read_text("run_name: no\nfuse: no\ntest: yes")
    assert (settings.run_name, settings.fuse, settings.test) == ("no", False, True)


def test_overrides_win_over_the_file_and_keep_what_they_do_not_name() -> None:
    data = parse_yaml("lora_parameters: {rank: 4, scale: 2}\nlr_schedule: cosine_decay", "my.yaml")
    words = ["lora_parameters.rank=16", "beta=1e-1", "lr_schedule.warmup=7", "run_name=010"]
    settings = from_mapping(apply_overrides(data, words), "my.yaml")
    assert (settings.lora_parameters.rank, settings.lora_parameters.scale) == (16, 2.0)
    assert (settings.lr_schedule.name, settings.lr_schedule.warmup) == ("cosine_decay", 7)
    assert (settings.beta, settings.run_name) == (0.1, "010")


def test_an_override_of_text_is_taken_as_it_is() -> None:
    data = apply_overrides({}, ["judge_system=Prefer: {the} [polite] #one"])
    assert from_mapping(data, "--set").judge_system == "Prefer: {the} [polite] #one"


def test_an_empty_override_goes_back_to_the_default() -> None:
    data = {"run_name": "mine", "lora_parameters": {"rank": 4, "scale": 2.0}}
    settings = from_mapping(apply_overrides(data, ["run_name=", "lora_parameters.rank="]), "x")
    assert settings.run_name is None
    assert (settings.lora_parameters.rank, settings.lora_parameters.scale) == (8, 2.0)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("beta", "key=value"),
        ("betta=1", "--set: there is no setting"),
        ("beta=x", "--set: beta"),
    ],
)
def test_errors_of_overrides_name_them(word: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        apply_overrides({}, [word])


def test_a_config_of_mlx_lm_loads_as_it_is() -> None:
    theirs = """\
model: mlx-community/Llama-3.2-1B
train: true
fine_tune_type: dora
optimizer: adamw
optimizer_config: {adamw: {betas: [0.9, 0.98], eps: 1e-6, weight_decay: 0.05}}
data: /path/to/training/data
seed: 0
num_layers: 16
batch_size: 4
iters: 1000
val_batches: 25
learning_rate: 1e-5
steps_per_report: 10
steps_per_eval: 200
resume_adapter_file: null
adapter_path: "adapters"
save_every: 100
test: false
test_batches: 100
max_seq_length: 2048
grad_checkpoint: false
grad_accumulation_steps: 2
lora_parameters: {keys: ["self_attn.q_proj"], rank: 8, scale: 20.0, dropout: 0.0}
lr_schedule: {name: cosine_decay, warmup: 100, warmup_init: 1e-7, arguments: [1e-5, 1000, 1e-7]}
"""
    settings = read_text(theirs)
    assert settings.train_type == "dora"
    assert settings.gradient_accumulation_steps == 2
    assert settings.optimizer_config["adamw"]["eps"] == 1e-6
    assert settings.lora_parameters.keys == ["self_attn.q_proj"]
    assert settings.lr_schedule.arguments == [1e-5, 1000, 1e-7]
    assert problems(settings) == []
    said = notes(parse_yaml(theirs, "theirs.yaml"))
    assert [note.split()[0] for note in said] == ["train", "adapter_path"]


def test_a_config_of_mlx_lm_lora_loads_as_it_is() -> None:
    theirs = """\
train_mode: online_dpo
load_in_4bits: false
load_in_8bits: true
iters: null
epochs: 2
lr_schedule: null
mask_prompt: false
judge: human
judge_config: {system_prompt: "Prefer {short} answers.", other: 1}
group_size: 4
reward_weights: null
"""
    settings = read_text(theirs)
    assert settings.quantization == "8-bit"
    assert (settings.iters, settings.epochs) == (1000, 2)
    assert settings.judge_system == "Prefer {short} answers."
    said = " ".join(notes(parse_yaml(theirs, "theirs.yaml")))
    for key in ("train_mode", "judge_config", "group_size", "mask_prompt"):
        assert key in said
    assert "reward_weights" not in said


def test_load_in_switches_all_off_mean_no_quantization() -> None:
    assert read_text("load_in_4bits: false\nload_in_8bits: false").quantization == "none"


def test_full_fine_tuning_drops_the_default_quantization_but_not_a_chosen_one() -> None:
    assert read_text("train_type: full").quantization == "none"
    assert problems(read_text("train_type: full")) == []
    [problem] = problems(read_text("train_type: full\nquantization: 4-bit"))
    assert problem.key == "quantization"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("max_completion_length: 2048", "max_completion_length"),
        ("num_layers: 0", "num_layers"),
        ("steps_per_eval: 0", "steps_per_eval"),
        ("output_root: ~nobody-here/runs", "output_root"),
        ("val_batches: 0", "val_batches"),
        ("test: true\ntest_batches: 0", "test_batches"),
        ("lora_parameters: {keys: []}", "lora_parameters.keys"),
        ("optimizer_config: {adamx: {}}", "optimizer_config"),
        ("optimizer_config: {adam: {beta: 1}}", "optimizer_config"),
        ("lr_schedule: {name: step_decay, arguments: [1]}", "lr_schedule.arguments"),
        ("lr_schedule: {name: cosine_decay, arguments: [1e-5, 0]}", "lr_schedule.arguments"),
        ("lr_schedule: {name: step_decay, arguments: [1e-5, 0.5, 0]}", "lr_schedule.arguments"),
        ("lr_schedule: cosine_decay\nlearning_rate: 1e-6", "lr_schedule.final_rate"),
        ("lr_schedule: {name: exponential_decay, final_rate: 0}", "lr_schedule.final_rate"),
        ("soft_labels: geometric\ndpo_cpo_loss_type: ipo", "soft_labels"),
        ("label_smoothing: 0.1\ndpo_cpo_loss_type: hinge", "label_smoothing"),
        ("label_smoothing: 0.1\nsoft_labels: mix", "label_smoothing"),
        ("label_smoothing: 0.1\nsoft_labels: geometric", "label_smoothing"),
    ],
)
def test_problems_are_found_before_anything_loads(text: str, key: str) -> None:
    settings = read_text(text)
    assert [problem.key for problem in problems(settings)] == [key]
    with pytest.raises(UserError, match=key):
        check(settings)


@pytest.mark.parametrize(
    ("written", "choice"),
    [("true", "mix"), ("false", "off"), ("off", "off"), ("mix", "mix"), ("geometric", "geometric")],
)
def test_soft_labels_were_a_switch_once(written: str, choice: str) -> None:
    settings = read_text(f"soft_labels: {written}")
    assert settings.soft_labels == choice
    assert problems(settings) == []
    assert read_text(to_yaml(settings)) == settings


@pytest.mark.parametrize("share", ["0.5", "1", "-0.1", ".nan"])
def test_a_share_of_wrong_labels_is_below_a_half(share: str) -> None:
    with pytest.raises(UserError, match="label_smoothing"):
        read_text(f"label_smoothing: {share}")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_settings_that_can_start(name: str) -> None:
    assert problems(preset(name)) == []
    assert preset(name).data == "starter"  # which needs no hub
    assert preset(name).model == ("starter" if name.startswith("starter") else cases.NAME)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(UserError, match="starter-human"):
        preset("stater")


def test_settings_without_effect_say_why() -> None:
    assert no_effect(Settings())["delta"] == "only the dpop loss has this term"
    assert "delta" not in no_effect(Settings(dpo_cpo_loss_type="dpop"))
    assert no_effect(Settings(judge="human"))["judge_quantization"] == (
        "no model on this machine judges this run"
    )
    assert no_effect(Settings(judge="human"))["soft_labels"] == "a person judges this run"
    assert "undo_seconds" not in no_effect(Settings(judge="human"))
    assert no_effect(Settings(mask_prompt=False))["mask_prompt"]


def test_a_default_and_a_value_are_shown_for_what_is_changed() -> None:
    assert changed(Settings(beta=0.5)) == {"beta": (0.5, 0.1)}


def test_warmup_is_there_where_the_rate_decays() -> None:
    assert read_text("lr_schedule: constant").lr_schedule.warmup_steps == 0
    assert read_text("lr_schedule: {name: constant, warmup: 9}").lr_schedule.warmup_steps == 9
    assert read_text("lr_schedule: cosine_decay").lr_schedule.warmup_steps == 40
    mlx_form = "lr_schedule: {name: cosine_decay, arguments: [1e-5, 100]}"
    assert read_text(mlx_form).lr_schedule.warmup_steps == 0


def test_only_a_person_gets_batches_sampled_ahead_by_default() -> None:
    assert Settings().lookahead_batches == 0
    assert Settings(judge="human").lookahead_batches == 1
    assert Settings(judge="human", lookahead=0).lookahead_batches == 0


def test_optimizers_take_the_arguments_that_mlx_gives_them() -> None:
    import mlx.optimizers

    classes = {name.lower(): getattr(mlx.optimizers, name) for name in dir(mlx.optimizers)}
    field = next(field for field in fields() if field.key == "optimizer")
    assert set(field.choices) == set(OPTIMIZER_ARGUMENTS)
    for name, arguments in OPTIMIZER_ARGUMENTS.items():
        taken = list(inspect.signature(classes[name].__init__).parameters)
        assert set(taken) - {"self", "learning_rate"} == set(arguments)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optimizer_config: {sgd: {momentum: x}}", "momentum of sgd is 'x', but has to be a num"),
        ("optimizer_config: {sgd: {nesterov: 1}}", "nesterov of sgd is 1, but has to be true or"),
        (
            "optimizer_config: {adam: {betas: [0.9]}}",
            "betas of adam is [0.9], but has to be a",
        ),
        ("optimizer_config: {adamw: {betas: 0.9}}", "betas of adamw is 0.9, but has to be a list"),
        ("optimizer_config: {muon: {ns_steps: 2.5}}", "ns_steps of muon is 2.5, but has to be a"),
        ("lr_schedule: {arguments: [1]}", "a constant rate takes none; name a schedule"),
    ],
)
def test_arguments_of_another_kind_are_told_before_a_run(text: str, told: str) -> None:
    [problem] = problems(from_mapping(parse_yaml(text, "x"), "x"))
    assert told in problem.message


def test_arguments_as_mlx_has_them_are_taken() -> None:
    import mlx.optimizers

    for each in ("sgd", "adamw", "adafactor", "muon"):
        built = {name.lower(): getattr(mlx.optimizers, name) for name in dir(mlx.optimizers)}[each]
        taken = inspect.signature(built.__init__).parameters
        arguments = {
            name: list(value) if isinstance(value := taken[name].default, tuple) else value
            for name in OPTIMIZER_ARGUMENTS[each]
            if taken[name].default is not None
        }
        assert problems(from_mapping({"optimizer_config": {each: arguments}}, "x")) == []


def test_schedules_take_the_arguments_that_mlx_gives_them() -> None:
    import mlx.optimizers

    for name, (least, most) in SCHEDULE_ARGUMENTS.items():
        taken = inspect.signature(getattr(mlx.optimizers, name)).parameters.values()
        assert len(taken) == most
        assert len([one for one in taken if one.default is inspect.Parameter.empty]) == least
