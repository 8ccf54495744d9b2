"""The lines of the chat's screen that say who talks and what is waited for."""

from textual.content import Content

from engine.chat import Author
from tui.state.conversation import NAMES, Conversation
from tui.text.safe_text import cut, safe_line
from tui.text.temperature import how

LOADING = "loading the model as it was trained and as it started"
FIRST = """\
Type, and press enter: the trained model answers. tab changes who does: the model as it started, \
or both side by side; 1 and 2 then pick the better answer, which becomes a label of the run."""
PICK = "1 or 2 picks the better answer, and the chat goes on with that"
ALIKE = "both say the same, so that there is nothing to pick"
NOTHING_TO_PICK = "there are no two answers to pick from: tab asks both, ctrl+r asks again"


def title(
    width: int, run: str, who: tuple[Author, ...], step: int | None, talk: Conversation
) -> Content:
    """The run, and how the next answer is written, in `width` cells."""
    name = cut(safe_line(run), max(12, width // 3))
    facts = [" and ".join(NAMES[each] for each in who)]
    if step is not None:  # the models are there
        if "policy" in who:
            facts.append(f"step {step:,}")
        facts.append(how(talk.temperature))
    if talk.system:
        facts.append(f"system: {safe_line(talk.system, 60)}")
    opening = "chat with "
    about = cut(" · ".join(facts), max(8, width - len(opening) - len(name) - 3))
    return Content.assemble(opening, (name, "bold $foreground"), "   ", (about, "$foreground"))


def writing(tokens: int, seconds: float, *, stopping: bool) -> str:
    """What happens while an answer is written."""
    if stopping:
        return "stopping …"
    doing = f"writing · {tokens:,} token{'s' * (tokens != 1)}" if tokens else "reading"
    return f"{doing} · {seconds:.0f} s · esc stops"
