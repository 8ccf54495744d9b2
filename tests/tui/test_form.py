"""Settings while a form edits them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UserError
from engine.settings import files
from engine.settings.schema import Settings, value
from tui.setup.form import FIELDS, Form, form_of, parse
from tui.text.setting_value import number, show

pytestmark = pytest.mark.quick


FULL = Settings(model="m", train_type="full", quantization="4-bit")
SEVERAL = files.from_mapping(
    {
        "judge": ["starter", "http://localhost:8080/v1", "mine.py:better"],
        "judge_weights": [2, 1, 0.5],
        "judge_criteria": [
            {"name": "truth", "text": "Prefer the true one, always: facts first.", "weight": 2},
            {"name": "tone", "text": "{Prefer} the 'friendlier' one."},
        ],
        "judge_words": ["very", "so to say"],
    },
    "the test",
)
PRESETS = [Settings(), files.preset("starter"), files.preset("starter-human"), FULL, SEVERAL]


@pytest.mark.parametrize("settings", PRESETS)
def test_every_value_reads_back_as_it_is_shown(settings: Settings) -> None:
    form = form_of(settings)
    for key in FIELDS:
        assert value(form.with_text(key, form.text(key)).settings, key) == value(settings, key)


@pytest.mark.parametrize("settings", PRESETS)
def test_a_draft_has_the_settings_it_was_made_of(settings: Settings) -> None:
    assert form_of(settings).settings == settings


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_short_and_exact(entry: float) -> None:
    assert float(number(entry)) == entry


def test_numbers_as_people_write_them() -> None:
    assert [number(each) for each in (20.0, 0.8, 1e-5, 0.0003, 0.002)] == [
        "20",
        "0.8",
        "1e-5",
        "3e-4",
        "0.002",
    ]


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("iters", "1,000", 1000),
        ("iters", "1e3", 1000),
        ("judge_timeout", "1,250.5", 1250.5),
        ("learning_rate", " 3e-4 ", 3e-4),
        ("fuse", "off", False),
        ("lookahead", "auto", "auto"),
        ("lookahead", "3", 3),
        ("lora_parameters.keys", "self_attn.q_proj, self_attn.v_proj", None),
        ("lr_schedule.arguments", "1e-5, 100", [1e-5, 100.0]),
        ("optimizer_config", "{adamw: {weight_decay: 0.01}}", {"adamw": {"weight_decay": 0.01}}),
        ("system_prompt", "", None),
        ("judge_system", "two\nlines ", "two\nlines "),
    ],
)
def test_texts_that_are_values(key: str, text: str, expected: object) -> None:
    found = parse(FIELDS[key], text)
    if key == "lora_parameters.keys":
        expected = ["self_attn.q_proj", "self_attn.v_proj"]
    assert found == expected


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("learning_rate", "-1", "above 0, at most 10"),
        ("learning_rate", "nan", "above 0, at most 10"),
        ("iters", "1.5", "a whole number"),
        ("iters", "1,5", "a whole number.* a point"),
        ("temperature", "0,5", "a number.* a point"),
        ("learning_rate", "0,001", "a point"),
        ("iters", "2000000000", "at most 1,000,000,000"),
        ("iters", "", "is empty"),
        ("model", "  ", "is empty"),
        ("lookahead", "soon", "auto or at least 0"),
        ("fuse", "maybe", "true or false"),
        ("train_type", "loro", "one of lora, dora, full"),
        ("lr_schedule.arguments", "a, b", "a list of numbers"),
        ("optimizer_config", "{adamw", "optimizer_config"),
    ],
)
def test_texts_that_are_no_values_say_what_is_wanted(key: str, text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse(FIELDS[key], text)


@given(st.sampled_from(sorted(FIELDS)), st.text())
def test_any_text_is_a_value_or_refused(key: str, text: str) -> None:
    form = Form().with_text(key, text)
    assert (key in form.refused) == (key in form.problems) or key not in form.refused
    assert isinstance(form.settings, Settings)


def test_a_refused_text_is_kept_and_its_setting_is_not_changed() -> None:
    form = Form().with_text("beta", "lots")
    assert form.text("beta") == "lots"
    assert form.settings == Settings()
    assert "has to be a number" in form.problems["beta"]
    assert form.with_text("beta", "0.2").problems == {}
    assert form.reset("beta").text("beta") == "0.1"


def test_problems_stand_beside_the_setting_to_mend() -> None:
    form = Form().with_text("max_completion_length", "4096")
    assert "leaves no room" in form.problems["max_completion_length"]


def test_full_fine_tuning_puts_the_default_quantization_aside_and_brings_it_back() -> None:
    form = Form().with_text("train_type", "full")
    assert form.text("quantization") == "none"
    assert form.problems == {}
    assert form.with_text("train_type", "lora").text("quantization") == "4-bit"
    assert "quantization" in form.with_text("quantization", "4-bit").problems


def test_show_of_lists_and_mappings() -> None:
    assert show(None) == show({}) == ""
    assert show(["a", "b"]) == "a, b"
    assert show({"adam": {"eps": 1e-8}}) == "{adam: {eps: 1.0e-08}}"
