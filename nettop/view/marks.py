"""What the screen says of a mark: a sign before each row that began after it, and in titles since when is counted."""

from dataclasses import replace
from typing import Any

from nettop.model.kinds import Kind
from nettop.model.mark import Mark
from nettop.view import format as human
from nettop.view.columns import Column, Context
from nettop.view.panes import Title

NEW_SIGN = "+"


def _sign(row: Any, context: Context) -> str:
    return NEW_SIGN if context.mark is not None and context.mark.is_new(row) else ""


NEW: Column[Any] = Column("new", "", "+ where the row began after the mark", 1, 0, _sign, "id", anchor=True)
"""Stands before all other columns while there is a mark; nobody chooses it or sorts by it."""


def with_mark(title: Title, kind: Kind[Any], mark: Mark | None, only_new: bool) -> Title:
    """The title of a pane whose totals count from a mark, or that shows only what is new since."""
    if mark is None or not (only_new or kind.sums):
        return title
    since = f"{'new since' if only_new else 'since'} {human.clock(mark.at)}"
    return replace(title, details=f"{title.details}· {since} ")
