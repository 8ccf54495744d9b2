"""What is said of a setting beside its field."""

from textual.content import Content

from tui.guide import topics
from tui.setup.form import FIELDS, Form
from tui.text.safe_text import safe_line
from tui.text.setting_value import show


def about(key: str, form: Form) -> Content:
    """All about one setting: what it does, what it may be, what it is at."""
    each = FIELDS[key]
    facts = [fact for fact in (each.unit, each.bounds) if fact]
    if each.kind != "multiline":
        facts.append(f"default {safe_line(show(each.default), 60) or 'empty'}")
    lines = [Content.assemble((key, "bold"), ("  " + " · ".join(facts), "$muted"))]
    if reason := form.problems.get(key):
        lines.append(Content.styled(safe_line(reason, 400), "$bad"))
    if idle := form.no_effect.get(key):
        lines.append(Content.styled(f"no effect now: {idle}", "$warning"))
    danger = ("dangerous  ", "$bad") if each.dangerous else ""
    lines.append(Content.assemble(danger, each.help))
    if advice := topics.advice(key):
        lines.append(Content.styled(advice, "$muted"))
    return Content("\n").join(lines)
