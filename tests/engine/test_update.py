"""The update: its gradient, how steps and passes add up, and what changes nothing."""

import math
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from engine.data.pairs import JudgedPair, Verdict
from engine.model import arrays
from engine.model.batch import Batch
from engine.settings.schema import Settings
from engine.starter import POLICY
from engine.train import update
from engine.train.online_dpo import learn
from engine.train.optimizers import build_optimizer
from engine.train.roles import load_roles
from engine.train.update import Update, step_means
from tests.close import assert_close
from tests.engine.small_models import (
    WIDE,
    number,
    pair,
    policy_and_reference,
    settings,
    stir,
    write_model,
)

pytestmark = pytest.mark.backends

Judged = list[JudgedPair]
LOSSES = [
    {"dpo_cpo_loss_type": "sigmoid"},
    {"dpo_cpo_loss_type": "hinge"},
    {"dpo_cpo_loss_type": "ipo"},
    {"dpo_cpo_loss_type": "dpop", "delta": 2.0},
    {"dpo_cpo_loss_type": "dpop", "delta": 2.0, "dpop_form": "studio"},
    {"dpo_cpo_loss_type": "sigmoid", "soft_labels": "mix"},
    {"dpo_cpo_loss_type": "sigmoid", "soft_labels": "geometric"},
    {"dpo_cpo_loss_type": "sigmoid", "label_smoothing": 0.2},
    {"dpo_cpo_loss_type": "sigmoid", "label_smoothing": 0.2, "label_smoothing_form": "robust"},
]
PLAIN = {"optimizer": "sgd", "learning_rate": 0.01, "max_grad_norm": 0.0}


def judged(count: int = 4) -> Judged:
    """Decided pairs of unequal length, one winner on either side."""
    words = ["so", "it", "may", "well", "be", "that", "nobody", "knows", "the", "answer"]
    pairs = [
        pair(
            index,
            prompt="Why? " * (1 + index % 3),
            first=" ".join(words[: 1 + index]),
            second=" ".join(reversed(words[: 5 - index % 4])),
            second_finished=bool(index % 2),
        )
        for index in range(count)
    ]
    return [
        JudgedPair(each, Verdict("first" if index % 3 else "second", q=0.8 if index % 3 else 0.3))
        for index, each in enumerate(pairs)
    ]


def make_update(stirred: bool = True, seed: int = 0, **values: Any) -> Update:
    chosen = settings(**{**PLAIN, **values})
    policy, reference = policy_and_reference(chosen, seed=seed)
    if stirred:
        stir(policy.model)
    return Update(policy, reference, chosen, build_optimizer(chosen, 100))


def weights(made: Update) -> dict[str, np.ndarray]:
    trainable = arrays.flat(made.policy.model.trainable_parameters())
    return {name: np.array(array) for name, array in trainable.items()}


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    return math.sqrt(sum(float(((one[name] - other[name]) ** 2).sum()) for name in one))


def assert_moved_alike(
    one: Update, other: Update, start: dict[str, np.ndarray], tolerance: float = 1e-4
) -> None:
    """As far as float32 tells: a weight is rounded by its own size, not by how far it moved."""
    moved = distance(weights(other), start)
    assert moved > 0
    assert distance(weights(one), weights(other)) < tolerance * moved


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


# -- the gradient --------------------------------------------------------------------------------


def loss_in_float64(made: Update, batch: Judged) -> float:
    """Mean loss, from the log-probabilities on, in float64."""
    chosen = made.settings
    total = 0.0
    for each in batch:
        pair, verdict = each.pair, each.verdict
        order = (pair.first_ids, pair.second_ids)
        if verdict.choice == "second":
            order = order[::-1]
        scored = Batch([pair.prompt_ids], [order])
        policy = np.array(made.policy.backend.logps(scored), np.float64)[0]
        reference = np.array(made.reference.backend.logps(scored), np.float64)[0]
        assert verdict.q is not None
        q = verdict.q if verdict.choice == "first" else 1 - verdict.q
        e = chosen.label_smoothing
        shares = [q, 1 - q] if chosen.soft_labels == "mix" else [1 - e, e]
        if chosen.label_smoothing_form == "robust":
            shares = [(1 - e) / (1 - 2 * e), -e / (1 - 2 * e)]
        sureness = 2 * q - 1 if chosen.soft_labels == "geometric" else 1.0
        for share, (won, lost) in zip(shares, ((0, 1), (1, 0)), strict=True):
            ratio = policy - reference
            difference = sureness * (ratio[won] - ratio[lost])
            if chosen.dpo_cpo_loss_type == "hinge":
                value = max(0.0, 1 - chosen.beta * difference)
            elif chosen.dpo_cpo_loss_type == "ipo":
                mean = ratio[won] / len(order[won]) - ratio[lost] / len(order[lost])
                value = (mean - 1 / (2 * chosen.beta)) ** 2
            else:
                penalty = 0.0
                if chosen.dpo_cpo_loss_type == "dpop":
                    penalty = chosen.delta * max(0.0, -ratio[won])
                inside = penalty if chosen.dpop_form == "paper" else 0.0
                value = math.log1p(math.exp(-chosen.beta * (difference - inside)))
                value += penalty - inside
            total += share * value
    return total / len(batch)


@pytest.mark.parametrize("values", LOSSES, ids=lambda v: "-".join(map(str, v.values())))
def test_loss_and_gradient(values: dict[str, Any]) -> None:
    """The gradient is the slope of the mean loss along a random direction."""
    made, batch = make_update(**values), judged()
    learned = learn(made, batch, step=1)
    wanted = loss_in_float64(make_update(**values), batch)
    assert_close(learned.means["loss"], wanted, 1e-4)
    start = make_update(**values)
    before, after = weights(start), weights(made)
    gradient = {name: (before[name] - after[name]) / 0.01 for name in before}
    assert learned.grad_norm == pytest.approx(distance(before, after) / 0.01, rel=1e-3)
    generator = np.random.default_rng(0)
    noise = {name: generator.normal(size=array.shape) for name, array in before.items()}
    # Along the gradient in part, so that the slope is well above the noise of float32.
    direction = {name: gradient[name] / learned.grad_norm + 0.01 * noise[name] for name in noise}
    slope = sum(float((gradient[name] * direction[name]).sum()) for name in before)

    def loss_at(step: float) -> float:
        moved = {
            name: mx.array(before[name] + step * direction[name], mx.float32) for name in before
        }
        start.policy.model.update(arrays.tree(moved))
        return loss_in_float64(start, batch)

    step = 3e-4
    finite = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert slope == pytest.approx(finite, rel=1e-2)
    assert abs(slope) > 1e-3


@pytest.mark.parametrize("train_type", ["lora", "dora", "full"])
def test_a_small_step_lowers_the_loss(train_type: str) -> None:
    made, batch = make_update(train_type=train_type, stirred=False), judged()
    losses = [learn(made, batch, step=step).means["loss"] for step in range(1, 6)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert losses[-1] < losses[0] - 1e-4


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "dpop", "ipo"])
def test_what_beta_does_to_the_first_step(loss: str) -> None:
    """sgd's grows with it, and shrinks with ipo; adamw's stays as it is."""
    batch = judged()

    def moved(beta: float, **values: Any) -> tuple[float, dict[str, np.ndarray]]:
        made = make_update(stirred=False, beta=beta, dpo_cpo_loss_type=loss, **values)
        before = weights(made)
        learn(made, batch, step=1)
        return distance(before, after := weights(made)), after

    low, high = (moved(beta)[0] for beta in (0.05, 0.2))
    assert high == pytest.approx(low * (0.25 if loss == "ipo" else 4), rel=1e-3)
    adaptive = {"optimizer": "adamw", "learning_rate": 1e-3}
    (length, one), (_, other) = (moved(beta, **adaptive) for beta in (0.05, 0.2))
    assert distance(one, other) < 0.01 * length


# -- adding up -----------------------------------------------------------------------------------


def test_uneven_batches_add_up_to_one_batch() -> None:
    batch = judged(7)
    whole = make_update()
    learned = learn(whole, batch, step=1)
    parts = make_update(gradient_accumulation_steps=3)
    start = weights(parts)
    undecided = JudgedPair(pair(9), Verdict("tie"))
    learn(parts, [batch[0], undecided], step=1)
    learn(parts, batch[1:5], step=2)
    assert_equal(weights(parts), start)  # nothing yet
    norm = learn(parts, [undecided, *batch[5:]], step=3).grad_norm
    assert_close(norm, learned.grad_norm)
    assert_moved_alike(parts, whole, start)
    assert (parts.gradients, parts.gradient_pairs, parts.steps_since_update) == (None, 0, 0)


@pytest.mark.parametrize("checkpointed", [True, False])
def test_several_passes_are_one(checkpointed: bool) -> None:
    batch = judged(7)
    whole, parts = (make_update(grad_checkpoint=checkpointed) for _ in range(2))
    start = weights(whole)
    one = learn(whole, batch, step=1)
    parts.tokens_per_pass = 200
    passes = update._passes(batch, 200)
    assert len(passes) > 2
    assert [each for part in passes for each in part] == batch
    other = learn(parts, batch, step=1)
    assert other.means.keys() == one.means.keys()
    assert_close(list(other.means.values()), list(one.means.values()))
    assert_moved_alike(parts, whole, start)


def test_passes_stay_under_their_bound() -> None:
    batch = judged(7)
    for bound in (1, 60, 150, 10_000):
        for part in update._passes(batch, bound):
            prompt = max(len(each.pair.prompt_ids) for each in part)
            longest = max(max(len(p.chosen_ids), len(p.rejected_ids)) for p in part)
            assert len(part) == 1 or len(part) * (prompt + 2 * longest) <= bound


def test_the_last_step_does_not_wait_for_more() -> None:
    made = make_update(gradient_accumulation_steps=4)
    start = weights(made)
    learn(made, judged(), step=1)
    assert_equal(weights(made), start)
    learn(made, [], step=2, last=True)
    assert distance(weights(made), start) > 0


def test_a_step_without_a_winner_changes_nothing() -> None:
    made = make_update(optimizer="adamw")
    start = weights(made)
    for choice in ("tie", "both_bad", "skip", "identical", "empty", "invalid"):
        learned = learn(made, [JudgedPair(pair(), Verdict(choice))], step=1)
        assert (learned.pairs, learned.means, learned.dropped) == (0, {}, None)
        assert math.isnan(learned.grad_norm)
    assert_equal(weights(made), start)


def test_undecided_pairs_have_no_say() -> None:
    batch = judged()
    alone, among = make_update(), make_update()
    learn(alone, batch, step=1)
    ties: Judged = [JudgedPair(pair(7, first="x", second="yyy"), Verdict("tie", q=0.5))]
    learn(among, ties + batch, step=1)
    assert_equal(weights(alone), weights(among))


def test_the_winner_alone_decides_the_direction() -> None:
    one, other = make_update(stirred=False), make_update(stirred=False)
    start = weights(one)
    each = pair()
    swapped = pair(first=each.second, second=each.first, first_finished=False, second_finished=True)
    learn(one, [JudgedPair(each, Verdict("first"))], step=1)
    learn(other, [JudgedPair(swapped, Verdict("second"))], step=1)
    assert_equal(weights(one), weights(other))
    lost = make_update(stirred=False)
    learn(lost, [JudgedPair(each, Verdict("second"))], step=1)
    for name, array in start.items():
        assert_close(weights(lost)[name] - array, array - weights(one)[name], 1e-3, name=name)


def test_long_gradients_are_clipped_and_short_ones_not() -> None:
    norm = learn(make_update(), judged(), step=1).grad_norm
    for limit in (norm / 10, norm * 10):
        made = make_update(max_grad_norm=limit)
        start = weights(made)
        assert_close(learn(made, judged(), step=1).grad_norm, norm)
        assert distance(weights(made), start) == pytest.approx(0.01 * min(norm, limit), rel=1e-3)


# -- what is not finite --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_nothing(value: float) -> None:
    made = make_update(optimizer="adamw")
    learn(made, judged(), step=1)
    start, state = (
        weights(made),
        {k: np.array(v) for k, v in made.optimizer.state.items()},
    )
    body: Any = made.reference.model
    norm = body.model.norm.weight
    body.model.norm.weight = norm * value
    learned = learn(made, judged(), step=2)
    assert learned.dropped == "its loss is not finite"
    assert (learned.pairs, learned.means) == (0, {})
    assert math.isnan(learned.grad_norm)
    assert_equal(weights(made), start)
    assert_equal({k: np.array(v) for k, v in made.optimizer.state.items()}, state)
    body.model.norm.weight = norm
    assert learn(made, judged(), step=3).dropped is None
    assert distance(weights(made), start) > 0


def test_a_gradient_that_is_not_finite_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_update(gradient_accumulation_steps=2)
    learn(made, judged(3), step=1)
    start, real = weights(made), nn.value_and_grad

    def spoiled(model: nn.Module, loss: Any) -> Any:
        def gradient_of(*args: Any) -> Any:
            values, gradients = real(model, loss)(*args)
            flat = arrays.flat(gradients)
            name = next(iter(flat))
            return values, arrays.tree(flat | {name: flat[name].at[0, 0].add(math.inf)})

        return gradient_of

    with monkeypatch.context() as patched:
        patched.setattr(nn, "value_and_grad", spoiled)
        learned = learn(made, judged(), step=2)
    assert learned.dropped == "its gradient is not finite"
    # What the sound step had gathered still counts, alone.
    assert distance(weights(made), start) > 0
    alone = make_update()
    learn(alone, judged(3), step=1)
    assert_equal(weights(made), weights(alone))


# -- every setting takes real steps --------------------------------------------------------------


def take_steps(chosen: Settings, roles: Any, steps: int = 3, batch: Judged | None = None) -> Update:
    batch = batch or judged()
    made = Update(roles[0], roles[1], chosen, build_optimizer(chosen, 10))
    start = weights(made)
    for step in range(1, steps + 1):
        learned = learn(made, batch, step=step)
        assert learned.dropped is None
        assert math.isfinite(learned.grad_norm)
        if step == 1:
            assert learned.means["margin"] == 0
        after = weights(made)
        assert distance(after, start) > 0
        start = after
    for name, array in start.items():
        assert np.isfinite(array).all(), name
    assert learn(made, batch, step=steps + 1).means["margin"] != 0
    return made


@pytest.mark.parametrize("train_type", ["dora", "full"])
@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd",
        "rmsprop",
        "adagrad",
        "adadelta",
        "adam",
        "adamw",
        "adamax",
        "lion",
        "adafactor",
        "muon",
    ],
)
def test_every_optimizer_trains_everything(optimizer: str, train_type: str) -> None:
    chosen = settings(optimizer=optimizer, train_type=train_type, num_layers=2)
    take_steps(chosen, policy_and_reference(chosen))


@pytest.mark.parametrize("train_type", ["lora", "full"])
@pytest.mark.parametrize("values", LOSSES, ids=lambda v: "-".join(map(str, v.values())))
def test_every_loss_trains_everything(values: dict[str, Any], train_type: str) -> None:
    chosen = settings(**values, train_type=train_type)
    take_steps(chosen, policy_and_reference(chosen), steps=2)


@pytest.mark.parametrize(
    "schedule", ["constant", "cosine_decay", "linear_schedule", "exponential_decay", "step_decay"]
)
def test_every_schedule_trains(schedule: str) -> None:
    chosen = settings(lr_schedule={"name": schedule, "warmup": 2})
    made = take_steps(chosen, policy_and_reference(chosen), steps=4)
    assert 0 < made.learning_rate < chosen.learning_rate * (1 + 1e-6)


@pytest.mark.parametrize("train_type", ["lora", "dora"])
@pytest.mark.parametrize("quantization", ["4-bit", "6-bit", "8-bit", "mxfp4"])
def test_every_quantisation_trains(quantization: str, train_type: str, tmp_path: Any) -> None:
    folder = write_model(tmp_path / "model", WIDE)
    chosen = settings(
        model=str(folder), judge="human", quantization=quantization, train_type=train_type
    )
    roles = load_roles(chosen)
    take_steps(chosen, (roles.policy, roles.reference), steps=2)


@pytest.mark.skipif(not (POLICY / "model.safetensors").is_file(), reason="the starter is not built")
@pytest.mark.parametrize(
    "values",
    [
        {"train_type": "full", "dpo_cpo_loss_type": "ipo"},
        {"train_type": "dora", "dpo_cpo_loss_type": "hinge"},
        {"quantization": "none", "dpo_cpo_loss_type": "dpop", "delta": 2.0},
        {"quantization": "4-bit", "optimizer": "muon"},
        {"quantization": "6-bit", "optimizer": "adafactor"},
        {"quantization": "8-bit", "lr_schedule": {"name": "step_decay", "warmup": 1}},
        {"quantization": "mxfp4", "train_type": "dora", "optimizer": "lion"},
    ],
    ids=repr,
)
def test_the_starter_trains(values: dict[str, Any]) -> None:
    chosen = settings(**{"model": "starter", "judge": "human", **values})
    roles = load_roles(chosen)
    encode = roles.policy.tokenizer.encode
    batch: Judged = [
        JudgedPair(
            replace(
                each.pair,
                prompt_ids=tuple(encode(each.pair.prompt)),
                first_ids=tuple(encode(each.pair.first)),
                second_ids=tuple(encode(each.pair.second)),
            ),
            each.verdict,
        )
        for each in judged()
    ]
    made = take_steps(chosen, (roles.policy, roles.reference), steps=2, batch=batch)
    assert made.policy.backend.decodes_batches


def test_dropout_is_seeded_by_run_step_and_pass() -> None:
    parameters = {"rank": 4, "scale": 20.0, "dropout": 0.3}

    one, same = (make_update(lora_parameters=parameters) for _ in range(2))
    mx.random.seed(77)  # has no say
    first = learn(one, judged(), step=1).means
    assert learn(same, judged(), step=1).means == first
    other = make_update(lora_parameters=parameters)
    assert learn(other, judged(), step=2).means != first


# -- what is told --------------------------------------------------------------------------------


def test_means_of_a_step() -> None:
    batch: Judged = [
        JudgedPair(pair(0, first="abc", second="de"), Verdict("first")),
        JudgedPair(pair(1, first="f", second="ghij"), Verdict("second")),
    ]
    tokens = [[4, 2], [4, 2]]  # the first one of each pair has an end of turn too
    assert [len(batch[0].chosen_ids), len(batch[0].rejected_ids)] == tokens[0]
    logps = np.array([[[-4.0, -6.0], [-5.0, -5.0]], [[-8.0, -2.0], [-6.0, -4.0]]])
    means = step_means(batch, logps, beta=0.5)
    assert means["chosen_reward"] == pytest.approx(0.5 * (1 - 2) / 2)
    assert means["rejected_reward"] == pytest.approx(0.5 * (-1 + 2) / 2)
    assert means["margin"] == pytest.approx(0.5 * (2 - 4) / 2)
    assert means["accuracy"] == 0.5
    assert means["kl"] == pytest.approx(0.0)
    assert (means["chosen_logp"], means["rejected_logp"]) == (-6.0, -4.0)
    assert means["entropy"] == pytest.approx((4 + 6 + 8 + 2) / (4 + 2 + 4 + 2))


def test_reported_log_probabilities_are_those_of_the_model() -> None:
    made, batch = make_update(), judged(1)
    pair, verdict = batch[0].pair, batch[0].verdict
    order = [pair.second_ids, pair.first_ids] if verdict.choice == "second" else []
    scored = Batch([pair.prompt_ids], [order])
    policy = made.policy.backend.logps(scored)
    means = learn(made, batch, step=1).means
    assert means["chosen_logp"] == pytest.approx(number(policy[0, 0]), rel=1e-5)
    assert means["rejected_logp"] == pytest.approx(number(policy[0, 1]), rel=1e-5)
