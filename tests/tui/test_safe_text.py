"""Untrusted text comes out harmless, readable and of a known width."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content
from textual.strip import Strip

from tui.text.safe_text import MARKS, as_kept, drawn, kept, laid_out, safe, safe_line, wrap

pytestmark = pytest.mark.quick


ANY_TEXT = st.text(st.characters(), max_size=200)  # with surrogates, controls, unassigned


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred", "␛[31mred"),
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("a\rb", "a␍b"),
        ("a\r\nb", "a\nb"),
        ("a\tb", "a    b"),
        ("\x9b31m", "<U+009B>31m"),
        ("user\u202eexe", "user<U+202E>exe"),
        ("zero\u200bwidth", "zero<U+200B>width"),
        ("👨\u200d👩", "👨👩"),
        ("\ud800", "\ufffd"),
        ("\u0378", "\ufffd"),
        ("\U000e0041", "<U+E0041>"),
        ("\u0301a", "a"),
        ("[bold]not markup[/]", "[bold]not markup[/]"),
        ("日本語 é", "日本語 é"),
        ("שלום", "שלום"),
    ],
)
def test_what_is_shown(raw: str, shown: str) -> None:
    assert safe(raw) == shown


@given(ANY_TEXT)
def test_nothing_dangerous_is_left(text: str) -> None:
    for char in safe(text):
        category = unicodedata.category(char)
        assert char == "\n" or category not in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI"}
    safe(text).encode()


@given(ANY_TEXT)
def test_it_is_idempotent(text: str) -> None:
    assert safe(safe(text)) == safe(text)


def test_marks_do_not_tower() -> None:
    assert safe("e" + "\u0301" * 50) == "e" + "\u0301" * MARKS


@given(st.text(st.characters() | st.sampled_from("\u200c\u200d\ufe0f🏽👩क\u094d"), max_size=60))
def test_what_an_editor_keeps_is_drawn_safely_in_the_cells_it_measures(text: str) -> None:
    line = kept(text).replace("\n", " ")
    assert as_kept(laid_out(line)) == line
    assert safe(drawn(laid_out(line))) == drawn(laid_out(line))
    assert cell_len(drawn(laid_out(line))) == cell_len(laid_out(line))
    typed = ""
    for char in line:
        typed += kept(char, typed)
    assert typed == line


@given(ANY_TEXT, st.integers(1, 40))
def test_a_line_fits(text: str, width: int) -> None:
    line = safe_line(text, width)
    assert "\n" not in line
    assert cell_len(line) <= width


@given(ANY_TEXT, st.integers(2, 40))
def test_wrapping_loses_nothing_but_spaces(text: str, width: int) -> None:
    text = safe(text)
    lines = wrap(text, width)
    assert "".join(lines).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    assert all(cell_len(line.rstrip(" ")) <= width for line in lines)


def test_wrapping_breaks_between_words() -> None:
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("abcdefghij", 4) == ["abcd", "efgh", "ij"]


def test_a_text_of_a_million_characters_is_cut_and_says_so() -> None:
    text = safe("x" * 1_000_000, limit=1_000)
    assert len(text) < 1_100
    assert "999,000 more characters" in text
    assert cell_len(safe_line("\x1b" * 1_000_000, 80)) == 80


def test_markup_stays_text() -> None:
    shown = Content.styled(safe("[red]x[/red] [@click=app.quit]y[/]"), "$muted")
    assert shown.plain == "[red]x[/red] [@click=app.quit]y[/]"
    assert not shown.spans or all(span.start == 0 for span in shown.spans)


def test_a_strip_of_safe_text_has_the_width_that_was_measured() -> None:
    text = safe("a\u0301 日本 👍🏽 x\x07")
    assert Strip([*Content(text).render_segments()]).cell_length == cell_len(text)


def test_what_terminals_draw_in_cells_of_their_own_choice_becomes_plain() -> None:
    assert safe("👍🏽 👋🏿!") == "👍 👋!"
    assert safe("🇩🇪 🇯🇵") == "DE JP"
    assert cell_len(safe("🇩🇪")) == 2
