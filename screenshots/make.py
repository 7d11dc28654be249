"""Draws the main states of the screen, as SVG and PNG, from the bundled recording: `make screenshots`.

They show what the live screen of the recorded host showed at one moment. The output is reproducible: events up to a
fixed tick, a fixed time zone, fixed names inside the SVG, one font.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import resources
from pathlib import Path

import resvg_py
from textual.pilot import Pilot

from nettop.model.events import AnyEvent, Start, Tick
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store
from nettop.sources.recording import read_events
from nettop.tui.app import NettopApp

HERE = Path(__file__).parent
FONT_FILES = tuple(  # of Debian's fonts-dejavu-core; this font has every character of the screen
    f"/usr/share/fonts/truetype/dejavu/DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")
)
FONT_FAMILY = "DejaVu Sans Mono"
# Rich's lines are 24.4 px apart; at this size a full block of DejaVu is as high, so that bars and borders join. The
# SVG gives the width of each text, so cells stay in place.
FONT_PX = 24.4 / ((1901 + 483) / 2048)
MAX_COLUMNS = 30  # more than any pane has
WIDE, NARROW = (120, 40), (80, 24)


@dataclass(frozen=True)
class Picture:
    """One state: how far the recording has gone, the terminal's size, and the keys that lead there."""

    name: str
    at_s: float
    size: tuple[int, int] = WIDE
    keys: tuple[str, ...] = ()
    sorted_by: str = ""  # the column's title and the direction, as the pane's own title has them; after the keys
    filter: str = ""
    then_s: float | None = None  # after the keys, play the recording on until here


PICTURES = (
    Picture("overview", 34.5),
    Picture("findings", 50.5, keys=("f7",)),
    Picture("hammering", 50.5, keys=("1", "z", "b")),
    Picture("hanging", 37.5, keys=("z",), sorted_by="WAIT ▾", filter="state:open"),
    Picture("sending", 50.5, keys=("2", "z", "b", "b"), sorted_by="TX ▾"),
    Picture("dns-failed", 50.5, keys=("1", "z"), filter="dns:failed"),
    Picture("slow", 50.5, keys=("7", "z"), sorted_by="LATENCY ▾"),
    Picture("request", 50.5, keys=("7", "z", "enter"), filter="comm:api-server path:/products/_search latency:>600ms"),
    Picture("process", 44.5, keys=("3", "enter"), filter="comm:api-server"),
    Picture("connection", 37.5, keys=("enter",), filter="comm:api-server host:payments.example.net state:established"),
    Picture("paused", 43.5, keys=("space",), then_s=50.5),
    Picture("help", 34.5, keys=("question_mark",)),
    Picture("narrow", 50.5, size=NARROW),
)


class DemoFeed:
    """A Feed that advances on request, by ticks of the recording instead of the clock."""

    error = None
    finished = False
    pace = "every 1 s"
    playing = None
    cutting = None

    def __init__(self, events: Sequence[AnyEvent]) -> None:
        self.latest: Snapshot | None = None
        self._events = list(events)
        self._store = Store()

    def start(self, changed: Callable[[], None]) -> None:
        """Nothing to begin."""

    def stop(self) -> None:
        """Nothing to release."""

    def adjust(self, step: int) -> None:
        """The pictures set the pace."""

    def hold(self, held: bool) -> None:
        """The pictures hold it."""

    def play(self, app: NettopApp, until_s: float) -> None:
        """Advance, and show every tick to the app, which makes its rates and sparklines from them."""
        start = self._events[0] if self.latest is None else None
        if isinstance(start, Start):
            self._begin = start.time
        while self._events and self._events[0].time - self._begin <= timedelta(seconds=until_s):
            event = self._events.pop(0)
            self._store.apply(event)
            if isinstance(event, Tick):
                self.latest = self._store.snapshot()
                app.tick()


def drawn(picture: Picture, events: Sequence[AnyEvent]) -> str:
    """The state as SVG, in the zone UTC and in full colour whatever the environment says."""
    before = {name: os.environ.get(name) for name in ("TZ", "NO_COLOR", "TERM", "COLORTERM")}
    os.environ.update(TZ="UTC", TERM="xterm-256color", COLORTERM="truecolor")
    os.environ.pop("NO_COLOR", None)
    time.tzset()
    try:
        return asyncio.run(_draw(picture, events))
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        time.tzset()


async def _draw(picture: Picture, events: Sequence[AnyEvent]) -> str:
    feed = DemoFeed(events)
    app = NettopApp(feed, "LIVE", Filter(picture.filter))
    async with app.run_test(size=picture.size) as pilot:
        app.theme = "textual-dark"  # whatever TEXTUAL_THEME says
        await pilot.pause()
        feed.play(app, picture.at_s)
        await pilot.pause()
        await press(pilot, picture.keys)
        if picture.sorted_by:
            await sort(pilot, picture.sorted_by)
        if picture.then_s is not None:
            feed.play(app, picture.then_s)
            app.draw()
            await pilot.pause()
        return same_every_time(app.export_screenshot(title="nettop"), picture.name)


async def press(pilot: Pilot[None], keys: Sequence[str]) -> None:
    """Press keys, each after the screen has settled."""
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


async def sort(pilot: Pilot[None], wanted: str) -> None:
    """Press `>` until the wanted column sorts, and `S` if it does so the other way round.

    A number of presses would mean another column once there is one more.
    """
    column = wanted.split(maxsplit=1)[0]
    for _ in range(MAX_COLUMNS):
        if f"by {column} " in _said(pilot):
            break
        await press(pilot, (">",))
    if f"by {wanted} " not in _said(pilot):
        await press(pilot, "S")
    if f"by {wanted} " not in _said(pilot):
        raise LookupError(f"no column sorts as '{wanted}'")


def _said(pilot: Pilot[None]) -> str:
    return pilot.app.export_screenshot().replace("&#160;", " ")


def same_every_time(svg: str, name: str) -> str:
    """With names of our own instead of generated ones, no font from the Internet, and lines that join."""
    svg = re.sub(r"terminal-\d+", f"nettop-{name}", svg)
    # Each line is cut off at its top, which would leave a gap below every block of a scroll bar.
    svg = re.sub(rf'\s*<clipPath id="nettop-{name}-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    svg = re.sub(rf' clip-path="url\(#nettop-{name}-line-\d+\)"', "", svg)
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", f"font-family: '{FONT_FAMILY}', Menlo, Consolas, monospace")
    svg = svg.replace("font-family: arial", f"font-family: '{FONT_FAMILY}', Menlo, Consolas, monospace")
    return svg.replace("font-size: 20px", f"font-size: {FONT_PX:.3f}px")


def png(svg: str) -> bytes:
    """The SVG as PNG, with one font and none of the system's others."""
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg, skip_system_fonts=True, font_files=list(FONT_FILES), monospace_family=FONT_FAMILY
        )
    )


def main() -> None:
    """Draw all, or those named on the command line."""
    missing = [path for path in FONT_FILES if not Path(path).exists()]
    if missing:
        sys.exit(f"{missing[0]} is missing: install the font (Debian: fonts-dejavu-core).")
    with resources.as_file(resources.files("nettop") / "demo" / "demo.jsonl") as path:
        events = list(read_events(path, partial=False))
    for picture in PICTURES:
        if len(sys.argv) > 1 and picture.name not in sys.argv[1:]:
            continue
        svg = drawn(picture, events)
        (HERE / f"{picture.name}.svg").write_text(svg)
        (HERE / f"{picture.name}.png").write_bytes(png(svg))


if __name__ == "__main__":
    main()
