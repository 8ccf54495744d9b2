"""A run's config as a screen shows it: every setting, and what differs from the defaults lit."""

from collections.abc import Sequence

from textual.content import Content

from engine.settings import files
from engine.settings.schema import Settings, changed
from tui.text.safe_text import safe_line

LINE = 2_000  # characters of a line that are shown; a text may be a book


def config_content(settings: Settings, notes: Sequence[str]) -> Content:
    """The settings as YAML, under the notes on keys that were not read as they stand."""
    defaults = {key.rpartition(".")[2]: default for key, (_, default) in changed(settings).items()}
    lines = [Content.styled(safe_line(note), "$warning") for note in notes]
    for line in files.to_yaml(settings, commented=False).splitlines():
        key, text = line.strip().partition(":")[0], safe_line(line, LINE)
        if key in defaults:
            default = safe_line(f"  default {defaults[key]}", 60)
            remark = default if "\n" not in str(defaults[key]) else ""
            lines.append(Content.assemble((text, "$foreground"), (remark, "$faint")))
        else:
            part_of_text = line.startswith("  ") and ":" not in line
            lines.append(Content.styled(text, "$foreground" if part_of_text else "$muted"))
    return Content("\n").join(lines)
