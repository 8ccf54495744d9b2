"""Text -> token ids: of a template's own text, and of data, which no control token comes from.

Added tokens are what a model is steered by: turn markers, the end of a turn, thoughts, calls of
tools. A tokenizer finds them in any text that spells them; `split_special_tokens` keeps it from
that only where they are marked as special, which `<think>` of Qwen3 is not, and neither are the
turn markers of DeepSeek-R1's distillations. Runs of blanks that are added tokens, as Gemma and
GPT-NeoX have them, steer nothing and stay.
"""

from typing import Any
from weakref import WeakKeyDictionary

# No token stands for more characters than this on average, so a longer text has no room.
CHARACTERS_PER_TOKEN = 64

_CONTROLS: WeakKeyDictionary[Any, frozenset[int]] = WeakKeyDictionary()


def control_ids(tokenizer: Any) -> frozenset[int]:
    """The ids that no data may become: of all added tokens, but for blank ones that are not
    marked as special."""
    known = _CONTROLS.get(tokenizer)
    if known is None:
        added = {
            index
            for index, token in tokenizer.added_tokens_decoder.items()
            if token.special or token.content.replace("▁", " ").strip()
        }
        known = _CONTROLS[tokenizer] = frozenset(added | set(tokenizer.all_special_ids))
    return known


def frame_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that belongs to a template: added tokens count as such."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def data_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of untrusted text: what spells a control token is ordinary characters."""
    ids = list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))
    controls = control_ids(tokenizer)
    return ids if controls.isdisjoint(ids) else _without_controls(tokenizer, text, ids, controls)


def one_bos(tokenizer: Any, ids: list[int]) -> list[int]:
    """`ids` with exactly one begin-of-sequence token, or none where the tokenizer uses none."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    start = 0
    while ids[start : start + 1] == [bos]:
        start += 1
    takes_bos = start > 0 or list(tokenizer.encode("a"))[:1] == [bos]
    return [bos, *ids[start:]] if takes_bos else ids


def _without_controls(
    tokenizer: Any, text: str, ids: list[int], controls: frozenset[int]
) -> list[int]:
    """The same text by the tokenizer's other steps, without the one that finds added tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # one in Python, whose steps are its own
        return [each for each in ids if each not in controls]
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    pieces = [text]
    if backend.pre_tokenizer is not None:
        pieces = [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
    unknown: int | None = tokenizer.unk_token_id

    def ids_of(piece: str) -> list[int]:
        piece_ids: list[int] = []
        for token in backend.model.tokenize(piece):
            if token.id not in controls:
                piece_ids.append(token.id)
                continue
            # The vocabulary itself has the spelling of a control token, or lacks a character.
            start, end = token.offsets
            part = piece.encode()[start:end].decode()
            if len(part) > 1:
                middle = len(part) // 2
                piece_ids += [*ids_of(part[:middle]), *ids_of(part[middle:])]
            elif token.id == unknown:
                piece_ids.append(token.id)
        return piece_ids

    return [each for piece in pieces for each in ids_of(piece)]
