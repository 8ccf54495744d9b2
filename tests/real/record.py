"""Records what transformers computes: `python -m tests.real.record GGUF FUSED`.

GGUF is the file that the package brings, FUSED the folder that `python -m tests.real.fused` wrote.
Needs torch and transformers, which the extra `interop` brings, and `gguf`.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.real import cases

torch: Any = importlib.import_module("torch")  # which few have


def main() -> None:
    """Write the numbers beside this file."""
    file, fused = map(Path, sys.argv[1:])
    gguf = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer: Any = AutoTokenizer.from_pretrained(**gguf)
    model: Any = AutoModelForCausalLM.from_pretrained(**gguf, dtype=torch.float64)
    record = {
        "questions": [question(model, tokenizer, text) for text in cases.QUESTIONS],
        "update": update(model, tokenizer),
        "fused": read_fused(fused),
    }
    text = json.dumps(record, indent=1, default=float)
    cases.RECORDED.write_text(text + "\n", encoding="utf-8")


def templated(tokenizer: Any, text: str) -> list[int]:
    chat = [{"role": "user", "content": text}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
    return list(ids["input_ids"])


def question(model: Any, tokenizer: Any, text: str) -> dict[str, Any]:
    """A prompt's ids, the logits after it, and the greedy answer."""
    ids = templated(tokenizer, text)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, -1]
    return {
        "ids": ids,
        "text_ids": tokenizer(text)["input_ids"],
        "logits": cases.summary(logits.numpy()),
        "answer": greedy(model, ids),
    }


def greedy(model: Any, ids: list[int]) -> list[int]:
    with torch.no_grad():
        answer = model.generate(
            torch.tensor([ids]), max_new_tokens=cases.ANSWER_TOKENS, do_sample=False
        )
    return answer[0, len(ids) :].tolist()


def update(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Log-probabilities and loss of the pairs, and the gradient of the adapters."""
    prompts = [templated(tokenizer, prompt) for prompt, _, _ in cases.PAIRS]
    end = tokenizer.eos_token_id
    pairs = cases.pair_ids(lambda text: tokenizer(text)["input_ids"], prompts, end)
    weights = dict(model.named_parameters())
    adapters, adapted = {}, {}
    for path, *both in cases.adapters():
        a, b = adapters[path] = [torch.tensor(each).double().requires_grad_() for each in both]
        change = cases.SCALE * (a @ b).T
        adapted[f"{path}.weight"] = weights[f"{path}.weight"].detach() + change

    def logps(parameters: dict[str, Any]) -> Any:
        rows = []
        for prompt, *answers in pairs:
            for answer in answers:
                ids = torch.tensor([prompt + answer])
                logits = torch.func.functional_call(model, parameters, (ids,)).logits[0]
                every = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
                rows.append(every.gather(1, torch.tensor(answer)[:, None]).sum())
        return torch.stack(rows).reshape(-1, 2)

    with torch.no_grad():
        reference = logps({})
    policy = logps(adapted)
    ratio = policy - reference
    loss = -torch.nn.functional.logsigmoid(cases.BETA * (ratio[:, 0] - ratio[:, 1])).mean()
    loss.backward()
    return {
        "reference": reference.tolist(),
        "policy": policy.detach().tolist(),
        "loss": float(loss.detach()),
        "gradients": {
            f"{path}.lora_{which}": cases.summary(np.asarray(matrix.grad))
            for path, both in adapters.items()
            for which, matrix in zip("ab", both, strict=True)
        },
    }


def read_fused(folder: Path) -> dict[str, Any]:
    """A question put to the fused model, which stands alone."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float64)
    return question(model, tokenizer, cases.QUESTIONS[0])


if __name__ == "__main__":
    main()
