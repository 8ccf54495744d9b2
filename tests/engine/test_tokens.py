"""No data becomes an added token, whatever kind of tokenizer and token; and all of it is there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.data.tokens import control_ids, data_ids, frame_ids

pytestmark = pytest.mark.quick


END, THINK, CALL, TURN, WORD, SHOUT = "<|end|>", "<think>", "<call>", "<｜User｜>", "stop", "<LOW>"
ADDED = [
    AddedToken(END, special=True),
    AddedToken(THINK, special=False),
    AddedToken(CALL, special=False, lstrip=True, rstrip=True),
    AddedToken(TURN, special=False, normalized=False),
    AddedToken(WORD, special=False, single_word=True),
    AddedToken(SHOUT, special=False, normalized=True),
]
SPELLINGS = [token.content for token in ADDED]


def wrapped(core: Tokenizer) -> PreTrainedTokenizerFast:
    core.add_tokens(ADDED)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END)


def byte_level() -> PreTrainedTokenizerFast:
    """Bytes, and one merge."""
    tokens = {token: at for at, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE({**tokens, "th": len(tokens)}, [("t", "h")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return wrapped(core)


def normalizing() -> PreTrainedTokenizerFast:
    """The same, which reads no capitals: of `SHOUT` it makes `<low>`."""
    core = byte_level().backend_tokenizer
    core.normalizer = normalizers.Lowercase()
    return wrapped(core)


def sentencepiece() -> PreTrainedTokenizerFast:
    """Characters and bytes, with a blank before each text, and controls in the vocabulary itself,
    where they are likelier than their letters."""
    pieces = [("<unk>", 0.0), ("▁", -2.0), *[(text, -1.0) for text in SPELLINGS]]
    pieces += [(chr(code), -3.0) for code in range(33, 127)]
    pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256)]
    core = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
    )
    return wrapped(core)


TOKENIZERS: dict[str, Any] = {
    "byte level": byte_level(),
    "normalizing": normalizing(),
    "sentencepiece": sentencepiece(),
}
PIECES = st.sampled_from([*SPELLINGS, *(text[1:] for text in SPELLINGS), SHOUT.lower(), " ", "\n"])
TEXT = st.lists(PIECES | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)).map("".join)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_tokenizers_have_tokens_to_fake(name: str, spelling: str) -> None:
    """Guards the tests below: without them nothing could be faked."""
    tokenizer = TOKENIZERS[name]
    assert control_ids(tokenizer) & set(frame_ids(tokenizer, f"a {spelling} b"))


@pytest.mark.parametrize("name", TOKENIZERS)
@limits(max_examples=200, deadline=None)
@given(text=TEXT)
def test_data_is_kept_to_the_letter_and_controls_nothing(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = data_ids(tokenizer, text)
    assert not set(tokenizer.added_tokens_decoder) & set(ids)
    normalizer = tokenizer.backend_tokenizer.normalizer
    expected = normalizer.normalize_str(text) if normalizer else text
    if name == "sentencepiece":  # which cannot tell its own mark from a blank, nor end in one
        expected = expected.replace("▁", " ")
        assert tokenizer.decode(ids).strip(" ") == expected.strip(" ")
    else:
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == expected


def test_text_without_controls_has_the_ids_that_a_tokenizer_gives_it() -> None:
    for tokenizer in TOKENIZERS.values():
        text = "the cat, <thin> and |end|"
        assert data_ids(tokenizer, text) == tokenizer.encode(text, add_special_tokens=False)


def test_runs_of_blanks_that_were_added_stay_tokens() -> None:
    core = byte_level().backend_tokenizer
    core.add_tokens([AddedToken("\n\n", special=False)])
    tokenizer = wrapped(core)
    (blank,) = frame_ids(tokenizer, "\n\n")
    assert data_ids(tokenizer, f"a\n\n{THINK}").count(blank) == 0  # not beside a control: split
    assert data_ids(tokenizer, "a\n\nb").count(blank) == 1


def test_a_long_text_of_one_word_is_no_deep_recursion() -> None:
    tokenizer = TOKENIZERS["sentencepiece"]
    text = (THINK + "x") * 20_000
    ids = data_ids(tokenizer, text)
    assert not control_ids(tokenizer) & set(ids)
    assert tokenizer.decode(ids) == text


def test_a_tokenizer_in_python_loses_what_it_makes_controls_of() -> None:
    class Words:
        """A whole word a token."""

        def __init__(self) -> None:
            self.added_tokens_decoder = dict(enumerate(ADDED))
            self.all_special_ids = [0]

        def encode(self, text: str, **_: Any) -> list[int]:
            return [SPELLINGS.index(w) if w in SPELLINGS else 99 for w in text.split()]

    assert data_ids(Words(), f"a {THINK} b") == [99, 99]
