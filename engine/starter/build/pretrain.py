"""Train the policy: a small language model that answers the world's questions.

First bare right answers, so that it learns the facts; then the full mixture of `grammar`.
The loss is on the answers alone.
"""

import math
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from engine.starter.build import grammar, processes
from engine.starter.build.cpu_layers import cross_entropy, run_layer
from engine.starter.build.families import FAMILIES
from engine.starter.build.model_folder import new_model
from engine.starter.build.world import TONES
from engine.starter.rubrics import KNOWN

LAYERS = 4
FACT_STEPS = 700  # of bare right answers
STEPS = 2100  # in all
BATCH = 56
PEAK_RATE = 3e-3
WARMUP = 60
SYSTEM_SHARE = 0.1  # prompts with a system message, so that one does no harm
BUCKETS = 16  # batches drawn together and sorted by length, to avoid padding


def prompt_ids(tokenizer: Any, prompt: str, system: str = "") -> list[int]:
    """A prompt as the policy reads it: one user message and the start of the answer."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)


def system_message(rng: Random) -> str:
    """Something that has no bearing on the answer: sentences, jumbled words, letters."""
    family = rng.choice(FAMILIES)
    rubric = rng.choice(KNOWN)
    sentences = [*rubric.trained, *family.remarks, *TONES["polite"].openings]
    text = " ".join(rng.sample(sentences, rng.randint(1, 3)))
    if rng.random() < 0.5:
        words = text.split()
        rng.shuffle(words)
        text = " ".join(words)
    if rng.random() < 0.4:
        letters = list(text)
        for _ in range(max(2, len(letters) // 4)):
            letters[rng.randrange(len(letters))] = chr(rng.randint(32, 126))
        text = "".join(letters)
    return text


def batches(
    draw: Callable[[], tuple[list[int], list[int]]], rng: Random, pad: int
) -> Iterator[tuple[mx.array, mx.array, mx.array, float]]:
    """Endless batches of (ids (B, L), positions (N,) of the flattened hidden states, targets (N,),
    number of targets in the mean process's part).

    `draw` returns prompt ids and answer ids; only answer tokens are targets. A process gets its
    own part of each batch.
    """
    while True:
        pool = sorted((draw() for _ in range(BATCH * BUCKETS)), key=lambda s: len(s[0] + s[1]))
        chunks = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        rng.shuffle(chunks)
        for chunk in chunks:
            count = sum(len(reply) for _, reply in chunk) / processes.size()
            part = processes.own_part(chunk)
            length = max(len(p) + len(a) for p, a in part) - 1
            ids = np.full((len(part), length), pad, np.int32)
            positions: list[int] = []
            targets: list[int] = []
            for row, (prompt, reply) in enumerate(part):
                whole = (prompt + reply)[:-1]
                ids[row, : len(whole)] = whole
                start = row * length + len(prompt) - 1
                positions.extend(range(start, start + len(reply)))
                targets.extend(reply)
            yield mx.array(ids), mx.array(positions), mx.array(targets), count


def answer_loss(
    model: Any, ids: mx.array, positions: mx.array, targets: mx.array, count: float
) -> mx.array:
    """Sum of the cross-entropy at the given positions, by `count`; logits are computed nowhere
    else."""
    body = model.model
    hidden = body.embed_tokens(ids)
    for layer in body.layers:
        hidden, _ = run_layer(layer, hidden)
    hidden = body.norm(hidden.reshape(-1, hidden.shape[-1])[positions])
    return cross_entropy(body.embed_tokens.as_linear(hidden), targets).sum() / count


def cosine_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warmup, then a cosine to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def pretrain(tokenizer: Any, seed: int, report: Callable[[str], None], every: int = 1) -> nn.Module:
    """Train the policy from nothing; about 12 minutes of processor time. Takes one in `every`
    steps."""
    steps, fact_steps = STEPS // every, FACT_STEPS // every
    mx.random.seed(seed)
    rng = Random(seed)
    model = new_model(LAYERS, tokenizer)
    questions = list(grammar.questions(held_out=False))
    prompts = {q.text: prompt_ids(tokenizer, q.text) for q in questions}
    end = [tokenizer.eos_token_id]

    def draw(**fixed: Any) -> tuple[list[int], list[int]]:
        question = rng.choice(questions)
        text = grammar.answer(rng, question, **fixed)
        prompt = prompts[question.text]
        if rng.random() < SYSTEM_SHARE:
            prompt = prompt_ids(tokenizer, question.text, system_message(rng))
        return prompt, tokenizer.encode(text, add_special_tokens=False) + end

    def draw_fact() -> tuple[list[int], list[int]]:
        return draw(right=True, tone="plain", remarks=0)

    facts = batches(draw_fact, rng, tokenizer.pad_token_id)
    mixture = batches(draw, rng, tokenizer.pad_token_id)
    optimizer = optim.AdamW(PEAK_RATE, betas=[0.9, 0.98], weight_decay=0.05)
    loss_and_grad = nn.value_and_grad(model, answer_loss)
    losses: list[float] = []
    started = time.time()
    for step in range(steps):
        optimizer.learning_rate = mx.array(cosine_rate(step, steps, PEAK_RATE, WARMUP))
        batch = next(facts if step < fact_steps else mixture)
        loss, grads = loss_and_grad(model, *batch)
        grads, _ = optim.clip_grad_norm(processes.average(grads), 1.0)
        optimizer.update(model, grads)
        mx.eval(model.parameters(), optimizer.state, loss)
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            mean = sum(losses[-100:]) / 100
            report(f"policy step {step + 1} loss {mean:.4f} {time.time() - started:.0f} s")
    return model
