"""The application: wires the feed to the screens. Computes nothing."""

import asyncio
import os
import re
import signal
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import msgspec
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from nettop.collector import Feed
from nettop.errors import NettopError
from nettop.export.file import OutputFile
from nettop.export.json import snapshot_json
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.text import printable_head
from nettop.tui import size
from nettop.tui.bindings import bindings
from nettop.tui.detail import DetailScreen
from nettop.tui.help import HelpScreen
from nettop.tui.main import MainScreen
from nettop.tui.menus import ColumnPicker, SortMenu
from nettop.tui.prompts import Palette, PathPrompt
from nettop.tui.status import Status
from nettop.tui.table import RowTable
from nettop.tui.terminal import TerminalDriver, shows
from nettop.view.columns import Context
from nettop.view.keys import APP_KEYS, KEYS_IN_DETAIL, MAIN_KEYS, TABLE_KEYS
from nettop.view.look import DEFAULT_LOOK, Look
from nettop.view.panes import PaneKind, Traffic, newest_ids

GRACE_S = 2.0  # after a signal: Textual waits for ever for a terminal that takes nothing any more
_NOTICE_CELLS = 400


class NettopApp(App[None], inherit_bindings=False):
    """`mode` is what the status bar calls the view: LIVE, REPLAY, SNAPSHOT. The feed is to call feed_changed().

    After the end `failure` is the NettopError that the feed ended with, `crash` the traceback of any other.
    """

    CSS_PATH = "nettop.tcss"
    TITLE = "nettop"
    ENABLE_COMMAND_PALETTE = True
    ALLOW_SELECT = False  # what is drawn line by line gives no text, and ctrl+c leaves; the terminal selects with shift
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(APP_KEYS)]
    HORIZONTAL_BREAKPOINTS = size.WIDTHS
    VERTICAL_BREAKPOINTS = size.HEIGHTS

    def __init__(
        self,
        feed: Feed,
        mode: str = "LIVE",
        chosen: Filter | None = None,
        look: Look = DEFAULT_LOOK,
    ) -> None:
        super().__init__(driver_class=TerminalDriver)
        self._feed = feed
        self._mode = mode
        self._look = look
        self._main = MainScreen(chosen or Filter(""), look.panes, look.stacked)
        self._latest: Snapshot | None = None
        self._paused: tuple[Snapshot, Traffic] | None = None
        self._traffic = Traffic()
        self._said: tuple[str, bool] | None = None  # the feed's pace, and whether it has finished
        self._running_loop: asyncio.AbstractEventLoop | None = None
        self._watching = False
        self.failure: NettopError | None = None
        self.crash: str | None = None

    @property
    def shown(self) -> Snapshot | None:
        """What the screen shows: the latest, or that of the pause."""
        return self._paused[0] if self._paused is not None else self._latest

    def on_load(self) -> None:
        """Textual's hook, before it touches the terminal."""
        self._running_loop = asyncio.get_running_loop()

    def leave(self, _number: int, _frame: FrameType | None) -> None:
        """A handler of signals; a plain one, which also runs while Textual waits in a write."""
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)  # if that write never ends, SIGALRM ends it all
        if self._running_loop is None:
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # the loop has just ended: nettop is leaving already
            self._running_loop.call_soon_threadsafe(self.exit)

    def on_terminal_gone(self) -> None:
        """As after SIGHUP, which does not come from every terminal that is gone, and which nohup(1) has one ignore."""
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        self.exit()

    def on_mount(self) -> None:
        """Textual's hook."""
        self.theme = self._look.theme
        self.set_keymap(dict(self._look.keymap))
        self.push_screen(self._main)
        self.call_after_refresh(self._watch)

    def _watch(self) -> None:
        self._watching = True  # first, so that no change falls between
        self.tick()

    def feed_changed(self) -> None:
        """There is something new to show; may be called from any thread, and before the app runs."""
        if self._watching and self._running_loop is not None:
            with suppress(RuntimeError):  # the loop has just ended
                self._running_loop.call_soon_threadsafe(self.call_later, self.tick)

    def tick(self) -> None:
        """Show what the feed has, if it is new."""
        if self._feed.error is not None:
            error = self._feed.error
            if isinstance(error, NettopError):
                self.failure = error
            else:
                self.crash = "".join(traceback.format_exception(error))
            self.exit(return_code=1)
            return
        latest, said = self._feed.latest, (self._feed.pace, self._feed.finished)
        if latest is not None and latest is not self._latest:
            self._traffic.add(latest)
            self._latest = latest
        elif said == self._said:
            return
        self._said = said
        self.draw()

    def draw(self) -> None:
        """Draw the screens anew from what is shown."""
        snapshot = self.shown
        if snapshot is None:
            return
        traffic = self._traffic if self._paused is None else self._paused[1]
        context = self._cell_context(snapshot, traffic)
        if self._main.is_mounted:
            self._main.show(snapshot, context, self._status(snapshot, traffic))
        for screen in self.screen_stack:
            if isinstance(screen, DetailScreen) and screen.is_mounted:
                screen.show(snapshot, context)

    def _cell_context(self, snapshot: Snapshot, traffic: Traffic) -> Context:
        return Context(snapshot.captured_at, self._main.state.names, traffic.by_process, snapshot.started_at)

    def _status(self, snapshot: Snapshot, traffic: Traffic) -> Status:
        latest = self._latest or snapshot
        seen = newest_ids(snapshot)
        new_rows = sum(max(number - seen[name], 0) for name, number in newest_ids(latest).items())
        ended = self._feed.finished and self._mode == "REPLAY"
        return Status(
            mode="END OF RECORDING" if ended else self._mode,
            paused=self._paused is not None,
            new_rows=new_rows,
            filter=self._main.state.filter,
            traffic=traffic.total,
            pace=self._feed.pace,
            dns_per_s=traffic.dns_per_s,
        )

    def on_main_screen_state_changed(self) -> None:
        """The view is to be drawn anew."""
        self.draw()

    def on_row_table_opened(self, message: RowTable.Opened) -> None:
        """Enter on a row."""
        if self.shown is not None:
            context = self._cell_context(self.shown, self._traffic)
            self.push_screen(DetailScreen(message.row, self.shown, context, self._look.panes), lambda _: self.draw())

    # Keys

    def get_key_display(self, binding: Binding) -> str:
        """Textual's hook: a sign, or the name of the key on a terminal that does not have the sign."""
        sign = super().get_key_display(binding)
        return sign if shows(sign) else binding.key

    def action_pause(self) -> None:
        """Keep the view; a replay stops too."""
        if self._paused is not None:
            self._paused = None
        elif self._latest is not None:
            self._paused = self._latest, self._traffic.copy()
        self._feed.hold(self._paused is not None)
        self.draw()

    def action_pace(self, step: int) -> None:
        """Another interval, or speed of a replay; the feed says when it is so."""
        self._feed.adjust(step)

    def action_toggle_names(self) -> None:
        """Names or addresses."""
        self._main.toggle_names()

    @property
    def plays(self) -> bool:
        """Whether it is a recording that plays, where the arrow keys are the player's."""
        return self._mode == "REPLAY"

    def action_sort_menu(self) -> None:
        """Choose what the focused table is sorted by."""
        screen = self.screen
        if isinstance(screen, MainScreen | DetailScreen) and screen.table is not None:
            self.push_screen(SortMenu(screen.table.pane, screen.sorted_by), screen.sort_by)

    def action_columns(self) -> None:
        """Choose the columns of the focused table."""
        screen = self.screen
        if isinstance(screen, MainScreen | DetailScreen) and screen.table is not None:
            pane = screen.table.pane
            configured = next((each for each in self._look.configured if each.name == pane.name), pane)
            self.push_screen(ColumnPicker(pane, configured), self._remember)

    def on_column_picker_arranged(self, message: ColumnPicker.Arranged) -> None:
        """Show it like that everywhere."""
        pane = message.pane
        panes = tuple(pane if each.name == pane.name else each for each in self._look.panes)
        self._look = replace(self._look, panes=panes)
        for screen in self.screen_stack:
            if isinstance(screen, MainScreen | DetailScreen):
                screen.rearrange(pane)

    def _remember(self, pane: PaneKind[Any] | None) -> None:
        if pane is not None:
            self.run_worker(self._keep(pane), group="remember")

    async def _keep(self, pane: PaneKind[Any]) -> None:
        try:
            await asyncio.to_thread(self._look.remember, pane)
        except NettopError as error:
            self._say(f"The columns are not remembered. {error.message} {error.remedy}", failed=True)

    def action_command_palette(self) -> None:
        """Textual's own; not above another one."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette())

    def action_help(self) -> None:
        """Show the help."""
        self.push_screen(HelpScreen(self._look.keymap))

    def action_copy_row(self) -> None:
        """To the terminal's clipboard (OSC 52), which not every terminal has; none says whether it took it."""
        screen = self.screen
        row = screen.selected if isinstance(screen, MainScreen | DetailScreen) else None
        if row is None:
            self._say("There is no row to copy.", failed=True)
        else:
            self.copy_to_clipboard(msgspec.json.encode(row).decode())
            self._say(f"Sent the row as JSON to the terminal's clipboard (OSC 52).{_clipboard_hint(os.environ)}")

    def action_export(self) -> None:
        """Under a name of its own in the directory of the configuration."""
        if self.shown is not None:
            self._export_to(self._proposal(self.shown))

    def action_export_as(self) -> None:
        """Ask for the path."""
        if self.shown is not None:
            self.push_screen(PathPrompt(self._proposal(self.shown)), self._export_to)

    def _proposal(self, snapshot: Snapshot) -> str:
        return str(Path(self._look.export_directory) / export_name(snapshot))

    def _export_to(self, path: str | None) -> None:
        if path is None:
            return
        try:
            self._export(self._look.path(path))
        except RuntimeError:
            self._say(f"Not exported. There is no user of {path}.", failed=True)

    def _export(self, path: Path) -> None:
        if self.shown is None:
            return
        snapshot = msgspec.structs.replace(self.shown, paused=self._paused is not None)
        self.run_worker(self._write(snapshot, self._main.state.filter, path), group="export")

    async def _write(self, snapshot: Snapshot, chosen: Filter, path: Path) -> None:
        try:
            written = await asyncio.to_thread(write_snapshot, snapshot, chosen, path)
        except NettopError as error:
            self._say(f"Not exported. {error.message}", failed=True)
        except (OSError, ValueError) as error:  # a name too long, with a NUL
            self._say(f"Not exported. {path} is no path for a file: {error}.", failed=True)
        else:
            self._say(f"Wrote {written}")

    def _say(self, sentence: str, failed: bool = False) -> None:
        self.notify(
            printable_head(sentence, _NOTICE_CELLS), severity="error" if failed else "information", markup=False
        )

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: every key of the screen, and the theme."""
        keys = KEYS_IN_DETAIL if isinstance(screen, DetailScreen) else MAIN_KEYS
        table = screen.table if isinstance(screen, MainScreen | DetailScreen) else None
        for key in keys:
            yield SystemCommand(key.label, key.meaning, partial(screen.run_action, key.action))
        if table is not None:
            for key in TABLE_KEYS:
                yield SystemCommand(key.label, key.meaning, partial(table.run_action, key.action))
        for command in super().get_system_commands(screen):
            if command.title == "Theme":
                yield command

    def _handle_exception(self, error: Exception) -> None:
        # Textual would print the traceback with all locals over the terminal; it goes to a file instead.
        self.crash = "".join(traceback.format_exception(error))
        super()._handle_exception(error)
        self._exit_renderables.clear()


def _clipboard_hint(environment: Mapping[str, str]) -> str:
    """What a terminal multiplexer needs to pass a copy on; sudo leaves nothing of them but TERM."""
    term = environment.get("TERM", "")
    if "TMUX" in environment or term.startswith("tmux"):
        return " tmux takes it only after: tmux set -s set-clipboard on"
    if "STY" in environment or term.startswith("screen"):
        return " GNU screen does not pass it on; tmux does after: tmux set -s set-clipboard on"
    return ""


def export_name(snapshot: Snapshot) -> str:
    """`nettop-HOST-TIME.json`, the time in UTC and to the second."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", snapshot.host.name)
    return f"nettop-{host}-{_compact(snapshot.captured_at)}.json"


def _compact(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def write_snapshot(snapshot: Snapshot, chosen: Filter, path: Path) -> Path:
    """The rows that the filter chooses, under the rules of OutputFile; where they are.

    Raises UsageError and RunError.
    """
    path = path.absolute()
    with OutputFile(path, overwrite=False) as file:
        file.write(snapshot_json(chosen.apply(snapshot)))
        file.commit()
    return path
