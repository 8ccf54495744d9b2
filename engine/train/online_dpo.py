"""Online DPO, top to bottom: sample pairs, judge, score, loss, step.

    for each batch of prompts:
        pairs   = two completions of each prompt, sampled from the policy as it is now
        judged  = the judge's verdict on each pair
        D       = (log pi - log ref)(chosen) - (log pi - log ref)(rejected)
        loss    = -log sigmoid(beta D), or one of the others in `losses`
        one optimizer step

After Guo et al. 2024, "Direct Language Model Alignment from Online AI Feedback" (arXiv 2402.04792).

Supported: a model or a person as the judge; LoRA, DoRA and full training; gradient accumulation;
labels weighted by the judge's confidence; an exact resume from any checkpoint.

Assumed: prompt and completion together are no longer than `max_seq_length`; what is scored are the
token ids that were sampled, their end-of-turn token included, never a text tokenised again.

Where it differs from the paper:

- A model judges each pair in both orders and by the log-odds of its answer's token, where the
  paper draws one order at random and reads one written answer.
- A pair without a clear winner is dropped: a tie, two equal or empty completions, no valid verdict.
  So a step may learn from fewer pairs than `batch_size`, or from none.
- A person may be the judge. Up to `lookahead` further batches are sampled while one is judged, so
  that nobody waits for the sampler; such pairs come from weights that are as many steps old. A
  model may judge beside the person (`hybrid`), who then is asked about what it is not sure of, and
  not waited for.
- The reference is the model that the run starts from: the policy with its adapters off, where
  adapters are trained. So the first update starts from a margin of 0.
- More than two completions of a prompt may be sampled (`completions`), from one shared prompt. The
  pair is the best of them against a lower one (`engine.judges.contest`).
- Length may be held: a mean over tokens in the loss (`length_normalize`), a price on the judge's
  preference (`length_penalty`), and no win for an answer that was cut off (`missing_eos`).
- Pairs that were there before may be learned from first, and be mixed in later (`warm_start`,
  `replay`): the same loss and update, on completions that the policy did not write.
- Completions are sampled by `temperature`, `top_p`, `top_k` and `min_p`, the paper's by temperature
  alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import mlx.core as mx

from engine.compute.sampling import Interrupted, Sample, Sampler, sample, stream_seed
from engine.data.pairs import JudgedPair, Pair
from engine.data.prompts import Prompt
from engine.data.rendering import render_prompt
from engine.data.sampled import make_pair
from engine.judges import Judge, JudgeAway
from engine.model.batch import AnyBatch
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.length import with_length_penalty
from engine.train.losses import pair_losses
from engine.train.state import TrainingState
from engine.train.update import StepResult, Update, log_probs
from engine.train.upkeep import Upkeep
from engine.train.warm_start import WarmStart
from engine.train.writing import WritingTeller


@dataclass(frozen=True)
class Trainer:
    """One run's loop. Everything here happens on the engine's thread."""

    settings: Settings
    policy: LanguageModel
    judge: Judge
    prompts: Sequence[Prompt]
    total_steps: int
    update: Update  # policy and reference, the optimizer, and gradients that wait
    state: TrainingState
    upkeep: Upkeep  # what is done between steps
    journal: Journal
    warm_start: WarmStart = field(default_factory=WarmStart)
    sample: Sample = sample

    def train(self) -> bool:
        """Train until the last step or the reason to end before it, or until asked to stop; True
        unless it was asked to.

        Either way the newest checkpoint is that of the step that was reached.
        """
        try:
            self.upkeep.before_training()
            while not self._over() and not self.upkeep.must_stop():
                self.upkeep.serve_requests()
                if self.state.step < self.warm_start.steps:
                    self._learn([])
                elif self._judge_wants_pairs():
                    self.judge.submit(self._sample())
                elif judged := self._collect():
                    self._learn(judged)
                elif not self._judge_wants_pairs():
                    self.upkeep.wait_for_judge()
            finished = self._over()
        except Interrupted:
            finished = False
        if not finished:
            self.upkeep.save()
        return finished

    def _over(self) -> bool:
        return self.state.step == self.total_steps or self.state.ended is not None

    # -- sample ----------------------------------------------------------------------------------

    def _judge_wants_pairs(self) -> bool:
        """Whether the judge should get another batch now.

        A batch that a person has judged is learned from first: else one who answers faster than
        pairs are made would never see the policy change.
        """
        if self.judge.stores_labels and self.judge.settles_in() == 0:
            return False
        ahead = self.judge.open_batches() > self.settings.lookahead_batches
        return self.state.sampled < self.total_steps and not ahead

    def _sample(self) -> list[Pair]:
        """Completions of each prompt of the next batch, from the policy as it is now."""
        settings, state, step = self.settings, self.state, self.state.sampled + 1
        order = state.order.state()
        prompts = [self.prompts[index] for index in state.order.next(settings.batch_size)]
        ids = [
            render_prompt(self.policy.tokenizer, prompt, settings, settings.prompt_tokens)
            for prompt in prompts
        ]
        most = settings.completions * len(prompts) * settings.max_completion_length
        self.journal.progress("sampling", 0, most, "tokens")
        tell = WritingTeller(self.policy, prompts, self.journal)
        start = time.monotonic()
        try:
            completions = self.sample(
                self.policy,
                ids,
                copies=settings.completions,
                max_tokens=settings.max_completion_length,
                sampler=Sampler.of(settings),
                seed=stream_seed(settings.seed, "sampling", step),
                progress=lambda tokens: self.journal.progress("sampling", tokens, most, "tokens"),
                written=tell if self.judge.stores_labels else None,
                stop=self.upkeep.must_stop,
            )
        except Interrupted:
            state.order.restore(order)
            raise
        tokens = sum(len(each.ids) for answers in completions for each in answers)
        self.upkeep.reporter.add_sampling(tokens, time.monotonic() - start)
        pairs = [
            make_pair(
                step=step,
                index=index,
                weights_step=state.step,
                prompt=prompt,
                prompt_ids=prompt_ids,
                completions=answers,
                texts=[self.policy.text(each.ids) for each in answers],
                cut_loses=settings.missing_eos == "lose",
            )
            for index, (prompt, prompt_ids, answers) in enumerate(
                zip(prompts, ids, completions, strict=True)
            )
        ]
        state.sampled = step
        if self.judge.stores_labels:
            self.journal.record_samples(step, pairs, state.order.state())
        return pairs

    # -- judge -----------------------------------------------------------------------------------

    def _collect(self) -> list[JudgedPair] | None:
        """The oldest batch with its verdicts: a model gives them now, a person or a server has or
        has not."""
        start = time.monotonic()
        try:
            judged = self.judge.collect()
        except JudgeAway as away:
            self.upkeep.judge_is_away(str(away))
            return None
        self.upkeep.waited += time.monotonic() - start
        if judged is not None:
            self.upkeep.reporter.add_judging(self.upkeep.waited)
            self.upkeep.waited = 0.0
        return judged

    # -- score, loss, step -----------------------------------------------------------------------

    def _learn(self, judged: list[JudgedPair]) -> None:
        """Take the step of a judged batch, which a step of the warm start has none of, and do what
        is due after it.

        Raises:
            Interrupted: asked to stop within it, or a rank is lost; the batch waits again.
        """
        start = time.monotonic()
        self.state.step += 1
        self.journal.step = self.state.step
        self.update.progress(0, len(judged), None)
        last = self.state.step in (self.warm_start.steps, self.total_steps)
        preferred = [with_length_penalty(each, self.settings) for each in judged]
        preferred += self.warm_start.of_step(self.state.step)
        try:
            result = learn(self.update, preferred, step=self.state.step, last=last)
        except Interrupted:
            self.state.step -= 1
            self.journal.step = self.state.step
            self.state.given_up = [each.group for each in judged if each.group]
            raise
        self.upkeep.after_step(judged, result, time.monotonic() - start)


def learn(
    update: Update, judged: Sequence[JudgedPair], *, step: int, last: bool = False
) -> StepResult:
    """One step of DPO on a judged batch.

    Args:
        step: number of this step, from 1; seeds dropout.
        last: whether the run, or its warm start, ends with it, so that gradients do not wait.

    A batch whose loss or gradient is not finite changes nothing.
    """
    decided = [each for each in judged if each.decided]
    # The gradient of the sum of the pairs' losses is added to what waits for an update.
    result = update.add_gradients(summed_loss, decided, step)
    # The mean over all pairs that gradients wait from, clipped, through the optimizer.
    if last or update.due:
        result = replace(result, grad_norm=update.apply())
    return result


def summed_loss(
    update: Update, batch: AnyBatch, reference: mx.array, confidence: mx.array
) -> tuple[mx.array, mx.array]:
    """The sum of the pairs' losses, and log pi of their completions, float32 (pairs, 2).

    A function of what the policy trains, in a pass of its own for each part of a large batch.

    Args:
        batch: each pair's prompt, with its chosen and its rejected completion.
        reference: log ref of the completions, summed over tokens, float32 (pairs, 2), in nats.
        confidence: the judge's, that the chosen one is better, float32 (pairs,).
    """
    policy = update.score(update.policy, batch)
    logps = log_probs(batch, policy, reference)
    return batch.total(pair_losses(update.loss, logps, confidence)), policy
