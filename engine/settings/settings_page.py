"""The page of all settings, `tui/guide/settings.md`, drawn from the schema.

python -m engine.settings.settings_page [FILE]     bring the page up to date
"""

import sys
from pathlib import Path

from engine.settings.fields import Setting
from engine.settings.schema import SECTIONS, fields

PAGE = Path("tui", "guide", "settings.md")
HEADING = """\
# Settings

All of them, with their defaults. Nested ones are written `lora_parameters: {rank: 16}` in a file
and `--set lora_parameters.rank=16` on the command line. This page is drawn from the schema by
`python -m engine.settings.settings_page`.
"""


def page() -> str:
    """The page as Markdown: a table a section."""
    parts = [HEADING]
    for section in SECTIONS:
        parts += [f"## {section}", "", "| setting | default | what it changes |", "|---|---|---|"]
        parts += [_row(field) for field in fields() if field.section == section]
        parts.append("")
    return "\n".join(parts)


def _row(field: Setting) -> str:
    help = field.help + (f" *({'; '.join(field.facts)})*" if field.facts else "")
    return f"| `{field.key}` | {_default(field.default)} | {help.replace('|', '/')} |"


def _default(value: object) -> str:
    if value is None or value == {}:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str) and "\n" in value:
        return "a general rubric"
    return f"`{value}`"


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    file.write_text(page(), encoding="utf-8")
