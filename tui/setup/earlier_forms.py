"""What the form held before each change, for its undo."""

from typing import NamedTuple

from tui.setup.form import Form
from tui.setup.origin import Origin

LIMIT = 200  # changes that can be undone


class EarlierForm(NamedTuple):
    """A form, and where it came from."""

    form: Form
    origin: Origin


class EarlierForms:
    """Forms before each change, oldest first."""

    def __init__(self) -> None:
        self._forms: list[EarlierForm] = []
        self._editor: object = None  # that the newest change was made in

    def add(self, earlier: EarlierForm, editor: object = None) -> None:
        """Keep what is about to be changed, once for all that one editor does in a row."""
        if editor is None or editor is not self._editor:
            self._forms = [*self._forms[1 - LIMIT :], earlier]
        self._editor = editor

    def before(self, form: Form) -> EarlierForm | None:
        """Take out the newest that says something else than `form`; None: there is none."""
        self._editor = None
        while self._forms:
            earlier = self._forms.pop()
            was = earlier.form
            if (was.settings, was.refused) != (form.settings, form.refused):
                return earlier
        return None
