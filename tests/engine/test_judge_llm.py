"""The LLM judge: what it answers, in both orders, whatever the batch, and what is no answer."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.compute import limits
from engine.compute.mlx_backend import MlxBackend
from engine.compute.mlx_model import MlxModel
from engine.compute.numpy.backend import NumpyBackend
from engine.compute.sampling import Interrupted
from engine.data.completion import Completion
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.data.recorded_pairs import RecordedPair
from engine.judges import llm
from engine.judges.llm import LLMJudge
from engine.judges.presentation import render_frame
from engine.judges.queued import QueuedJudge
from engine.model.language_model import LanguageModel
from engine.train.metrics import Averages, add_judged
from tests.engine.small_models import (
    EOS,
    GEMMA2,
    GEMMA3,
    MAMBA2,
    QWEN2,
    QWEN3,
    by_mlx,
    byte_tokenizer,
    language_model,
    mlx_of,
    pair,
    settings,
)

pytestmark = pytest.mark.backends

MODELS = {"qwen2": QWEN2, "qwen3": QWEN3, "gemma2": GEMMA2, "gemma3": GEMMA3, "mamba2": MAMBA2}
RUBRIC = "The shorter one wins."
TEXTS = [
    ("Why?", "Because it is so.", "No idea"),
    ("What is the capital of nowhere? Say it in a word.", "None", "It has none, I am afraid."),
    ("1 or 2?", "1", "2"),
    ("", "{} <|im_end|>", "Answer 2:"),
]


@pytest.fixture(autouse=True)
def any_mass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model gives the digits little; that is enough here."""
    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)


@cache
def attentive() -> LanguageModel:
    """A model that looks back and favours no position, so that what it reads decides."""
    lm = language_model(QWEN2)
    body: Any = lm.model
    for layer in body.layers:
        layer.self_attn.o_proj.weight = layer.self_attn.o_proj.weight * 20
    frame = render_frame(lm.tokenizer, RUBRIC)
    rows = [frame.pair_ids(*text) for a, b, c in TEXTS for text in ((a, b, c), (a, c, b))]
    hidden = mlx_of(lm).model.hidden
    last = mx.stack([hidden(mx.array([[*frame.prefix, *row]]))[0, -1] for row in rows])
    middle = last.mean(axis=0)
    direction = mx.random.normal(middle.shape, key=mx.random.key(0))
    direction = direction - middle * (direction @ middle) / (middle @ middle)
    one, two = frame.answers
    head = body.lm_head.weight
    gap = direction / mx.std(last @ direction)
    body.lm_head.weight = mx.where(mx.arange(head.shape[0])[:, None] == two, head[one] - gap, head)
    return lm


# Between two ways to the same probability, of a model made to react strongly.
CLOSE = 5e-5


def judge_of(lm: LanguageModel, **values: Any) -> LLMJudge:
    return LLMJudge(lm, settings(**{"judge_system": RUBRIC, **values}))


def probability_of_one(judge: LLMJudge, text: tuple[str, str, str]) -> float:
    """The plain definition: the whole input, alone, in float64."""
    lm = judge._lm
    ids = [*judge._frame.prefix, *judge._frame.pair_ids(*text)]
    logits = np.array(lm.model(mx.array([ids]))[0, -1].astype(mx.float32), np.float64)
    one, two = (lm.tokenizer.encode(digit, add_special_tokens=False) for digit in "12")
    return float(1 / (1 + np.exp(logits[two[0]] - logits[one[0]])))


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())
def test_q_is_the_share_of_the_first_over_both_orders(config: dict[str, Any]) -> None:
    judge = judge_of(attentive() if config is QWEN2 else language_model(config, tokens=math.inf))
    for text, verdict in zip(TEXTS, judge.judge(TEXTS), strict=True):
        prompt, first, second = text
        shown_first = probability_of_one(judge, text)
        shown_second = 1 - probability_of_one(judge, (prompt, second, first))
        assert verdict.q_orders == pytest.approx((shown_first, shown_second), abs=CLOSE)
        odds = sum(math.log(p / (1 - p)) for p in (shown_first, shown_second))
        assert verdict.q == pytest.approx(1 / (1 + math.exp(-odds / 2)), abs=CLOSE)


def test_swapped_answers_swap_the_verdict_exactly() -> None:
    judge = judge_of(attentive())
    opposite = {"first": "second", "second": "first", "tie": "tie"}
    for texts in (TEXTS, TEXTS[:1], TEXTS[1:2]):
        swapped = [(prompt, second, first) for prompt, first, second in texts]
        for one, other in zip(judge.judge(texts), judge.judge(swapped), strict=True):
            assert one.q is not None
            assert other.q == pytest.approx(1 - one.q, abs=1e-15)
            assert other.choice == opposite[one.choice]


def test_equal_answers_are_a_tie() -> None:
    judge = judge_of(attentive())
    (verdict,) = judge.judge([("Why?", "same", "same")])
    assert verdict.choice == "tie"
    assert verdict.q == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("bound", [1, 150, 400])
def test_chunks_change_nothing(bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judge_of(attentive())
    whole = judge.judge(TEXTS)
    monkeypatch.setattr(limits, "JUDGED_TOKENS", bound)
    for one, other in zip(judge.judge(TEXTS), whole, strict=True):
        assert one.choice == other.choice
        assert one.q == pytest.approx(other.q, abs=CLOSE)


@pytest.mark.parametrize("by_numpy", [True, False], ids=["numpy", "mlx"])
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS.keys())
def test_rows_that_are_too_long_for_a_pass_are_read_in_pieces(
    config: dict[str, Any], by_numpy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = language_model(config, tokens=math.inf)
    if by_numpy and not isinstance(lm.backend, NumpyBackend):
        pytest.skip("numpy does not compute this one")
    lm = lm if by_numpy else by_mlx(lm)
    whole = judge_of(lm).judge(TEXTS)
    read = MlxModel.hidden
    widths: list[int] = []

    def noted(model: MlxModel, ids: mx.array, caches: Any = None) -> mx.array:
        widths.append(ids.shape[1])
        return read(model, ids, caches)

    monkeypatch.setattr(MlxModel, "hidden", noted)
    monkeypatch.setattr(limits, "ATTENTION_SCORES", 2 * 400 * 20)  # some 20 tokens at a time
    anew = language_model(config, tokens=math.inf)
    anew = anew if by_numpy else by_mlx(anew)
    for one, other in zip(judge_of(anew).judge(TEXTS), whole, strict=True):
        assert one.q == pytest.approx(other.q, abs=CLOSE)
    assert by_numpy or max(widths) < 100


def test_a_pair_without_memory_for_it_is_invalid_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = attentive()
    kind = type(lm.backend)
    read = kind.last_logits

    def full(backend: Any, prefix: Any, rows: list[list[int]]) -> mx.array:
        if max(map(len, rows)) > 400 or len(rows) > 4:
            raise RuntimeError("[malloc] Unable to allocate 68719476736 bytes.")
        return read(backend, prefix, rows)

    monkeypatch.setattr(kind, "last_logits", full)
    said: list[str] = []
    judge = QueuedJudge(LLMJudge(lm, settings(judge_system=RUBRIC), warn=said.append))
    long = "It is a very long story. " * 20
    judge.submit([*batch(), pair(4, first=long, second="No idea"), pair(5, first=long)])
    judged = judge.collect()
    assert judged is not None
    choices = {each.pair.pair_id[-3:]: each.verdict for each in judged}
    assert [choices[number].choice for number in ("004", "005")] == ["invalid", "invalid"]
    assert choices["004"].note == llm.NO_MEMORY
    assert choices["000"].q is not None
    assert choices["003"].q is not None
    (text,) = said
    assert text.startswith("pair 0000001-00")
    assert "judge_max_tokens" in text


def test_another_failure_is_no_matter_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(backend: Any, prefix: Any, rows: list[list[int]]) -> mx.array:
        raise RuntimeError("shapes do not fit")

    lm = attentive()
    monkeypatch.setattr(type(lm.backend), "last_logits", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        judge_of(lm).judge(TEXTS)


def test_pairs_that_are_cut_are_marked_and_the_first_is_named() -> None:
    said: list[str] = []
    chosen = settings(judge_system=RUBRIC, judge_max_tokens=64)
    judge = QueuedJudge(LLMJudge(attentive(), chosen, warn=said.append))
    book = "word " * 100_000
    asked = [pair(0), pair(1, prompt=book), pair(2, prompt=book, first="x" * 99)]
    judge.submit(asked)
    judged = judge.collect()
    assert judged is not None
    assert [each.verdict.cut for each in judged] == [False, True, True]
    (text,) = said
    assert text.startswith("pair 0000001-001 has more than judge_max_tokens (64)")
    means = Averages()
    add_judged(means, judged)
    assert means.report()["cut_pairs"] == 2


def test_without_a_limit_a_judge_reads_twice_what_the_policy_may() -> None:
    assert settings(max_seq_length=300).judged_tokens == 600
    assert settings(max_seq_length=300, judge_max_tokens=50).judged_tokens == 50


def prefix_of(lm: LanguageModel) -> object:
    """What a backend keeps of the prefix that it read last."""
    assert isinstance(lm.backend, NumpyBackend | MlxBackend)
    return lm.backend._prefix[1]


def test_the_rubric_is_run_once_and_counts() -> None:
    lm = attentive()
    judge = judge_of(lm)
    first = judge.judge(TEXTS)
    read = prefix_of(lm)
    again = judge.judge(TEXTS[::-1])[::-1]
    assert prefix_of(lm) is read
    for one, other in zip(first, again, strict=True):
        assert one.q == pytest.approx(other.q, abs=CLOSE)
    other_rubric = judge_of(lm, judge_system="The longer one wins, always and everywhere.")
    differing = zip(other_rubric.judge(TEXTS), first, strict=True)
    assert any(abs((one.q or 0) - (other.q or 0)) > 1e-3 for one, other in differing)


def test_too_little_mass_on_the_answers_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judge_of(attentive())
    monkeypatch.setattr(llm, "LEAST_MASS", 0.9)
    for verdict in judge.judge(TEXTS):
        assert (verdict.choice, verdict.q, verdict.decided) == ("invalid", None, False)


def test_a_judge_whose_numbers_broke_gives_no_answer() -> None:
    lm = language_model()
    body: Any = lm.model
    body.model.norm.weight = body.model.norm.weight * math.nan
    assert {verdict.choice for verdict in judge_of(lm).judge(TEXTS)} == {"invalid"}


def test_a_margin_makes_ties() -> None:
    lm = attentive()
    verdicts = judge_of(lm).judge(TEXTS)
    won = [verdict for verdict in verdicts if verdict.decided]
    assert won
    sure = max(abs((verdict.q or 0.5) - 0.5) for verdict in won)
    assert not any(v.decided for v in judge_of(lm, judge_margin=sure + 1e-3).judge(TEXTS))


# -- as the loop uses it -------------------------------------------------------------------------


def batch() -> list[Pair]:
    return [
        pair(0, prompt="Why?", first="Because.", second="No idea"),
        pair(1, first="same", second="same", second_finished=True),
        pair(2, first=" ", second=""),
        pair(3, prompt="Say 1.", first="1", second="one"),
    ]


def test_batches_are_answered_in_order_and_only_what_needs_it_is_asked() -> None:
    seen: list[tuple[int, int]] = []
    asked_now = LLMJudge(attentive(), settings(), progress=lambda *done: seen.append(done))
    judge = QueuedJudge(asked_now)
    assert (judge.collect(), judge.open_batches(), judge.settles_in()) == (None, 0, math.inf)
    other = [pair(0, step=2, first="x", second="yz")]
    judge.submit(batch())
    judge.submit(other)
    assert (judge.open_batches(), judge.settles_in()) == (2, 0.0)
    judged = judge.collect()
    assert judged is not None
    assert [each.pair for each in judged] == batch()
    assert [each.verdict.choice for each in judged][1:3] == ["identical", "empty"]
    assert seen[-1] == (2, 2)  # pairs asked, of those
    asked = asked_now.judge([(p.prompt, p.first, p.second) for p in (batch()[0], batch()[3])])
    assert [judged[0].verdict.q, judged[3].verdict.q] == pytest.approx(
        [each.q for each in asked], abs=CLOSE
    )
    assert judge.pending() == [other]
    collected = judge.collect()
    assert collected is not None
    assert collected[0].pair == other[0]
    assert judge.open_batches() == 0


def test_a_batch_of_nothing_to_ask_is_answered() -> None:
    judge = QueuedJudge(judge_of(attentive()))
    judge.submit([pair(0, first="same", second="same", second_finished=True)])
    collected = judge.collect()
    assert collected is not None
    assert [each.verdict.choice for each in collected] == ["identical"]


def test_an_interrupted_batch_keeps_waiting() -> None:
    stopping = [True]
    judge = QueuedJudge(LLMJudge(attentive(), settings(), stop=lambda: stopping[0]))
    judge.submit(batch())
    with pytest.raises(Interrupted):
        judge.collect()
    assert judge.pending() == [batch()]
    stopping[0] = False
    assert judge.collect() is not None


# -- a judge that writes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", math.inf),
        ("2", -math.inf),
        (" 2\n", -math.inf),
        ("**1**", math.inf),
        ("Answer: 2.", -math.inf),
        ("answer 1", math.inf),
        ("<think>2 is better, 2!</think>\n\n1", math.inf),
        ("2 looks better...</think>\n1", math.inf),  # the template opened the thought
        ("<think>a</think><think>b</think>2", -math.inf),
        ("", None),
        ("0", None),
        ("0\n", None),
        ("3", None),
        ("12", None),
        ("1 or 2", None),
        ("1 2", None),
        ("first", None),
        ("The better answer is 1", None),
        ("I would say neither", None),
        ("<think>1", None),  # cut off while thinking
        ("<think>1</think>", None),
        ("one", None),
        ("½", None),
    ],
)
def test_what_counts_as_a_written_answer(text: str, value: float | None) -> None:
    found = llm.written_answer(text)
    assert math.isnan(found) if value is None else found == value


def writer(monkeypatch: pytest.MonkeyPatch, answers: Sequence[str]) -> LLMJudge:
    """A judge that writes `answers` one after the other."""
    encode = byte_tokenizer().encode

    def write(_: LanguageModel, prompts: Sequence[Any], **__: Any) -> list[list[Completion]]:
        assert len(prompts) == len(answers)
        ids = [(*encode(text, add_special_tokens=False), EOS) for text in answers]
        return [[Completion(each, True)] for each in ids]

    monkeypatch.setattr(llm, "sample", write)
    return judge_of(attentive(), judge_mode="generate")


@pytest.mark.parametrize(
    ("answers", "choice"),
    [
        (["1", "2"], "first"),
        (["2", "1"], "second"),
        (["1", "1"], "tie"),  # the same position both times
        (["2", "2"], "tie"),
        (["1", "both"], "invalid"),
        (["0\n", "0\n"], "invalid"),
        (["<think>1</think>2", "<think>2</think>1"], "second"),
    ],
)
def test_written_answers_become_verdicts(
    answers: list[str], choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (verdict,) = writer(monkeypatch, answers).judge([("p", "a", "b")])
    assert verdict.choice == choice
    assert verdict.rationale == tuple(answer.strip() for answer in answers)


def test_what_is_written_of_a_pair_is_in_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    (verdict,) = writer(monkeypatch, ["<think>so</think>1", "2"]).judge([("p", "a", "b")])
    line = JudgedPair(pair(0), verdict).to_record("judge")
    assert line["rationale"] == ["<think>so</think>1", "2"]
    assert RecordedPair.from_record(line).verdict.rationale == verdict.rationale
    beside = JudgedPair(pair(0), Verdict("second", model=verdict)).to_record("human")
    assert RecordedPair.from_record(beside).verdict.any_rationale == verdict.rationale
    assert "rationale" not in JudgedPair(pair(0), Verdict("first", 0.9)).to_record("judge")


def test_a_random_writer_never_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real path, where every answer is garbage."""
    monkeypatch.setattr(llm, "GENERATED_TOKENS", 16)
    lm = attentive()
    judge = LLMJudge(lm, settings(judge_mode="generate"))
    assert {verdict.choice for verdict in judge.judge(TEXTS)} == {"invalid"}
