"""mlx-lm-lora: its own `train_online_dpo`, unmodified, on models that its own functions load.

The loop stops at its callback after every step. Its sampling (`generate_for_online_dpo`) and its
judge (`LLMPairwiseJudge.judge`) are timed where the loop calls them. It wants two answers of MLX
that Metal alone gives: the size of a working set, and a wired limit.

The judge reads the same frame and rubric as ours, given as the template that it formats. A random
judge never ends its answer, so it writes all of the 16 tokens that the peer allows it; with
`judge_tokens` it writes fewer, as a judge that ends after its digit would.
"""

# pyright: reportMissingImports=false

import json
import sys
from argparse import Namespace
from typing import Any

from tests.benchmarks.workers.turns import Turns


def main() -> None:
    setting = json.loads(sys.argv[1])
    if setting["fast_blas"]:
        from engine.machine.blas import load_fast_blas

        load_fast_blas()
    import mlx.core as mx
    import mlx.optimizers as optimizers

    turns = Turns(setting["threads"], mx.get_peak_memory if setting["gpu"] else None)
    if not mx.metal.is_available():
        mx.device_info = lambda *_: {"max_recommended_working_set_size": 0}
        mx.set_wired_limit = lambda *_: 0
    from mlx_lm.tuner.datasets import CacheDataset
    from mlx_lm_lora import train
    from mlx_lm_lora.trainer import judge, online_dpo_trainer
    from mlx_lm_lora.trainer.datasets import PromptDataset
    from mlx_lm_lora.utils import from_pretrained

    online_dpo_trainer.generate_for_online_dpo = turns.timed(
        "sample", online_dpo_trainer.generate_for_online_dpo
    )
    judge.LLMPairwiseJudge.judge = turns.timed("judge", judge.LLMPairwiseJudge.judge)
    limit_answers(judge, setting["judge_tokens"])

    args = Namespace(model=setting["model"], judge=setting["model"], reference_model_path=None)
    mx.random.seed(0)
    lora = {"rank": 8, "dropout": 0.0, "scale": 20.0, "num_layers": -1}
    model, tokenizer, adapter_file = from_pretrained(
        model=args.model, new_adapter_path=f"{setting['folder']}/peer", lora_config=lora
    )
    reference = train.load_reference_model(args)
    judge_model, judge_tokenizer = train.load_judge_model(args, reference)
    rows: Any = [{"prompt": text} for text in setting["prompts"]]
    dataset = CacheDataset(PromptDataset(rows, tokenizer))

    class Callback:
        def on_train_loss_report(self, info: dict[str, Any]) -> None:
            turns.done()
            turns.wait()

        def on_val_loss_report(self, info: dict[str, Any]) -> None:
            pass

    turns.wait()
    callback: Any = Callback()
    online_dpo_trainer.train_online_dpo(
        model=model,
        ref_model=reference,
        tokenizer=tokenizer,
        optimizer=optimizers.AdamW(learning_rate=setting["learning_rate"]),
        train_dataset=dataset,
        judge_config={"system_prompt": setting["rubric"]},
        args=online_dpo_trainer.OnlineDPOTrainingArgs(
            batch_size=len(rows),
            iters=1_000_000,
            steps_per_report=1,
            steps_per_save=1_000_000,
            adapter_file=adapter_file,
            max_seq_length=setting["max_seq_length"],
            grad_checkpoint=setting["grad_checkpoint"],
            temperature=0.8,
            max_completion_length=setting["completion"],
            judge=args.judge,
        ),
        judge_model=judge_model,
        judge_tokenizer=judge_tokenizer,
        training_callback=callback,
    )


def limit_answers(judge: Any, tokens: int) -> None:
    """Let the judge write so many tokens at most."""
    generate = judge.generate

    def limited(*args: Any, **kwargs: Any) -> str:
        return generate(*args, **(kwargs | {"max_tokens": min(tokens, kwargs["max_tokens"])}))

    judge.generate = limited


if __name__ == "__main__":
    main()
