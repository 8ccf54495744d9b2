"""Tiny random models of the architectures that mlx-lm runs, one of each kind of layer.

Weights that mlx-lm starts as zeros are made random too: what is zero hides what it multiplies.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.model import arrays
from tests.engine.small_models import EOS, VOCABULARY, byte_tokenizer

DENSE: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 2048,
    "rope_theta": 1e4,
    "tie_word_embeddings": True,
}
UNTIED = DENSE | {"tie_word_embeddings": False}
NO_BIAS = {"attention_bias": False, "mlp_bias": False}
# Four experts, two of them for a token: Qwen's words for it, Mixtral's, and DeepSeek's.
QWEN_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 128,
    "norm_topk_prob": True,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
DEEPSEEK_EXPERTS = {
    "moe_intermediate_size": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
# Keys and values from a narrow latent; values are narrower than keys.
LATENT_ATTENTION = {
    "kv_lora_rank": 64,
    "q_lora_rank": 64,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "num_key_value_heads": 4,
}
# A gated delta rule in every second layer.
LINEAR_ATTENTION = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 2,
    "num_hidden_layers": 4,
}
GRANITE = {
    "logits_scaling": 8.0,
    "attention_multiplier": 0.15,
    "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5,
    "attention_bias": False,
}
GEMMA = {"query_pre_attn_scalar": 32, "sliding_window": 16, "sliding_window_pattern": 2}
YARN = {
    "factor": 4.0,
    "original_max_position_embeddings": 512,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
SLIDING, FULL = "sliding_attention", "full_attention"

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "afm7": {
        "vocab_size": VOCABULARY,
        "hidden_dim": 128,
        "num_layers": 3,
        "num_kv_reuse_layers": 1,
        "num_heads": 4,
        "num_kv_heads": 2,
        "hidden_dim_scale_factor": 2.0,
    },
    "cohere2": DENSE
    | {
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.25,
        "sliding_window": 64,
        "sliding_window_pattern": 2,
    },
    "deepseek_v2": DENSE
    | LATENT_ATTENTION
    | DEEPSEEK_EXPERTS
    | {"topk_method": "greedy", "rope_scaling": YARN | {"type": "yarn"}},
    "deepseek_v3": DENSE | LATENT_ATTENTION | DEEPSEEK_EXPERTS,
    "ernie4_5": DENSE | {"use_bias": False},
    "exaone4": DENSE
    | {
        "rope_scaling": None,
        "sliding_window": 64,
        "sliding_window_pattern": "LLG",
        "layer_types": [SLIDING, SLIDING, FULL],
    },
    "falcon_h1": DENSE
    | {
        "mamba_d_head": 16,
        "mamba_d_ssm": 128,
        "mamba_d_state": 16,
        "mamba_n_heads": 8,
        "mamba_n_groups": 1,
        "mamba_chunk_size": 32,
    },
    "gemma2": DENSE
    | {
        "query_pre_attn_scalar": 32,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3": {
        "vocab_size": VOCABULARY,
        "text_config": DENSE | GEMMA | {"model_type": "gemma3_text", "sliding_window": 512},
    },
    "gemma3_text": DENSE | GEMMA,
    # Alternating updates, whose coefficients are read from outside their layer.
    "gemma3n": {
        "text_config": DENSE
        | {
            "model_type": "gemma3n_text",
            "num_hidden_layers": 4,
            "intermediate_size": [128] * 4,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": VOCABULARY,
            "sliding_window": 512,
            "rope_local_base_freq": 1e4,
            "final_logit_softcapping": 30.0,
            "layer_types": [SLIDING, FULL] * 2,
            "activation_sparsity_pattern": [0.0] * 4,
            "hidden_size_per_layer_input": 32,
            "altup_num_inputs": 4,
            "altup_coef_clip": 120.0,
            "altup_correct_scale": True,
            "altup_active_idx": 0,
            "laurel_rank": 16,
        }
    },
    "gemma4_text": DENSE
    | {
        "num_hidden_layers": 4,
        "global_head_dim": 32,
        "vocab_size_per_layer_input": VOCABULARY,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 32,
        "sliding_window": 512,
        "sliding_window_pattern": 2,
        "use_double_wide_mlp": False,
    },
    "glm4": DENSE | {"attention_bias": True, "partial_rotary_factor": 0.5},
    "glm4_moe": DENSE
    | DEEPSEEK_EXPERTS
    | {
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        "rope_scaling": None,
        "use_qk_norm": True,
        "attention_bias": False,
        "partial_rotary_factor": 0.5,
    },
    # Attention sinks; experts with biases.
    "gpt_oss": DENSE
    | EXPERTS
    | {
        "sliding_window": 16,
        "rope_theta": 150000,
        "layer_types": [SLIDING, FULL, SLIDING],
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "original_max_position_embeddings": 4096,
        },
    },
    "granite": DENSE | GRANITE | NO_BIAS,
    "granitemoe": DENSE | GRANITE | EXPERTS,
    "granitemoehybrid": DENSE
    | GRANITE
    | EXPERTS
    | {
        "layer_types": ["mamba", "attention", "mamba"],
        "shared_intermediate_size": 128,
        "mamba_n_heads": 8,
        "mamba_d_head": 32,
        "mamba_proj_bias": False,
        "mamba_d_state": 16,
        "mamba_d_conv": 4,
        "mamba_n_groups": 1,
        "mamba_conv_bias": True,
    },
    "helium": DENSE | NO_BIAS,
    "hunyuan_v1_dense": DENSE,
    "lfm2": DENSE
    | {
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 128,
        "block_multiple_of": 128,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "block_ff_dim": 128,
        "layer_types": ["conv", FULL, "conv"],
    },
    "llama": DENSE,
    "llama_untied": UNTIED | {"model_type": "llama"},
    "mamba2": {
        "num_heads": 8,
        "head_dim": 32,
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 256,
        "state_size": 16,
        "num_hidden_layers": 2,
        "layer_norm_epsilon": 1e-5,
        "conv_kernel": 4,
        "n_groups": 1,
        "use_bias": False,
        "use_conv_bias": True,
        "tie_word_embeddings": True,
        "time_step_limit": [0.001, 100.0],
        "time_step_rank": "auto",
    },
    "minicpm3": DENSE
    | LATENT_ATTENTION
    | {
        "dim_model_base": 128,
        "scale_depth": 1.4,
        "scale_emb": 1.0,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8},
    },
    "ministral3": DENSE
    | {
        "rope_parameters": YARN
        | {"rope_theta": 1e4, "rope_type": "yarn", "llama_4_scaling_beta": 0.1}
    },
    "mistral": UNTIED,
    "mistral3": {"text_config": UNTIED | {"model_type": "mistral"}},
    "mixtral": UNTIED | EXPERTS,
    "nemotron_h": DENSE
    | NO_BIAS
    | {
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "mamba_proj_bias": False,
        "ssm_state_size": 16,
        "conv_kernel": 4,
        "n_groups": 1,
        "layer_norm_epsilon": 1e-5,
        "use_bias": False,
        "use_conv_bias": True,
        "hybrid_override_pattern": "M*M-",
        "num_hidden_layers": 4,
    },
    "olmo2": DENSE,
    "olmo3": DENSE | {"sliding_window": 64, "layer_types": [SLIDING, SLIDING, FULL]},
    "phi3": DENSE,
    "qwen2": DENSE,
    "qwen3": DENSE,
    "qwen3_5": {"text_config": DENSE | LINEAR_ATTENTION | {"model_type": "qwen3_5_text"}},
    "qwen3_moe": DENSE | QWEN_EXPERTS,
    "qwen3_next": DENSE
    | QWEN_EXPERTS
    | LINEAR_ATTENTION
    | {"shared_expert_intermediate_size": 128, "partial_rotary_factor": 0.25},
    "smollm3": DENSE,
    "starcoder2": DENSE | {"norm_epsilon": 1e-5},
}
_MODULES = {"mistral": "llama"}  # the file of mlx-lm, where it has another name


def write_architecture(folder: Path, name: str, seed: int = 0, **changes: Any) -> Path:
    """A model folder of one of `ARCHITECTURES`, in float32, with the byte tokenizer.

    `changes` are to its config.
    """
    config = {"model_type": name} | ARCHITECTURES[name] | changes
    kind = config["model_type"]
    module: Any = importlib.import_module(f"mlx_lm.models.{_MODULES.get(kind, kind)}")
    mx.random.seed(seed)
    model = module.Model(module.ModelArgs.from_dict(config))
    weights = arrays.flat(model.parameters())
    for path, array in weights.items():
        if mx.issubdtype(array.dtype, mx.floating) and not mx.any(array):
            weights[path] = 0.1 * mx.random.normal(array.shape)
    folder.mkdir(parents=True)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    facts = config | {"eos_token_id": EOS, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    byte_tokenizer().save_pretrained(folder)
    return folder
