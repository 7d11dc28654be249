"""Every place of the screen that shows what strangers wrote."""

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from nettop.export.json import snapshot_json
from nettop.model import rows
from nettop.model.filter import Filter, exactly
from nettop.model.kinds import CONNECTIONS
from nettop.model.snapshot import Snapshot
from nettop.model.store import replayed
from nettop.sources.recording import read_snapshot
from nettop.tui.detail import MAX_FACT_CHARACTERS, DetailScreen, facts_text
from nettop.tui.filter_bar import FilterBar
from nettop.tui.main import MainScreen
from nettop.tui.table import cell_of
from nettop.view.columns import Context
from nettop.view.facts import detail
from nettop.view.keys import ALL_KEYS
from nettop.view.look import Look
from nettop.view.panes import PANES
from tests import builders
from tests.hostile.strings import HOSTILE, unprintable
from tests.tui.scene import FakeFeed, lines, notices, play, settled, snapshot, text, the_app, until

STRINGS = tuple(HOSTILE.values())
SHORT = tuple(text for text in STRINGS if len(text) < 1000)


def hostile_rows(number: int, evil: str) -> tuple[Any, ...]:
    """One row of each kind, of which every text is this."""
    endpoint = rows.Endpoint(address=evil, port=1)
    remote = rows.RemoteEndpoint(address=evil, port=1, name=evil, name_source="process")
    answer = rows.Answer(name=evil, type=evil, ttl=1, data=evil)
    who = {"comm": evil, "pid": number}
    paths = {"cmdline": (evil, evil), "cgroup": f"/{evil}/{evil}.service", "user": evil, "parent_pid": number}
    asked = builders.answered(
        id=number, qname=evil, qtype=evil, rcode=evil, server=endpoint, client=endpoint, answers=(answer,) * 3,
        unparsed=evil, **who,
    )  # fmt: skip
    connection = builders.connection(id=number, local=endpoint, remote=remote, **who)
    holder = rows.Holder(pid=number, process_start_time=builders.BASE, comm=evil)
    listener = builders.listener(id=number, address=evil, holders=(holder,) * 3, **who)
    interface = rows.InterfacePackets(ifindex=1, interface=evil)
    host = builders.remote_host(
        netns=number,
        address=evil,
        name=evil,
        names=(evil,) * 3,
        pids=(number,),
        comms=(evil,),
        interfaces=(interface,) * 2,
    )
    flow = builders.udp_socket(id=number, local=endpoint, remote=remote, **who)
    request = builders.request(
        id=number, method=evil, host=evil, path=evil, trace_id=evil, connection_id=number, remote=remote, **who
    )
    lookup = builders.lookup(id=number, name=evil, result=evil, addresses=(evil,), **who)
    return asked, connection, builders.process(**who, **paths), listener, host, flow, request, lookup


def hostile_snapshot(texts: tuple[str, ...] = STRINGS) -> Snapshot:
    """Everything in it is hostile, with nothing made printable on the way."""
    made = (hostile_rows(*each) for each in enumerate(texts, 1))
    dns, connections, processes, listeners, hosts, udp, requests, lookups = zip(*made, strict=True)
    everything = "".join(SHORT)
    return snapshot(
        dns, connections, processes, listeners=listeners, hosts=hosts, udp=udp, requests=requests, lookups=lookups,
        scope=rows.Scope(comm=texts), filter=everything, hooks={everything: everything},
        host=rows.Host(name=everything, kernel=everything, arch=everything, boot_id=everything),
        losses=rows.Losses(perf_buffer={everything: 1}, evicted={everything: 1}),
    )  # fmt: skip


class Seen:
    """What the screen said so far, of which all must be printable."""

    def __init__(self) -> None:
        self.screens = 0

    def look(self, pilot: Pilot[None]) -> None:
        self.screens += 1
        for line in lines(pilot):
            assert unprintable(line) == set(), line
        assert isinstance(pilot.app, App)
        assert not pilot.app._exit


@pytest.mark.parametrize("size", [(200, 50), (80, 24), (60, 15), (20, 5)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_panes(size: tuple[int, int]) -> None:
    seen = Seen()

    async def steps(pilot: Pilot[None]) -> None:
        seen.look(pilot)
        for pane in "12345678":
            await pilot.press(pane, "home")
            for _ in range(4):
                await pilot.press("pagedown")
                seen.look(pilot)
            await pilot.press("s", "S", "a", "h")
            seen.look(pilot)

    play(steps, FakeFeed(hostile_snapshot()), size)


@pytest.mark.parametrize("evil", STRINGS, ids=HOSTILE)
def test_every_cell_and_every_fact(evil: str) -> None:
    here = hostile_snapshot((evil,))
    context = Context(here.captured_at)
    for pane in PANES:
        (row,) = pane.kind.rows_of(here)
        for column in pane.columns:
            for cells in (1, 2, column.cells, 150):
                shown = cell_of(column, row, context, cells)
                assert unprintable(shown) == set()
                assert cell_len(shown) == cells
        facts = Console(width=120, file=io.StringIO(), color_system=None)
        facts.print(facts_text(detail(row, here, context)))
        said = facts.file.getvalue()  # type: ignore[attr-defined]
        assert unprintable(said.replace("\n", "")) == set()
        assert len(said) < 20 * 10 * MAX_FACT_CHARACTERS


def test_details() -> None:
    seen = Seen()

    async def steps(pilot: Pilot[None]) -> None:
        for pane in "12345678":
            await pilot.press(pane, "home")
            for _ in range(3):
                await pilot.press("enter")
                await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen))
                seen.look(pilot)
                await pilot.press("escape", *["down"] * 11)

    play(steps, FakeFeed(hostile_snapshot()), (120, 40))


def test_what_prints_is_shown_as_it_is() -> None:
    wanted = ("[/", "[/foo]", "[@click=app.quit]x[/]", "日本語の名前と漢字", "שלום مرحبا")

    async def steps(pilot: Pilot[None]) -> None:
        shown = text(pilot)
        assert all(each in shown for each in wanted)

    play(steps, FakeFeed(hostile_snapshot(wanted)), (200, 50))


@pytest.mark.parametrize("evil", STRINGS, ids=HOSTILE)
def test_filtering_by_a_hostile_name_finds_its_row(evil: str) -> None:
    test = Filter(exactly("comm", evil)).test(CONNECTIONS, builders.BASE)
    assert test is not None
    assert test(hostile_rows(1, evil)[1])
    assert not test(hostile_rows(1, "another")[1])


def test_typing_and_pasting() -> None:
    seen = Seen()

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("slash")
        bar = the_app(pilot)._main.query_one(FilterBar)
        for evil in SHORT[::2]:
            box = bar.query_one(Input)
            box.value = f'pid:"{evil}"'
            await pilot.pause()
            seen.look(pilot)
        await pilot.press("escape", "E")
        await pilot.pause()
        for evil in SHORT[::4]:
            pilot.app.screen.query_one(Input).value = evil
            await pilot.pause()
            seen.look(pilot)
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, MainScreen)

    play(steps, FakeFeed(hostile_snapshot(SHORT)), (120, 40))


def test_a_filter_from_the_command_line() -> None:
    seen = Seen()
    told = "".join(c for text in SHORT for c in text if c != '"' and not 0xD800 <= ord(c) <= 0xDFFF)

    async def steps(pilot: Pilot[None]) -> None:
        assert the_app(pilot)._main.state.filter.text == f'user:"x{told}"'
        seen.look(pilot)

    play(steps, FakeFeed(hostile_snapshot(SHORT[:3])), (200, 50), chosen=f'user:"x{told}"')


def test_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = Seen()

    async def steps(pilot: Pilot[None]) -> None:
        for evil in STRINGS:
            the_app(pilot)._export_to(f"nowhere/{evil}")
        await until(pilot, lambda: len(notices(pilot)) == len(STRINGS))
        seen.look(pilot)
        assert all(unprintable(notice) == set() for notice in notices(pilot))

    play(steps, FakeFeed(snapshot()), (120, 40))
    assert not list(tmp_path.iterdir())


def test_files_with_hostile_names_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = ("sequence that clears", "tabs", "bidi", "marks on nothing", "CJK", "quotes")
    names = [HOSTILE[name] for name in chosen]

    async def steps(pilot: Pilot[None]) -> None:
        for name in names:
            the_app(pilot)._export_to(name)
        await until(pilot, lambda: len(notices(pilot)) == len(names))
        assert all(
            notice.startswith("Wrote ") and unprintable(notice.replace("\n", " ")) == set() for notice in notices(pilot)
        )

    play(steps, FakeFeed(snapshot()), (120, 40))
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_help_and_palette_with_hostile_keys() -> None:
    seen = Seen()
    keys = {key.id: evil for key, evil in zip(ALL_KEYS, SHORT * 3, strict=False) if key.id not in ("help", "palette")}

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        for _ in range(8):
            seen.look(pilot)
            await pilot.press("pagedown")
            await pilot.pause()
        await pilot.press("escape")
        pilot.app.pop_screen()
        await pilot.press("ctrl+p")
        await settled(pilot)
        seen.look(pilot)

    play(steps, FakeFeed(hostile_snapshot(SHORT)), (120, 40), look=Look(keymap=keys))


def test_a_row_is_copied_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    texts = tuple(text.encode("utf-8", "replace").decode() for text in SHORT[::4])

    async def steps(pilot: Pilot[None]) -> None:
        driver = pilot.app._driver
        assert driver is not None
        monkeypatch.setattr(driver, "write", copied.append)
        for pane in "12345678":
            await pilot.press(pane, "home")
            for _ in texts:
                await pilot.press("y", "down")
        await pilot.pause()

    play(steps, FakeFeed(hostile_snapshot(texts)), (120, 40))
    clipboards = [said for said in copied if said.startswith("\x1b]52;c;")]
    assert len(clipboards) == len(PANES) * len(texts)
    comms: set[str] = set()
    for said in clipboards:
        assert said.endswith("\a")
        row = json.loads(base64.b64decode(said[7:-1], validate=True))
        comms.update(row["comms"] if "comms" in row else (row["comm"],))
    assert comms == set(texts)


FIRST, LAST = "0001-01-01T00:00:00.5Z", "9999-12-31T23:59:59.5Z"
MOST_INT = 2**63 - 1
MOST = {
    ("port", "ports", "txid"): 65_535,
    ("pid", "pids"): 4_194_304,
    ("_ms", "p50", "max"): 1e15,
    ("elapsed_s",): 1e12,
    ("status",): 599,
}


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(("moment", "captured"), [(FIRST, FIRST), (LAST, LAST), (FIRST, LAST)])
def test_the_largest_numbers_and_the_first_and_last_dates_are_shown(
    moment: str, captured: str, zone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All that a file may have: what is beyond, it is refused for."""
    document = json.loads(snapshot_json(replayed(builders.a_recording()).snapshot()))

    def absurd(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {name: absurd(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [absurd(item, key) for item in value]
        if key.endswith(("_at", "_time", "_seen")):
            return captured if key == "captured_at" else moment
        if isinstance(value, bool) or not (isinstance(value, int | float) or key.endswith("_ms")):
            return value
        return next((most for names, most in MOST.items() if key.endswith(names)), MOST_INT)

    path = tmp_path / "file"
    path.write_text(json.dumps(absurd(document)))
    shown = read_snapshot(path)
    assert shown is not None
    monkeypatch.setenv("TZ", zone)
    time.tzset()

    async def steps(pilot: Pilot[None]) -> None:
        for pane in "12345678":
            await pilot.press(pane, "enter")
            await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen))
            await pilot.press("escape", "s", "S", "f", "escape", "c", "escape")

    try:
        app = play(steps, FakeFeed(shown), (200, 50), mode="SNAPSHOT")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert app.crash is None
    assert snapshot_json(shown)


def test_a_filter_of_a_row_that_no_kernel_has() -> None:
    """A recording may hold a longer name than a kernel; the key c takes it."""
    name = "a-name-of-more-than-fifteen"
    test = Filter(exactly("comm", name)).test(CONNECTIONS, builders.BASE)
    assert test is not None
    assert test(builders.connection(comm=name))
