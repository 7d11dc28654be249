"""The screen looks at what has changed only; what it shows is what looking at everything would give."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from nettop.model.kinds import CONNECTIONS, DNS
from nettop.model.rows import Connection, DnsQuery
from nettop.model.snapshot import Snapshot
from nettop.model.table import BoundedTable
from nettop.view.columns import Context
from nettop.view.findings import findings
from nettop.view.group import Group
from nettop.view.grouping import grouped, keying_of
from nettop.view.ranking import sort
from nettop.view.selection import select
from tests import builders
from tests.tui.scene import FakeFeed, connection, play, query, show, snapshot, the_app

STEPS, OPEN, CHANGES, HISTORY = 100, 150, 12, 60
KEYS = (
    "1", "2", "4", "z", "z", "z", "z", "S", "s", "less_than_sign", "greater_than_sign", "b", "b", "enter", "escape",
    "h", "space", "a", "j", "G", "u", "m", "M",
)  # fmt: skip
FILTERS = (
    "",
    "comm:c*",
    "state:closed",
    "-state:established",
    "dns:failed",
    "rtt:>40ms",
    "age:<30s",
    "port:443 wait:local",
)


class Host:
    """Connections and queries that come, change and go as the dice fall."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._connections: BoundedTable[int, Connection] = BoundedTable(CONNECTIONS.ended, HISTORY)
        self._dns: BoundedTable[int, DnsQuery] = BoundedTable(None, HISTORY)
        self._newest = 0

    def snapshots(self) -> Iterator[Snapshot]:
        """One after another."""
        for _ in range(OPEN):
            self._come(60.0)
        seconds = 60.0
        while True:
            for _ in range(self._dice.choice((0, 3, CHANGES, CHANGES, 10 * CHANGES))):
                self._dice.choice((self._come, self._change, self._change, self._change, self._ask))(seconds)
            yield snapshot(self._dns.version(), self._connections.version(), seconds=seconds)
            seconds += 1.0

    def _come(self, seconds: float) -> None:
        self._newest += 1
        who, rate = self._dice.choice(("curl", "nginx", "chromium")), float(self._dice.randrange(3))
        row = connection(self._newest, who, None, opened_at=builders.at(seconds), tx_bytes_per_s=rate)
        self._connections.put(row.id, replace(row, srtt_ms=self._dice.choice((None, 30.0, 50.0))))

    def _change(self, seconds: float) -> None:
        row = self._dice.choice(list(self._connections.rows.values()))
        changes: list[dict[str, Any]] = [
            {"tx_bytes": row.tx_bytes + 1},
            {"srtt_ms": self._dice.choice((None, 30.0, 50.0))},
            {"waits_for": "local", "waits_since": builders.at(seconds), "recv_queue_bytes": 9000},
            {"state": "close-wait", "state_since": builders.at(seconds)},
            {
                "state": "closed",
                "closed_at": builders.at(seconds),
                "end": self._dice.choice(("normal", "reset-by-peer")),
            },
        ]
        if row.state != "closed":
            self._connections.put(row.id, replace(row, **self._dice.choice(changes)))

    def _ask(self, seconds: float) -> None:
        self._newest += 1
        how = self._dice.choice(("NOERROR", "SERVFAIL", "NXDOMAIN", "timeout"))
        row = query(self._newest, "curl", f"host{self._newest % 7}.example.com", how, asked_at=builders.at(seconds))
        self._dns.put(row.id, row)


def told(lines: Any, context: Context) -> list[Any]:
    """Rows as they are, groups by what they say."""
    return [
        (line.key, list(map(id, line.rows)), [column.text(line, context) for column in line.pane.columns])
        if isinstance(line, Group)
        else id(line)
        for line in lines
    ]


def check(pilot: Pilot[None]) -> None:
    """Each table, the findings and the counts against everything looked at anew."""
    app = the_app(pilot)
    main = app._main
    assert main._shown is not None
    shown, context, status = main._shown
    listed = context.mark.only_new(shown) if context.mark is not None and main.state.only_new else shown
    assert status.open_connections == sum(row.state != "closed" for row in shown.connections)
    assert told_findings(app._found()) == told_findings(findings(app._unmarked or shown))
    for pane in main._panes.values():
        if not pane.display or pane.kind not in (DNS, CONNECTIONS):
            continue
        view, place = pane.drill.view, pane.drill.place
        expected: Any = (
            select(view, pane.kind.rows_of(listed), main.state.filter, main.state.show_ended, context)
            if (place.grouping is None and not place.steps)
            else select(
                pane.selection._pane, pane.kind.rows_of(listed), main.state.filter, main.state.show_ended, context
            )
        )
        for step in place.steps:
            keys = keying_of(step.grouping, listed, context.names).keys(expected)
            expected = [row for row, key in zip(expected, keys, strict=True) if key == step.key]
        if place.grouping is not None:
            expected = grouped(place.grouping, expected, listed, context.names)
        key, descending = main.state.sorts[view.name]
        ordered = sort(expected, view.column(key), descending, context)
        assert told(pane.table.shown_rows, context) == told(ordered, context), (pane.kind.name, place.crumbs, key)


def told_findings(found: Any) -> list[Any]:
    return [(each.rule, each.sentence, sorted(map(id, each.rows))) for each in found]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_shown_is_what_looking_at_everything_would_give(seed: int) -> None:
    dice = random.Random(seed)
    host = Host(dice).snapshots()

    async def steps(pilot: Pilot[None]) -> None:
        for _ in range(STEPS):
            match dice.randrange(5):
                case 0 | 1:
                    await pilot.press(dice.choice(KEYS))
                case 2:
                    the_app(pilot)._main.set_filter(dice.choice(FILTERS))
                case _:
                    await show(pilot, next(host))
            await pilot.pause()
            if the_app(pilot).screen is the_app(pilot)._main:
                check(pilot)
            else:  # the detail of a row
                await pilot.press("escape")

    play(steps, FakeFeed(next(host)), (160, 50))
