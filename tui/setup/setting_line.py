"""How a setting looks on its line: marks, name, value, and a remark on it."""

from textual.content import Content

from engine.runs.run_names import safe_name
from engine.settings.fields import Setting
from tui.setup.form import Form
from tui.text.safe_text import safe_line
from tui.text.setting_value import show

NAME_WIDTH = 31  # cells, the marks before the name included
NARROW_VALUE, WIDE_VALUE = 11, 32  # cells for a value before the remark on it, where they fit
COMFORTABLE_WIDTH = NAME_WIDTH + 30  # cells of a field that show most values whole


def setting_line(setting: Setting, form: Form, width: int, *, focused: bool) -> Content:
    """The line of a setting in `width` cells."""
    idle = setting.key in form.no_effect
    changed = setting.key in form.changed
    mark = (
        ("!", "$bad") if setting.key in form.problems else ("•" if changed else " ", "$foreground")
    )
    focus = ("›" if focused else " ", "$accent")
    quiet = "$faint" if idle else "$muted"
    name = (f" {setting.key:<{NAME_WIDTH - 3}}", quiet if idle or not changed else "$foreground")
    room = max(0, width - NAME_WIDTH)
    style = "$faint" if idle else "$foreground"
    value = _value(setting, form, style, arrows=focused).truncate(room, ellipsis=True)
    column = NARROW_VALUE if width < 90 else WIDE_VALUE
    remark = _remark(setting, form)
    gap = " " * max(2, column - value.cell_length)
    spare = room - value.cell_length - remark.cell_length
    if 1 <= spare < len(gap):  # begun sooner, it is whole
        gap = " " * spare
    left = room - value.cell_length - len(gap)
    remark = remark.truncate(left, ellipsis=True) if left > 7 else Content("")
    return Content.assemble(focus, mark, name, value, gap, remark)


def _value(setting: Setting, form: Form, style: str, *, arrows: bool) -> Content:
    text = form.text(setting.key)
    if setting.kind == "switch":
        on = text == "on"
        return Content.styled(
            "● on" if on else "○ off", "$bad" if on and setting.dangerous else style
        )
    if not text:
        return Content.styled(empty_words(setting), "$faint")
    if setting.kind == "choice":
        return Content.styled(f"‹ {text} ›" if arrows else text, style)
    first, *rest = text.split("\n")
    more = (f"  … {len(rest) + 1} lines", "$muted") if rest else ""
    counts = setting.unit and text[0].isdigit()
    unit = (f" {_counted(setting.unit, text)}", "$muted") if counts else ""
    return Content.assemble((safe_line(first, 500), style), unit, more)


def _remark(setting: Setting, form: Form) -> Content:
    """Why the setting has no effect, or the default it differs from."""
    if idle := form.no_effect.get(setting.key):
        words = idle
    elif name := _kept_name(setting, form):
        words = f"kept as {name}"
    elif setting.key in form.changed and setting.kind != "multiline":
        words = f"default {show(setting.default) or 'empty'}"
    else:
        return Content("")
    return Content.styled(words, "$faint")


def _kept_name(setting: Setting, form: Form) -> str:
    """How a run will be called where not all of the name that was given can stay."""
    text = form.text(setting.key)
    if setting.key != "run_name" or not text:
        return ""
    name = safe_name(text)
    return name if name != text else ""


def _counted(unit: str, text: str) -> str:
    """The unit after a number: `prompts`, and `prompt` after 1."""
    return unit[:-1] if text == "1" and len(unit) > 1 and unit.endswith("s") else unit


def empty_words(setting: Setting) -> str:
    """What stands for no value, in the words of its help: `empty: ...`."""
    _, separator, words = setting.help.partition("empty: ")
    return words.rstrip(".").split(";")[0] if separator else "empty"
