"""Publish: what of a run goes to the model hub, as which repository, and its way there."""

import asyncio
import time
from collections.abc import Callable, Iterable

from textual import on, work
from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.errors import UserError
from engine.publish import Parts
from engine.publish.process import Publishing, PublishRequest
from engine.runs.folder import Run
from tui.archive import publish_words as words
from tui.archive.export_dialog import which_weights
from tui.shell.ask import AskChoice
from tui.shell.base import StudioScreen
from tui.state.publish_view import PublishView
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList
from tui.widgets.safe_editors import LineEditor
from tui.widgets.section_title import SectionTitle

LOOKS_PER_SECOND = 10
Open = Callable[[PublishRequest], Publishing]


class PublishScreen(StudioScreen):
    """A name, what is published, and every file of it before anything is sent."""

    TITLE = "publish"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        *(StudioScreen.HORIZONTAL_BREAKPOINTS or ()), (160, "-broad"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    PublishScreen {
        & > * { padding: 0 1; }
        & #title { height: 1; margin: 0 0 1 0; }
        & #parts { height: 1fr; layout: vertical; }
        & #form { height: auto; margin: 0 0 1 0; }
        & #repo { border: none; height: 1; padding: 0; margin: 0 0 1 0; background: $surface; }
        & #what { height: 6; }
        & #right { height: 1fr; }
        & #files { height: 1fr; scrollbar-gutter: stable; }
        & #files Static { height: auto; }
        &.-broad #parts { layout: horizontal; }
        &.-broad #form { width: 80; margin: 0 3 0 0; }
        &.-broad #right { width: 1fr; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("P,enter", "list_files", "list the files", key_display="P", id="publish.go_on"),
        Binding("P,enter", "send", "send", key_display="P", id="publish.go_on"),
        Binding("space", "choose", "choose", id="publish.choose"),
        Binding("tab", "next_part", "next part", id="publish.next"),
        Binding("y", "copy", "copy the address", show=False, id="publish.copy"),
        Binding("escape", "leave", "back", id="publish.leave"),
    ]

    def __init__(self, run: Run, open_process: Open = Publishing) -> None:
        super().__init__()
        self.run = run
        self.view = PublishView()
        self._open_process = open_process
        self._process: Publishing | None = None
        self._choices = words.choices()
        self._began = 0.0

    def body(self) -> Iterable[Widget]:
        """The run, the form, and beside or below it what goes on."""
        yield Static(Content.styled(f"publish {safe_line(self.run.name, 60)}", "bold"), id="title")
        with Container(id="parts"):
            with Vertical(id="form"):
                yield SectionTitle("repository", "NAME or OWNER/NAME", id="name-title")
                yield LineEditor(
                    words.suggested(self.run.name), compact=True, select_on_focus=False, id="repo"
                )
                yield SectionTitle("what", id="what-title")
                yield RowList(words.choice_line, self._choices, id="what")
            with Vertical(id="right"):
                yield SectionTitle("files", id="files-title")
                with VerticalScroll(id="files"):
                    yield Static(markup=False)

    def on_mount(self) -> None:
        """Begin at what there is: a name is suggested."""
        self.set_interval(1 / LOOKS_PER_SECOND, self._listen)
        self.query_one("#what").focus()
        self._refresh()

    def on_unmount(self) -> None:
        """What was not sent by now stays here."""
        self._close()

    def _close(self) -> None:
        if self._process:
            self._process.close()
            self._process = None

    @property
    def _public(self) -> bool:
        return any(each.chosen for each in self._choices if each.name == words.PUBLIC)

    # -- what is shown ---------------------------------------------------------------------------

    def _listen(self) -> None:
        events = self._process.drain() if self._process else []
        before = self.view.phase
        for event in events:
            self.view.take_in(event)
        if events or self.view.busy:
            self._refresh()
        if before != self.view.phase:
            self._phase_changed()

    def _phase_changed(self) -> None:
        self.query_one("#repo").disabled = self.view.busy
        self.refresh_bindings()
        files = self.query_one("#files")
        if self.view.phase != "choosing":
            files.focus()
        files.scroll_home(animate=False)
        self._refresh()

    def _refresh(self) -> None:
        files = self.query_one("#files", VerticalScroll)
        width = files.scrollable_content_region.width or self.size.width
        seconds = time.monotonic() - self._began
        files.query_one(Static).update(words.body(self.view, seconds, width, public=self._public))
        self._show_titles()

    def _show_titles(self) -> None:
        for name, title, state, part in (
            ("#name-title", "repository", "NAME or OWNER/NAME", "#repo"),
            ("#what-title", "what", "", "#what"),
            ("#files-title", "files", words.state(self.view), "#files"),
        ):
            lit = self.query_one(part).has_focus
            self.query_one(name, SectionTitle).show(title, state, accented=lit)

    def on_descendant_focus(self) -> None:
        """The part with the focus is lit."""
        super().on_descendant_focus()
        self._show_titles()

    def on_resize(self) -> None:
        """Lines are filled anew."""
        if self.ready:
            self.call_after_refresh(self._refresh)

    # -- choosing --------------------------------------------------------------------------------

    def action_next_part(self) -> None:
        """To the next part."""
        self.focus_next()

    def action_choose(self) -> None:
        """Publish what the cursor is at, or not."""
        what = self.query_one("#what", RowList)
        if choice := what.current:
            choice.chosen = not choice.chosen
            what.redraw()
            self._changed()

    @on(RowList.Chosen, "#what")
    def _chosen(self) -> None:
        if why := self.why_not("choose"):
            self.say(why)
        else:
            self.action_choose()

    @on(Input.Changed, "#repo")
    def _changed(self) -> None:
        """What was listed is something else now."""
        if self.view.phase != "choosing":
            self._close()
            self.view = PublishView()
            self._phase_changed()

    def why_not(self, action: str) -> str | None:
        """What can be done now."""
        phase = self.view.phase
        match action:
            case "list_files" | "choose" | "send" if self.view.busy:
                return "esc stops what goes on"
            case "list_files" if phase == "done":
                return "it is published"
            case "list_files" if self._sendable:
                return "the files are listed"
            case "send" if not self._sendable:
                return "the files are listed first"
            case "copy" if phase != "done":
                return "it is not published yet"
        return super().why_not(action)

    @property
    def _sendable(self) -> bool:
        phase = self.view.phase
        return phase == "broken" or (phase == "listed" and not self.view.error)

    @on(Input.Submitted, "#repo")
    async def _submitted(self) -> None:
        if not self.why_not("list_files"):
            await self.run_action("list_files")

    @property
    def _asked(self) -> tuple[str, Parts, bool]:
        """The repository, what goes there, and whether all may see it, as the form says now."""
        repo = self.query_one("#repo", Input).value.strip()
        parts = words.parts({each.name for each in self._choices if each.chosen})
        return repo, parts, self._public

    # -- the way there ---------------------------------------------------------------------------

    @work(exclusive=True, group="asked")
    async def action_list_files(self) -> None:
        """Put everything together, and list it."""
        from engine.publish.upload import check_repo

        repo, parts, public = asked = self._asked
        if not parts.kinds:
            self.say("choose what is published: space")
            return
        try:
            await asyncio.to_thread(check_repo, repo)  # it imports the hub's library
        except UserError as error:
            self.say(words.sentence(str(error)), 15)
            return
        if asked != self._asked:  # it was changed meanwhile
            self.action_list_files()
            return
        goes_on, keep = await which_weights(self.app, self.run) if parts.model else (True, None)
        if not goes_on:
            return
        self._close()
        self._began = time.monotonic()
        request = PublishRequest(self.run.path, repo, parts, public, keep)
        self._process = self._open_process(request)
        self._process.start()
        self.view.list_files()
        self._phase_changed()

    @work(exclusive=True, group="asked")
    async def action_send(self) -> None:
        """Send all of it, or go on with it."""
        if self._public and self.view.phase == "listed":
            question = "publish it for all to see?"
            choices = (("publish", "everybody can read and copy it"), ("leave it", "nothing goes"))
            if await self.app.push_screen_wait(AskChoice(question, choices)) != "publish":
                return
        if self._process and self._sendable:
            self._began = time.monotonic()
            self._process.send_all()
            self.view.send()
            self._phase_changed()

    async def action_leave(self) -> None:
        """Stop what goes on, or leave."""
        if self.view.phase == "sending":
            self._ask_to_stop()
        elif self.view.busy:
            self._stop()
        else:
            await self.app.run_action("back")

    @work(exclusive=True, group="asked")
    async def _ask_to_stop(self) -> None:
        choices = (("go on", "keep sending"), ("stop", "what is on its way does not arrive"))
        answer = await self.app.push_screen_wait(AskChoice("stop sending?", choices))
        if answer == "stop" and self.view.busy:
            self._stop()

    def _stop(self) -> None:
        self._close()
        self.view = PublishView()
        self._phase_changed()
        self.query_one("#what").focus()
        self.say("stopped: what was on its way is not in the repository")

    def action_copy(self) -> None:
        """Copy where it is."""
        text = "\n".join(self.view.addresses)
        self.app.copy_to_clipboard(text)
        self.say(f"copied: {safe_line(text, 200)}")
