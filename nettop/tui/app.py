"""The application: wires the feed to the screens. Computes nothing."""

import asyncio
import re
import signal
import traceback
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec
from textual.app import App, SystemCommand
from textual.screen import Screen

from nettop.collector import Feed
from nettop.errors import NettopError
from nettop.export import snapshot_json
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.output_file import OutputFile
from nettop.tui.columns import Context
from nettop.tui.detail import DetailScreen
from nettop.tui.help import HelpScreen
from nettop.tui.keys import MAIN_KEYS
from nettop.tui.main import MainScreen
from nettop.tui.prompts import PathPrompt
from nettop.tui.status import Status
from nettop.tui.table import RowTable
from nettop.tui.view import Traffic, newest_ids

TICK_S = 0.1  # how often the screen looks for a new snapshot: a comparison of references


class NettopApp(App[None]):
    """`mode` is what the status bar calls the view: LIVE, REPLAY, SNAPSHOT. With `tick_s` None one calls tick()."""

    CSS_PATH = "nettop.tcss"
    TITLE = "nettop"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        feed: Feed,
        mode: str = "LIVE",
        chosen: Filter | None = None,
        keymap: dict[str, str] | None = None,
        tick_s: float | None = TICK_S,
    ) -> None:
        super().__init__()
        self._feed = feed
        self._mode = mode
        self._keys = keymap or {}
        self._tick_s = tick_s
        self._main = MainScreen(chosen or Filter(""))
        self._latest: Snapshot | None = None
        self._paused: Snapshot | None = None
        self._traffic = Traffic()
        self._dns_per_s = 0.0
        self.crash: str | None = None

    @property
    def shown(self) -> Snapshot | None:
        """What the screen shows: the latest, or that of the pause."""
        return self._paused or self._latest

    def on_mount(self) -> None:
        """Textual's hook."""
        self.set_keymap(self._keys)
        self.push_screen(self._main)
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        if self._tick_s is not None:
            self.set_interval(self._tick_s, self.tick)
            self.call_after_refresh(self.tick)

    def tick(self) -> None:
        """Show what the feed has, if it is new."""
        if self._feed.error is not None:
            error = self._feed.error
            self.crash = "".join(traceback.format_exception(error))
            self.exit(return_code=1)
            return
        latest = self._feed.latest
        if latest is None or latest is self._latest:
            return
        self._measure(self._latest, latest)
        self._latest = latest
        self.draw()

    def draw(self) -> None:
        """Draw the screens anew from what is shown."""
        snapshot = self.shown
        if snapshot is None:
            return
        context = Context(snapshot.captured_at, self._main.state.names, self._traffic.by_process)
        if self._main.is_mounted:
            self._main.show(snapshot, context, self._status(snapshot))
        if isinstance(self.screen, DetailScreen):
            self.screen.show(snapshot, context)

    def _measure(self, before: Snapshot | None, latest: Snapshot) -> None:
        self._traffic.add(latest)
        if before is not None:
            seconds = (latest.captured_at - before.captured_at).total_seconds()
            asked = newest_ids(latest)[0] - newest_ids(before)[0]
            self._dns_per_s = asked / seconds if seconds > 0 else 0.0

    def _status(self, snapshot: Snapshot) -> Status:
        latest = self._latest or snapshot
        new_rows = sum(newest_ids(latest)) - sum(newest_ids(snapshot))
        ended = self._feed.finished and self._mode == "REPLAY"
        return Status(
            mode="END OF RECORDING" if ended else self._mode,
            paused=self._paused is not None,
            new_rows=new_rows,
            filter=self._main.state.filter,
            traffic=self._traffic.total,
            pace=self._feed.pace,
            dns_per_s=self._dns_per_s,
        )

    def on_main_screen_state_changed(self) -> None:
        """The view is to be drawn anew."""
        self.draw()

    def on_row_table_opened(self, message: RowTable.Opened) -> None:
        """Enter on a row."""
        if self.shown is not None:
            context = Context(self.shown.captured_at, self._main.state.names)
            self.push_screen(DetailScreen(message.row, self.shown, context), lambda _: self.draw())

    # Keys

    def action_pause(self) -> None:
        """Keep the view; a replay stops too."""
        self._paused = None if self._paused is not None else self._latest
        self._feed.hold(self._paused is not None)
        self.draw()

    def action_pace(self, step: int) -> None:
        """Another interval, or speed of a replay."""
        self._feed.adjust(step)
        self.draw()

    def action_toggle_names(self) -> None:
        """Names or addresses."""
        self._main.toggle_names()

    def action_help(self) -> None:
        """Show the help."""
        self.push_screen(HelpScreen(self._keys))

    def action_copy_row(self) -> None:
        """To the terminal's clipboard (OSC 52), which not every terminal has."""
        screen = self.screen
        row = screen.selected if isinstance(screen, MainScreen | DetailScreen) else None
        if row is None:
            self._say("There is no row to copy.", failed=True)
        else:
            self.copy_to_clipboard(msgspec.json.encode(row).decode())
            self._say("Copied the row as JSON.")

    def action_export(self) -> None:
        """Under a name of its own in the current directory."""
        if self.shown is not None:
            self._export(Path(export_name(self.shown)))

    def action_export_as(self) -> None:
        """Ask for the path."""
        if self.shown is not None:
            self.push_screen(PathPrompt(export_name(self.shown)), self._export_to)

    def _export_to(self, path: str | None) -> None:
        if path is not None:
            self._export(Path(path).expanduser())

    def _export(self, path: Path) -> None:
        if self.shown is None:
            return
        snapshot = msgspec.structs.replace(self.shown, paused=self._paused is not None)
        chosen = self._main.state.filter
        self.run_worker(self._write(chosen.apply(snapshot), path), group="export")

    async def _write(self, snapshot: Snapshot, path: Path) -> None:
        try:
            await asyncio.to_thread(write_snapshot, snapshot, path)
        except NettopError as error:
            self._say(f"{error.message} {error.remedy}", failed=True)
        else:
            self._say(f"Wrote {path.absolute()}")

    def _say(self, sentence: str, failed: bool = False) -> None:
        self.notify(sentence, severity="error" if failed else "information", markup=False)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The command palette: every key, and the theme."""
        for key in MAIN_KEYS:
            yield SystemCommand(key.label, key.meaning, partial(self._main.run_action, key.action))
        for command in super().get_system_commands(screen):
            if command.title == "Theme":
                yield command

    def _handle_exception(self, error: Exception) -> None:
        # Textual would print the traceback with all locals over the terminal; it goes to a file instead.
        self.crash = "".join(traceback.format_exception(error))
        super()._handle_exception(error)
        self._exit_renderables.clear()


def export_name(snapshot: Snapshot) -> str:
    """`nettop-HOST-TIME.json`, the time in UTC and to the second."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", snapshot.host.name)
    return f"nettop-{host}-{_compact(snapshot.captured_at)}.json"


def _compact(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Under the rules of OutputFile: raises UsageError and RunError."""
    with OutputFile(path, overwrite=False) as file:
        file.write(snapshot_json(snapshot))
        file.commit()
