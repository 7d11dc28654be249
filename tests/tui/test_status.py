"""The status bar says what is going on, and loudly what is missing."""

from typing import Any

import pytest
from rich.cells import cell_len

from nettop.model import rows
from nettop.model.filter import Filter
from nettop.tui.status import MAX_SPARKLINE_CELLS, MIN_SPARKLINE_CELLS, Status, headline, notices
from tests.tui.scene import LOSSES, busy, query, snapshot


def status(**changes: Any) -> Status:
    fields: dict[str, Any] = {
        "mode": "LIVE", "paused": False, "new_rows": 0, "filter": Filter(""), "traffic": [1.0, 2.0],
        "pace": "every 1 s", "dns_per_s": 12.4,
    }  # fmt: skip
    return Status(**fields | changes)


def test_the_headline() -> None:
    parts = headline(busy(), status(), 100)
    said = "".join(text for text, _ in parts)
    for part in ("LIVE", "1m00s every 1 s", "tx 1.2M/s rx 68.4K/s", "conn 5", "dns 12/s, 38% failed"):
        assert part in said
    assert parts[0] == (" LIVE ", "mode")


def test_paused() -> None:
    assert headline(busy(), status(paused=True, new_rows=17), 100)[0] == (" PAUSED (+17 new) ", "paused")


def test_what_is_pending_has_not_failed_yet() -> None:
    seen = snapshot([query(1, "curl", "a.example", "NXDOMAIN"), query(2, "curl", "b.example", "pending")])
    assert "100% failed" in "".join(text for text, _ in headline(seen, status(), 100))


@pytest.mark.parametrize("width", range(60, 220, 7))
def test_the_sparkline_takes_the_room_that_is_left(width: int) -> None:
    parts = headline(busy(), status(), width)
    bars = [text for text, kind in parts if kind == "sparkline"]
    rest = sum(cell_len(text) for text, kind in parts if kind != "sparkline")
    if width - rest - 1 < MIN_SPARKLINE_CELLS:
        assert bars == []
    else:
        assert rest + cell_len(bars[0]) == min(width, rest + MAX_SPARKLINE_CELLS + 1)


def test_nothing_lost_is_said_quietly() -> None:
    assert notices(busy(), status()) == [(" nothing lost ", "quiet")]


def test_losses_are_loud_and_first() -> None:
    parts = notices(busy(losses=LOSSES), status(filter=Filter("pid:1")))
    assert parts[0] == (" ! 12 lost, 3 map full, 7 evicted, 2 unparsed, 4.0K unattributed ", "losses")
    assert ("pid:1 ", "filter") in parts


@pytest.mark.parametrize(
    "lost",
    [
        rows.Losses(perf_buffer={"a": 1}), rows.Losses(map_full={"a": 1}), rows.Losses(missed_runs={"a": 1}),
        rows.Losses(evicted={"a": 1}), rows.Losses(dns_unparsed=1), rows.Losses(udp_unattributed_bytes=1),
        rows.Losses(tcp_unattributed_bytes=1),
    ],
)  # fmt: skip
def test_every_kind_of_loss_is_loud(lost: rows.Losses) -> None:
    assert notices(busy(losses=lost), status())[0][1] == "losses"


def test_the_scope_is_said() -> None:
    parts = notices(busy(scope=rows.Scope(pid=(42,), comm=("curl",), netns=(4026,))), status())
    assert parts[1:] == [(" only pid 42, curl, netns 4026 ", "label")]
