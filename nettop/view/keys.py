"""Every key, declared once, for bindings, footer, help and command palette. Users remap keys by id."""

from collections.abc import Mapping
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
    command: bool = True  # stands in the palette: what one presses again and again does not

    def shown(self, keymap: Mapping[str, str]) -> str:
        """Its keys as people know them; `keymap` holds those that the user has changed, by id."""
        return keymap.get(self.id, self.shown_as or self.keys).replace(",", " ")


# Everywhere
APP_KEYS = (
    Key(
        "leave",
        "ctrl+c,ctrl+q,f10",
        "app.quit",
        "Leave",
        "Quit nettop, from anywhere and even while typing",
        shown_as="^c ^q F10",
        priority=True,
    ),
    Key(
        "palette",
        "ctrl+p",
        "app.command_palette",
        "Palette",
        "Find a command by name",
        footer=True,
        shown_as="^p",
        priority=True,
        command=False,
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

SEEK_S, SEEK_FAR_S = 5, 30

# While a recording is played, on the main screen and in details. With priority over what these keys do elsewhere.
PLAYER_KEYS = (
    Key("play.back", "left", f"app.go(-{SEEK_S})", "Back", f"Go back {SEEK_S} s", shown_as="←", priority=True),
    Key("play.forward", "right", f"app.go({SEEK_S})", "Forward", f"Go forward {SEEK_S} s", shown_as="→", priority=True),
    Key("play.far_back", "shift+left", f"app.go(-{SEEK_FAR_S})", "Far back", f"Go back {SEEK_FAR_S} s",
        shown_as="shift+←", priority=True),
    Key("play.far_forward", "shift+right", f"app.go({SEEK_FAR_S})", "Far forward", f"Go forward {SEEK_FAR_S} s",
        shown_as="shift+→", priority=True),
    Key("play.tick", "full_stop", "app.go_to_next_tick", "Tick", "Pause, and go forward by one tick", shown_as=".",
        priority=True),
    Key("play.failure", "exclamation_mark", "app.go_to_next_failure", "Next failure",
        "Pause at the next failure that the filter lets through, and select it", shown_as="!", priority=True),
    Key("play.start", "0", "app.go_to_start", "Again", "Play from the start again",
        priority=True),
)  # fmt: skip

# On a table of rows, on every screen
TABLE_KEYS = (
    Key("row.up", "up,k", "move(-1)", "Up", "Move up one row", shown_as="↑ k", command=False),
    Key("row.down", "down,j", "move(1)", "Down", "Move down one row", shown_as="↓ j", command=False),
    Key("row.page_up", "pageup,ctrl+u", "page(-1)", "Page up", "Move up one page", shown_as="pageup ^u", command=False),
    Key(
        "row.page_down",
        "pagedown,ctrl+d",
        "page(1)",
        "Page down",
        "Move down one page",
        shown_as="pagedown ^d",
        command=False,
    ),
    Key(
        "row.first",
        "home,g",
        "first",
        "First",
        "Go to the first row and stay at the top",
        shown_as="home g",
        command=False,
    ),
    Key("row.last", "end,G", "last", "Last", "Go to the last row", shown_as="end G", command=False),
    Key("row.open", "enter", "open", "Open", "Show everything known about the row; the rows of a group", footer=True),
    Key("columns.left", "H", "scroll_columns(-1)", "Columns left", "Scroll the columns to the left", shown_as="H ←",
        command=False),
    Key("columns.right", "L", "scroll_columns(1)", "Columns right", "Scroll to columns that have no room",
        shown_as="L →", command=False),
)  # fmt: skip

# The same with the arrows, which are the player's while a recording is played
ARROW_KEYS = (
    Key(
        "columns.left_arrow",
        "left",
        "scroll_columns(-1)",
        "Columns left",
        "Scroll the columns to the left",
        shown_as="←",
        command=False,
    ),
    Key(
        "columns.right_arrow",
        "right",
        "scroll_columns(1)",
        "Columns right",
        "Scroll to columns that have no room",
        shown_as="→",
        command=False,
    ),
)

*_LASTING_BUT_ONE, _LAST = (kind.plural for kind in KINDS if kind.ended is not None)
_LASTING = f"{', '.join(_LASTING_BUT_ONE)} and {_LAST}"

MAIN_KEYS = (
    Key(
        "help",
        "question_mark,f1",
        "app.help",
        "Help",
        "Show the keys, the columns, the filter language and what words mean",
        footer=True,
        shown_as="? F1",
    ),
    Key("quit", "q", "app.quit", "Quit", "Quit nettop", footer=True),
    # with priority, so that what is typed right after it is text instead of keys
    Key(
        "filter.edit",
        "slash,f4",
        "edit_filter",
        "Filter",
        "Edit the filter",
        footer=True,
        shown_as="/ F4",
        priority=True,
    ),
    Key("filter.pid", "f", "filter_pid", "Only pid", "Add the pid of the selected row to the filter", footer=True),
    Key("filter.comm", "c", "filter_comm", "Only name", "Add the comm of the selected row to the filter", footer=True),
    Key(
        "filter.clear",
        "escape",
        "back",
        "Back",
        "Go one level back: out of the group, then of the grouping; then clear the filter",
        shown_as="esc",
    ),
    Key("filter.undo", "u", "undo_filter", "Undo", "Restore the filter before the last change"),
    Key("search", "ctrl+f,f3", "search", "Search", "Find text in the rows of the pane", shown_as="^f F3"),
    Key("search.next", "n", "search_next(1)", "Next hit", "Go to the next row with the text"),
    Key("search.previous", "N", "search_next(-1)", "Previous hit", "Go to the previous row with the text"),
    Key(
        "findings",
        "f7",
        "app.findings",
        "Findings",
        "What is wrong: a list; enter shows the rows that prove one",
        shown_as="F7",
    ),
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
    Key("group.next", "b", "group_next", "Group", "Group the rows by the next thing that they share", footer=True),
    Key("group.menu", "B,f5", "group_menu", "Group by", "Choose what the rows are grouped by", shown_as="B F5"),
    Key("export.as", "E", "app.export_as", "Export as", "Write the snapshot to a path of your choice"),
    Key("row.copy", "y", "app.copy_row", "Copy", "Send the row as JSON to the terminal's clipboard"),
    Key(
        "cut",
        "x",
        "app.cut",
        "Cut",
        "Show how the row's connection, process or remote host can be cut off; with --allow-cut do it",
    ),
    Key("cut.undo", "X", "app.undo_cut", "Let go", "Let go of what is blocked"),
    Key("rows.ended", "h", "toggle_ended", "Ended", f"Show or hide {_LASTING} that have ended"),
    Key("mark.set", "m", "app.mark", "Mark", "Set the mark: totals count from now on, and what begins later carries +"),
    Key("mark.new", "M", "app.show_new", "New", "Show only what began after the mark, or everything"),
    Key("mark.remove", "U", "app.unmark", "Unmark", "Take the mark off"),
    Key("names", "a", "app.toggle_names", "Names", "Switch between remote names and addresses"),
    Key("pace.faster", "plus,equals_sign", "app.pace(1)", "Faster", "Shorter interval; faster replay", shown_as="+"),
    Key("pace.slower", "minus", "app.pace(-1)", "Slower", "Longer interval; slower replay", shown_as="-"),
)

DETAIL_KEYS = (
    Key("detail.back", "escape,backspace,q", "back", "Back", "Go back", footer=True, shown_as="esc q"),
    Key("detail.next", "tab", "next_table(1)", "Next table", "Go to the next table, or to facts that do not fit"),
    Key("detail.previous", "shift+tab", "next_table(-1)", "Previous table", "Go to the previous table"),
)

FILTER_KEYS = (
    Key("filter.keep", "enter", "keep", "Keep", "Keep the filter", footer=True),
    Key("filter.earlier", "up", "recall(-1)", "Earlier", "Recall an earlier filter", footer=True, shown_as="↑"),
    Key("filter.later", "down", "recall(1)", "Later", "Recall a later filter", footer=True, shown_as="↓"),
    Key("filter.complete", "tab", "complete", "Complete", "Complete the word; again for the next choice", footer=True),
    Key("filter.abandon", "escape", "abandon", "Cancel", "Restore the previous filter", footer=True, shown_as="esc"),
)

SEARCH_KEYS = (
    Key("search.keep", "enter", "close(True)", "Keep", "Stay at the row that was found", footer=True),
    Key("search.up", "up", "step(-1)", "Previous", "Go to the previous row with the text", footer=True, shown_as="↑"),
    Key("search.down", "down,ctrl+f,f3", "step(1)", "Next", "Go to the next row with the text", True, "↓ ^f F3"),
    Key("search.abandon", "escape", "close(False)", "Cancel", "Go back to the row before", footer=True, shown_as="esc"),
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

CUT_KEYS = (
    Key("cut.do", "enter", "do", "Do", "Do what is typed"),
    Key("cut.close", "escape", "close", "Close", "Close the card and do nothing", shown_as="esc"),
    Key("cut.copy", "y", "copy", "Copy", "Send the commands to the terminal's clipboard, without --allow-cut"),
    Key("cut.up", "up", "scroll(-1)", "Up", "Scroll up one line", shown_as="↑"),
    Key("cut.down", "down", "scroll(1)", "Down", "Scroll down one line", shown_as="↓"),
)

PATH_KEYS = (Key("path.cancel", "escape", "cancel", "Cancel", "Cancel without writing", shown_as="esc"),)

CHOICE_KEYS = (
    Key("choice.close", "escape,q", "close", "Close", "Close the menu and change nothing", shown_as="esc q"),
    Key("choice.up", "up,k", "move(-1)", "Up", "Move up one line", shown_as="↑ k"),
    Key("choice.down", "down,j", "move(1)", "Down", "Move down one line", shown_as="↓ j"),
    Key("choice.take", "enter", "take", "Take", "Take the line; the letter before a line does so at once"),
)
CHOICE_LETTERS = "abcdefghilmnoprstuvwxyz"  # those that these keys leave

HELP_KEYS = (
    Key("help.close", "escape,question_mark,q,enter,f1", "close", "Close", "Close the help", shown_as="esc ? q F1"),
    Key("help.up", "up,k", "scroll(-1)", "Up", "Scroll up one line", shown_as="↑ k"),
    Key("help.down", "down,j", "scroll(1)", "Down", "Scroll down one line", shown_as="↓ j"),
    Key("help.page_up", "pageup,ctrl+u", "page(-1)", "Page up", "Scroll up one page", shown_as="pageup ^u"),
    Key(
        "help.page_down",
        "pagedown,space,ctrl+d",
        "page(1)",
        "Page down",
        "Scroll down one page",
        shown_as="pagedown space ^d",
    ),
    Key("help.first", "home,g", "first", "First", "Go to the start", shown_as="home g"),
    Key("help.last", "end,G", "last", "Last", "Go to the end", shown_as="end G"),
    Key("help.next", "tab", "section(1)", "Next section", "Go to the next section"),
    Key("help.previous", "shift+tab", "section(-1)", "Previous section", "Go to the previous section"),
)

_ALSO_IN_DETAIL = (
    "row.copy", "help", "pause", "names", "export", "export.as", "sort.column", "sort.direction", "sort.menu",
    "sort.previous", "sort.next", "columns", "pace.faster", "pace.slower", "cut", "cut.undo",
)  # fmt: skip
KEYS_IN_DETAIL = (*DETAIL_KEYS, *(key for key in MAIN_KEYS if key.id in _ALSO_IN_DETAIL))

ALL_KEYS = (
    *APP_KEYS, *PLAYER_KEYS, *MAIN_KEYS, *TABLE_KEYS, *ARROW_KEYS, *DETAIL_KEYS, *FILTER_KEYS, *SEARCH_KEYS,
    *COLUMNS_KEYS, *CUT_KEYS, *PATH_KEYS, *CHOICE_KEYS, *HELP_KEYS,
)  # fmt: skip

# Keys that are active together, so each may have only one action: on each screen, and in each input
TOGETHER = (
    (*APP_KEYS, *PLAYER_KEYS, *MAIN_KEYS, *TABLE_KEYS),
    (*APP_KEYS, *PLAYER_KEYS, *KEYS_IN_DETAIL, *TABLE_KEYS),
    (*APP_KEYS, *MAIN_KEYS, *TABLE_KEYS, *ARROW_KEYS),
    (*APP_KEYS, *KEYS_IN_DETAIL, *TABLE_KEYS, *ARROW_KEYS),
    (*APP_KEYS, *FILTER_KEYS),
    (*APP_KEYS, *SEARCH_KEYS),
    (*APP_KEYS, *COLUMNS_KEYS),
    (*APP_KEYS, *CUT_KEYS),
    (*APP_KEYS, *PATH_KEYS),
    (*APP_KEYS, *CHOICE_KEYS),
    (*APP_KEYS, *HELP_KEYS),
)

_COLUMN_CELLS, _COLUMNS = 27, 3


def in_columns() -> str:
    """The keys of the main screen as a few short lines, for --help."""
    cells = [f"{key.shown_as or key.keys.split(',')[0]:<9} {key.label}" for key in (*MAIN_KEYS, *TABLE_KEYS)]
    rows = [cells[at : at + _COLUMNS] for at in range(0, len(cells), _COLUMNS)]
    return "\n".join("  " + "".join(cell.ljust(_COLUMN_CELLS) for cell in row).rstrip() for row in rows)
