"""What is said of a setting beside its field."""

from textual.content import Content

from tui.guide import topics
from tui.setup.form import FIELDS, Form
from tui.text.safe_text import safe_line
from tui.text.setting_value import facts


def about(key: str, form: Form) -> Content:
    """All about one setting: what it does, what it may be, what it is at."""
    each = FIELDS[key]
    lines = [Content.assemble((key, "bold"), ("  " + facts(each), "$muted"))]
    if reason := form.problems.get(key):
        lines.append(Content.styled(safe_line(reason, 400), "$bad"))
    if idle := form.no_effect.get(key):
        lines.append(Content.styled(f"no effect now: {idle}", "$warning"))
    danger = ("dangerous  ", "$bad") if each.dangerous else ""
    lines.append(Content.assemble(danger, each.help))
    if advice := topics.advice(key):
        lines.append(Content.styled(advice, "$muted"))
    return Content("\n").join(lines)
