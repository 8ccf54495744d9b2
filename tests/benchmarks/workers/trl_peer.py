"""TRL on PyTorch: its own `OnlineDPOTrainer`, unmodified, with a length function as judge.

The loop stops at its callback after every step. Its sampling (`_generate`) is timed where the loop
calls it. LoRA comes from PEFT, on the same modules; the reference is the policy with its adapters
off. It has no model as judge to compare, so this contest is about sampling, scoring and update.
"""

# pyright: reportMissingImports=false

import json
import sys
from typing import Any

from tests.benchmarks.workers.turns import Turns


def main() -> None:
    setting = json.loads(sys.argv[1])
    import torch

    gpu = setting["gpu"]
    turns = Turns(setting["threads"], torch.cuda.max_memory_allocated if gpu else None)

    torch.set_num_threads(setting["threads"])
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    class Callback(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            turns.wait()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            turns.done()

    OnlineDPOTrainer._generate = turns.timed("sample", OnlineDPOTrainer._generate)

    def length(completions: list[Any], **kwargs: Any) -> list[float]:
        return [float(len(str(completion))) for completion in completions]

    messages = [[{"role": "user", "content": text}] for text in setting["prompts"]]
    trainer = OnlineDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            setting["model"], dtype=getattr(torch, setting["dtype"])
        ),
        reward_funcs=length,
        args=OnlineDPOConfig(
            output_dir=f"{setting['folder']}/trl",
            use_cpu=not gpu,
            bf16=setting["dtype"] == "bfloat16",
            per_device_train_batch_size=len(messages),
            learning_rate=setting["learning_rate"],
            max_steps=1_000_000,
            max_new_tokens=setting["completion"],
            max_length=setting["max_seq_length"],
            temperature=0.8,
            gradient_checkpointing=setting["grad_checkpoint"],
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": messages}),
        processing_class=AutoTokenizer.from_pretrained(setting["model"]),
        peft_config=LoraConfig(
            r=8,
            lora_alpha=160,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[Callback()],
    )
    trainer.train()


if __name__ == "__main__":
    main()
