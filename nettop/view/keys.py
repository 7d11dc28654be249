"""Every key, declared once, for bindings, footer, help and command palette. Users remap keys by id."""

from dataclasses import dataclass

from nettop.model.kinds import KINDS


@dataclass(frozen=True)
class Key:
    """A binding: its id for remapping, keys (Textual's names, comma-separated), action, and what it does."""

    id: str
    keys: str
    action: str
    label: str  # in the footer and the palette
    meaning: str  # in the help and the tooltip
    footer: bool = False
    shown_as: str | None = None
    priority: bool = False  # takes precedence over the focused widget, even while typing


# Everywhere
APP_KEYS = (
    Key("leave", "ctrl+c,ctrl+q", "app.quit", "Leave", "Quit nettop, even while typing", shown_as="^c", priority=True),
    Key(
        "palette",
        "ctrl+p",
        "app.command_palette",
        "Palette",
        "Find a command by name",
        shown_as="^p",
        priority=True,
    ),
    Key(
        "suspend",
        "ctrl+z",
        "app.suspend_process",
        "Suspend",
        "Suspend nettop and return to the shell; fg resumes it",
        shown_as="^z",
        priority=True,
    ),
)

# On a table of rows, on every screen
TABLE_KEYS = (
    Key("row.up", "up,k", "move(-1)", "Up", "Move up one row", shown_as="↑ k"),
    Key("row.down", "down,j", "move(1)", "Down", "Move down one row", shown_as="↓ j"),
    Key("row.page_up", "pageup", "page(-1)", "Page up", "Move up one page"),
    Key("row.page_down", "pagedown", "page(1)", "Page down", "Move down one page"),
    Key("row.first", "home,g", "first", "First", "Go to the first row and stay at the top", shown_as="home g"),
    Key("row.last", "end,G", "last", "Last", "Go to the last row", shown_as="end G"),
    Key("row.open", "enter", "open", "Detail", "Show everything known about the row", footer=True),
    Key("columns.left", "H", "scroll_columns(-1)", "Columns left", "Scroll the columns to the left", shown_as="H ←"),
    Key(
        "columns.right",
        "L",
        "scroll_columns(1)",
        "Columns right",
        "Scroll to columns that have no room",
        shown_as="L →",
    ),
)

# The same with the arrows, which are the player's in a recording
ARROW_KEYS = (
    Key("columns.left_arrow", "left", "arrow(-1)", "Columns left", "Scroll the columns to the left", shown_as="←"),
    Key(
        "columns.right_arrow", "right", "arrow(1)", "Columns right", "Scroll to columns that have no room", shown_as="→"
    ),
)

*_LASTING_BUT_ONE, _LAST = (kind.plural for kind in KINDS if kind.ended is not None)
_LASTING = f"{', '.join(_LASTING_BUT_ONE)} and {_LAST}"

MAIN_KEYS = (
    Key("help", "question_mark", "app.help", "Help", "Show the keys, the columns and the filter language", True, "?"),
    Key("quit", "q", "app.quit", "Quit", "Quit nettop", footer=True),
    # with priority, so that what is typed right after it is text instead of keys
    Key("filter.edit", "slash", "edit_filter", "Filter", "Edit the filter", footer=True, shown_as="/", priority=True),
    Key("filter.pid", "f", "filter_pid", "Pid", "Show only the pid of the selected row", footer=True),
    Key("filter.comm", "c", "filter_comm", "Comm", "Show only the comm of the selected row", footer=True),
    Key("filter.clear", "escape", "clear_filter", "Clear", "Clear the filter", shown_as="esc"),
    Key("pause", "space", "app.pause", "Pause", "Pause or resume the view; collecting continues", footer=True),
    Key("pane.next", "tab", "next_pane(1)", "Next pane", "Go to the next pane"),
    Key("pane.previous", "shift+tab", "next_pane(-1)", "Previous pane", "Go to the previous pane"),
    *(
        Key(f"pane.{kind.name}", str(number), f"pane('{kind.name}')", kind.title, f"Go to the {kind.plural}")
        for number, kind in enumerate(KINDS, 1)
    ),
    Key("pane.zoom", "z", "zoom", "Zoom", "Give one pane the whole screen, or show all again", footer=True),
    Key("sort.column", "s", "sort_next", "Sort", "Sort by the next column", footer=True),
    Key("sort.direction", "S", "sort_reverse", "Reverse", "Reverse the sort order"),
    Key(
        "sort.menu",
        "o,f6",
        "app.sort_menu",
        "Sort by",
        "Choose the column to sort by, also one that has no room",
        shown_as="o F6",
    ),
    Key(
        "sort.previous",
        "less_than_sign",
        "sort_step(-1)",
        "Sort left",
        "Sort by the column to the left, also one that has no room",
        shown_as="<",
    ),
    Key(
        "sort.next",
        "greater_than_sign",
        "sort_step(1)",
        "Sort right",
        "Sort by the column to the right, also one that has no room",
        shown_as=">",
    ),
    Key(
        "columns",
        "f2",
        "app.columns",
        "Columns",
        "Choose the columns and their order; nettop remembers them",
        shown_as="F2",
    ),
    Key(
        "export", "e", "app.export", "Export", "Write the snapshot to a JSON file in the export directory", footer=True
    ),
    Key("export.as", "E", "app.export_as", "Export as", "Write the snapshot to a path of your choice"),
    Key("row.copy", "y", "app.copy_row", "Copy", "Send the row as JSON to the terminal's clipboard"),
    Key("rows.ended", "h", "toggle_ended", "Ended", f"Show or hide {_LASTING} that have ended"),
    Key("names", "n", "app.toggle_names", "Names", "Switch between remote names and addresses"),
    Key("pace.faster", "plus,equals_sign", "app.pace(1)", "Faster", "Shorter interval; faster replay", shown_as="+"),
    Key("pace.slower", "minus", "app.pace(-1)", "Slower", "Longer interval; slower replay", shown_as="-"),
)

DETAIL_KEYS = (
    Key("detail.back", "escape,backspace", "back", "Back", "Go back", footer=True, shown_as="esc"),
    Key("detail.next", "tab", "next_table(1)", "Next table", "Go to the next table, or to facts that do not fit"),
    Key("detail.previous", "shift+tab", "next_table(-1)", "Previous table", "Go to the previous table"),
)

FILTER_KEYS = (
    Key("filter.keep", "enter", "keep", "Keep", "Keep the filter", footer=True),
    Key("filter.abandon", "escape", "abandon", "Cancel", "Restore the previous filter", footer=True, shown_as="esc"),
    Key("filter.earlier", "up", "recall(-1)", "Earlier", "Recall an earlier filter", footer=True, shown_as="↑"),
    Key("filter.later", "down", "recall(1)", "Later", "Recall a later filter", footer=True, shown_as="↓"),
)

SORT_MENU_KEYS = (
    Key("sort.menu.up", "up", "move(-1)", "Up", "Move up one line", shown_as="↑"),
    Key("sort.menu.down", "down", "move(1)", "Down", "Move down one line", shown_as="↓"),
    Key("sort.menu.choose", "enter", "choose", "Sort", "Sort by this column, or the other way round", footer=True),
    Key("sort.menu.close", "escape,f6", "close", "Cancel", "Close the menu", footer=True, shown_as="esc"),
)

COLUMNS_KEYS = (
    Key("columns.up", "up,k", "move(-1)", "Up", "Move up one line", shown_as="↑ k"),
    Key("columns.down", "down,j", "move(1)", "Down", "Move down one line", shown_as="↓ j"),
    Key("columns.toggle", "space", "switch", "On/off", "Show or hide the column", footer=True),
    Key("columns.earlier", "left_square_bracket,K", "shift(-1)", "Earlier", "Move the column to the left",
        footer=True, shown_as="["),
    Key("columns.later", "right_square_bracket,J", "shift(1)", "Later", "Move the column to the right", footer=True,
        shown_as="]"),
    Key("columns.reset", "r", "reset", "Reset", "As the settings have them", footer=True),
    Key("columns.keep", "enter,f2", "keep", "Keep", "Keep and remember the columns", footer=True),
    Key("columns.cancel", "escape", "cancel", "Cancel", "As they were before", footer=True, shown_as="esc"),
)  # fmt: skip

PATH_KEYS = (Key("path.cancel", "escape", "cancel", "Cancel", "Cancel without writing", shown_as="esc"),)

HELP_KEYS = (
    Key("help.close", "escape,question_mark,q,enter", "close", "Close", "Close the help", shown_as="esc ? q"),
    Key("help.up", "up,k", "scroll(-1)", "Up", "Scroll up one line", shown_as="↑ k"),
    Key("help.down", "down,j", "scroll(1)", "Down", "Scroll down one line", shown_as="↓ j"),
    Key("help.page_up", "pageup", "page(-1)", "Page up", "Scroll up one page"),
    Key("help.page_down", "pagedown,space", "page(1)", "Page down", "Scroll down one page", shown_as="pagedown space"),
)

_ALSO_IN_DETAIL = (
    "row.copy", "help", "quit", "pause", "names", "export", "export.as", "sort.column", "sort.direction", "sort.menu",
    "sort.previous", "sort.next", "columns", "pace.faster", "pace.slower",
)  # fmt: skip
KEYS_IN_DETAIL = (*DETAIL_KEYS, *(key for key in MAIN_KEYS if key.id in _ALSO_IN_DETAIL))

ALL_KEYS = (
    *APP_KEYS, *MAIN_KEYS, *TABLE_KEYS, *ARROW_KEYS, *DETAIL_KEYS, *FILTER_KEYS, *SORT_MENU_KEYS, *COLUMNS_KEYS,
    *PATH_KEYS, *HELP_KEYS,
)  # fmt: skip

# Keys that are active together, so each may have only one action: on each screen, and in each input
TOGETHER = (
    (*APP_KEYS, *MAIN_KEYS, *TABLE_KEYS, *ARROW_KEYS),
    (*APP_KEYS, *KEYS_IN_DETAIL, *TABLE_KEYS, *ARROW_KEYS),
    (*APP_KEYS, *FILTER_KEYS),
    (*APP_KEYS, *SORT_MENU_KEYS),
    (*APP_KEYS, *COLUMNS_KEYS),
    (*APP_KEYS, *PATH_KEYS),
    (*APP_KEYS, *HELP_KEYS),
)

_COLUMN_CELLS, _COLUMNS = 27, 3


def in_columns() -> str:
    """The keys of the main screen as a few short lines, for --help."""
    cells = [f"{key.shown_as or key.keys.split(',')[0]:<9} {key.label}" for key in (*MAIN_KEYS, *TABLE_KEYS)]
    rows = [cells[at : at + _COLUMNS] for at in range(0, len(cells), _COLUMNS)]
    return "\n".join("  " + "".join(cell.ljust(_COLUMN_CELLS) for cell in row).rstrip() for row in rows)
