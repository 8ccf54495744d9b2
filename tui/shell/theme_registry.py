"""The themes that the app offers, kept in step with their files while it runs."""

from collections.abc import Sequence

from textual.app import App

from engine.data_folder import data_folder
from tui.shell import preferences, themes


class ThemeRegistry:
    """Registers themes with an app: one for the first frame, all of them by `reload`."""

    def __init__(self, app: App[int]) -> None:
        self._app = app
        self._folders = (themes.BUNDLED, data_folder() / "themes")
        self._stamps: object = None
        name = themes.MONOCHROME if app.no_color else str(preferences.load().get("theme"))
        self._register_only(themes.first(name, self._folders))

    def _register_only(self, theme: themes.Theme) -> None:
        """Textual's own themes are not offered."""
        self._app.register_theme(theme)
        self._app.theme = theme.name
        for name in set(self._app.available_themes) - {theme.name}:
            self._app.unregister_theme(name)

    def reload(self) -> Sequence[str]:
        """Offer what the theme files hold now; what is wrong with them, a sentence each."""
        return self.take(self.read())

    def read(self) -> themes.ThemeFiles | None:
        """What the theme files hold, where any has changed; on any thread, since a slow disk takes
        its time."""
        stamps = themes.stamps(self._folders)
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        return themes.find(self._folders)

    def take(self, files: themes.ThemeFiles | None) -> Sequence[str]:
        """Offer what was read; what is wrong with it, a sentence each.

        The theme in use changes with its file, and gives way to the default where that is gone.
        """
        if files is None:
            return ()
        app = self._app
        before = app.current_theme
        for theme in files.themes.values():
            app.register_theme(theme)
        if before.name not in files.themes:
            app.theme = themes.DEFAULT
        elif files.themes[before.name] != before:
            app.mutate_reactive(App.theme)
        for name in set(app.available_themes) - set(files.themes):
            app.unregister_theme(name)
        return files.problems
