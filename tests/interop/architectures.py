"""Tiny models as transformers makes them: one config an architecture, no value a default.

What is left out of an entry is either a default that both libraries must agree on, or a value
that mlx-lm does not take (`engine.model.config` names those when it meets them).
"""

from typing import Any

VOCABULARY = 264  # that of `tests.engine.small_models`
LAYERS = 4
THETA = 543210.0
MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": THETA,
    "factor": 6.0,
    "low_freq_factor": 1.5,
    "high_freq_factor": 3.0,
    "original_max_position_embeddings": 24,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": THETA,
    "factor": 4.0,
    "beta_fast": 24.0,
    "beta_slow": 2.0,
    "original_max_position_embeddings": 512,
}


def _rope(**more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": THETA} | more}


def _decoder(**more: Any) -> dict[str, Any]:
    """The sizes that most decoders share, with a rotary base unlike any default."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 3e-4,
        "tie_word_embeddings": False,
        **_rope(),
    } | more


def _without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


_MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True}
_SHARED = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.7,
    "n_group": 2,
    "topk_group": 1,
}
_LATENT = {
    "kv_lora_rank": 24,
    "q_lora_rank": 20,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
    "num_key_value_heads": 4,
}
_LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 3,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}
_GRANITE = {
    "logits_scaling": 3.0,
    "attention_multiplier": 0.21,
    "embedding_multiplier": 5.0,
    "residual_multiplier": 0.4,
}
# mlx-lm rounds the root of Gemma's hidden size to bfloat16: one that needs no rounding.
_GEMMA = {
    "hidden_size": 64,
    "query_pre_attn_scalar": 11,
    "sliding_window": 8,
    "tie_word_embeddings": True,
}
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_TWO_BASES = {
    "layer_types": MIXED,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": THETA, "factor": 4.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 4321.0},
    },
}
_UNSCALED = {
    "layer_types": MIXED,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": THETA},
        "sliding_attention": {"rope_type": "default", "rope_theta": 4321.0},
    },
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": _decoder(rope_parameters=LLAMA3, attention_bias=True, mlp_bias=True),
    "llama_tied": _decoder(model_type="llama", tie_word_embeddings=True, num_key_value_heads=4),
    "llama_yarn": _decoder(model_type="llama", rope_parameters=YARN),
    "llama_linear": _decoder(model_type="llama", **_rope(rope_type="linear", factor=3.0)),
    "llama_dynamic": _decoder(
        **_rope(rope_type="dynamic", factor=3.0), model_type="llama", max_position_embeddings=16
    ),
    "mistral": _decoder(sliding_window=None),
    "qwen2": _without(_decoder(rope_parameters=YARN), "head_dim"),
    "qwen3": _decoder(),
    "gemma": _decoder(tie_word_embeddings=True, hidden_size=64, hidden_act="gelu"),
    "gemma2": _decoder(**_GEMMA)
    | {"attn_logit_softcapping": 7.0, "final_logit_softcapping": 4.0, "sliding_window": 2048},
    "gemma3_text": _decoder(**_GEMMA, **_TWO_BASES),
    "gemma3": {
        "text_config": _decoder(**_GEMMA, **_TWO_BASES, model_type="gemma3_text"),
        "vision_config": _VISION,
        "mm_tokens_per_image": 4,
    },
    "gemma3n": {
        "text_config": _without(_decoder(**_GEMMA, **_UNSCALED), "query_pre_attn_scalar")
        | {
            "model_type": "gemma3n_text",
            "final_logit_softcapping": 4.0,
            "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
            "num_kv_shared_layers": 0,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 12,
            "altup_num_inputs": 3,
            "altup_coef_clip": 110.0,
            "laurel_rank": 6,
        },
    },
    "gemma4_text": _without(_decoder(**_GEMMA), "query_pre_attn_scalar")
    | {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional",
                "rope_theta": THETA,
                "partial_rotary_factor": 0.5,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 4321.0},
        },
        "global_head_dim": 20,
        "final_logit_softcapping": 4.0,
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 12,
        "use_double_wide_mlp": True,
    },
    "phi3": _without(_decoder(pad_token_id=0), "head_dim") | _rope(partial_rotary_factor=0.5),
    "phi3_long": _without(_decoder(model_type="phi3", pad_token_id=0), "head_dim")
    | {"max_position_embeddings": 64, "original_max_position_embeddings": 16}
    | _rope(
        rope_type="longrope",
        short_factor=[1.0, 1.1, 1.2, 1.3],
        long_factor=[1.5, 2.0, 3.0, 4.0],
    ),
    "olmo2": _without(_decoder(), "head_dim"),
    "olmo3": _without(_decoder(sliding_window=8, layer_types=MIXED), "head_dim")
    | {
        "rope_parameters": {
            "full_attention": YARN,
            "sliding_attention": {"rope_type": "default", "rope_theta": THETA},
        }
    },
    "granite": _without(_decoder(**_GRANITE, attention_bias=True, mlp_bias=True), "head_dim"),
    "granitemoe": _without(
        _decoder(**_GRANITE, num_local_experts=4, num_experts_per_tok=2), "head_dim"
    ),
    "granitemoehybrid": _without(
        _decoder(
            **_GRANITE,
            num_local_experts=4,
            num_experts_per_tok=2,
            shared_intermediate_size=20,
            layer_types=["linear_attention", "full_attention"] * 2,
            position_embedding_type="rope",
            mamba_n_heads=4,
            mamba_d_head=16,
            mamba_d_state=8,
            mamba_d_conv=3,
            mamba_n_groups=1,
            mamba_proj_bias=True,
            time_step_limit=[0.01, 0.5],
        ),
        "head_dim",
    ),
    "smollm3": _without(_decoder(no_rope_layers=[1, 0, 1, 0], pad_token_id=0), "head_dim"),
    "glm4": _decoder(attention_bias=True, pad_token_id=0) | _rope(partial_rotary_factor=0.25),
    "glm4_moe": _decoder(**_SHARED, norm_topk_prob=True, use_qk_norm=True, attention_bias=True)
    | _rope(partial_rotary_factor=0.25),
    "qwen3_moe": _decoder(**_MOE, num_experts=4, decoder_sparse_step=2, mlp_only_layers=[0]),
    "qwen3_next": _decoder(**_MOE, **_LINEAR, num_experts=4, shared_expert_intermediate_size=20)
    | _rope(partial_rotary_factor=0.5),
    "qwen3_5": {
        "text_config": _decoder(**_LINEAR, model_type="qwen3_5_text")
        | _rope(partial_rotary_factor=0.5, mrope_section=[2, 1, 1]),
        "vision_config": {
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
        },
    },
    "qwen3_5_text": _decoder(**_LINEAR) | _rope(partial_rotary_factor=0.5, mrope_section=[2, 1, 1]),
    "mixtral": _without(
        _decoder(num_local_experts=4, num_experts_per_tok=2, sliding_window=None), "head_dim"
    ),
    "gpt_oss": _decoder(
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=8,
        layer_types=MIXED,
        rope_parameters=YARN | {"truncate": True},
    ),
    "falcon_h1": _decoder(
        mamba_d_ssm=64,
        mamba_n_heads=4,
        mamba_d_head=16,
        mamba_d_state=8,
        mamba_d_conv=3,
        mamba_n_groups=1,
        mamba_rms_norm=True,
        mamba_norm_before_gate=False,
        mamba_chunk_size=16,
        embedding_multiplier=3.0,
        lm_head_multiplier=0.7,
        key_multiplier=0.8,
        attention_in_multiplier=1.1,
        attention_out_multiplier=0.6,
        mlp_multipliers=[0.9, 0.7],
        ssm_multipliers=[0.5, 0.6, 0.7, 0.8, 0.9],
        ssm_in_multiplier=1.3,
        ssm_out_multiplier=0.4,
    ),
    "mamba2": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "expand": 2,
        "num_heads": 4,
        "head_dim": 16,
        "state_size": 8,
        "num_hidden_layers": LAYERS,
        "conv_kernel": 3,
        "n_groups": 1,
        "use_bias": True,
        "chunk_size": 16,
        "time_step_limit": [0.01, 0.5],
        "tie_word_embeddings": False,
    },
    "deepseek_v2": _without(_decoder(**_SHARED, **_LATENT), "head_dim")
    | {"topk_method": "group_limited_greedy", "norm_topk_prob": False},
    "deepseek_v3": _without(_decoder(**_SHARED, **_LATENT), "head_dim") | {"norm_topk_prob": True},
    "lfm2": _without(_decoder(tie_word_embeddings=True), "rms_norm_eps", "head_dim")
    | {
        "norm_eps": 3e-4,
        "conv_bias": True,
        "conv_L_cache": 4,
        "block_multiple_of": 8,
        "block_ffn_dim_multiplier": 1.5,
        "layer_types": ["conv", "full_attention", "conv", "full_attention"],
    },
    "cohere2": _without(_decoder(tie_word_embeddings=True), "rms_norm_eps", "head_dim")
    | {
        "layer_norm_eps": 3e-4,
        "logit_scale": 0.7,
        "sliding_window": 8,
        "attention_bias": True,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
    },
    "exaone4": _decoder(
        sliding_window=8, layer_types=["sliding_attention"] * 3 + ["full_attention"]
    )
    | {"rope_parameters": LLAMA3},
    "nemotron_h": _without(_decoder(), "rms_norm_eps", "rope_parameters", "num_hidden_layers")
    | {
        "layer_norm_epsilon": 3e-4,
        "layers_block_type": ["linear_attention", "full_attention", "moe", "mlp"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "ssm_state_size": 8,
        "conv_kernel": 3,
        "n_groups": 2,
        "chunk_size": 16,
        "mlp_bias": True,
        "moe_intermediate_size": 24,
        "moe_shared_expert_intermediate_size": 20,
        "n_routed_experts": 4,
        "routed_scaling_factor": 1.7,
    },
    "mistral3": {
        "text_config": _decoder(model_type="mistral", sliding_window=None),
        "vision_config": _VISION | {"model_type": "pixtral", "head_dim": 8},
        "tie_word_embeddings": False,
    },
    "ministral3": _decoder(
        rope_parameters=YARN
        | {
            "original_max_position_embeddings": 16,
            "max_position_embeddings": 2048,
            "mscale": 0.7,
            "mscale_all_dim": 0.9,
            "llama_4_scaling_beta": 0.3,
        }
    ),
    "hunyuan_v1_dense": _decoder(pad_token_id=0),
    "ernie4_5": _decoder(use_bias=True),
    "helium": _decoder(head_dim=8, attention_bias=True, mlp_bias=True),
    "starcoder2": _without(_decoder(), "rms_norm_eps", "head_dim")
    | {"norm_epsilon": 3e-4, "use_bias": True, "hidden_act": "gelu"},
    "stablelm": _without(_decoder(), "rms_norm_eps", "head_dim")
    | {"layer_norm_eps": 3e-4, "use_qkv_bias": True, "qk_layernorm": True}
    | _rope(partial_rotary_factor=0.5),
    "cohere": _without(_decoder(tie_word_embeddings=True), "rms_norm_eps", "head_dim")
    | {"layer_norm_eps": 3e-4, "logit_scale": 0.7, "use_qk_norm": True},
    "glm": _decoder(attention_bias=True, pad_token_id=0) | _rope(partial_rotary_factor=1.0),
    "gpt_neox": _without(_decoder(), "rms_norm_eps", "head_dim", "num_key_value_heads")
    | {
        "layer_norm_eps": 3e-4,
        "use_parallel_residual": False,
        "intermediate_size": 128,
        "hidden_act": "gelu_new",
    }
    | _rope(partial_rotary_factor=0.5),
    "olmoe": _without(
        _decoder(num_experts=4, num_experts_per_tok=2, norm_topk_prob=True), "head_dim"
    ),
    "qwen2_moe": _without(
        _decoder(
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=24,
            shared_expert_intermediate_size=20,
        ),
        "head_dim",
    ),
    "seed_oss": _decoder(attention_bias=True, attention_out_bias=True, mlp_bias=True),
    "nemotron": _without(_decoder(), "rms_norm_eps", "head_dim")
    | {"norm_eps": 3e-4, "attention_bias": True, "mlp_bias": True}
    | _rope(partial_rotary_factor=0.25),
    "phi": _without(_decoder(pad_token_id=0), "rms_norm_eps", "head_dim")
    | {"layer_norm_eps": 3e-4}
    | _rope(partial_rotary_factor=0.25),
    "ernie4_5_moe": _without(_decoder(use_bias=False), "head_dim")
    | {
        "moe_num_experts": 4,
        "moe_k": 2,
        "moe_intermediate_size": 24,
        "moe_num_shared_experts": 1,
        "moe_layer_start_index": 1,
        "moe_layer_end_index": 3,
        "moe_layer_interval": 1,
    },
    "dots1": _decoder(**_SHARED, norm_topk_prob=True) | {"n_group": 1},
    "lfm2_moe": _without(_decoder(tie_word_embeddings=True), "rms_norm_eps", "head_dim")
    | {
        "norm_eps": 3e-4,
        "conv_bias": True,
        "conv_L_cache": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "num_dense_layers": 1,
        "routed_scaling_factor": 1.7,
        "layer_types": ["conv", "full_attention"] * 2,
    },
    "exaone_moe": _decoder(
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        num_shared_experts=1,
        n_group=1,
        topk_group=1,
        sliding_window=8,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
    ),
    "exaone": _without(_decoder(), "head_dim"),
    "mellum": _decoder(**_MOE, num_experts=4, **_UNSCALED, sliding_window=8),
    "jamba": _without(
        _decoder(
            num_experts=4,
            num_experts_per_tok=4,
            attn_layer_offset=1,
            attn_layer_period=2,
            expert_layer_offset=1,
            expert_layer_period=2,
            mamba_d_state=8,
            mamba_d_conv=3,
            mamba_dt_rank=6,
            pad_token_id=0,
        ),
        "head_dim",
        "rope_parameters",
    ),
    "mamba": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "state_size": 8,
        "num_hidden_layers": LAYERS,
        "conv_kernel": 3,
        "use_bias": True,
        "tie_word_embeddings": False,
        "time_step_rank": 6,
    },
    "internlm3": _decoder(qkv_bias=True, bias=True, head_dim=8),
    "phimoe": _without(
        _decoder(
            num_local_experts=4,
            num_experts_per_tok=2,
            pad_token_id=0,
            attention_bias=True,
            lm_head_bias=True,
        ),
        "head_dim",
    ),
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": LAYERS,
        "n_head": 4,
        "n_positions": 64,
        "layer_norm_epsilon": 3e-4,
    },
    "gpt_bigcode": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": LAYERS,
        "n_head": 4,
        "n_positions": 64,
        "layer_norm_epsilon": 3e-4,
        "activation_function": "gelu",
    },
    "afmoe": _decoder(
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        num_dense_layers=1,
        num_shared_experts=1,
        sliding_window=8,
        route_scale=1.7,
        mup_enabled=True,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
    ),
    "solar_open": _decoder(**_SHARED, norm_topk_prob=True),
}
