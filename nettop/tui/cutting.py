"""What the keys x and X do: show what of a row can be cut, hand on what is ordered, tell what came of it."""

from textual.app import App

from nettop.collector import Feed
from nettop.model.cutting import Cuts, Order, Outcome
from nettop.model.owners import Owners
from nettop.model.snapshot import Snapshot
from nettop.tui.choices import Choice, Choices
from nettop.tui.cut_card import CutCard
from nettop.tui.detail import DetailScreen
from nettop.tui.main import MainScreen
from nettop.view.cutting import said, subject
from nettop.view.group import Group


class OrdersCuts(App[None]):
    """A base of the application."""

    _feed: Feed
    _outcome: Outcome | None = None  # that was told

    @property
    def shown(self) -> Snapshot | None:
        """What the screen shows."""
        raise NotImplementedError

    def _say(self, *sentences: str, failed: bool = False) -> None:
        raise NotImplementedError

    def action_cut(self) -> None:
        """Show what of the row can be cut, and do it if that is allowed."""
        screen, cutting = self.screen, self._feed.cutting
        row = screen.selected if isinstance(screen, MainScreen | DetailScreen) else None
        if cutting is None:
            self._say("This was recorded: there is nothing to cut.", failed=True)
        elif row is None or isinstance(row, Group):
            self._say("Select a row; enter shows those of a group.", failed=True)
        elif self.shown is not None:
            about = subject(row, Owners(self.shown.processes))
            self.push_screen(CutCard(about, cutting.powers), self._cut)

    def _cut(self, order: Order | None) -> None:
        if order is not None and self._feed.cutting is not None:
            self._feed.cutting.order(order)

    def action_undo_cut(self) -> None:
        """Let go of what is blocked: at once if it is one thing, else it is asked which."""
        cutting = self._feed.cutting
        blocks = () if cutting is None else cutting.state.blocks
        if cutting is None or not blocks:
            self._say("nettop blocks nothing.")
        elif len(blocks) == 1:
            cutting.lift(blocks[0].number)
        elif not isinstance(self.screen, Choices):
            choices = [Choice("", "all of them"), *(Choice(str(each.number), said(each)) for each in blocks)]
            self.push_screen(Choices("Let go of", choices, wrap=True), self._let_go)

    def _let_go(self, number: str | None) -> None:
        if number is not None and self._feed.cutting is not None:
            self._feed.cutting.lift(int(number) if number else None)

    def on_block_line_clicked(self) -> None:
        """A click on the line."""
        self.action_undo_cut()

    def _tell_outcome(self, cuts: Cuts | None) -> None:
        """Of the last order, once."""
        if cuts is not None and cuts.outcome is not None and cuts.outcome != self._outcome:
            self._outcome = cuts.outcome
            self._say(cuts.outcome.sentence, failed=cuts.outcome.failed)
