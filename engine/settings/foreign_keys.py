"""What becomes of the keys of mlx-lm's and mlx-lm-lora's configs, in all their versions.

A key of theirs is another name of a setting of ours, or it means nothing here and is answered with
a note. Nested keys are dotted.
"""

# Other names of our settings.
ALIASES = {
    "fine_tune_type": "train_type",
    "grad_accumulation_steps": "gradient_accumulation_steps",
    "judge_config.system_prompt": "judge_system",
    # Older versions
    "dpo_loss_type": "dpo_cpo_loss_type",
    "fuse_de_quantize": "fuse_dequantize",
    "lora_layers": "num_layers",
}

# Switches that stand for a value of one of our settings.
LOAD_IN = {
    "load_in_4bits": "4-bit",
    "load_in_6bits": "6-bit",
    "load_in_8bits": "8-bit",
    "load_in_mxfp4": "mxfp4",
}
USE_DORA = "use_dora"

_WANDB = "write report_to: [wandb] and project_name"
_OTHER_METHOD = "it belongs to another training method"
_CHUNKS = "recurrent layers are always run whole"
_ONLY_PROMPTS = "completions are sampled, not read"
_PROMPTS = "prompts come from prompt_feature"
_ANSWER = "nothing is generated after the training"
_LORA = "as in mlx-lm; write it into lora_parameters"

# Keys without meaning here: key -> why.
FOREIGN = {
    "train": "every run trains",
    "train_mode": "every run is Online DPO",
    "training_mode": "every run is Online DPO",
    "adapter_path": "adapters are kept in the run's folder; resume_adapter_file starts from some",
    "adapter_file": "adapters are kept in the run's folder; resume_adapter_file starts from some",
    "config": "a config does not include another",
    "wandb": _WANDB,
    "wand": _WANDB,
    "clear_cache_threshold": "memory is managed by memory_limit",
    "micro_batch_size": "use batch_size and gradient_accumulation_steps",
    "recurrence_chunk_size": _CHUNKS,
    "memory_safe_recurrence": _CHUNKS,
    "no_memory_safe_recurrence": _CHUNKS,
    "ssm_attention_chunk_size": _CHUNKS,
    "judge_config": "only its system_prompt is used",
    "lora_parameters.alpha": "lora_parameters.scale is the whole factor",
    "rank": _LORA,
    "scale": _LORA,
    "dropout": _LORA,
    "keys": _LORA,
    "lora_rank": _LORA,
    "lora_alpha": _LORA,
    "lora_scale": _LORA,
    "lora_dropout": _LORA,
    "optimizer_config.qhadam": "there is no such optimizer",
    "epoch": "write epochs",
    "fuse_export_gguf": "the fused model is written as safetensors",
    "use_chat_template": "a model's chat template is always used",
    "use_prompt": _PROMPTS,
    "mask_inputs": "prompt tokens never carry loss",
    "hf_dataset": "use data and prompt_feature",
    "text_feature": _PROMPTS,
    "chat_feature": _PROMPTS,
    "answer_feature": _ONLY_PROMPTS,
    "chosen_feature": _ONLY_PROMPTS,
    "completion_feature": _ONLY_PROMPTS,
    "rejected_feature": _ONLY_PROMPTS,
    "add_eos_token": "the end of a turn is learned where the model writes it",
    "max_tokens": _ANSWER,
    "prompt": _ANSWER,
    "temp": _ANSWER,
    **dict.fromkeys(
        (
            "alpha",
            "clip_epsilon_logits",
            "dsla_loss",
            "end_answer_token",
            "epsilon",
            "epsilon_high",
            "group_size",
            "grpo_loss_type",
            "importance_sampling_level",
            "is_reference_free",
            "klpo_kl_estimator",
            "klpo_mc_samples",
            "klpo_route",
            "klpo_tail_floor",
            "klpo_top_k",
            "lambda_mse",
            "lambda_mse_target",
            "latent_gamma",
            "latent_layer",
            "latent_margin",
            "latent_pooling",
            "latent_variant",
            "latent_weight",
            "list_reward_functions",
            "preference_score_feature",
            "qat_bits",
            "qat_enable",
            "qat_group_size",
            "qat_interval",
            "qat_mode",
            "qat_start_step",
            "reward_functions",
            "reward_functions_file",
            "reward_scaling",
            "reward_weights",
            "sft_loss_type",
            "tau_mse_target",
            "train_bias_only",
            "type_feature",
        ),
        _OTHER_METHOD,
    ),
}
