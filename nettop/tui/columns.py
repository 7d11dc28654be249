"""The columns of a table as they are at the moment: what they say, by whom one sorts, and how wide the table is."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from rich.cells import cell_len

from nettop.model.kinds import AnyRow
from nettop.text import printable_head
from nettop.view.columns import Context
from nettop.view.layout import Layout, Wish, lay_out
from nettop.view.marks import NEW
from nettop.view.panes import PaneKind

RowT = TypeVar("RowT", bound=AnyRow)
_MATTERS_DRAWS = 30  # for so long a column stays that was to be seen at once, or columns would come and go
_MATTERS_FROM_CELLS = 72  # below, one more column would leave nothing of the others
_MOST_CELLS = 120  # of what one column is worth


class TableColumns(Generic[RowT]):
    """Lays the columns of a pane out, anew with every change."""

    def __init__(self, pane: PaneKind[RowT]) -> None:
        self.pane = pane
        self.layout: Layout[RowT] = Layout()
        self._width = 1
        self._wish = Wish()
        self._laid_out: tuple[object, ...] = ()  # for what that layout is
        self._matters: dict[str, int] = {}  # columns to be seen at once: for how many draws still
        self._marked = False  # there is a column for what is new
        self._fits_anew = False

    def show(
        self,
        in_sight: Sequence[RowT],
        context: Context,
        sorted_by: tuple[str, bool] | None,
        said: Collection[str],
    ) -> None:
        """Other rows, or the same at another time."""
        self._marked = context.mark is not None
        first = self._mattering(in_sight, context)
        if sorted_by is not None and sorted_by[0] != self.pane.kind.sort:  # what the user sorts by
            first.add(sorted_by[0])
        if self._fits_anew:
            self._fits_anew, self._wish = False, replace(self._wish, contents={})
        contents = self._contents(in_sight, context)
        self._lay_out(replace(self._wish, said=frozenset(said), first=frozenset(first), contents=contents))

    def resize(self, width: int, in_sight: Sequence[RowT], context: Context | None) -> None:
        """Another width may hold other columns, and in another height other rows are in sight."""
        self._width, self._wish = width, replace(self._wish, contents={})
        contents = {} if context is None else self._contents(in_sight, context)
        self._lay_out(replace(self._wish, contents=contents))

    def fit_anew(self) -> None:
        """The rows that come next say how wide columns are, though those before may be laid out again until then."""
        self._fits_anew = True

    def rearrange(self, pane: PaneKind[RowT]) -> None:
        """Other columns, or in another order."""
        self.pane = pane
        self._lay_out(self._wish)

    def turn_to(self, pane: PaneKind[Any]) -> None:
        """Rows of another kind: nothing of what is known holds for them."""
        self._matters = {}
        self._wish = Wish()
        self.rearrange(pane)

    def scroll(self, step: int) -> None:
        """To columns that have no room."""
        self._lay_out(replace(self._wish, scrolled=max(self.layout.before + step, 0)))

    def _lay_out(self, wish: Wish) -> None:
        self._wish = wish
        wanted = self.pane, self._marked, self._width, wish
        if wanted == self._laid_out:
            return
        self._laid_out = wanted
        columns = (NEW, *self.pane.columns) if self._marked else self.pane.columns
        self.layout = lay_out(columns, self._width, wish)

    def _mattering(self, in_sight: Sequence[RowT], context: Context) -> set[str]:
        """The columns in which these rows have something to be seen at once, or had a moment ago."""
        mattering: set[str] = set()
        all_have_room = not (self.layout.before or self.layout.after)
        if all_have_room or self._width < _MATTERS_FROM_CELLS:
            return mattering
        for column in self.pane.columns:
            if column.matters is not None:
                there = column.matters(in_sight, context)
                left = self._matters[column.key] = _MATTERS_DRAWS if there else self._matters.get(column.key, 0) - 1
                if left > 0:
                    mattering.add(column.key)
        return mattering

    def _contents(self, in_sight: Sequence[RowT], context: Context) -> dict[str, int]:
        """How many cells what these rows say takes. It does not get less, so that columns stand still."""
        contents = dict(self._wish.contents)
        growing = [column for column in self.pane.columns if column.grow]
        for row in in_sight:
            for column in growing:
                text = printable_head(column.text(row, context), _MOST_CELLS)
                least = 0 if column.yields else column.cells
                contents[column.key] = max(contents.get(column.key, least), cell_len(text))
        return contents
