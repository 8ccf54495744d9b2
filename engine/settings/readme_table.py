"""The README's table of settings, drawn from the schema.

python -m engine.settings.readme_table [FILE]     bring the table in FILE (README.md) up to date
"""

import sys
from pathlib import Path
from typing import Any

from engine.settings.fields import SettingField
from engine.settings.schema import SECTIONS, fields

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def table() -> str:
    """Every setting as Markdown: a table a section."""
    parts: list[str] = []
    for section in SECTIONS:
        parts += [f"**{section}**", "", "| setting | default | what it changes |", "|---|---|---|"]
        parts += [_row(field) for field in fields() if field.section == section]
        parts.append("")
    return "\n".join(parts)


def refreshed(text: str) -> str:
    """`text` with the current table between the two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def _row(field: SettingField) -> str:
    facts = [fact for fact in (field.unit, field.bounds) if fact]
    help = field.help + (f" *({'; '.join(facts)})*" if facts else "")
    return f"| `{field.key}` | {_default(field.default)} | {help.replace('|', '/')} |"


def _default(value: Any) -> str:
    if value is None or value == {}:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str) and "\n" in value:
        return "a general rubric"
    return f"`{value}`"


if __name__ == "__main__":
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "README.md")
    file.write_text(refreshed(file.read_text(encoding="utf-8")), encoding="utf-8")
