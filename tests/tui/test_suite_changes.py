"""What the guard found, where people read it: compare and the health overlay."""

from engine.events import Guarded, SuiteChange
from tui.archive.compare_rows import suite_rows
from tui.run.health_screen import suites_in_words
from tui.state.run_from_files import suites_in
from tui.state.run_view import RunView
from tui.text.suite_changes import table

LOST = SuiteChange(suite="facts", items=40, kept=22, gained=1, lost=17, p=1.5e-4)
FEW = SuiteChange(suite="arithmetic", items=24, kept=2, gained=0, lost=1, p=None)
TABLE = [
    "facts       22 kept, 1 gained, 17 lost of 40 · p 0.00015",
    "arithmetic  2 kept, 0 gained, 1 lost of 24 · only 3 right before, too few to lose",
]


def test_a_line_a_suite() -> None:
    assert table((LOST, FEW)) == TABLE
    assert table(()) == []
    assert TABLE[0] in suites_in_words((LOST, FEW)).plain


def test_a_view_has_them_from_events_and_compare_puts_runs_beside_one_another() -> None:
    one, other = RunView("one"), RunView("other")
    one.fold([Guarded(step=3, suites=(LOST,))])
    [(key, values, whole)] = suite_rows([one, other])
    assert key == "guard: facts"
    assert values == ("22 of 39 +1", "not measured")
    assert whole == ("22 kept, 1 gained, 17 lost of 40 · p 0.00015", "not measured")


def test_a_damaged_state_is_read_without_a_fault() -> None:
    assert suites_in({"guard": "x"}) == ()
    [odd] = suites_in({"guard": [1, {"suite": 3, "lost": "many", "p": "nan"}]})
    assert (odd.suite, odd.lost, odd.p) == ("3", 0, None)
