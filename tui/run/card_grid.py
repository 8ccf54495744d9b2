"""The cards of a run, in as many columns as fit, with a cursor."""

from collections.abc import Sequence

from textual.binding import Binding
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.run.metric_card import LABEL, card
from tui.run.metric_labels import CARDS, Metric
from tui.state.run_view import RunView
from tui.widgets.key_line import KeyLine

COLUMNS_FROM = (0, 56, 110, 150)  # cells from which there is one more column
TALL_FROM = 36  # lines of the screen from which a card has several
TALL = 4  # lines of such a card: value, two of sparkline, space
NARROW_TALL = 3  # of one in a column of its own: value, sparkline, space
NARROW_FROM = 48  # lines of the screen from which it has as many; below, two


class CardGrid(Widget, can_focus=True):
    """All cards at once. Enter opens the chart of the one under the cursor."""

    DEFAULT_CSS = "CardGrid { height: auto; }"
    BINDINGS = [  # noqa: RUF012
        Binding("left", "move(-1, 0)", "card to the left", show=False, id="cards.left"),
        Binding("right", "move(1, 0)", "card to the right", show=False, id="cards.right"),
        Binding("up", "move(0, -1)", "card above", show=False, id="cards.up"),
        Binding("down", "move(0, 1)", "card below", show=False, id="cards.down"),
        Binding("enter", "open", "chart of the card", show=False, id="cards.open"),
    ]

    cursor: reactive[int] = reactive(0)

    class Moved(Message):
        """Another card is under the cursor."""

    class Opened(Message):
        """A card was chosen; its chart is wanted."""

        def __init__(self, metric: Metric) -> None:
            super().__init__()
            self.metric = metric

    def __init__(
        self,
        view: RunView | None = None,
        metrics: Sequence[Metric] = CARDS,
        *,
        others: int = 0,
        id: str | None = None,
    ) -> None:
        """`others`: lines of the screen that its other parts keep, where they are below the cards;
        0: the cards are scrolled through."""
        super().__init__(id=id)
        self._others = others
        self._view = view
        self._metrics = metrics
        self._points: tuple[int, ...] = ()  # the view and how many points it had
        self._label_width = max(LABEL, *(len(metric.label) + 1 for metric in metrics))
        self._columns = 2
        self._card_height = 1

    @property
    def metric(self) -> Metric:
        """The metric under the cursor."""
        return self._metrics[self.cursor]

    def show(self, view: RunView | None) -> None:
        """Draw the newest values of a view; the same ones again cost nothing."""
        points = (id(view), *(view.points(metric.name) for metric in self._metrics)) if view else ()
        self._view = view
        if points != self._points:
            self._points = points
            self.refresh()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """Lines of all rows of cards, in as many columns as fit into `width`."""
        self._columns = sum(width >= least for least in COLUMNS_FROM)
        lines = self.app.size.height
        rows = -(-len(self._metrics) // self._columns)
        if self._columns > 1:
            tall, least = TALL, TALL_FROM
            if self._others:
                least = max(least, rows * TALL + self._others)
        else:
            tall, least = NARROW_TALL if lines >= NARROW_FROM else 2, TALL_FROM
        self._card_height = tall if lines >= least else 1
        return rows * self._card_height

    def render(self) -> Content:
        """Rows of cards, side by side."""
        width = self.size.width // self._columns
        lines: list[Content] = []
        for start in range(0, len(self._metrics), self._columns):
            row = [
                card(
                    metric,
                    self._view,
                    width,
                    self._card_height,
                    self._at_cursor(start + offset),
                    self._label_width,
                )
                for offset, metric in enumerate(self._metrics[start : start + self._columns])
            ]
            lines += [Content("").join(parts) for parts in zip(*row, strict=True)]
        return Content("\n").join(lines)

    def watch_cursor(self) -> None:
        """Tell which card is under the cursor."""
        self.post_message(self.Moved())

    def _at_cursor(self, index: int) -> bool:
        return self.has_focus and index == self.cursor

    def action_move(self, across: int, down: int) -> None:
        """Move the cursor by columns and rows, as far as there are cards."""
        place = self.cursor + across + down * self._columns
        if 0 <= place < len(self._metrics):
            self.cursor = place
        else:
            self.screen.query_one(KeyLine).say("there is no card there")

    def action_open(self) -> None:
        """Ask for the chart of the card under the cursor."""
        self.post_message(self.Opened(self.metric))

    def on_click(self, event: Click) -> None:
        """Open the chart of the card under the mouse."""
        row, column = event.y // self._card_height, event.x * self._columns // self.size.width
        place = row * self._columns + column
        if place < len(self._metrics):
            self.cursor = place
            self.action_open()
