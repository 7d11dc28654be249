"""The application: wires the feed to the screens. Computes nothing."""

import asyncio
import os
import re
import signal
import string
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from operator import is_
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import msgspec
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from nettop.collector import Feed, Jump
from nettop.errors import NettopError
from nettop.export.file import OutputFile
from nettop.export.json import snapshot_json
from nettop.model.filter import Filter
from nettop.model.mark import Mark, newest_ids
from nettop.model.owners import Owners
from nettop.model.snapshot import Snapshot
from nettop.settings.declared import THEMES
from nettop.text import printable_head, printable_text
from nettop.tui import size
from nettop.tui.bindings import bindings
from nettop.tui.choices import Choice, Choices
from nettop.tui.cutting import OrdersCuts
from nettop.tui.detail import DetailScreen
from nettop.tui.help import HelpScreen
from nettop.tui.main import MainScreen
from nettop.tui.palette import SIXTEEN_COLOURS, legible_variables
from nettop.tui.picker import ColumnPicker
from nettop.tui.prompts import Palette, PathPrompt
from nettop.tui.table import RowTable
from nettop.tui.terminal import TerminalDriver, shows
from nettop.view.arrangement import sort_line, sortable
from nettop.view.columns import Context
from nettop.view.findings import Finding, findings
from nettop.view.group import Group
from nettop.view.headline import Status
from nettop.view.keys import APP_KEYS, KEYS_IN_DETAIL, MAIN_KEYS, PLAYER_KEYS, TABLE_KEYS, Key
from nettop.view.look import DEFAULT_LOOK, Look
from nettop.view.notable import Notable, OpenConnections
from nettop.view.panes import PaneKind, Traffic

GRACE_S = 2.0  # after a signal: Textual waits for ever for a terminal that takes nothing any more
_NOTICE_CELLS = 400
_SIGNS = {*string.printable, *"↑↓←→"}  # no others for keys: the fonts of the Linux console lack ⏎ and its like


class NettopApp(OrdersCuts, inherit_bindings=False):
    """`mode` is what the status bar calls the view: LIVE, REPLAY, SNAPSHOT. The feed is to call feed_changed().

    After the end `failure` is the NettopError that the feed ended with, `crash` the traceback of any other.
    """

    CSS_PATH = "nettop.tcss"
    TITLE = "nettop"
    ENABLE_COMMAND_PALETTE = True
    ALLOW_SELECT = False  # what is drawn line by line gives no text, and ctrl+c leaves; the terminal selects with shift
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(APP_KEYS), *bindings(PLAYER_KEYS)]
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
        self._mark: Mark | None = None
        self._cells_of: tuple[tuple[object, ...], Context] | None = None
        self._notable, self._open_connections = Notable(), OpenConnections()
        self._findings: tuple[Snapshot, list[Finding]] | None = None
        self._traffic = Traffic()
        self._first_pace: str | None = None
        self._said: tuple[object, ...] | None = None  # what the feed says of itself
        self._jump: Jump | None = None  # the last one that was followed
        self._running_loop: asyncio.AbstractEventLoop | None = None
        self._watching = False
        self.failure: NettopError | None = None
        self.crash: str | None = None

    @property
    def shown(self) -> Snapshot | None:
        """What the screen shows: the latest, or that of the pause; with totals since the mark, if there is one."""
        snapshot = self._unmarked
        return snapshot if snapshot is None or self._mark is None else self._mark.since(snapshot)

    @property
    def _unmarked(self) -> Snapshot | None:
        return self._paused[0] if self._paused is not None else self._latest

    def get_css_variables(self) -> dict[str, str]:
        """Textual's hook: the colours of the theme, where they can be read."""
        return legible_variables(self.current_theme, super().get_css_variables())

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
        self._offer_themes()
        self.theme_changed_signal.subscribe(self, lambda _: self.call_after_refresh(self.draw))
        self.set_keymap(dict(self._look.keymap))
        self.push_screen(self._main)
        self.call_after_refresh(self._watch)

    def _offer_themes(self) -> None:
        """On a terminal of sixteen colours only those made of them: it shows the others in colours nobody chose."""
        chosen = self._look.theme
        offered: tuple[str, ...] = THEMES
        if self.console.color_system == "standard":
            offered = SIXTEEN_COLOURS
            if chosen not in offered:
                chosen = offered[0 if self.available_themes[chosen].dark else 1]
        self.theme = chosen
        for name in set(self.available_themes) - set(offered):
            self.unregister_theme(name)

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
        self._follow_jump()
        playing = self._feed.playing
        cuts = None if self._feed.cutting is None else self._feed.cutting.state
        said = self._feed.pace, self._feed.finished, playing and (playing.going, playing.length_s), cuts
        self._tell_outcome(cuts)
        latest = self._feed.latest
        if latest is not None and latest is not self._latest:
            if self._latest is None:
                self._mark = Mark.of_file(latest)
            self._traffic.add(latest)
            self._latest = latest
        elif said == self._said:
            return
        self._said = said
        if self._first_pace is None:
            self._first_pace = self._feed.pace
        self.draw()

    def _follow_jump(self) -> None:
        """Be where the player has gone, as if one had watched until there; a pause is one there."""
        jump = None if self._feed.playing is None else self._feed.playing.jump
        if jump is None or jump is self._jump:
            return
        self._jump, self._said = jump, None
        self._latest, self._traffic = jump.snapshot, jump.traffic.copy()
        if self._paused is not None:
            self._paused = jump.snapshot, jump.traffic
        if jump.row is not None:
            self._main.select(jump.row)
        if jump.said:
            self._say(jump.said)

    def draw(self) -> None:
        """Draw the screens anew from what is shown."""
        snapshot = self.shown
        if snapshot is None:
            return
        traffic = self._traffic if self._paused is None else self._paused[1]
        context = self._cell_context(snapshot, traffic)
        cutting = self._feed.cutting
        if self._main.is_mounted:
            self._main.tell(self._found())
            if cutting is not None and cutting.powers.allowed:
                self._main.tell_cuts(cutting.state)
            self._main.show(snapshot, context, self._status(snapshot, traffic))
        for screen in self.screen_stack:
            if isinstance(screen, DetailScreen) and screen.is_mounted:
                screen.show(snapshot, context)

    def _cell_context(self, snapshot: Snapshot, traffic: Traffic) -> Context:
        """The same object as long as all that cells depend on is the same: then they say the same."""
        names, mark = self._main.state.names, self._mark_of(snapshot)
        of = snapshot, traffic.by_process, mark
        known = self._cells_of
        if known is None or known[1].names is not names or not all(map(is_, of, known[0])):
            context = Context(
                snapshot.captured_at,
                names=names,
                traffic=traffic.by_process,
                owners=Owners(snapshot.processes),
                start=snapshot.started_at,
                mark=mark,
            )
            known = self._cells_of = of, context
        return known[1]

    def _status(self, snapshot: Snapshot, traffic: Traffic) -> Status:
        latest = self._latest or snapshot
        seen = newest_ids(snapshot)
        new_rows = sum(max(number - seen[name], 0) for name, number in newest_ids(latest).items())
        playing = self._feed.playing
        mode = self._mode
        if playing is not None and (playing.going or self._feed.finished):
            mode = "SEEKING" if playing.going else "END OF RECORDING"
        return Status(
            mode=mode,
            paused=self._paused is not None,
            new_rows=new_rows,
            filter=self._main.state.filter,
            traffic=traffic.total,
            pace=self._feed.pace,
            dns_per_s=traffic.dns_per_s,
            open_connections=self._open_connections.count(snapshot.connections),
            dns=traffic.dns,
            pace_is_new=self._feed.pace != self._first_pace,
            ended_hidden=not self._main.state.show_ended,
            length_s=None if playing is None else playing.length_s,
        )

    def _found(self) -> list[Finding]:
        """What is wrong in what is shown; a mark changes nothing of that."""
        snapshot = self._unmarked
        if snapshot is not None and (self._findings is None or self._findings[0] is not snapshot):
            self._findings = snapshot, findings(snapshot, self._notable)
        return [] if self._findings is None else self._findings[1]

    def _mark_of(self, snapshot: Snapshot) -> Mark | None:
        """None also where a replay has gone back to before the mark."""
        return None if snapshot.mark is None else self._mark

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
        name = printable_text(binding.key)
        if name != binding.key:  # no key has such a name; Textual fails to look some of them up
            return name
        sign = super().get_key_display(binding)
        known = shows(sign) and not set(sign) - _SIGNS
        return sign if sign.isascii() or known else binding.key

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Textual's hook: keys of the player mean something else where nothing is played, and where one types."""
        if action in ("go", "go_to_start", "go_to_next_tick", "go_to_next_failure"):
            typing = isinstance(self.focused, Input)
            return self._feed.playing is not None and isinstance(self.screen, MainScreen | DetailScreen) and not typing
        return super().check_action(action, parameters)

    def action_pause(self) -> None:
        """Keep the view; a replay stops too, and begins again where it has ended."""
        if self._feed.playing is not None and self._feed.finished:
            self.action_go_to_start()
            return
        self._pause(self._paused is None)

    def _pause(self, paused: bool) -> None:
        if not paused:
            self._paused = None
        elif self._paused is None and self._latest is not None:
            self._paused = self._latest, self._traffic.copy()
        self._feed.hold(self._paused is not None)
        self.draw()

    def action_go(self, seconds: int) -> None:
        """Back or forward in a recording."""
        if self._feed.playing is not None:
            self._feed.playing.go(seconds)

    def action_go_to_start(self) -> None:
        """Play it again."""
        if self._feed.playing is not None:
            self._pause(False)
            self._feed.playing.go_to_start()

    def action_go_to_next_tick(self) -> None:
        """One tick, then pause."""
        if self._feed.playing is not None:
            self._pause(True)
            self._feed.playing.go_to_next_tick()

    def action_go_to_next_failure(self) -> None:
        """Pause there."""
        if self._feed.playing is not None:
            self._pause(True)
            self._feed.playing.go_to_next_failure(self._main.state.filter)

    def action_pace(self, step: int) -> None:
        """Another interval, or speed of a replay; the feed says when it is so."""
        self._feed.adjust(step)

    def action_mark(self) -> None:
        """Count from what is shown."""
        if self._unmarked is not None:
            self._mark = Mark(self._unmarked)
            self.draw()

    def action_unmark(self) -> None:
        """Count from the start again."""
        if self._latest is not None:
            self._mark = Mark.of_file(self._latest)
            if self._mark is not None:
                self._say("The file was exported with this mark and counts from there.")
            self._main.show_new(False)

    def action_show_new(self) -> None:
        """Only what began after the mark, or everything again."""
        if self._mark is None:
            self._say("There is no mark to be newer than; m sets one.", failed=True)
        else:
            self._main.show_new(not self._main.state.only_new)

    def action_findings(self) -> None:
        """List what is wrong; the one that is chosen is shown."""
        found = self._found()
        if not found:
            self._say("Nothing found: no rule of nettop diagnose speaks of what is shown.")
        elif not isinstance(self.screen, Choices):
            choices = [Choice(str(number), each.sentence) for number, each in enumerate(found)]
            self.push_screen(Choices("Findings", choices, wrap=True), partial(self._prove, found))

    def _prove(self, found: list[Finding], number: str | None) -> None:
        if number is not None:
            self._main.prove(found[int(number)])

    def on_finding_line_clicked(self) -> None:
        """A click on the line."""
        self.action_findings()

    def action_toggle_names(self) -> None:
        """Names or addresses."""
        self._main.toggle_names()

    def action_sort_menu(self) -> None:
        """Choose what the focused table is sorted by."""
        screen = self.screen
        if isinstance(screen, MainScreen | DetailScreen) and screen.table is not None:
            pane, (key, descending) = screen.table.pane, screen.sorted_by
            choices = [
                Choice(column.key, sort_line(column, descending if column.key == key else None), column.key == key)
                for column in sortable(pane)
            ]
            title = f"Sort {pane.kind.plural} by (again: the other way round)"
            self.push_screen(Choices(title, choices), screen.sort_by)

    def action_columns(self) -> None:
        """Choose the columns of the focused table."""
        screen = self.screen
        if isinstance(screen, MainScreen | DetailScreen) and screen.table is not None:
            pane = screen.table.pane
            if pane.kind.row is Group:
                self._say("Groups have the columns that they have; esc goes back to rows.", failed=True)
                return
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
            told = row.told() if isinstance(row, Group) else row
            self.copy_to_clipboard(msgspec.json.encode(told).decode())
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
            self._say(f"Wrote {written.name}", f"in {written.parent}")  # so that the name is not broken

    def _say(self, *sentences: str, failed: bool = False) -> None:
        """Each on a line of its own."""
        said = "\n".join(printable_head(sentence, _NOTICE_CELLS) for sentence in sentences)
        self.notify(said, severity="error" if failed else "information", markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: what keys do on the screen, with these keys; what to sort by; the theme."""
        keys = KEYS_IN_DETAIL if isinstance(screen, DetailScreen) else MAIN_KEYS
        yield from self._commands((*APP_KEYS, *keys), screen)
        table = screen.table if isinstance(screen, MainScreen | DetailScreen) else None
        if self._feed.playing is not None:
            yield from self._commands(PLAYER_KEYS, screen)
        for grouping in self._main.drill.groupings if screen is self._main else ():
            meaning = f"Group {grouping.kind.plural} by {grouping.name}"
            yield SystemCommand(f"Group by {grouping.name}", meaning, partial(self._main.group_by, grouping.name))
        if isinstance(screen, MainScreen | DetailScreen) and table is not None:
            yield from self._commands(TABLE_KEYS, table)
            for column in sortable(table.pane):
                sort = partial(screen.sort_by, column.key)
                yield SystemCommand(f"Sort by {column.title}", column.meaning, sort)
        for command in super().get_system_commands(screen):
            if command.title == "Theme":
                yield command

    def _commands(self, keys: Iterable[Key], where: Widget) -> Iterable[SystemCommand]:
        for key in keys:
            shown = printable_head(key.shown(self._look.keymap), _NOTICE_CELLS)
            if key.command:  # with its keys, but for those of the user's that would be markup to the palette
                title = key.label if "[" in shown else f"{key.label} ({shown})"
                yield SystemCommand(title, key.meaning, partial(where.run_action, key.action))

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
