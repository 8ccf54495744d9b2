"""Every key that mlx-lm or mlx-lm-lora ever took is a setting, another name of one, or a note."""

from typing import Any

import pytest

from engine.errors import UserError
from engine.settings.checks import problems
from engine.settings.files import apply_overrides, from_mapping, notes
from engine.settings.foreign_keys import ALIASES, FOREIGN, LOAD_IN, USE_DORA
from engine.settings.schema import Settings, fields

pytestmark = pytest.mark.quick


# The keys of CONFIG_DEFAULTS, of the command line and of the example files, in all versions up to
# mlx-lm 0.32.2 and mlx-lm-lora 5.10.2.
MLX_LM = """\
adapter_file adapter_path add_eos_token batch_size clear_cache_threshold config data fine_tune_type
grad_accumulation_steps grad_checkpoint hf_dataset is_reference_free iters learning_rate lora_layers
lora_parameters lr_schedule mask_inputs mask_prompt max_seq_length max_tokens model num_layers
optimizer optimizer_config project_name prompt report_to resume_adapter_file save_every seed
steps_per_eval steps_per_report temp test test_batches train train_bias_only training_mode
trust_remote_code use_dora val_batches wand wandb"""
MLX_LM_LORA = """\
adapter_path alpha answer_feature batch_size beta chat_feature chosen_feature clip_epsilon_logits
completion_feature config data delta dpo_cpo_loss_type dpo_loss_type dsla_loss
efficient_long_context end_answer_token epoch epochs epsilon epsilon_high fine_tune_type fuse
fuse_de_quantize fuse_export_gguf grad_checkpoint gradient_accumulation_steps group_size
grpo_loss_type hf_dataset importance_sampling_level iters judge judge_config klpo_kl_estimator
klpo_mc_samples klpo_route klpo_tail_floor klpo_top_k lambda_mse lambda_mse_target latent_gamma
latent_layer latent_margin latent_pooling latent_variant latent_weight learning_rate
list_reward_functions lm_studio_name load_in_4bits load_in_6bits load_in_8bits load_in_mxfp4
lora_parameters lr_schedule mask_prompt max_completion_length max_seq_length memory_safe_recurrence
micro_batch_size min_p model no_memory_safe_recurrence num_layers optimizer optimizer_config
preference_score_feature prompt_feature qat_bits qat_enable qat_group_size qat_interval qat_mode
qat_start_step recurrence_chunk_size reference_model_path rejected_feature resume_adapter_file
reward_functions reward_functions_file reward_scaling reward_weights save_every seed sft_loss_type
ssm_attention_chunk_size steps_per_eval steps_per_report system_feature tau_mse_target temperature
test test_batches text_feature top_k top_p train train_mode train_type type_feature
use_chat_template use_prompt val_batches wand wandb"""

OURS = {field.key for field in fields()} | {field.key.split(".")[0] for field in fields()}


@pytest.mark.parametrize("key", sorted({*MLX_LM.split(), *MLX_LM_LORA.split()}))
def test_a_key_of_theirs_is_read_or_noted(key: str) -> None:
    if key in OURS or key in ALIASES or key in LOAD_IN or key == USE_DORA:
        assert notes({key: "x"}) == []
        return
    for value in ("x", 1, True, [1], {"a": "b"}):
        assert from_mapping({key: value}, "theirs.yaml") == Settings()
        [note] = notes({key: value})
        assert note.startswith(f"{key} has no effect here: ")
    assert notes({key: None}) == []


def test_the_list_has_what_mlx_lm_takes_now() -> None:
    from mlx_lm.lora import CONFIG_DEFAULTS, build_parser

    options = {action.dest for action in build_parser()._actions} - {"help"}
    assert {*CONFIG_DEFAULTS, *options} <= {*MLX_LM.split()}
    assert problems(from_mapping(CONFIG_DEFAULTS, "theirs.yaml")) == []


def test_no_key_is_both_a_setting_and_foreign() -> None:
    assert not OURS & {*FOREIGN, *ALIASES, *LOAD_IN, USE_DORA}
    assert set(ALIASES.values()) <= OURS


def test_the_oldest_configs_load_with_what_they_mean() -> None:
    theirs = {
        "lora_layers": 4,
        "use_dora": True,
        "dpo_loss_type": "ipo",
        "fuse_de_quantize": False,
        "optimizer": "AdamW",
        "optimizer_config": {"adam": None, "adamw": {"weight_decay": 0.1}, "qhadam": {"nu": 1}},
        "lora_parameters": {"keys": ["self_attn.q_proj"], "rank": 4, "alpha": 16.0, "scale": 10.0},
        "rank": 64,
    }
    settings = from_mapping(theirs, "theirs.yaml")
    assert (settings.num_layers, settings.train_type) == (4, "dora")
    assert (settings.dpo_cpo_loss_type, settings.fuse_dequantize) == ("ipo", False)
    assert settings.optimizer == "adamw"
    assert settings.optimizer_config == {"adamw": {"weight_decay": 0.1}}
    assert (settings.lora_parameters.rank, settings.lora_parameters.scale) == (4, 10.0)
    assert problems(settings) == []
    assert sorted(note.split()[0] for note in notes(theirs)) == [
        "lora_parameters.alpha",
        "optimizer_config.qhadam",
        "rank",
    ]


@pytest.mark.parametrize("value", [True, False, None])
def test_the_switch_for_dora_gives_way_to_the_type(value: Any) -> None:
    theirs = {"use_dora": value, "fine_tune_type": "lora"}
    assert from_mapping(theirs, "theirs.yaml").train_type == "lora"
    expected = ["use_dora has no effect here: train_type is 'lora'"] if value else []
    assert notes(theirs) == expected
    alone = from_mapping({"use_dora": value}, "theirs.yaml").train_type
    assert alone == ("dora" if value else "lora")


def test_overrides_may_use_their_names() -> None:
    data = apply_overrides({"num_layers": 2}, ["lora_layers=4", "use_dora=true", "wand=x"])
    settings = from_mapping(data, "--set")
    assert (settings.num_layers, settings.train_type) == (4, "dora")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"use_dora": "yes"}, "use_dora is 'yes', but has to be true or false"),
        ({"lora_layers": 4, "num_layers": 8}, "lora_layers and num_layers name the same setting"),
        ({"num_layers": 8, "lora_layers": 4}, "lora_layers and num_layers name the same setting"),
        ({"lora_parameters": {"alpha": 1, "rnk": 2}}, "nearest is lora_parameters.rank"),
        ({"optimizer_config": {"adamw": 3}}, "optimizer_config"),
        ({"judge_margn": 0.1}, "nearest is judge_margin"),
        ({"undo_second": 1}, "nearest is undo_seconds"),
        ({"lora_parameter": {"rank": 1}}, "nearest is lora_parameters"),
    ],
)
def test_what_only_this_program_has_stays_strict(data: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        from_mapping(data, "my.yaml")
